"""``POST /reconstruct_download``: the form of the servers people run around DECA, answered with a ZIP.

With DECA installed the files are its own; else the embedded head is given under the same names.
"""

# No postponed annotations here: the routes' annotations name the dependency of their own router, a local variable.

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse
from scipy.io import savemat

from models.runtime.errors import InputError, StudioError
from pipelines.base import Inputs
from pipelines.export.archive import write_zip
from pipelines.export.npz import read_npz
from pipelines.face.options import FaceOptions
from pipelines.media.sniff import describe, sniff
from pipelines.tracking.face_points import MESH_68
from studio import forms
from studio.api.uploads import received
from studio.jobs import Job
from studio.privacy import Caller
from studio.runs import RunRecord
from studio.services import Studio

SWITCHES = {
    "save_depth": True,
    "save_obj": True,
    "save_vis": True,
    "save_kpt": False,
    "save_images": False,
    "save_mat": False,
}
_FORM = {
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "properties": {
                    "image": {"type": "string", "format": "binary", "description": "A photo of a face"},
                    **{name: {"type": "boolean", "default": default} for name, default in SWITCHES.items()},
                },
            }
        }
    }
}
_LOOK_SECONDS = 1.0  # between looks at whether the client still waits


def add_reconstruct(router: APIRouter, studio: Studio, caller: Callable[..., Caller]) -> None:
    """Adds the route."""

    @router.post(
        "/reconstruct_download",
        tags=["face"],
        summary="A face from one photo, as a ZIP (DECA's form)",
        response_class=FileResponse,
        openapi_extra={"requestBody": _FORM},
    )
    async def reconstruct(request: Request, who: Annotated[Caller, Depends(caller)]) -> FileResponse:
        """Waits for the job and answers with its files. A switch is on only for the text "true"."""
        studio.jobs.check_room()
        async with received(request, studio.settings, max_files=1) as form:
            uploaded = form.files.get("image", [])
            if not uploaded:
                raise InputError("Send the photo as a file in the field 'image'")
            found = sniff(uploaded[0])
            if found.kind != "image":
                raise InputError(f"image: {uploaded[0].name} is {describe(found)}; a photo is needed")
            switches = {name: _on(form.values.get(name), default) for name, default in SWITCHES.items()}
            options = forms.build(FaceOptions, {f"deca_{name}": on for name, on in switches.items()})
            stem = uploaded[0].stem
            inputs = Inputs({"source": (uploaded[0],)})
            job = await to_thread.run_sync(
                lambda: studio.jobs.submit("face", inputs, options, who.owner, title=stem, keep="move")
            )
        await _end_of(job, studio, request)
        record = studio.runs.get(job.id)
        archive = await to_thread.run_sync(lambda: _archive(studio, record, stem, switches))
        return FileResponse(archive, media_type="application/zip", filename=f"{stem}_reconstruction.zip")


def _on(given: list[str] | None, default: bool) -> bool:
    return default if not given else given[-1].strip().lower() == "true"


async def _end_of(job: Job, studio: Studio, request: Request) -> None:
    """Waits; a client that has gone away stops its job. Raises what the job failed of."""
    while not (snapshot := job.snapshot()).final:
        await to_thread.run_sync(lambda: job.wait(_LOOK_SECONDS))
        if await request.is_disconnected():
            studio.jobs.cancel(job.id)
    if snapshot.error is not None:
        raise snapshot.error
    if snapshot.state != "done":
        raise StudioError("The job was stopped before its end")


def _archive(studio: Studio, record: RunRecord, stem: str, switches: dict[str, bool]) -> Path:
    folder = studio.runs.folder(record.id)
    target = folder / "download" / "reconstruction.zip"
    target.parent.mkdir(exist_ok=True)
    own = [(folder / o.path, o.path.partition("/")[2]) for o in record.outputs if o.role == "deca"]
    files = own if record.engine == "deca" else list(_embedded(folder, record, stem, switches))
    if not files:
        raise InputError("Nothing was asked for: switch on at least one of " + ", ".join(SWITCHES))
    return write_zip(target, files)


def _embedded(folder: Path, record: RunRecord, stem: str, switches: dict[str, bool]) -> Iterator[tuple[Path, str]]:
    """The embedded head's files under the original's names; several faces are numbered."""
    made = folder / "download"
    heads = sorted(o.path for o in record.outputs if o.role == "mesh")
    numbers = read_npz(folder / "parameters.npz") if switches["save_kpt"] or switches["save_mat"] else {}
    if switches["save_vis"]:
        yield folder / "turned" / "0000.jpg", f"{stem}_vis.jpg"
    for k, path in enumerate(heads):
        old = Path(path).stem
        name = stem if len(heads) == 1 else f"{stem}_{k + 1}"
        if switches["save_obj"]:
            for ending in (".obj", ".mtl"):
                text = (folder / f"{old}{ending}").read_text(encoding="utf-8")
                renamed = made / f"{old}{ending}"
                renamed.write_text(text.replace(f"{old}.", f"{_plain(name)}."), encoding="utf-8")
                yield renamed, f"{name}/{_plain(name)}{ending}"
            yield folder / f"{old}.png", f"{name}/{_plain(name)}.png"
        if switches["save_depth"]:
            yield folder / "depth" / "0000.jpg", f"{name}/{name}_depth.jpg"
        if switches["save_images"]:
            for role, title in (("photo", "inputs"), ("render", "rendered_images"), ("landmarks", "landmarks2d")):
                yield folder / role / "0000.jpg", f"{name}/{name}_{title}.jpg"
        if switches["save_kpt"]:
            points = numbers["landmarks"][k][list(MESH_68)]
            for columns in (2, 3):
                np.savetxt(made / f"{old}_kpt{columns}d.txt", points[:, :columns])
                yield made / f"{old}_kpt{columns}d.txt", f"{name}/{name}_kpt{columns}d.txt"
        if switches["save_mat"]:
            rows = {n: v[k] for n, v in numbers.items() if n not in ("faces", "uv", "expression_names")}
            savemat(made / f"{old}.mat", rows)
            yield made / f"{old}.mat", f"{name}/{name}.mat"


def _plain(name: str) -> str:
    """A name without blanks, which material files cannot hold."""
    return "_".join(name.split())
