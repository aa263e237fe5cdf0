"""Which source picture each output frame shows - the clip plays back and forth for as long as the voice lasts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np

from models.runtime.settings import Limits
from pipelines.media.image import read_image
from pipelines.media.video import VideoReader

BACKWARD_BYTES = 192 * 1024**2  # of frames held at once while a clip plays backwards
BACKWARD_FRAMES = 96


@dataclass(frozen=True)
class Shown:
    """Output frame ``number`` shows source frame ``source``: ``rgb`` (H, W, 3) uint8, the receiver's to change."""

    number: int
    source: int
    rgb: np.ndarray


def frame_count(seconds: float, fps: Fraction | float) -> int:
    """Frames that last as long as the sound, to the nearest frame and at least one."""
    return max(1, round(seconds * float(fps)))


def back_and_forth(times: np.ndarray, count: int, fps: Fraction | float) -> np.ndarray:
    """Indices (count,) into source ``times`` (F,): by time, forwards, then backwards, and so on.

    A varying source rate becomes the even ``fps``; the turning frames are not shown twice.
    """
    if len(times) < 2:
        return np.zeros(count, dtype=int)
    local = np.asarray(times, dtype=float) - times[0]
    span = float(local[-1])
    at = np.arange(count) / float(fps)
    at = span - np.abs(span - np.mod(at, 2 * span))
    half = 0.5 * np.diff(local, append=local[-1] + 1.0)
    return np.clip(np.searchsorted(local + half, at, side="right"), 0, len(times) - 1)


def play(path: Path, limits: Limits, times: np.ndarray, indices: np.ndarray) -> Iterator[Shown]:
    """The frames of a video in the order of ``indices``; memory stays bounded however long it goes on."""
    turns = [0, *(i for i in range(1, len(indices) - 1) if _turns(indices, i)), len(indices)]
    for first, last in pairwise(turns):
        part = indices[first:last]
        if len(part) > 1 and part[-1] < part[0]:
            yield from _backward(path, limits, times, part, first)
        else:
            yield from _forward(path, limits, times, part, first)


def hold(path: Path, limits: Limits, count: int) -> Iterator[Shown]:
    """A photo, again and again."""
    image = read_image(path, limits)
    for number in range(count):
        yield Shown(number, 0, image.copy())


def _turns(indices: np.ndarray, i: int) -> bool:
    """Whether the direction changes after element ``i``: with the element itself ending the leg before."""
    before, after = indices[i] - indices[i - 1], indices[i + 1] - indices[i]
    if before == 0:
        earlier = np.flatnonzero(np.diff(indices[: i + 1]))
        before = indices[earlier[-1] + 1] - indices[earlier[-1]] if len(earlier) else 0
    return bool(before * after < 0)


def _forward(path: Path, limits: Limits, times: np.ndarray, part: np.ndarray, first: int) -> Iterator[Shown]:
    waiting = 0
    for index, rgb in _read(path, limits, times, int(part[0]), int(part[-1])):
        while waiting < len(part) and part[waiting] <= index:
            yield Shown(first + waiting, int(part[waiting]), rgb.copy())
            waiting += 1
    # A frame that can no longer be decoded at the very end: the last one stands still.
    while 0 < waiting < len(part):
        yield Shown(first + waiting, int(part[waiting]), rgb.copy())
        waiting += 1


def _backward(path: Path, limits: Limits, times: np.ndarray, part: np.ndarray, first: int) -> Iterator[Shown]:
    """Decoded forwards in blocks and handed out from behind."""
    block = BACKWARD_FRAMES
    done = 0
    while done < len(part):
        high = int(part[done])
        low = max(int(part[-1]), high - block + 1)
        held: dict[int, np.ndarray] = {}
        for index, rgb in _read(path, limits, times, low, high):
            held[index] = rgb
            fitting = max(4, BACKWARD_BYTES // max(rgb.nbytes, 1))
            if len(held) > fitting:
                held.pop(min(held))
                block = fitting
        if not held:
            return
        reach = min(held)
        while done < len(part) and part[done] >= reach:
            index = int(part[done])
            rgb = held[index] if index in held else held[min(held, key=lambda k: abs(k - index))]
            yield Shown(first + done, index, rgb.copy())
            done += 1
        if reach > low and high == reach:
            return


def _read(path: Path, limits: Limits, times: np.ndarray, low: int, high: int) -> Iterator[tuple[int, np.ndarray]]:
    """Frames ``low`` to ``high`` of the source with their indices."""
    steps = np.diff(times)
    margin = 0.4 * float(np.median(steps)) if len(steps) else 0.01
    start = float(times[low]) - margin if low else None
    for frame in VideoReader(path, limits, start=start, end=float(times[high]) + margin):
        yield int(np.argmin(np.abs(times - frame.time))), frame.rgb
