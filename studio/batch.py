"""Many inputs through one pipeline: resumable, and one that fails never stops the rest.

``manifest.jsonl`` in the output folder has one line per attempt; an item whose last line says ``done`` and whose
results are still there is not worked on again.
"""

from __future__ import annotations

import csv
import glob
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from models.runtime.errors import Cancelled, InputError, StudioError
from pipelines.base import Inputs, Options, Pipeline
from studio import forms
from studio.intake import assign, counted
from studio.jobs import Job, JobSnapshot
from studio.privacy import LOCAL_OWNER
from studio.runs import RunRecord, safe_name
from studio.services import Studio

MANIFEST = "manifest.jsonl"
ItemState = Literal["done", "failed", "skipped"]


@dataclass(frozen=True)
class Item:
    """One input of a batch. ``files`` by role, or under the empty name to be sorted out by kind."""

    name: str
    files: tuple[tuple[str, Path], ...]
    options: tuple[tuple[str, str], ...] = ()


class Line(BaseModel):
    """One line of the manifest."""

    key: str
    name: str
    state: ItemState
    run: str = ""
    error: str = ""
    seconds: float = 0.0
    files: tuple[str, ...] = ()


def read_items(sources: Iterable[str]) -> list[Item]:
    """The items named by folders (each file or subfolder is one), glob patterns, single files and CSV tables.

    A CSV has one item per row: columns ``name``, ``input`` or the roles of the pipeline (several files joined by ``;``,
    relative to the table), and options by their form names.

    Raises:
        InputError: nothing is found, or a table cannot be read.
    """
    items: list[Item] = []
    for source in sources:
        path = Path(source)
        if path.is_dir():
            items += [_single(p) for p in sorted(path.iterdir(), key=counted) if not p.name.startswith(".")]
        elif path.is_file() and path.suffix.lower() == ".csv":
            items += _table(path)
        elif path.is_file():
            items.append(_single(path))
        else:
            found = [Path(p) for p in glob.glob(source, recursive=True)]  # noqa: PTH207  patterns may be absolute
            if not found:
                raise InputError(f"Nothing is there under {source!r}")
            items += [_single(p) for p in sorted(found, key=counted)]
    if not items:
        raise InputError("There is nothing to do: the folders are empty")
    return _distinct(items)


def run_batch(
    studio: Studio,
    pipeline: Pipeline,
    items: Iterable[Item],
    options: Options,
    out_dir: Path,
    take: Callable[[RunRecord, Path], list[Path]],
    watch: Callable[[Item, Job], JobSnapshot],
) -> Iterator[Line]:
    """Works through the items one by one, yielding a manifest line for each.

    ``take(record, folder)`` copies a run's results to its folder under ``out_dir``; ``watch`` follows a job to its end.

    Raises:
        Cancelled: the user stopped the batch; what was done stays done.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    manifest = out_dir / MANIFEST
    before = _read_manifest(manifest)
    for item in items:
        key = _key(pipeline, item, options)
        old = before.get(key)
        if old is not None and old.state == "done" and all((out_dir / f).exists() for f in old.files):
            yield old.model_copy(update={"state": "skipped"})
            continue
        started = time.perf_counter()
        line = Line(key=key, name=item.name, state="failed")
        try:
            job = studio.jobs.submit(
                pipeline.id,
                _inputs(pipeline, item),
                _options(pipeline, options, item),
                LOCAL_OWNER,
                title=item.name,
                keep="reference",
            )
            last = watch(item, job)
            if last.error is not None:
                raise last.error
            files = take(studio.runs.get(job.id), out_dir / item.name)
            names = tuple(f.relative_to(out_dir).as_posix() for f in files)
            line = line.model_copy(update={"state": "done", "run": job.id, "files": names})
        except Cancelled:
            raise
        except StudioError as error:
            line = line.model_copy(update={"error": error.message})
        line = line.model_copy(update={"seconds": round(time.perf_counter() - started, 2)})
        with manifest.open("a", encoding="utf-8") as out:
            out.write(line.model_dump_json() + "\n")
        yield line


def _single(path: Path) -> Item:
    return Item(safe_name(path.stem if path.is_file() else path.name), (("", path),))


def _table(path: Path) -> list[Item]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The table {path.name} cannot be read: {error}") from error
    return [_row(path, number, row) for number, row in enumerate(rows, 1)]


def _row(path: Path, number: int, row: Mapping[str | None, Any]) -> Item:
    cells = {str(k).strip(): str(v).strip() for k, v in row.items() if k is not None and v and str(v).strip()}
    name = cells.pop("name", "") or f"{path.stem}_{number:04d}"
    files, options = [], []
    for column, value in cells.items():
        paths = [path.parent / part.strip() for part in value.split(";") if part.strip()]
        if column == "input" or all(p.exists() for p in paths):
            files += [("" if column == "input" else column, p) for p in paths]
        else:
            options.append((column, value))
    return Item(safe_name(name), tuple(files), tuple(options))


def _distinct(items: list[Item]) -> list[Item]:
    """Names are folders of results, so equal ones get numbers."""
    used: dict[str, int] = {}
    distinct = []
    for item in items:
        count = used[item.name] = used.get(item.name, 0) + 1
        name = item.name if count == 1 else f"{item.name}_{count}"
        distinct.append(Item(name, item.files, item.options))
    return distinct


def _inputs(pipeline: Pipeline, item: Item) -> Inputs:
    named = {role.name for role in pipeline.roles}
    files: dict[str, list[Path]] = {}
    loose = []
    for role, path in item.files:
        if role and role not in named:
            raise InputError(f"{pipeline.title} has no option or input {role!r}")
        if role:
            files.setdefault(role, []).append(path)
        else:
            loose.append(path)
    if loose:
        for role, paths in assign(pipeline, loose).files.items():
            files.setdefault(role, []).extend(paths)
    return Inputs({role: tuple(paths) for role, paths in files.items()})


def _options(pipeline: Pipeline, options: Options, item: Item) -> Options:
    return forms.build(pipeline.options, forms.flatten(options) | dict(item.options)) if item.options else options


def _key(pipeline: Pipeline, item: Item, options: Options) -> str:
    """The same inputs (by place, size and time) with the same options are the same work."""
    facts: list[Any] = [pipeline.id, options.model_dump(mode="json"), item.options]
    for role, path in item.files:
        try:
            facts.append([role, str(path.absolute()), path.stat().st_size, path.stat().st_mtime_ns])
        except OSError:
            facts.append([role, str(path.absolute())])
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def _read_manifest(path: Path) -> dict[str, Line]:
    """The last line of each item; a line torn by a power cut counts as not written."""
    lines: dict[str, Line] = {}
    if path.is_file():
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                line = Line.model_validate_json(text)
            except ValueError:
                continue
            lines[line.key] = line
    return lines
