"""The scene command's modes and further flag names: the words that users of Depth Anything 3 know."""

from __future__ import annotations

from pathlib import Path

from models.runtime.errors import InputError
from pipelines.media.sniff import describe, sniff
from studio.intake import counted

MODES = ("auto", "image", "images", "video", "colmap")
ALIASES: dict[str, tuple[str, ...]] = {
    "filter_confidence_percentile": ("conf-thresh-percentile",),
    "filter_point_budget": ("num-max-points",),
}
ROLES: dict[str, tuple[str, ...]] = {
    "glb": ("scene",),
    "npz": ("prediction",),
    "mini_npz": ("prediction",),
    "ply": ("points",),
    "colmap": ("colmap",),
    "depth_vis": ("depth", "depth_video"),
}


def by_mode(given: list[str], extensions: str | None) -> list[Path]:
    """The input paths of ``[mode] INPUT...``, checked against the mode.

    Raises:
        InputError: a path is missing or not what the mode says.
    """
    mode = given[0] if given and given[0] in MODES else "auto"
    paths = [Path(p) for p in (given[1:] if given and given[0] in MODES else given)]
    if not paths:
        raise InputError("Nothing to work on: name photos, a folder, a video or a COLMAP folder")
    for path in paths:
        if not path.exists():
            raise InputError(f"There is no file or folder {str(path)!r}")
    if mode in ("image", "video") and len(paths) != 1:
        raise InputError(f"Mode {mode} takes one file; {len(paths)} were given")
    if mode in ("image", "video", "images"):
        for path in paths:
            _check_kind(path, "video" if mode == "video" else "image", folders=mode == "images")
    if mode == "colmap":
        _check_colmap(paths)
    if extensions:
        wanted = {f".{e.strip().lstrip('.').lower()}" for e in extensions.split(",") if e.strip()}
        paths = [file for path in paths for file in _with_endings(path, wanted)]
    return paths


def _check_kind(path: Path, kind: str, folders: bool) -> None:
    if path.is_dir():
        if not folders:
            raise InputError(f"{path.name} is a folder; mode {kind} takes one file")
        return
    found = sniff(path)
    if found.kind != kind and not (folders and found.kind == "archive"):
        raise InputError(f"{path.name} is {describe(found)}, not {'a video' if kind == 'video' else 'an image'}")


def _check_colmap(paths: list[Path]) -> None:
    if len(paths) != 1:
        raise InputError("Mode colmap takes one folder with images/ and sparse/ in it")
    path = paths[0]
    if path.is_dir() and not ((path / "images").is_dir() and (path / "sparse").is_dir()):
        raise InputError(f"{path.name} is no COLMAP folder: it needs images/ and sparse/ in it")


def _with_endings(path: Path, endings: set[str]) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted((p for p in path.iterdir() if p.is_file() and p.suffix.lower() in endings), key=counted)
    if not found:
        raise InputError(f"{path.name} holds no files ending in {', '.join(sorted(endings))}")
    return found
