"""A pipeline command whose work a running studio does: upload, follow, fetch the results."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import httpx

from models.runtime.errors import Cancelled, InputError, NotFound, StudioError
from pipelines.base import Inputs, Options, Pipeline, Progress
from studio import forms
from studio.cli.export import chosen
from studio.cli.progress import display
from studio.runs import OutputRecord

_POLL_SECONDS = 0.5
_ERRORS: dict[int, type[StudioError]] = {400: InputError, 413: InputError, 422: InputError, 404: NotFound}


def run_there(
    server: str,
    pipeline: Pipeline,
    inputs: Inputs,
    options: Options,
    formats: frozenset[str],
    export_dir: Path | None,
    quiet: bool,
) -> None:
    """Sends a job to the studio at ``server`` and prints where its results went, or where they are.

    STUDIO_API_TOKEN is sent as a bearer token. Ctrl-C stops the job there too.

    Raises:
        StudioError: the server refuses, fails or does not answer; the message is the server's own where it gave one.
    """
    token = os.environ.get("STUDIO_API_TOKEN", "")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with httpx.Client(base_url=server.rstrip("/"), headers=headers, timeout=httpx.Timeout(30, read=300)) as client:
            job = _submit(client, pipeline, inputs, options)
            ended = _follow(client, job, quiet)
            outputs = tuple(OutputRecord.model_validate(f) for f in ended["files"])
            for output in chosen(pipeline.id, outputs, formats):
                place = f"{server.rstrip('/')}/v1/runs/{job['id']}/files/{output.path}"
                print(_fetch(client, place, output.path, export_dir) if export_dir else place)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise StudioError(f"The studio at {server} cannot be reached: {error}") from error


def _submit(client: httpx.Client, pipeline: Pipeline, inputs: Inputs, options: Options) -> dict[str, Any]:
    fields = {name: _text(value) for name, value in forms.flatten(options).items() if value is not None}
    with ExitStack() as stack:
        files = []
        for role, paths in inputs.files.items():
            for path in paths:
                file = stack.enter_context(_zipped(path)) if path.is_dir() else path
                files.append((role, (file.name, stack.enter_context(file.open("rb")))))
        return _answer(client.post(f"/v1/{pipeline.id}", data=fields, files=files))


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


@contextmanager
def _zipped(folder: Path) -> Iterator[Path]:
    """A folder as a ZIP, which is how it travels."""
    with tempfile.TemporaryDirectory() as place:
        yield Path(shutil.make_archive(str(Path(place) / (folder.name or "folder")), "zip", folder))


def _follow(client: httpx.Client, job: dict[str, Any], quiet: bool) -> dict[str, Any]:
    shown = display(quiet)
    try:
        while True:
            state = _answer(client.get(job["job_url"]))
            if state["progress"]:
                shown.show(Progress(**state["progress"]))
            if state["state"] == "done":
                return state
            if state["state"] == "cancelled":
                raise Cancelled("The job was stopped at the server")
            if state["state"] == "failed":
                raise StudioError(state["error"] or "The job failed")
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        client.delete(job["job_url"])
        raise
    finally:
        shown.close()


def _fetch(client: httpx.Client, url: str, path: str, folder: Path) -> Path:
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or path.startswith("/"):
        raise StudioError(f"The server names a file outside the folder: {path!r}")
    target = folder.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    with client.stream("GET", url) as answer, target.open("wb") as out:
        if answer.status_code != 200:
            raise StudioError(f"{path} could not be fetched (status {answer.status_code})")
        for block in answer.iter_bytes():
            out.write(block)
    return target


def _answer(answer: httpx.Response) -> dict[str, Any]:
    try:
        data = answer.json()
    except ValueError as error:
        raise StudioError(f"{answer.request.url} answers, but is no studio") from error
    if answer.status_code >= 400:
        message = data.get("error") if isinstance(data, dict) else None
        raise _ERRORS.get(answer.status_code, StudioError)(message or f"Refused with status {answer.status_code}")
    return data
