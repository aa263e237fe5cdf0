"""What the REST surface says: jobs, runs and forms as JSON."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from pydantic import BaseModel

from models.runtime.weights import Status
from models.runtime.weights_entry import WeightEntry
from pipelines.base import Options, Pipeline
from studio import forms
from studio.jobs import JobSnapshot
from studio.runs import RunRecord

LOOSE = "files"


class ProgressView(BaseModel):
    """Step ``done`` of ``total`` (null while unknown) of a stage."""

    stage: str
    done: int
    total: int | None
    note: str


class FileView(BaseModel):
    """One result file and where to get it."""

    role: str
    kind: str
    title: str
    path: str
    url: str
    bytes: int | None = None


class JobView(BaseModel):
    """A job. ``position`` counts the jobs before it while queued."""

    id: str
    pipeline: str
    state: str
    position: int
    progress: ProgressView | None
    error: str | None
    warnings: list[str]
    summary: dict[str, float | int | str | bool]
    files: list[FileView]
    job_url: str
    run_url: str
    zip_url: str | None


class RunView(BaseModel):
    """A run: its record as in run.json, its files, its links."""

    run: dict[str, Any]
    files: list[FileView]
    zip_url: str | None
    page_url: str


class RunList(BaseModel):
    """Runs, newest first, out of ``total``."""

    runs: list[RunView]
    total: int


class WeightView(BaseModel):
    """One checkpoint or model file: what it is, whether it is here, under which terms."""

    id: str
    title: str
    pipelines: tuple[str, ...]
    engines: tuple[str, ...]
    state: str
    bytes: int
    licence: str
    licence_url: str
    commercial: str
    attribution: str
    unlocks: str
    page: str
    automatic: bool
    registration: bool
    note: str


class ErrorView(BaseModel):
    """Why a request was refused."""

    error: str


def job_view(snapshot: JobSnapshot) -> JobView:
    progress, result = snapshot.progress, snapshot.result
    files = [file_view(snapshot.id, o.role, o.kind, o.title, o.path) for o in result.outputs] if result else []
    return JobView(
        id=snapshot.id,
        pipeline=snapshot.pipeline,
        state=snapshot.state,
        position=snapshot.position,
        progress=ProgressView(**vars(progress)) if progress else None,
        error=snapshot.error.message if snapshot.error else None,
        warnings=list(result.warnings) if result else [],
        summary=dict(result.summary) if result else {},
        files=files,
        job_url=f"/v1/jobs/{snapshot.id}",
        run_url=f"/v1/runs/{snapshot.id}",
        zip_url=f"/v1/runs/{snapshot.id}.zip" if files else None,
    )


def weight_view(entry: WeightEntry, status: Status) -> WeightView:
    """Where a file lies on the server is left out; what to do about a missing one is said in ``note``."""
    told = {name: getattr(entry, name) for name in WeightView.model_fields if hasattr(entry, name)}
    note = "" if status.state == "installed" else status.note
    return WeightView.model_validate(told | {"state": status.state, "note": note})


def run_view(record: RunRecord) -> RunView:
    files = [file_view(record.id, o.role, o.kind, o.title, o.path) for o in record.outputs]
    return RunView(
        run=record.public(),
        files=files,
        zip_url=f"/v1/runs/{record.id}.zip" if files else None,
        page_url=f"/?run={record.id}",
    )


def file_view(run_id: str, role: str, kind: str, title: str, path: str) -> FileView:
    return FileView(role=role, kind=kind, title=title, path=path, url=f"/v1/runs/{run_id}/files/{quote(path)}")


def form_schema(pipeline: Pipeline) -> dict[str, Any]:
    """The OpenAPI request body of a pipeline: files by role, then its options."""
    properties: dict[str, Any] = {}
    for role in pipeline.roles:
        file = {"type": "string", "format": "binary"}
        about = f"{role.title} ({', '.join(role.kinds)})"
        if role.maximum > 1:
            properties[role.name] = {"type": "array", "items": file, "maxItems": role.maximum, "description": about}
            if role.minimum:
                properties[role.name]["minItems"] = role.minimum
        else:
            properties[role.name] = {**file, "description": about}
    properties[LOOSE] = {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "description": "Files to be sorted into the roles above by what they are",
    }
    properties |= {spec.name: _field_schema(spec) for spec in forms.specs(pipeline.options)}
    properties["title"] = {"type": "string", "description": "A name for the run"}
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


def options_schema(model: type[Options]) -> dict[str, Any]:
    """The OpenAPI request body of options alone."""
    properties = {spec.name: _field_schema(spec) for spec in forms.specs(model)}
    return {"content": {"multipart/form-data": {"schema": {"type": "object", "properties": properties}}}}


def _field_schema(spec: forms.FieldSpec) -> dict[str, Any]:
    types = {"bool": "boolean", "int": "integer", "float": "number", "numbers": "array", "choices": "array"}
    schema: dict[str, Any] = {"type": types.get(spec.kind, "string"), "description": spec.description}
    if spec.kind == "choice":
        schema["enum"] = [str(c) for c in spec.choices]
    elif spec.kind == "choices":
        schema["items"] = {"type": "string", "enum": [str(c) for c in spec.choices]}
    elif spec.kind == "numbers":
        schema["items"] = {"type": "number"}
    if spec.minimum is not None:
        schema["minimum"] = spec.minimum
    if spec.maximum is not None:
        schema["maximum"] = spec.maximum
    if spec.default is not None:
        schema["default"] = list(spec.default) if isinstance(spec.default, tuple) else spec.default
    return schema
