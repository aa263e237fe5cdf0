"""Working copies of the photos, and the choice of frames from a video."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from models.runtime.errors import InputError
from models.runtime.settings import Limits
from pipelines.base import Progress
from pipelines.media.frames import select_frames
from pipelines.media.guard import DecodeWorker
from pipelines.media.image import exif_focal_px, read_image, write_image
from pipelines.scene.options import VideoOptions

_FRAME_NAME = "frame at {:.2f} s"
_FEWEST = 12  # frames taken of a video even where little moves


@dataclass(frozen=True)
class WorkingPhoto:
    """A copy of a photo in working size. ``size`` (width, height); ``scale`` to it from the original; ``focal_px`` from
    EXIF at working size, or None; ``sharpness`` as ``measure_sharpness``."""

    name: str
    path: Path
    size: tuple[int, int]
    scale: float
    focal_px: float | None
    sharpness: float


def frame_time(name: str) -> float | None:
    """Seconds into the video of a frame that ``copy_frames`` named; None for a photo."""
    before, after = _FRAME_NAME.split("{:.2f}")
    number = name.removeprefix(before).removesuffix(after)
    return float(number) if name.startswith(before) and number.replace(".", "", 1).isdecimal() else None


def measure_sharpness(rgb: np.ndarray) -> float:
    """Variance of the Laplacian at 512 pixels, divided by that of the grey values: 0 is blur. (H, W, 3) uint8."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    scale = 512 / max(grey.shape)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var() / (grey.var() + 1.0))


def fit(rgb: np.ndarray, side: int) -> np.ndarray:
    """Scaled down so that the longest side has at most ``side`` pixels; never up."""
    scale = side / max(rgb.shape[:2])
    if scale >= 1:
        return rgb
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)


def copy_photos(
    photos: tuple[Path, ...], names: tuple[str, ...], folder: Path, side: int, limits: Limits, found: list[WorkingPhoto]
) -> Iterator[Progress | str]:
    """Writes working copies named 00000.jpg, ... and appends to ``found``; yields progress, and a warning as text for
    every photo that cannot be read. Decoding happens in a child process with a wall clock."""
    folder.mkdir(parents=True, exist_ok=True)
    yield Progress("photos", 0, len(photos))
    with DecodeWorker(limits) as worker:
        for i, (path, name) in enumerate(zip(photos, names, strict=True)):
            try:
                full = worker.read_image(path)
            except InputError as error:
                yield f"{error.message}; it was left out"
                continue
            rgb = fit(full, side)
            focal = exif_focal_px(path, limits)
            scale = max(rgb.shape) / max(full.shape)
            copy = write_image(folder / f"{i:05d}.jpg", rgb)
            found.append(
                WorkingPhoto(
                    name,
                    copy,
                    (rgb.shape[1], rgb.shape[0]),
                    scale,
                    None if focal is None else focal * scale,
                    measure_sharpness(rgb),
                )
            )
            yield Progress("photos", i + 1, len(photos))


def copy_frames(
    video: Path, options: VideoOptions, folder: Path, side: int, limits: Limits, found: list[WorkingPhoto]
) -> Iterator[Progress | str]:
    """Chooses frames of a video and writes working copies; otherwise as ``copy_photos``.

    Raises:
        InputError: the camera does not move, or there are fewer than two frames.
    """
    end = options.end or None
    if end is not None and end <= options.start:
        raise InputError(f"The end of the video part ({end:g} s) must come after its start ({options.start:g} s)")
    yield Progress("frames")
    bounds = replace(limits, max_photos=options.max_frames)
    cut = {"start": options.start or None, "end": end, "folder": folder, "max_side": side}
    chosen = select_frames(video, bounds, fps=options.fps or None, **cut)
    if len(chosen) < _FEWEST and options.fps == 0:
        for frame in chosen:
            frame.path.unlink()
        chosen = select_frames(video, bounds, count=_FEWEST, **cut)
    if len(chosen) < 2:
        raise InputError(f"{video.name} gives fewer than two frames; use a longer part of it")
    for frame in chosen:
        rgb = read_image(frame.path, limits)
        size = (rgb.shape[1], rgb.shape[0])
        found.append(WorkingPhoto(_FRAME_NAME.format(frame.time), frame.path, size, 1.0, None, measure_sharpness(rgb)))
    yield Progress("frames", len(chosen), len(chosen))
