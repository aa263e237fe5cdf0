"""Runs: one folder per run with ``run.json``, an index for lists, and deletion that leaves nothing behind.

A run folder holds ``run.json``, ``inputs/<role>/`` (copies of what the user gave) and whatever the pipeline wrote.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.runtime.errors import InputError, NotFound
from models.runtime.settings import Settings
from pipelines.base import Inputs, Options, Output, OutputKind, Result
from pipelines.export.archive import folder_files, write_zip
from pipelines.media.atomic import replacing
from studio import traces
from studio.run_index import IndexRow, RunIndex

RunState = Literal["queued", "running", "done", "failed", "cancelled"]
Keep = Literal["copy", "move", "reference"]
LIVE: tuple[RunState, ...] = ("queued", "running")
STOPPED = "The server stopped"
_ID_BYTES = 18  # 144 random bits
_ID_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


class InputRecord(BaseModel):
    """One input file: ``path`` is relative to the run folder, or absolute where the local user's own file is used."""

    role: str
    name: str
    path: str
    sha256: str
    bytes: int


class OutputRecord(BaseModel):
    """One result file, ``path`` relative to the run folder."""

    role: str
    path: str
    kind: OutputKind
    title: str


class RunRecord(BaseModel):
    """The whole truth about one run, as written to ``run.json``. Times are seconds since 1970 or durations."""

    model_config = ConfigDict(extra="ignore")

    id: str
    pipeline: str
    title: str = ""
    engine: str = ""
    weights: tuple[str, ...] = ()
    options: dict[str, Any] = Field(default_factory=dict)
    inputs: tuple[InputRecord, ...] = ()
    parents: tuple[str, ...] = ()
    owner: str = ""
    state: RunState = "queued"
    created: float = 0.0
    started: float | None = None
    finished: float | None = None
    seconds: dict[str, float] = Field(default_factory=dict)
    outputs: tuple[OutputRecord, ...] = ()
    summary: dict[str, float | int | str | bool] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    error: str | None = None
    bytes: int = 0
    process: str = ""

    @property
    def live(self) -> bool:
        return self.state in LIVE

    @property
    def poster(self) -> str | None:
        """Path of the thumbnail, relative to the run folder."""
        found = self.first("poster")
        return found.path if found else None

    def first(self, role: str) -> OutputRecord | None:
        return next((o for o in self.outputs if o.role == role), None)

    def result(self) -> Result:
        """The pipeline's result as it was."""
        outputs = tuple(Output(o.role, o.path, o.kind, o.title) for o in self.outputs)
        return Result(self.engine, outputs, self.summary, self.warnings, self.weights)

    def public(self) -> dict[str, Any]:
        """What anyone holding the run's link may read: no owner, no process, no place on the server's disk."""
        data = self.model_dump(mode="json", exclude={"owner", "process"})
        for item in data["inputs"]:
            del item["path"]
        return data


@dataclass(frozen=True)
class Swept:
    """What a sweep removed."""

    runs: tuple[str, ...]
    bytes: int
    cached_files: int


class RunStore:
    """All runs of one workspace. Safe for threads; several processes may share a workspace."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.mark = traces.process_mark()
        settings.runs_dir.mkdir(parents=True, exist_ok=True)
        self.index = RunIndex(settings.workspace_dir / "runs.sqlite")
        self._adopt_and_recover()

    def close(self) -> None:
        self.index.close()

    # ---- one run

    def create(
        self,
        pipeline: str,
        options: Options,
        inputs: Inputs,
        owner: str = "",
        parents: Iterable[str] = (),
        title: str = "",
        keep: Keep = "copy",
    ) -> RunRecord:
        """A new queued run with its folder and inputs. ``keep="reference"`` leaves local files where they are.

        Raises:
            InputError: an input file cannot be read.
        """
        run_id = _new_id()
        folder = self.settings.runs_dir / run_id
        folder.mkdir(parents=True)
        try:
            taken = tuple(_take_inputs(folder, inputs, keep))
            record = RunRecord(
                id=run_id,
                pipeline=pipeline,
                title=title or next((i.name for i in taken), pipeline),
                options=options.model_dump(mode="json"),
                inputs=taken,
                parents=tuple(dict.fromkeys(parents)),
                owner=owner,
                created=time.time(),
                process=self.mark,
            )
            self.save(record)
        except BaseException:
            traces.remove(folder)
            raise
        return record

    def get(self, run_id: str) -> RunRecord:
        """Raises NotFound for an id that is no run."""
        text = self.index.record(run_id) if _plain_id(run_id) else None
        if text is None:
            raise NotFound("There is no such run; it may have been deleted")
        return RunRecord.model_validate_json(text)

    def save(self, record: RunRecord) -> None:
        """Writes ``run.json`` in one step and brings the index up to date."""
        folder = self.folder(record.id)
        if not folder.is_dir():
            raise NotFound("There is no such run; it may have been deleted")
        text = record.model_dump_json(indent=1)
        with replacing(folder / "run.json") as part:
            part.write_text(text, encoding="utf-8")
        self.index.put(_row(record, text))

    def folder(self, run_id: str) -> Path:
        """The run's folder. Raises NotFound for something that cannot be an id."""
        if not _plain_id(run_id):
            raise NotFound("There is no such run; it may have been deleted")
        return self.settings.runs_dir / run_id

    def file(self, run_id: str, path: str) -> Path:
        """One listed output of a run, checked to lie inside its folder. Raises NotFound."""
        record = self.get(run_id)
        folder = self.folder(run_id).resolve()
        found = (folder / path).resolve() if path in {o.path for o in record.outputs} else None
        if found is None or not found.is_relative_to(folder) or not found.is_file():
            raise NotFound(f"This run has no file {path!r:.80}")
        return found

    def inputs(self, record: RunRecord) -> Inputs:
        """The run's inputs, for running again. Raises NotFound when they are gone."""
        files: dict[str, list[Path]] = {}
        for item in record.inputs:
            path = self.folder(record.id) / item.path  # an absolute path replaces the folder
            if not path.exists():
                raise NotFound(f"The input {item.name!r} of this run is gone; please give it again")
            files.setdefault(item.role, []).append(path)
        return Inputs({role: tuple(paths) for role, paths in files.items()})

    # ---- many runs

    def list(
        self,
        owner: str | None = None,
        pipeline: str | None = None,
        state: str | None = None,
        text: str = "",
        limit: int = 60,
        offset: int = 0,
    ) -> list[RunRecord]:
        """Runs, newest first; ``owner=None`` means everyone's, every word of ``text`` must occur."""
        found = self.index.search(owner, pipeline, state, text, limit, offset)
        return [RunRecord.model_validate_json(record) for record in found]

    def count(
        self, owner: str | None = None, pipeline: str | None = None, state: str | None = None, text: str = ""
    ) -> int:
        return self.index.count(owner, pipeline, state, text)

    # ---- leaving

    def delete(self, run_id: str) -> None:
        """Removes a run, its cached measurements and the copies the web framework made of its files.

        Raises:
            NotFound: no such run.
            InputError: it is still running.
        """
        record = self.get(run_id)
        if record.live and traces.process_alive(record.process):
            raise InputError("This run is still working: stop it first, then delete it")
        folder = self.folder(run_id)
        temp_dir, shown = self.settings.temp_dir, shown_folder(self.settings, run_id)
        traces.forget_measurements(self.settings.measurements_dir, self.index.unshared_inputs(run_id))
        traces.remove(shown)  # links, also to what a file was earlier; those of other runs stay
        traces.forget_copies(temp_dir, folder, [(i.bytes, i.sha256) for i in record.inputs], spare=shown.parent)
        self._drop(run_id)

    def delete_all(self, owner: str | None) -> int:
        """Deletes every run that is not working, of one owner or, with None, of everyone; returns how many."""
        gone = 0
        for record in self.list(owner, limit=1_000_000):
            with contextlib.suppress(InputError, NotFound):  # it works, or another process was quicker
                self.delete(record.id)
                gone += 1
        return gone

    def discard(self, run_id: str) -> None:
        """Removes the folder and row of a run that never made anything."""
        self._drop(run_id)

    def strip(self, run_id: str) -> None:
        """Removes everything in a run's folder except its record, and what was shown of it."""
        traces.remove(shown_folder(self.settings, run_id))
        for entry in self.folder(run_id).iterdir():
            if entry.name != "run.json":
                traces.remove(entry)

    def zip(self, run_id: str, inputs: bool = False) -> Path:
        """A ZIP of the results with ``run.json``; the inputs only when asked for. Made once, then kept in the folder.

        Raises:
            NotFound: no such run.
            InputError: the run is still working or left no files.
        """
        record = self.get(run_id)
        if record.live or not record.outputs:
            raise InputError("This run has no results to download" + (" yet" if record.live else ""))
        folder = self.folder(run_id)
        archive = folder / "download" / f"{record.pipeline}_{run_id[:8]}{'_with_inputs' if inputs else ''}.zip"
        if archive.is_file():
            return archive
        told = archive.parent / "run.json"  # without owner and places
        with replacing(told) as part:
            part.write_text(json.dumps(record.public(), indent=1), encoding="utf-8")
        members = [(told, "run.json"), *((folder / o.path, o.path) for o in record.outputs)]
        if inputs:
            for item in record.inputs:
                members += _members(folder / item.path, f"inputs/{item.role}/{Path(item.path).name}")
        write_zip(archive, members)
        return archive

    def sweep(self, now: float | None = None) -> Swept:
        """Applies the age and size limits of the settings: oldest runs first, never one that is queued or running."""
        limits = self.settings.limits
        now = time.time() if now is None else now
        runs = self.index.oldest(without_states=LIVE)
        total = sum(size for _, _, size in runs)
        gone, freed = [], 0
        for run_id, created, size in runs:
            old = limits.run_age_days and created < now - limits.run_age_days * 86400
            if old or (limits.runs_bytes and total > limits.runs_bytes):
                with contextlib.suppress(NotFound):  # another process was quicker
                    self.delete(run_id)
                total -= size
                freed += size
                gone.append(run_id)
        cached = traces.sweep_folder(
            self.settings.measurements_dir, limits.measurement_age_days, limits.measurement_bytes
        )
        cached += traces.sweep_folder(self.settings.temp_dir, 1.0, limits.runs_bytes)
        for download in self.settings.runs_dir.glob("*/download"):
            cached += traces.sweep_folder(download, 1.0, 0)
        cached += traces.sweep_folder(self.settings.workspace_dir / "uploads", 1.0, 0)
        return Swept(tuple(gone), freed, cached)

    def _drop(self, run_id: str) -> None:
        """Out of sight in one step, so that a crash in between cannot bring the run back; then row and files."""
        traces.remove(shown_folder(self.settings, run_id))
        folder = self.folder(run_id)
        doomed = folder.with_name(f".gone-{run_id}")
        with contextlib.suppress(FileNotFoundError):
            folder.replace(doomed)
        self.index.remove(run_id)
        traces.remove(doomed)

    def _adopt_and_recover(self) -> None:
        """Indexes run folders the index has lost, forgets rows without folder, ends runs whose process is gone."""
        known = self.index.ids()
        present = set()
        for folder in self.settings.runs_dir.iterdir():
            if folder.name.startswith(".gone-"):
                traces.remove(folder)
            elif _plain_id(folder.name) and (folder / "run.json").is_file():
                present.add(folder.name)
        for run_id in known - present:
            self.index.remove(run_id)
        for run_id in present - known:
            record = _read_record(self.folder(run_id) / "run.json")
            if record is not None and record.id == run_id:
                self.save(record)
        for state in LIVE:
            for record in self.list(state=state, limit=1_000_000):
                if not traces.process_alive(record.process):
                    self.strip(record.id)
                    self.save(record.model_copy(update={"state": "failed", "error": STOPPED, "finished": time.time()}))


def shown_folder(settings: Settings, run_id: str) -> Path:
    """Where the page puts links to a run's files so that the web framework may serve them."""
    return settings.temp_dir / "runs" / run_id


def _new_id() -> str:
    """An unguessable id that no command line takes for a flag."""
    while True:
        run_id = secrets.token_urlsafe(_ID_BYTES)
        if run_id[0].isalnum():
            return run_id


def _plain_id(run_id: str) -> bool:
    return len(run_id) >= 22 and set(run_id) <= _ID_LETTERS


def _read_record(path: Path) -> RunRecord | None:
    try:
        return RunRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, OSError, UnicodeDecodeError):
        return None


def _row(record: RunRecord, text: str) -> IndexRow:
    words = [record.title, record.pipeline, record.engine, *(i.name for i in record.inputs)]
    words += [str(v) for v in record.summary.values() if isinstance(v, str)]
    return IndexRow(
        record.id,
        record.pipeline,
        record.engine,
        record.owner,
        record.state,
        record.created,
        record.bytes,
        " ".join(words).lower(),
        text,
        tuple(i.sha256 for i in record.inputs),
    )


def _members(path: Path, name: str) -> list[tuple[Path, str]]:
    if not path.is_dir():
        return [(path, name)]
    return [(file, f"{name}/{inner}") for file, inner in folder_files(path)]


def _take_inputs(folder: Path, inputs: Inputs, keep: Keep) -> Iterable[InputRecord]:
    take: dict[Keep, Callable[[Path, Path], Any]] = {"copy": _copy, "move": shutil.move}
    for role, paths in inputs.files.items():
        used: set[str] = set()
        for source in paths:
            if not source.exists():
                raise InputError(f"There is no file {source.name!r}")
            target = source.absolute()
            if keep != "reference":
                target = folder / "inputs" / role / _free_name(source.name, used)
                target.parent.mkdir(parents=True, exist_ok=True)
                take[keep](source, target)
            inside = target.is_relative_to(folder)
            yield InputRecord(
                role=role,
                name=source.name,
                path=PurePosixPath(target.relative_to(folder) if inside else target).as_posix(),
                sha256=traces.hash_path(target),
                bytes=traces.size_of(target),
            )


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore=_links)
    else:
        shutil.copyfile(source, target)


def _links(folder: str, names: list[str]) -> list[str]:
    """Links inside an input folder are left out: they could point anywhere on the server."""
    return [name for name in names if os.path.islink(os.path.join(folder, name))]  # noqa: PTH114, PTH118


def safe_name(name: str) -> str:
    """A file name without folders or surprises, at most 120 characters, its ending kept."""
    last = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join(c if c.isalnum() or c in "._- ()" else "_" for c in last)[-120:].strip(" .")
    return kept or "file"


def _free_name(name: str, used: set[str]) -> str:
    """A safe file name not used before in the same folder."""
    kept = safe_name(name)
    stem, dot, ending = kept.rpartition(".")
    stem, ending = (stem, dot + ending) if dot and stem else (kept, "")
    name, number = kept, 1
    while name.lower() in used:
        number += 1
        name = f"{stem}_{number}{ending}"
    used.add(name.lower())
    return name
