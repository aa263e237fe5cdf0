"""One command per pipeline, its flags made from the pipeline's options model."""

from __future__ import annotations

import enum
import inspect
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer

from models.runtime.errors import InputError, StudioError
from models.runtime.settings import Settings
from pipelines.base import Options, Pipeline
from studio import forms
from studio.cli.export import export, parse_formats
from studio.cli.progress import follow
from studio.cli.words import RESULTS, words_of
from studio.privacy import LOCAL_OWNER
from studio.services import Studio


def add_stub(app: typer.Typer, pipeline_id: str) -> None:
    """A line in the list of commands; the pipeline itself is imported only when it is called."""

    @app.command(pipeline_id, help=f"Run the {pipeline_id} pipeline on files.")
    def stub() -> None:
        raise StudioError(f"The {pipeline_id} command was not asked for")


def add_pipeline(app: typer.Typer, pipeline: Pipeline) -> None:
    """``<pipeline> INPUT... [options]``."""

    def command(**given: Any) -> None:
        _run(pipeline, given)

    specs = forms.specs(pipeline.options)
    parameters = [*_inputs(pipeline), *_machine(), *(_option(spec, _aliases(pipeline, spec, specs)) for spec in specs)]
    sign(command, parameters)
    app.command(pipeline.id, help=words_of(pipeline.id).about(pipeline))(command)


def read_options(pipeline: Pipeline, given: Mapping[str, Any]) -> Options:
    """The options among the values of a command line; what was not given keeps its default."""
    return options_of(pipeline.options, given)


def options_of(model: type[Options], given: Mapping[str, Any]) -> Any:
    """As ``read_options``, for any options model."""
    names = {spec.name for spec in forms.specs(model)}
    values = {name: value for name, value in given.items() if name in names and value is not None}
    plain = {name: value.value if isinstance(value, enum.Enum) else value for name, value in values.items()}
    return forms.build(model, plain)


def model_parameters(model: type[Options]) -> list[inspect.Parameter]:
    """The flags of an options model that belongs to no pipeline."""
    return [_option(spec, []) for spec in forms.specs(model)]


def option_parameters(pipeline: Pipeline) -> list[inspect.Parameter]:
    """The flags of a pipeline's options, for another command that runs it."""
    specs = forms.specs(pipeline.options)
    return [_option(spec, _aliases(pipeline, spec, specs)) for spec in specs]


def _run(pipeline: Pipeline, given: dict[str, Any]) -> None:
    words = words_of(pipeline.id)
    formats = parse_formats(pipeline.id, given["export_format"])
    words.adapt(given, formats)
    options = read_options(pipeline, given)
    if words.instead(pipeline, given):
        return
    inputs = words.inputs(pipeline, given)
    server = words.server(given)
    if server:
        from studio.cli.remote import run_there

        run_there(server, pipeline, inputs, options, formats, given["export_dir"], given["quiet"])
        return
    settings = Settings.from_env(words.environment(given, os.environ), device=given["device"])
    with Studio.build(settings) as studio:
        job = studio.jobs.submit(
            pipeline.id, inputs, options, LOCAL_OWNER, title=given["title"] or "", keep="reference"
        )
        last = follow(studio, job, quiet=given["quiet"])
        if last.error is not None:
            raise last.error
        record = studio.runs.get(job.id)
        files = export(studio.runs, record, formats, given["export_dir"])
        if given.get("output"):
            files = words.deliver(studio.runs, record, given["output"])
        if given["json"]:
            print(json.dumps(record.public() | {"folder": str(studio.runs.folder(job.id))}, indent=1))
            return
        for warning in record.warnings:
            print(f"Note: {warning}", file=sys.stderr)
        seconds = (record.finished or 0.0) - (record.started or 0.0)
        facts = ", ".join(f"{name.replace('_', ' ')} {_short(value)}" for name, value in record.summary.items())
        print(f"{pipeline.title} with engine {record.engine} in {seconds:.1f} s: {facts}", file=sys.stderr)
        for file in files:
            print(file)


def _short(value: float | int | str | bool) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _inputs(pipeline: Pipeline) -> list[inspect.Parameter]:
    """The files, and the flags of the pipeline's own words."""
    words = words_of(pipeline.id)
    about, needed = words.about_inputs(pipeline), words.inputs_needed
    loose = typer.Argument(help=about, metavar="INPUT")
    files = parameter("inputs", list[str] if needed else list[str] | None, loose, ... if needed else None)
    flags = [
        parameter(
            flag.name,
            flag.kind,
            typer.Option(..., *flag.spellings, help=flag.help, rich_help_panel=flag.panel),
            flag.default,
        )
        for flag in words.flags
    ]
    return [files, *flags]


def _machine() -> list[inspect.Parameter]:
    """What every pipeline command takes beside the pipeline's own options."""

    def option(name: str, kind: Any, default: Any, about: str) -> inspect.Parameter:
        flag = f"--{name.replace('_', '-')}"
        return parameter(name, kind, typer.Option(..., flag, help=about, rich_help_panel=RESULTS), default)

    return [
        option("export_dir", Path | None, None, "Copy the results here; without it they stay in the run's folder."),
        option("export_format", str, "all", "Which results to copy, joined by '-': glb-npz, roles, endings, or all."),
        option("image_extensions", str | None, None, "Take only files with these endings from a folder: png,jpg."),
        option("title", str | None, None, "A name for the run."),
        option("device", str | None, None, "auto, cpu, cuda, cuda:N or mps."),
        option("server", str | None, None, "Let the studio at this address do the work."),
        option("json", bool, False, "Print the run's record as JSON."),
        option("quiet", bool, False, "No progress."),
    ]


def _aliases(pipeline: Pipeline, spec: forms.FieldSpec, specs: list[forms.FieldSpec]) -> list[str]:
    """Further spellings of a flag: the field's own name where it is unambiguous, and the names others gave it."""
    own = spec.path[-1]
    taken = {s.name for s in specs} | {p.name for p in _machine()}
    short = [own] if own not in taken and sum(s.path[-1] == own for s in specs) == 1 else []
    known = words_of(pipeline.id).aliases.get(spec.name, ())
    return [*(name.replace("_", "-") for name in short), *known]


def _option(spec: forms.FieldSpec, aliases: list[str]) -> inspect.Parameter:
    """Typer's view of one field. Values that were not given stay None, so that the model's own default holds."""
    names = [spec.flag, *aliases]
    flags = [f"--{name}/--no-{name}" for name in names] if spec.kind == "bool" else [f"--{name}" for name in names]
    default = ",".join(map(str, spec.default)) if isinstance(spec.default, tuple) else spec.default
    shown = f" (default: {default})" if default not in ("", None) else ""
    bounds: dict[str, Any] = {}
    if spec.kind in ("int", "float"):
        bounds = {"min": spec.minimum, "max": spec.maximum}
    kinds: dict[str, Any] = {"bool": bool, "int": int, "float": float}
    kind = kinds.get(spec.kind, str)
    if spec.kind == "choice":
        kind = enum.Enum(spec.name, {str(c): str(c) for c in spec.choices}, type=str)
    panel = f"Options: {spec.group.replace('_', ' ')}" if spec.group else "Options"
    about = f"{spec.description}{shown}"
    return parameter(
        spec.name, kind | None, typer.Option(..., *flags, help=about, rich_help_panel=panel, **bounds), default=None
    )


def parameter(name: str, kind: Any, info: Any, default: Any = ...) -> inspect.Parameter:
    """One parameter of a command; without a default it must be given."""
    info.default = default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=info, annotation=kind)


def sign(command: Callable[..., None], parameters: list[inspect.Parameter]) -> None:
    """Gives a function the signature from which typer builds a command."""
    names = [p.name for p in parameters]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InputError(f"An option has the name of a command-line flag: {', '.join(sorted(twice))}")
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
