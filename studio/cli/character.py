"""What the character command takes beside its options: each kind of file by its own flag, and the original's flags."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.runtime.errors import InputError
from pipelines.base import Inputs, Pipeline
from studio.cli.words import Flag, Words
from studio.intake import assign, counted
from studio.runs import OutputRecord, RunRecord, RunStore

# The second spellings are CoNR's.
_MANY, _ONE = list[Path] | None, Path | None
_FILES = (
    Flag("sheet", ("--sheet", "--test_input_person_images"), _MANY, "Drawings of the character, or a folder of them."),
    Flag("sheet_udp", ("--sheet-udp",), _MANY, "UDPs of the drawings, by the drawings' names."),
    Flag("model", ("--model", "--glb"), _ONE, "A 3D character: GLB or VRM."),
    Flag(
        "motion",
        ("--motion", "--test_input_poses_images"),
        _MANY,
        "Video, BVH, motion file, UDP frames or their folder.",
    ),
    Flag("music", ("--music",), _ONE, "Music for the mp4."),
    Flag("rig", ("--rig",), _ONE, "The joints of a drawing: char_cfg.yaml."),
    Flag("mask", ("--mask",), _ONE, "The mask of a drawing."),
    Flag("backdrop", ("--backdrop",), _ONE, "The background picture."),
)
_OUTPUT = Flag(
    "output",
    ("--output", "-o", "--test_output_dir"),
    _ONE,
    "Write here: a file of the wanted format, or a folder for everything.",
)
# Further spellings of options, as CoNR names them.
ALIASES: dict[str, tuple[str, ...]] = {
    "conr_size": ("dataloader_imgsize",),
    "conr_detect": ("test_pose_use_parser_udp",),
}
FORMATS = {".mp4": "mp4", ".webm": "webm", ".png": "apng", ".apng": "apng", ".gif": "gif", ".zip": "png"}


def inputs_of(pipeline: Pipeline, given: Mapping[str, Any]) -> Inputs:
    """Files named by flags, and loose ones sorted by what they are.

    Raises:
        InputError: a file is missing, or there is none.
    """
    named: dict[str, tuple[Path, ...]] = {}
    for flag in _FILES:
        role, value = flag.name, given[flag.name]
        paths = [Path(p) for p in (value or ())] if flag.kind is _MANY else ([Path(value)] if value else [])
        for path in paths:
            if not path.exists():
                raise InputError(f"There is no file or folder {str(path)!r}")
        if role in ("sheet", "sheet_udp"):
            paths = [file for path in paths for file in _inside(path)]
        if paths:
            named[role] = tuple(paths)
    loose = [Path(p) for p in given["inputs"] or ()]
    files = dict(assign(pipeline, loose).files) if loose or not named else {}
    for role, paths in named.items():
        files[role] = (*files.get(role, ()), *paths)
    return Inputs(files)


def _inside(path: Path) -> list[Path]:
    """The files of a folder as the original takes them: sorted, subfolders left out."""
    if not path.is_dir():
        return [path]
    found = sorted((p for p in path.iterdir() if p.is_file() and not p.name.startswith(".")), key=counted)
    if not found:
        raise InputError(f"The folder {path} is empty")
    return found


def asked_formats(target: Path | None) -> str | None:
    """The format that the name of the output file calls for."""
    return None if target is None else FORMATS.get(target.suffix.lower())


def deliver(runs: RunStore, record: RunRecord, target: Path) -> list[Path]:
    """Copies the result to a file of its format, or everything into a folder. Raises InputError."""
    suffix = target.suffix.lower()
    try:
        if not suffix or target.is_dir():
            return [_copy(runs, record, output, target / output.path) for output in record.outputs]
        fitting = [o for o in record.outputs if Path(o.path).suffix.lower() == suffix and o.role != "contact"]
        if not fitting:
            made = ", ".join(sorted({Path(o.path).suffix for o in record.outputs}))
            raise InputError(f"Nothing was made that fits {target.name}; there is {made}")
        return [_copy(runs, record, fitting[0], target)]
    except OSError as error:
        raise InputError(f"Cannot write {target}: {error.strerror}") from error


def _copy(runs: RunStore, record: RunRecord, output: OutputRecord, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(runs.file(record.id, output.path), target)
    return target


class CharacterWords(Words):
    """Each kind of file by its own flag, and the original's flags."""

    flags = (*_FILES, _OUTPUT)
    aliases = ALIASES
    inputs_needed = False

    def adapt(self, given: dict[str, Any], formats: frozenset[str]) -> None:
        given["output_formats"] = given["output_formats"] or asked_formats(given["output"])
        given["background"] = given["background"] or ("image" if given["backdrop"] else None)

    def inputs(self, pipeline: Pipeline, given: Mapping[str, Any]) -> Inputs:
        return inputs_of(pipeline, given)

    def deliver(self, runs: RunStore, record: RunRecord, target: Path) -> list[Path]:
        return deliver(runs, record, target)


WORDS = CharacterWords()
