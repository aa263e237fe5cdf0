"""Copies of a run's results where the user wants them."""

from __future__ import annotations

import shutil
from pathlib import Path

from models.runtime.errors import InputError
from studio.cli import scene
from studio.runs import OutputRecord, RunRecord, RunStore

ALL = "all"
_NAMES: dict[str, dict[str, tuple[str, ...]]] = {"scene": scene.ROLES}


def parse_formats(pipeline_id: str, text: str) -> frozenset[str]:
    """The parts of ``glb-npz``. Raises InputError for an empty text, or a name the pipeline cannot have."""
    parts = frozenset(part.strip().lower() for part in text.replace(",", "-").split("-") if part.strip())
    if not parts:
        raise InputError("--export-format needs a name, for example glb-npz or all")
    known = _NAMES.get(pipeline_id)
    unknown = sorted(parts - {ALL} - set(known)) if known else []
    if unknown and known:
        raise InputError(f"--export-format knows no {', '.join(unknown)}; it knows {', '.join(known)}, all")
    return parts


def chosen(pipeline_id: str, outputs: tuple[OutputRecord, ...], formats: frozenset[str]) -> list[OutputRecord]:
    """The outputs that the formats name, by role, by ending or by a name of the pipeline's own."""
    if ALL in formats:
        return list(outputs)
    names = _NAMES.get(pipeline_id, {})
    roles = {role for name in formats for role in names.get(name, (name,))}
    return [o for o in outputs if o.role in roles or (not names and Path(o.path).suffix.lstrip(".") in formats)]


def export(runs: RunStore, record: RunRecord, formats: frozenset[str], folder: Path | None) -> list[Path]:
    """Copies the chosen results and returns where they lie; without a folder, where they lie in the run's own.

    Raises:
        InputError: the folder cannot be written.
    """
    outputs = chosen(record.pipeline, record.outputs, formats)
    own = runs.folder(record.id)
    if folder is None:
        return [own / o.path for o in outputs]
    copies = []
    try:
        for output in outputs:
            target = folder / output.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(own / output.path, target)
            copies.append(target)
    except OSError as error:
        raise InputError(f"Cannot write to {folder}: {error.strerror}. The results are in {own}") from error
    return copies
