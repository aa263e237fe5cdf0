"""One named endpoint per pipeline, which is also its MCP tool: typed, documented, made from the options model."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from models.runtime.errors import StudioError
from pipelines.base import Pipeline
from studio import forms
from studio.forms import FieldSpec
from studio.intake import assign
from studio.services import Studio
from studio.ui.options_panel import control
from studio.ui.serving import lend, shown
from studio.ui.visitor import caller_of

_TYPES: dict[str, Any] = {"bool": bool, "int": int, "float": float, "numbers": str, "choices": list, "text": str}


def add_endpoint(studio: Studio, pipeline: Pipeline) -> None:
    """Adds ``/<pipeline id>`` to the page being built: files and options in; summary, main result and ZIP out.

    The call waits for its job. A client that leaves early finds the result in the Gallery.
    """
    fields = forms.specs(pipeline.options)
    files = gr.File(label="files", file_count="multiple", visible=False)
    controls = [control(spec, visible=False) for spec in fields]
    outputs = [
        gr.JSON(label="summary", visible=False),
        gr.File(label="main result", visible=False),
        gr.File(label="everything as a ZIP", visible=False),
    ]
    gr.Button(visible=False).click(
        _endpoint(studio, pipeline, fields),
        [files, *controls],
        outputs,
        api_name=pipeline.id,
        concurrency_limit=None,
    )


def _endpoint(studio: Studio, pipeline: Pipeline, fields: list[FieldSpec]) -> Callable[..., tuple[Any, Any, Any]]:
    def call(request: gr.Request, files: list[str], *values: Any) -> tuple[dict[str, Any], str | None, str]:
        owner = caller_of(studio.settings, None, request).owner
        try:
            options = forms.build(
                pipeline.options, {spec.name: value for spec, value in zip(fields, values, strict=True)}
            )
            job = studio.jobs.submit(pipeline.id, assign(pipeline, files), options, owner)
            end = job.wait()
            if end.error is not None:
                raise end.error
            record = studio.runs.get(job.id)
            main = next((o for o in record.outputs if o.kind in ("model3d", "splat", "video", "image")), None)
            path = None if main is None else shown(studio.runs, record.id, main.path)
            packed = lend(studio.settings, record.id, Path(studio.runs.zip(record.id)))
        except StudioError as error:
            raise gr.Error(error.message, print_exception=False) from error
        summary = {
            "run": record.id,
            "engine": record.engine,
            "summary": record.summary,
            "warnings": list(record.warnings),
            "licences": list(record.licences),
            "files": [output.path for output in record.outputs],
        }
        return summary, path, packed

    # The page's server reads names, types and words of a tool from its function.
    place = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [
        inspect.Parameter("request", place, annotation=gr.Request),
        inspect.Parameter("files", place, annotation=list[str]),
        *(inspect.Parameter(s.name, place, default=s.default, annotation=_TYPES.get(s.kind, str)) for s in fields),
    ]
    call.__name__ = pipeline.id
    call.__doc__ = _words(pipeline, fields)
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    return call


def _words(pipeline: Pipeline, fields: list[FieldSpec]) -> str:
    """The endpoint's docstring, in the form that tools read."""
    roles = "; ".join(f"{role.title} ({', '.join(role.kinds)})" for role in pipeline.roles)
    lines = [f"{pipeline.title}: {pipeline.tagline}", "", "Args:", f"    files: {roles}"]
    lines += [f"    {spec.name}: {spec.description or spec.title}" for spec in fields]
    lines += [
        "",
        "Returns:",
        "    summary: run id, engine, numbers, warnings, licences and file names",
        "    main: the chief result file",
        "    zip: everything as a ZIP",
    ]
    return "\n".join(lines)
