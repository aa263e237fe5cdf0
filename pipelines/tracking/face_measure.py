"""Faces of a source video, measured once: every later run on the same file takes them from the measurement cache.

An entry is named by the hash of the file's content, so that deleting a run or growing old removes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d

from models.runtime.errors import InputError
from pipelines.base import Progress, RunContext
from pipelines.media.image import read_image
from pipelines.media.sniff import sniff
from pipelines.media.video import Frame, VideoReader, prefetch, probe
from pipelines.tracking.face_points import opening, yaw_and_pitch
from pipelines.tracking.face_tracker import FaceTracker
from pipelines.tracking.measurements import MeasurementCache, MeasurementKey
from pipelines.tracking.networks import BlazeNetworks
from pipelines.tracking.options import FaceOptions
from pipelines.tracking.photo_faces import faces_of_photo

VERSION = "talk-faces-4"
LEAST_SHARE, LEAST_SECONDS = 0.02, 0.4  # of the frames, and in all: faces seen more rarely are not offered
MOST_FACES = 16
STEADY_SECONDS = 0.035


@dataclass(frozen=True)
class FaceTrack:
    """One person through a clip of F frames: ``seen`` (F,) bool, ``points`` (F, 468, 3) float32 pixels (0 unseen)."""

    number: int
    seen: np.ndarray
    points: np.ndarray

    @property
    def size(self) -> float:
        """Median height of the face in pixels where it is seen."""
        spans = np.ptp(self.points[self.seen][..., 1], axis=1)
        return float(np.median(spans)) if len(spans) else 0.0

    @property
    def left(self) -> float:
        """Median place of the face across the picture."""
        return float(np.median(self.points[self.seen][..., 0])) if self.seen.any() else 0.0

    def openings(self) -> np.ndarray:
        """(F,) as ``face_points.opening``; 0 where unseen."""
        return np.where(self.seen, opening(self.points), 0.0)

    def turned_away(self, yaw: float, pitch: float) -> np.ndarray:
        """(F,) bool: the face is seen, but looks further aside or up and down than that many degrees."""
        across, down = yaw_and_pitch(self.points)
        return self.seen & ((np.abs(across) > yaw) | (np.abs(down) > pitch))


@dataclass(frozen=True)
class Measurement:
    """A clip: ``times`` (F,) seconds of its frames, ``size`` (width, height), and its faces, largest first."""

    times: np.ndarray
    size: tuple[int, int]
    faces: tuple[FaceTrack, ...]
    cached: bool = False

    @property
    def frames(self) -> int:
        return len(self.times)

    def from_left(self) -> tuple[FaceTrack, ...]:
        return tuple(sorted(self.faces, key=lambda face: face.left))


def measure_photo(path: Path, ctx: RunContext, cut: bool = False) -> Measurement:
    """The faces of a still picture, as a clip of one frame; ``cut`` as in ``faces_of_photo``."""
    image = read_image(path, ctx.settings.limits)
    found = faces_of_photo(_tracker(ctx), image, cut)
    faces = tuple(
        FaceTrack(n, np.ones(1, bool), face.landmarks[None, :468].astype(np.float32))
        for n, face in enumerate(found[:MOST_FACES])
    )
    return Measurement(np.zeros(1), (image.shape[1], image.shape[0]), faces)


def measure_video(path: Path, ctx: RunContext) -> Iterator[Progress | Measurement]:
    """Progress, then at last the measurement; from the cache when the same content has been measured before.

    Raises:
        InputError, LimitExceeded: not a video that can be read.
        WeightsMissing: the face networks are not installed.
    """
    cache, key = MeasurementCache.from_settings(ctx.settings), MeasurementKey.of(path, VERSION)
    stored = cache.get(key)
    if stored is not None:
        yield _unpacked(stored)
        return
    info = probe(path, ctx.settings.limits)
    tracker = _tracker(ctx)
    times: list[float] = []
    rows: dict[int, list[tuple[int, np.ndarray]]] = {}

    def noted(frames: Iterator[Frame]) -> Iterator[Frame]:
        for frame in frames:
            times.append(frame.time)
            yield frame

    source = prefetch(VideoReader(path, ctx.settings.limits), depth=4)
    for found in tracker.stream(noted(source)):
        for face in found.faces:
            rows.setdefault(face.track, []).append((found.index, face.face.landmarks[:468].astype(np.float32)))
        if found.index % 10 == 0:
            yield Progress("measure", found.index, info.frames, "Following the faces")
    result = Measurement(np.array(times), (info.width, info.height), _tracks(rows, np.array(times)))
    with suppress(OSError):  # a full or read-only disk only costs the next run its time
        cache.put(key, _packed(result))
    yield result


def _tracks(rows: dict[int, list[tuple[int, np.ndarray]]], times: np.ndarray) -> tuple[FaceTrack, ...]:
    frames = len(times)
    seconds = float(np.median(np.diff(times))) if frames > 1 else 0.04
    least = max(1, LEAST_SHARE * frames, min(LEAST_SECONDS / max(seconds, 1e-3), 0.5 * frames))
    tracks = []
    for number in list(rows):
        seen_at = rows.pop(number)  # let go of face by face: a long video's are many
        if len(seen_at) < least:
            continue
        seen, points = np.zeros(frames, bool), np.zeros((frames, 468, 3), np.float32)
        for index, landmarks in seen_at:
            seen[index], points[index] = True, landmarks
        seen_at.clear()
        _steady(points, seen, STEADY_SECONDS / max(seconds, 1e-3))
        tracks.append(FaceTrack(number, seen, points))
    return tuple(sorted(tracks, key=lambda face: -face.size * face.seen.sum())[:MOST_FACES])


def steadied(points: np.ndarray, seen: np.ndarray, frames: float) -> np.ndarray:
    """Values (F, K, ...) smoothed over ``frames`` (one deviation) without lag, every unbroken stretch by itself."""
    out = points.copy()
    _steady(out, seen, frames)
    return out


def _steady(points: np.ndarray, seen: np.ndarray, frames: float) -> None:
    """``steadied`` in place, a part of the columns at a time: the landmarks of a long video are many."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], seen.astype(np.int8), [0]])))
    parts = np.array_split(np.arange(points.shape[1]), min(12, points.shape[1]))
    for start, end in edges.reshape(-1, 2):
        for some in parts if end - start > 2 else ():
            part = points[start:end, some]
            points[start:end, some] = gaussian_filter1d(part, frames, axis=0, mode="nearest", truncate=3.0)


def _tracker(ctx: RunContext) -> FaceTracker:
    # Measured before anything is drawn, so the smoothing can look ahead and needs no filter that lags.
    return FaceTracker(BlazeNetworks(ctx.cache, ctx.weights), FaceOptions(smoothing=None))


def _packed(measurement: Measurement) -> dict[str, np.ndarray]:
    arrays = {"times": measurement.times, "size": np.array(measurement.size)}
    arrays["numbers"] = np.array([face.number for face in measurement.faces], dtype=np.int64)
    for face in measurement.faces:
        arrays[f"seen{face.number}"], arrays[f"points{face.number}"] = face.seen, face.points
    return arrays


def _unpacked(arrays: dict[str, np.ndarray]) -> Measurement:
    width, height = (int(n) for n in arrays["size"])
    faces = tuple(FaceTrack(int(n), arrays[f"seen{n}"], arrays[f"points{n}"]) for n in arrays["numbers"])
    return Measurement(arrays["times"], (width, height), faces, cached=True)


def faces_in_sight(path: Path, ctx: RunContext) -> list[np.ndarray]:
    """Small pictures (H, W, 3) uint8 of the faces in a photo or at the start of a video, from left to right."""
    if sniff(path).kind == "image":
        image = read_image(path, ctx.settings.limits)
    else:
        image = next(iter(VideoReader(path, ctx.settings.limits, max_side=1280))).rgb
    found = []
    for face in sorted(
        faces_of_photo(_tracker(ctx), image)[:MOST_FACES], key=lambda f: float(np.median(f.landmarks[:, 0]))
    ):
        x0, y0, x1, y1 = face.box
        pad = 0.25 * face.size
        left, top = max(0, int(x0 - pad)), max(0, int(y0 - pad))
        found.append(image[top : int(y1 + pad), left : int(x1 + pad)])
    return found


def choose_faces(measurement: Measurement, which: str, number: int) -> tuple[FaceTrack, ...]:
    """The faces that shall speak.

    Args:
        which: ``largest``, ``all`` or ``number``.
        number: counted from the left of the picture, from 1.

    Raises:
        InputError: no face, or none of that number.
    """
    if not measurement.faces:
        raise InputError(
            "No face was found; use a picture or video in which a whole face looks towards the camera and fills at "
            "least a twentieth of the height"
        )
    if which == "all":
        return measurement.from_left()
    if which == "largest":
        return measurement.faces[:1]
    ordered = measurement.from_left()
    if not 1 <= number <= len(ordered):
        raise InputError(f"There is no face {number}; {len(ordered)} found, counted from the left")
    return (ordered[number - 1],)
