"""What was handed in: photos, a video, a rectified pair, or a COLMAP folder, alone, in a folder or in a ZIP."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from models.runtime.errors import InputError, LimitExceeded
from models.runtime.settings import Limits
from pipelines.base import Inputs
from pipelines.media.archive import safe_extract
from pipelines.media.sniff import describe, sniff

Kind = Literal["photos", "video", "stereo", "colmap"]
_MODEL_FILES = ("cameras", "images", "points3D")


@dataclass(frozen=True)
class SceneSource:
    """The input sorted out. ``photos`` and ``names`` go together; ``video`` and ``model`` (a COLMAP model's folder) are
    set for their kinds only; ``warnings`` tell what was left out."""

    kind: Kind
    photos: tuple[Path, ...] = ()
    names: tuple[str, ...] = ()
    video: Path | None = None
    model: Path | None = None
    warnings: tuple[str, ...] = ()


def sort_out(inputs: Inputs, rectified: bool, unpack_to: Path, limits: Limits, sparse_subdir: str = "") -> SceneSource:
    """Decides which kind of input this is; archives are unpacked below ``unpack_to``.

    ``sparse_subdir`` chooses among the models of a COLMAP folder.

    Raises:
        InputError: nothing usable, a mixture, or a number of photos that cannot work.
        LimitExceeded: more photos than the settings allow.
    """
    given = [path for paths in inputs.files.values() for path in paths]
    if not given:
        raise InputError("Nothing to work on: add at least two photos of one place, a video, or a COLMAP folder")
    root: Path | None = None
    files: list[Path] = []
    for path in given:
        if path.is_dir():
            root = root or path
            files += _walk(path)
        elif sniff(path).kind == "archive":
            folder = unpack_to / path.stem
            safe_extract(path, folder, limits)
            root = root or folder
            files += _walk(folder)
        else:
            files.append(path)
    model = _find_model(files, sparse_subdir)
    pictures, videos, warnings = _by_content(files, ignore=model)
    if model is not None:
        return _colmap(model, pictures, root or model, warnings)
    if videos and not pictures:
        if len(videos) > 1:
            raise InputError("More than one video: use one video at a time")
        return SceneSource("video", video=videos[0], warnings=warnings)
    if videos:
        raise InputError("Photos and a video together cannot be used; give either photos or one video")
    if not pictures:
        what = f" ({warnings[0]})" if warnings else ""
        raise InputError(f"There are no photos in what was given{what}; use JPEG, PNG, WEBP or TIFF images")
    source = SceneSource("photos", tuple(pictures), _names(pictures, root), warnings=warnings)
    source = _without_duplicates(source)
    if rectified:
        if len(source.photos) != 2:
            raise InputError(f"A stereo pair is exactly two photos, left and right; there are {len(source.photos)}")
        return replace(source, kind="stereo")
    if len(source.photos) > limits.max_photos:
        raise LimitExceeded(f"{len(source.photos)} photos are more than the {limits.max_photos} allowed; choose fewer")
    return source


def _walk(folder: Path) -> list[Path]:
    return sorted(
        p
        for p in folder.rglob("*")
        if p.is_file() and not any(part.startswith((".", "__MACOSX")) for part in p.relative_to(folder).parts)
    )


def _by_content(files: Iterable[Path], ignore: Path | None) -> tuple[list[Path], list[Path], tuple[str, ...]]:
    pictures, videos, warnings = [], [], []
    for path in files:
        if ignore is not None and path.parent == ignore:
            continue
        found = sniff(path)
        if found.kind == "image":
            pictures.append(path)
        elif found.kind == "video":
            videos.append(path)
        elif path.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".mp4", ".mov"}:
            warnings.append(f"{path.name} is {describe(found)} and was left out")
    return pictures, videos, tuple(warnings)


def _names(pictures: list[Path], root: Path | None) -> tuple[str, ...]:
    if root is not None and all(p.is_relative_to(root) for p in pictures):
        return tuple(p.relative_to(root).as_posix() for p in pictures)
    return tuple(p.name for p in pictures)


def _without_duplicates(source: SceneSource) -> SceneSource:
    seen: dict[str, str] = {}
    kept, warnings = [], list(source.warnings)
    for i, path in enumerate(source.photos):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest in seen:
            warnings.append(f"{source.names[i]} is the same picture as {seen[digest]} and was left out")
            continue
        seen[digest] = source.names[i]
        kept.append(i)
    if len(kept) == 1 and len(source.photos) > 1:
        raise InputError(
            "The photos are all the same picture, so there is nothing to measure depth from; take them from "
            "different places, a step of about a tenth of the distance to the subject apart"
        )
    return replace(
        source,
        photos=tuple(source.photos[i] for i in kept),
        names=tuple(source.names[i] for i in kept),
        warnings=tuple(warnings),
    )


def _find_model(files: list[Path], subdir: str) -> Path | None:
    """The folder of a COLMAP model: the one asked for, else the one named ``0`` or the shallowest."""
    folders = {p.parent for p in files if p.name in ("images.bin", "images.txt")}
    complete = [
        f
        for f in folders
        if any(all((f / f"{n}{suffix}").is_file() for n in _MODEL_FILES[:2]) for suffix in (".bin", ".txt"))
    ]
    if subdir:
        wanted = ("sparse", *Path(subdir).parts)
        complete = [f for f in complete if f.parts[-len(wanted) :] == wanted]
        if not complete:
            raise InputError(f"There is no COLMAP model in sparse/{subdir}")
    return min(complete, key=lambda f: (f.name != "0", len(f.parts), f.as_posix()), default=None)


def _colmap(model: Path, pictures: list[Path], root: Path, warnings: tuple[str, ...]) -> SceneSource:
    """Photos are named relative to the folder ``images`` beside the model, as COLMAP does."""
    if not pictures:
        raise InputError("The COLMAP folder holds no photos: it needs a folder `images` beside `sparse`")
    base = next((f / "images" for f in (model, *model.parents) if (f / "images").is_dir()), root)
    names = tuple((p.relative_to(base) if p.is_relative_to(base) else Path(p.name)).as_posix() for p in pictures)
    return SceneSource("colmap", tuple(pictures), names, model=model, warnings=warnings)
