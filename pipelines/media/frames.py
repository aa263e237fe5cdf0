"""Choosing the frames of a video that are worth reconstructing a scene from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from models.runtime.errors import InputError
from models.runtime.settings import Limits
from pipelines.media.guard import DecodeWorker
from pipelines.media.image import write_image
from pipelines.media.queues import prefetch
from pipelines.media.video import Frame

_LOOK_SIDE = 320  # pictures are compared this small
_LOOK_RATE = 10.0  # and at most this often a second
_CORNERS = 200
_FEWEST_CORNERS = 12
_STEP_SHARE = 0.06  # wanted motion between neighbours, as a share of the picture's diagonal
_LOST_STEP = 0.1  # what a picture counts whose corners are not found again


@dataclass(frozen=True)
class ChosenFrame:
    """``index`` counts the chosen frames, ``time`` in seconds, ``sharpness`` is the variance of the Laplacian."""

    index: int
    time: float
    sharpness: float
    path: Path | None = None


@dataclass(frozen=True)
class _Look:
    """A small view of one moment: how sharp it is and how far the picture has travelled, in diagonals, up to it."""

    time: float
    sharpness: float
    travel: float


def select_frames(
    path: Path,
    limits: Limits,
    fps: float | None = None,
    count: int | None = None,
    sharpness: bool = True,
    folder: Path | None = None,
    start: float | None = None,
    end: float | None = None,
    max_side: int | None = None,
) -> list[ChosenFrame]:
    """Frames for a reconstruction, in order of time, written as ``%04d.jpg`` into ``folder`` when that is given.

    With ``fps`` one frame per interval is taken. Without, frames are spread evenly over the motion of the picture
    (median displacement of tracked corners), so that a camera at rest gives few and a fast one many: ``count`` of
    them, or one per step of six hundredths of the diagonal. With ``sharpness`` the sharpest moment near each place
    is preferred.
    Never more than ``count`` nor ``limits.max_photos``. The video is decoded in a child process.

    Raises:
        InputError, LimitExceeded: as ``VideoReader``.
    """
    if fps is not None and fps <= 0:
        raise InputError("The frame rate of the selection must be above 0")
    if count is not None and count < 1:
        raise InputError("At least one frame must be selected")
    most = min(count or limits.max_photos, limits.max_photos)
    with DecodeWorker(limits) as worker:
        rate = max(_LOOK_RATE, 3 * fps if fps and sharpness else fps or 0)
        looks = _look(worker.frames(Path(path), start, end, max_side=_LOOK_SIDE), rate)
        chosen = _choose(looks, fps, count, most, sharpness)
        if folder is None:
            return chosen
        pictures = worker.frames(Path(path), times=[frame.time for frame in chosen], max_side=max_side)
        return _write(chosen, pictures, Path(folder))


def _choose(looks: list[_Look], fps: float | None, count: int | None, most: int, sharpness: bool) -> list[ChosenFrame]:
    by_time = fps is not None or looks[-1].travel < _STEP_SHARE
    axis = np.array([look.time if by_time else look.travel for look in looks])
    if fps is not None:
        places = np.arange(axis[0], axis[-1] + 1e-6, 1 / fps)
    elif count is not None:
        places = _spread(axis, min(count, len(looks)))
    else:
        places = _spread(axis, 2 if by_time else round((axis[-1] - axis[0]) / _STEP_SHARE) + 1)
    if len(places) > most:
        places = places[np.round(np.linspace(0, len(places) - 1, most)).astype(int)]
    reach = 0.3 * (places[1] - places[0]) if len(places) > 1 else 0.0
    picked = sorted({_pick(looks, axis, place, reach if sharpness else 0.0) for place in places})
    return [ChosenFrame(i, looks[k].time, looks[k].sharpness) for i, k in enumerate(picked)]


def _spread(axis: np.ndarray, count: int) -> np.ndarray:
    return np.linspace(axis[0], axis[-1], max(1, count))


def _pick(looks: list[_Look], axis: np.ndarray, place: float, reach: float) -> int:
    """Index of the sharpest look within ``reach`` of ``place``, or of the nearest one."""
    near = np.flatnonzero(np.abs(axis - place) <= reach)
    if len(near):
        return int(max(near, key=lambda k: looks[k].sharpness))
    return int(np.abs(axis - place).argmin())


def _look(frames: Iterator[Frame], rate: float) -> list[_Look]:
    """Goes through the small pictures of a video once, looking at no more than ``rate`` a second."""
    looks: list[_Look] = []
    travelled = _Travel()
    due = -np.inf
    for frame in prefetch(frames, depth=8):
        if frame.time < due - 1e-4:
            continue
        due = frame.time + 1 / rate - 1e-3 if due == -np.inf else max(due + 1 / rate, frame.time)
        grey = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2GRAY)
        looks.append(_Look(frame.time, float(cv2.Laplacian(grey, cv2.CV_32F).var()), travelled.to(grey)))
    return looks


class _Travel:
    """How far the picture has moved since the first one, in diagonals of the picture.

    Corners are tracked from a reference picture (pyramidal Lucas-Kanade) and their median displacement counts; the
    reference moves on once that is a good step, so that a trembling hand adds nothing.
    """

    def __init__(self) -> None:
        self._reference: np.ndarray | None = None
        self._corners: np.ndarray | None = None
        self._base = 0.0
        self._furthest = 0.0

    def to(self, grey: np.ndarray) -> float:
        if self._reference is not None:
            step = self._displacement(grey)
            self._furthest = max(self._furthest, self._base + step)
            if step < _STEP_SHARE:
                return self._furthest
        self._base = self._furthest
        self._reference = grey
        self._corners = cv2.goodFeaturesToTrack(grey, _CORNERS, 0.01, 7)
        return self._furthest

    def _displacement(self, grey: np.ndarray) -> float:
        if self._corners is None or len(self._corners) < _FEWEST_CORNERS:
            return _LOST_STEP
        moved, found, _ = cv2.calcOpticalFlowPyrLK(self._reference, grey, self._corners, None, winSize=(15, 15))
        back, found_back, _ = cv2.calcOpticalFlowPyrLK(grey, self._reference, moved, None, winSize=(15, 15))
        good = (found[:, 0] > 0) & (found_back[:, 0] > 0) & (np.abs(back - self._corners).max((1, 2)) < 1.0)
        if good.sum() < _FEWEST_CORNERS:
            return _LOST_STEP
        steps = np.linalg.norm((moved - self._corners)[good, 0], axis=1)
        return float(np.median(steps)) / float(np.hypot(*grey.shape))


def _write(chosen: list[ChosenFrame], pictures: Iterator[Frame], folder: Path) -> list[ChosenFrame]:
    written = []
    for frame, picture in zip(chosen, prefetch(pictures, depth=2), strict=True):
        target = write_image(folder / f"{frame.index:04d}.jpg", picture.rgb)
        written.append(replace(frame, path=target))
    return written
