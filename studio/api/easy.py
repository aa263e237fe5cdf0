"""HeyGem's two routes: ``POST /easy/submit`` and ``GET /easy/query``, with its JSON and its status numbers.

Files are named by path inside the folders of STUDIO_ALLOWED_DIRS, or sent along as a multipart form; addresses on other
machines are never fetched. Answers are always HTTP 200 with a code inside, as its clients expect.
"""

import configparser
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from anyio import to_thread
from fastapi import APIRouter, Depends, Request

from models.runtime.errors import Forbidden, InputError, NotFound, StudioError
from models.runtime.settings import Settings
from pipelines.base import Inputs
from pipelines.talk.options import TalkOptions
from studio import forms
from studio.api.uploads import received
from studio.jobs import JobSnapshot
from studio.privacy import Caller
from studio.services import Studio

OK, FAILED, BUSY, BAD, UNKNOWN = 10000, 9999, 10002, 10003, 10004
RUNNING, DONE, BROKEN = 1, 2, 3
CONFIG = Path("config") / "config.ini"  # of the original, relative to where the studio was started
# Progress 0..100 at which each stage begins, and how much of it the stage is.
_STAGES = {"prepare": (0, 2), "listen": (2, 8), "measure": (10, 10), "draw": (20, 78), "finish": (98, 2)}
_CODE_LENGTH = 100
_BODY_BYTES = 64 * 1024


def add_easy(router: APIRouter, studio: Studio, caller: Callable[..., Caller]) -> None:
    """Adds both routes."""
    known: dict[tuple[str, str], str] = {}  # (owner, code) -> job id

    @router.post("/easy/submit", tags=["talk"], summary="Start a talking video (HeyGem's JSON)")
    async def submit(request: Request, who: Annotated[Caller, Depends(caller)]) -> dict[str, Any]:
        """JSON `audio_url`, `video_url` (paths inside an allowed folder), `code`, `chaofen`, `watermark_switch`, `pn`;
        or the same names as a multipart form with the files `audio` and `video`."""
        try:
            if "json" in request.headers.get("content-type", ""):
                values = await _json(request)
                inputs = _by_path(values, studio.settings)
                await _start(studio, who, values, inputs, "copy", known)
            else:
                async with received(request, studio.settings, max_files=2) as form:
                    values = {name: given[0] for name, given in form.values.items()}
                    files = {"source": form.files.get("video", ()), "voice": form.files.get("audio", ())}
                    inputs = Inputs({role: tuple(paths) for role, paths in files.items() if paths})
                    await _start(studio, who, values, inputs, "move", known)
        except _Busy as error:
            return _answer(BUSY, str(error))
        except InputError as error:
            return _answer(BAD, error.message)
        except StudioError as error:
            if isinstance(error, Forbidden):
                raise
            return _answer(FAILED, error.message)
        return _answer(OK, "accepted")

    @router.get("/easy/query", tags=["talk"], summary="How a talking video is doing (HeyGem's JSON)")
    def query(code: str, who: Annotated[Caller, Depends(caller)]) -> dict[str, Any]:
        """`data.status` is 1 while it waits or runs, 2 when done (`data.result` says where to get it), 3 on failure."""
        job_id = known.get((who.owner, code))
        if job_id is None:
            return _answer(UNKNOWN, f"no task {code[:_CODE_LENGTH]!r}")
        try:
            return _answer(OK, "ok", _status(code, studio.jobs.snapshot(job_id)))
        except NotFound:
            return _answer(UNKNOWN, "the task has been deleted")


class _Busy(Exception):
    """A task of that code still runs."""


async def _json(request: Request) -> dict[str, Any]:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY_BYTES:
            raise InputError("The request is too long")
    try:
        values = json.loads(body)
    except ValueError as error:
        raise InputError("The request is not JSON") from error
    if not isinstance(values, dict):
        raise InputError("The request must be a JSON object")
    return values


def _by_path(values: Mapping[str, Any], settings: Settings) -> Inputs:
    return Inputs(
        {
            "source": (allowed_file(values.get("video_url"), "video_url", settings),),
            "voice": (allowed_file(values.get("audio_url"), "audio_url", settings),),
        }
    )


def allowed_file(given: Any, name: str, settings: Settings) -> Path:
    """The file a request names, inside one of the allowed folders; a relative path is looked for in each of them.

    Raises:
        InputError: no path, an address, outside of the folders, or not there. Which of the last two is not told.
    """
    if not isinstance(given, str) or not given.strip() or "\0" in given:
        raise InputError(f"{name} is missing")
    if "://" in given:
        raise InputError(f"{name}: files are not fetched from addresses; name a path in an allowed folder or upload it")
    for folder in settings.allowed_dirs:
        root = folder.resolve()
        path = (root / given).resolve()
        if path.is_relative_to(root) and path.is_file():
            return path
    raise InputError(f"{name}: no such file in the folders this studio may read (STUDIO_ALLOWED_DIRS)")


async def _start(
    studio: Studio, who: Caller, values: Mapping[str, Any], inputs: Inputs, keep: str, known: dict[tuple[str, str], str]
) -> None:
    code = str(values.get("code") or "").strip()
    if not code or len(code) > _CODE_LENGTH:
        raise InputError(f"code is missing or longer than {_CODE_LENGTH} characters")
    earlier = known.get((who.owner, code))
    if earlier is not None:
        try:
            if not studio.jobs.snapshot(earlier).final:
                raise _Busy(f"task {code} still runs")
        except NotFound:
            known.pop((who.owner, code), None)
    options = forms.build(TalkOptions, heygem_options(values, read_config(CONFIG)))
    job = await to_thread.run_sync(
        lambda: studio.jobs.submit("talk", inputs, options, who.owner, title=code, keep=keep)
    )
    known[(who.owner, code)] = job.id


def heygem_options(values: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Options from the request's switches, on top of those of the original's configuration file."""
    flat = dict(config)
    if _on(values.get("chaofen")):
        flat["blend_restore"] = "always"
    if _on(values.get("watermark_switch")):
        flat["watermark"] = "Likeness Studio"
    return flat


def _on(value: Any) -> bool:
    return str(value).strip().lower() in {"1", "true"}


def read_config(path: Path) -> dict[str, Any]:
    """What the original's ``config.ini`` says that means something here; nothing where there is no such file."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path.name} cannot be read: {error}") from error
    if not parser.has_section("digital"):
        return {}
    digital = parser["digital"]
    flat: dict[str, Any] = {}
    if digital.get("batch_size", "").isdigit():
        flat["blend_batch"] = min(64, max(1, int(digital["batch_size"])))
    if digital.get("blend_dynamic") in ("lmk", "xseg"):
        flat["blend_mask"] = "xseg" if digital["blend_dynamic"] == "xseg" else "landmarks"
    if _on(digital.get("chaofen_before")) or _on(digital.get("chaofen_after")):
        flat["blend_restore"] = "auto"
    return flat


def _answer(code: int, message: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"code": code, "success": code == OK, "msg": message, "data": data or {}}


def _status(code: str, snapshot: JobSnapshot) -> dict[str, Any]:
    data: dict[str, Any] = {"code": code, "status": RUNNING, "progress": progress_of(snapshot), "result": "", "msg": ""}
    if snapshot.state == "done":
        video = next((o for o in snapshot.result.outputs if o.role == "video"), None) if snapshot.result else None
        place = f"/v1/runs/{snapshot.id}/files/{quote(video.path)}" if video else ""
        data |= {"status": DONE, "progress": 100, "result": place, "msg": "done"}
    elif snapshot.final:
        data |= {"status": BROKEN, "msg": snapshot.error.message if snapshot.error else "stopped"}
    return data


def progress_of(snapshot: JobSnapshot) -> int:
    """0..100 over all stages; 20 is where the faces have been followed, as the original's clients show it."""
    progress = snapshot.progress
    if progress is None:
        return 0
    start, length = _STAGES.get(progress.stage, (0, 0))
    share = progress.done / progress.total if progress.total else 0.0
    return round(start + length * min(1.0, share))
