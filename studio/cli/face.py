"""What the face command takes beside its options, and how DECA's own command lines are read.

``face -i IMAGE --saveObj True`` works as with DECA's demo, ``face transfer -i IMAGE -e EXPRESSION`` too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.runtime.errors import InputError
from pipelines.base import Inputs, Pipeline
from studio.cli.words import Flag, Words
from studio.intake import assign

_FLAGS = (
    Flag(
        "driver", ("--driver", "--exp-path", "-e"), Path | None, "Photo or video whose expression the first head takes."
    ),
    Flag(
        "landmarks",
        ("--landmarks",),
        Path | None,
        "Folder or file of landmarks (.txt, .mat), named like the photos.",
    ),
)
TRANSFER = "transfer"
# DECA's switches: those with a value, those that are true or false, and those that need nothing here.
_VALUES = {
    "-i": "", "--inputpath": "", "--image_path": "", "-s": "--export-dir", "--savefolder": "--export-dir",
    "--exp_path": "--driver", "-e": "--driver", "--device": "--device", "--detector": "--detector",
}  # fmt: skip
_BOOLEANS = {
    "--iscrop": "crop", "--render_orig": "render-original", "--extractTex": "extract-texture", "--saveVis": "save-vis",
    "--saveKpt": "save-kpt", "--saveDepth": "save-depth", "--saveObj": "save-obj", "--saveMat": "save-mat",
    "--saveImages": "save-images",
}  # fmt: skip
_IDLE = ("--sample_step",)
_RASTERIZERS = "--rasterizer_type"


def translate(arguments: list[str]) -> list[str]:
    """A command line with DECA's switches in the studio's words; others pass unchanged.

    Raises:
        InputError: a switch without its value, or a rasteriser there is none of.
    """
    if not arguments or arguments[0] != "face":
        return arguments
    rest, told = list(arguments[1:]), ["face"]
    transfer = rest[:1] == [TRANSFER]
    loose: list[str] = []
    switches: list[str] = []
    rest = rest[1:] if transfer else rest
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name not in {*_VALUES, *_BOOLEANS, *_IDLE, _RASTERIZERS, "--useTex"}:
            word = name + equals + value
            plain = transfer and not word.startswith("-") and not (told[-1].startswith("-") and "=" not in told[-1])
            (loose if plain else told).append(word)
            continue
        if not equals:
            if not rest:
                raise InputError(f"{name} needs a value")
            value = rest.pop(0)
        yes = value.lower() in ("true", "1")
        if name == _RASTERIZERS and value != "standard":
            raise InputError("The rasteriser here is 'standard'; it needs no compiled extension")
        if name in _VALUES:
            told += [word for word in (_VALUES[name], "blaze" if value == "mtcnn" else value) if word]
        elif name in _BOOLEANS:
            switches.append(f"--{'' if yes else 'no-'}{_BOOLEANS[name]}")
        elif name == "--useTex":
            told += ["--albedo", "auto" if yes else "off"]
    if transfer:
        told += loose[:1]
        told += [word for path in loose[1:2] for word in ("--driver", path)]
        told += loose[2:]
        if "--driver" not in told:
            raise InputError("face transfer takes two files: whose shape, then whose expression")
    return told + switches


def inputs_of(pipeline: Pipeline, given: Mapping[str, Any]) -> Inputs:
    """The files by role; landmark files beside a photo and named like it are taken along, as DECA does.

    Raises:
        InputError: a file is missing, or there is none.
    """
    inputs = assign(pipeline, [Path(p) for p in given["inputs"] or ()])
    files = dict(inputs.files)
    photos = files.get("source", ())
    if given.get("driver"):
        if not given["driver"].is_file():
            raise InputError(f"There is no file {str(given['driver'])!r}")
        files["source"], files["driver"] = (*photos, *files.get("driver", ())), (given["driver"],)
    beside = [photo.with_suffix(ending) for photo in photos for ending in (".mat", ".txt")]
    named = given.get("landmarks")
    if named:
        if not named.exists():
            raise InputError(f"There is no file or folder {str(named)!r}")
        beside = sorted(named.iterdir()) if named.is_dir() else [named]
    known = {path.stem for path in files.get("landmarks", ())}
    found = list(files.get("landmarks", ()))
    for path in beside:
        if path.is_file() and path.suffix.lower() in (".mat", ".txt") and path.stem not in known:
            known.add(path.stem)
            found.append(path)
    if found:
        files["landmarks"] = tuple(found)
    return replace(inputs, files=files)


class FaceWords(Words):
    """Photos, the expression to take over, and landmarks beside the photos."""

    flags = _FLAGS

    def inputs(self, pipeline: Pipeline, given: Mapping[str, Any]) -> Inputs:
        return inputs_of(pipeline, given)


WORDS = FaceWords()
