"""What was handed in, sorted out by content: a character in one of its forms, a motion in one of its forms, extras."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from models.runtime.errors import InputError
from models.runtime.settings import Limits
from pipelines.base import InputRole, Inputs
from pipelines.character.udp_files import FIELD
from pipelines.media.archive import safe_extract
from pipelines.media.sniff import describe, sniff

SHEET_LARGEST = 16
FRAMES_LARGEST = 4000
ROLES = (
    InputRole("sheet", "Drawings of the character", ("image",), 0, SHEET_LARGEST),
    InputRole("model", "3D character (GLB)", ("model3d",), 0, 1),
    InputRole(
        "motion",
        "Motion: UDP frames, BVH, motion file or video",
        ("motion", "video", "folder", "archive"),
        0,
        FRAMES_LARGEST,
    ),
    InputRole("music", "Music", ("audio",), 0, 1),
    InputRole("rig", "Joints of a drawing (char_cfg.yaml)", ("data",), 0, 1),
    InputRole("mask", "Mask of a drawing", ("image",), 0, 1),
    InputRole("backdrop", "Background picture", ("image",), 0, 1),
    InputRole("sheet_udp", "UDPs of the drawings", ("motion",), 0, SHEET_LARGEST),
)
MotionKind = Literal["built-in", "udp", "drawings", "bvh", "motion", "video"]
_PICTURES = {".png", ".webp", ".tif", ".tiff", ".exr", ".jpg", ".jpeg", ".bmp", ".gif"}
_UDP_MARK = re.compile(r"[._-]?udp$", re.IGNORECASE)
_MASK_MARK = re.compile(r"(^|[._-])mask$", re.IGNORECASE)


@dataclass(frozen=True)
class CharacterSheet:
    """The character. ``udps`` are as many as ``drawings`` or none; ``model`` is a GLB; ``rig`` and ``mask`` belong to
    the first drawing. Nothing at all means the studio's own character."""

    drawings: tuple[Path, ...] = ()
    udps: tuple[Path, ...] = ()
    model: Path | None = None
    rig: Path | None = None
    mask: Path | None = None

    @property
    def built_in(self) -> bool:
        return not self.drawings and self.model is None


@dataclass(frozen=True)
class MotionFiles:
    """The motion: frames in order for ``udp`` and ``drawings``, one file for the others, none for ``built-in``."""

    kind: MotionKind
    paths: tuple[Path, ...] = ()


@dataclass(frozen=True)
class CharacterInputs:
    """Everything a run was given."""

    sheet: CharacterSheet
    motion: MotionFiles
    music: Path | None = None
    backdrop: Path | None = None
    warnings: tuple[str, ...] = ()


def sort_out(inputs: Inputs, drawn_poses: bool, unpack_to: Path, limits: Limits) -> CharacterInputs:
    """Sorts the files out; archives are unpacked below ``unpack_to``.

    Args:
        drawn_poses: pictures of the motion are drawings, not UDPs.

    Raises:
        InputError: files that contradict each other or fit nowhere.
        LimitExceeded: an archive is too large.
    """
    sheet = list(inputs.get("sheet"))
    udps = {_stem(path): path for path in inputs.get("sheet_udp")}
    loose: list[Path] = []
    for path in inputs.get("motion"):
        loose += _opened(path, unpack_to, limits)
    model, rig, mask = inputs.one("model"), inputs.one("rig"), inputs.one("mask")
    if rig is not None and rig.suffix.lower() not in (".yaml", ".yml"):
        raise InputError(f"{rig.name} is no char_cfg.yaml; the joints of a drawing come as a YAML file")
    explicit = bool(sheet)
    if not explicit and model is None:  # a whole character as a folder or ZIP
        loose, sheet = _sheet_inside(loose, drawn_poses)
    if mask is None:
        mask = next((p for p in sheet if _MASK_MARK.search(p.stem) and len(sheet) > 1), None)
        sheet = [p for p in sheet if p != mask]
    for path in [p for p in sheet if _UDP_MARK.search(p.stem)]:
        udps[_stem(path)] = path
        sheet.remove(path)
    drawn = {path.stem for path in sheet}
    for path in [p for p in loose if p.suffix.lower() in (".npz", ".tif", ".tiff", ".exr") and _stem(p) in drawn]:
        if _is_udp(path):
            udps[_stem(path)] = path
            loose.remove(path)
    for path in [p for p in loose if p.suffix.lower() in (".yaml", ".yml")]:
        rig = rig or path
        loose.remove(path)
    model, loose = _model_inside(model, loose)
    if model is not None and sheet:
        raise InputError("A 3D character and drawings together: give either the GLB file or the drawings")
    _check_sheet(sheet)
    paired = _pair(sheet, udps)
    return CharacterInputs(
        CharacterSheet(tuple(sheet), paired, model, rig, mask),
        _motion(loose, drawn_poses),
        inputs.one("music"),
        inputs.one("backdrop"),
    )


def _opened(path: Path, unpack_to: Path, limits: Limits) -> list[Path]:
    """The files of a folder or archive in order, or the file itself."""
    if path.is_dir():
        return _walk(path)
    if path.suffix.lower() != ".npz" and sniff(path).kind == "archive":
        folder = unpack_to / path.stem
        safe_extract(path, folder, limits)
        return _walk(folder)
    return [path]


def _walk(folder: Path) -> list[Path]:
    found = (p for p in folder.rglob("*") if p.is_file())
    kept = [p for p in found if not any(q.startswith((".", "__MACOSX")) for q in p.relative_to(folder).parts)]
    return sorted(kept, key=_counted)


def _counted(path: Path) -> tuple[tuple[int, int | str], ...]:
    """Order in which people count: frame 2 comes before frame 10."""
    parts = re.split(r"(\d+)", path.as_posix().lower())
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part)


def _stem(path: Path) -> str:
    return _UDP_MARK.sub("", path.stem)


def _sheet_inside(files: Sequence[Path], drawn_poses: bool) -> tuple[list[Path], list[Path]]:
    """Splits loose files into motion and drawings: pictures that have a UDP or a rig beside them are drawings."""
    udps = {_stem(p) for p in files if p.suffix.lower() == ".npz" or _UDP_MARK.search(p.stem)}
    has_rig = any(p.suffix.lower() in (".yaml", ".yml") for p in files)
    sheet = [
        p
        for p in files
        if p.suffix.lower() in _PICTURES and not drawn_poses and (p.stem in udps or _UDP_MARK.search(p.stem) or has_rig)
    ]
    return [p for p in files if p not in sheet], sheet


def _model_inside(model: Path | None, loose: list[Path]) -> tuple[Path | None, list[Path]]:
    inside = [p for p in loose if p.suffix.lower() in (".glb", ".vrm")]
    return model or next(iter(inside), None), [p for p in loose if p not in inside]


def _check_sheet(sheet: Iterable[Path]) -> None:
    for path in sheet:
        found = sniff(path)
        if found.kind != "image":
            raise InputError(f"{path.name} is {describe(found)}; drawings come as pictures, best PNG with transparency")


def _pair(sheet: Sequence[Path], udps: dict[str, Path]) -> tuple[Path, ...]:
    """The UDP of every drawing, by name. Raises InputError when only some have one."""
    if not udps:
        return ()
    without = [p.name for p in sheet if p.stem not in udps]
    if without:
        raise InputError(
            f"{without[0]} has no UDP of its name: every drawing needs one (front.png with front_udp.npz), or none"
        )
    return tuple(udps[p.stem] for p in sheet)


def _is_udp(path: Path) -> bool:
    """Whether a file holds a UDP frame, judging by the names in it."""
    if path.suffix.lower() != ".npz":
        return True
    return FIELD in _npz_names(path)


def _npz_names(path: Path) -> list[str]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return list(archive.files)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path.name} is not a readable .npz file") from error


def _motion(files: list[Path], drawn_poses: bool) -> MotionFiles:
    """What kind of motion the files are. Raises InputError for a mixture or an unknown kind."""
    if not files:
        return MotionFiles("built-in")
    kinds = {_motion_kind(path, drawn_poses) for path in files}
    if len(kinds) > 1:
        words = " and ".join(sorted(kinds))
        raise InputError(f"The motion is a mixture ({words}); give one motion at a time")
    kind = kinds.pop()
    if kind in ("bvh", "motion", "video") and len(files) > 1:
        raise InputError(f"More than one motion ({files[0].name}, {files[1].name}); give one at a time")
    return MotionFiles(kind, tuple(files))


def _motion_kind(path: Path, drawn_poses: bool) -> MotionKind:
    suffix = path.suffix.lower()
    if suffix == ".bvh":
        return "bvh"
    if suffix == ".npz":
        names = _npz_names(path)
        if FIELD in names:
            return "udp"
        if "rotations" in names:
            return "motion"
        raise InputError(
            f"{path.name} holds {', '.join(names) or 'nothing'}: neither a UDP frame (array {FIELD!r}) nor a motion of "
            "the Body tab (array 'rotations')"
        )
    if suffix in (".exr", ".tif", ".tiff"):
        return "udp"
    found = sniff(path)
    if found.kind == "video" or found.format == "gif":
        return "video"
    if found.kind == "image":
        return "drawings" if drawn_poses else "udp"
    raise InputError(
        f"{path.name} is {describe(found)}; a motion is a BVH file, a result of the Body tab, a video, or UDP frames"
    )
