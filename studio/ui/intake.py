"""From a heap of dropped files to a pipeline's named inputs, by what the files are and not by what they are called."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from models.runtime.errors import InputError
from pipelines.base import InputRole, Inputs, Pipeline
from pipelines.media.sniff import Sniffed, describe, sniff

_PLURAL = {"image": "photos", "video": "a video", "audio": "a recording", "archive": "a ZIP", "model3d": "a 3D model"}


def assign(pipeline: Pipeline, files: Iterable[str | Path] | str | None) -> Inputs:
    """Every file to the first role of the pipeline that takes its kind.

    Raises:
        InputError: nothing was given, a file is empty or of a kind the pipeline has no use for.
    """
    paths = [Path(files)] if isinstance(files, str) else [Path(f) for f in files or ()]
    if not paths:
        raise InputError(f"Nothing to work on yet: add {_wanted(pipeline)}, or pick an example")
    found: dict[str, list[Path]] = {}
    for path in paths:
        kind = sniff(path)
        role = _role(pipeline, kind)
        if role is None:
            raise InputError(f"{path.name} is {describe(kind)}; this tab takes {_wanted(pipeline)}")
        found.setdefault(role.name, []).append(path)
    return Inputs({name: tuple(sorted(group, key=_order)) for name, group in found.items()})


def _role(pipeline: Pipeline, kind: Sniffed) -> InputRole | None:
    return next((role for role in pipeline.roles if kind.kind in role.kinds), None)


def _order(path: Path) -> tuple[str, ...]:
    """By name as people count: photo 2 comes before photo 10."""
    digits, parts = "", []
    for letter in path.name.lower():
        if letter.isdigit():
            digits += letter
            continue
        if digits:
            parts.append(digits.zfill(20))
            digits = ""
        parts.append(letter)
    return (*parts, digits.zfill(20))


def _wanted(pipeline: Pipeline) -> str:
    kinds = [_PLURAL[kind] for role in pipeline.roles for kind in role.kinds if kind in _PLURAL]
    unique = list(dict.fromkeys(kinds))
    return unique[0] if len(unique) == 1 else f"{', '.join(unique[:-1])} or {unique[-1]}"
