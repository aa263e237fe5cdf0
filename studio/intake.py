"""From a heap of files to a pipeline's named inputs, by what the files are and not by what they are called."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from models.runtime.errors import InputError
from pipelines.base import Inputs, Pipeline
from pipelines.media.sniff import describe, sniff

_WORDS = {
    "image": "photos",
    "video": "a video",
    "audio": "a recording",
    "archive": "a ZIP",
    "folder": "a folder",
    "model3d": "a 3D model",
    "motion": "a motion file",
    "data": "a data file",
    "text": "a text file",
}
_BY_SUFFIX = {
    ".npz": "motion",
    ".bvh": "motion",
    ".json": "data",
    ".csv": "data",
    ".yaml": "data",
    ".mat": "data",
    ".txt": "text",
}


def assign(pipeline: Pipeline, files: Iterable[str | Path] | str | None) -> Inputs:
    """Every file or folder to the first role of the pipeline that takes its kind and has room.

    A folder goes to a role that takes folders; where none does, the files in it are taken instead.

    Raises:
        InputError: nothing was given, a file is missing, empty or of a kind the pipeline has no use for.
    """
    paths = [Path(files)] if isinstance(files, str) else [Path(f) for f in files or ()]
    if not paths:
        raise InputError(f"Nothing to work on yet: add {wanted(pipeline)}")
    found: dict[str, list[Path]] = {}
    for path in _without_folders(pipeline, paths):
        kinds = _kinds(path)
        roles = [role for role in pipeline.roles if kinds & set(role.kinds)]
        if not roles:
            what = "a folder" if path.is_dir() else describe(sniff(path))
            raise InputError(f"{path.name} is {what}; {pipeline.title} takes {wanted(pipeline)}")
        role = next((r for r in roles if len(found.get(r.name, ())) < r.maximum), roles[-1])
        found.setdefault(role.name, []).append(path)
    return Inputs({name: tuple(sorted(group, key=counted)) for name, group in found.items()})


def wanted(pipeline: Pipeline) -> str:
    """What a pipeline takes, in words."""
    words = list(dict.fromkeys(_WORDS[kind] for role in pipeline.roles for kind in role.kinds))
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def counted(path: Path) -> tuple[tuple[int, int | str], ...]:
    """Sort key that orders names as people count: photo 2 comes before photo 10."""
    parts = re.split(r"(\d+)", path.name.lower())
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part)


def _without_folders(pipeline: Pipeline, paths: list[Path]) -> Iterable[Path]:
    takes_folders = any("folder" in role.kinds for role in pipeline.roles)
    for path in paths:
        if not path.exists():
            raise InputError(f"There is no file or folder {str(path)!r}")
        if path.is_dir() and not takes_folders:
            inside = [p for p in path.iterdir() if p.is_file() and not p.name.startswith(".")]
            if not inside:
                raise InputError(f"The folder {path.name} is empty")
            yield from sorted(inside, key=counted)
        else:
            yield path


def _kinds(path: Path) -> set[str]:
    if path.is_dir():
        return {"folder"}
    kind = sniff(path).kind
    by_suffix = _BY_SUFFIX.get(path.suffix.lower())
    return {kind, by_suffix} if by_suffix and kind in ("text", "unknown", "archive") else {kind}
