"""Expressions of measured heads: what is the face at rest, what moves, and how another face wears it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipelines.face.blendshapes import NAMES, lips_apart, offsets_of, weights_of
from pipelines.face.canonical import LANDMARKS, canonical_face
from pipelines.face.cranium import Shell
from pipelines.face.facemesh import FaceLens, HeadFit, fit_head

Array = NDArray[np.float64]
CALM_SHARE = 0.25  # of the frames, those that move least, that the resting face is the mean of
RESTLESS = 15.0  # degrees of turning aside that are as bad for the texture as a whole expression
CHUNK = 128  # frames worked on at once
TURNED = 30.0  # degrees of yaw beyond which a frame says nothing about the resting face


@dataclass(frozen=True)
class RestingFace:
    """A head without expression: landmarks (468, 3) in head axes, metres, its scale against the canonical face, and its
    skull and neck where measured."""

    landmarks: Array
    scale: float
    shell: Shell | None = None

    @cached_property
    def own_shell(self) -> Shell:
        """Skull and neck: measured, or the canonical ones behind this face."""
        return self.shell or canonical_face().shell(self.landmarks)

    def wearing(self, weights: NDArray[np.floating]) -> Array:
        """Landmarks (468, 3) of this face with an expression (52,)."""
        return lips_apart(self.landmarks + self.scale * offsets_of(weights))

    def vertices(self, weights: NDArray[np.floating]) -> Array:
        """All vertices (V, 3) with an expression (52,); the eyes stay while lids close over them."""
        return canonical_face().complete(self.wearing(weights), self.landmarks, self.own_shell)

    def moving(self, weights: NDArray[np.floating]) -> Iterator[Array]:
        """All vertices (V, 3) of one frame after the other of a clip of expressions (T, 52)."""
        face = canonical_face()
        for start in range(0, len(weights), CHUNK):
            for offsets in offsets_of(weights[start : start + CHUNK]):
                yield face.complete(lips_apart(self.landmarks + self.scale * offsets), self.landmarks, self.own_shell)

    def morphs(self) -> Array:
        """Offsets (52, V, 3) of all vertices at weight 1."""
        rest = self.vertices(np.zeros(len(NAMES)))
        return np.stack([self.vertices(row) - rest for row in np.eye(len(NAMES))])


def still_expression(fit: HeadFit) -> tuple[RestingFace, Array]:
    """The resting face and the expression (52,) of a single picture, told apart with the canonical face's help."""
    weights = weights_of((fit.head / fit.scale - canonical_face().positions)[None], still=True)[0]
    return RestingFace(lips_apart(fit.head - fit.scale * offsets_of(weights)), fit.scale, fit.shell), weights


@dataclass(frozen=True)
class Performance:
    """A clip of one face: times (T,), seen (T,) bool, weights (T, 52), rotations (T, 3, 3) and places (T, 3) of the
    head in camera axes; where unseen the values of the nearest seen frame."""

    times: Array
    seen: NDArray[np.bool_]
    weights: Array
    rotations: Array
    places: Array
    rest: RestingFace
    best: int  # the frame that shows the face best

    @property
    def count(self) -> int:
        return len(self.times)


def _estimated(heads: NDArray[np.floating], neutral: Array, still: bool) -> Array:
    """Weights (T, 52) of heads (T, 468, 3) against one face at rest, a chunk at a time."""
    starts = range(0, len(heads), CHUNK)
    return np.concatenate([weights_of(heads[k : k + CHUNK] - neutral, still) for k in starts])


def perform(
    times: Array, seen: NDArray[np.bool_], points: NDArray[np.floating], lens: FaceLens, pupil_distance: float
) -> Performance:
    """Poses and expressions of a tracked face.

    Args:
        times: (T,) seconds; seen: (T,), at least one True.
        points: (T, 468, 3) landmarks in pixels where seen.
    """
    at = np.flatnonzero(seen)
    heads, poses = np.empty((len(at), LANDMARKS, 3), np.float32), np.empty((len(at), 3, 4))
    scales, turned = np.empty(len(at)), np.empty((len(at), 3))
    for k, i in enumerate(at):
        fit = fit_head(points[i], lens, pupil_distance)
        # Shapes at one size: the distance between the pupils jitters, a skull does not.
        heads[k], poses[k], scales[k], turned[k] = fit.head / fit.scale, fit.extrinsics[:3], fit.scale, fit.angles
    scale = float(np.median(scales))
    angles = np.abs(turned[:, 0])
    usable = angles <= max(TURNED, float(angles.min()) + 5)
    # Against the canonical face: the person's features weigh on all frames alike, so that the least sum is rest.
    effort = _estimated(heads, canonical_face().positions, still=True).sum(axis=1)
    effort += np.where(usable, 0, 1e3)
    calm = np.argsort(effort)[: max(1, round(CALM_SHARE * usable.sum()))]
    neutral = heads[calm].mean(axis=0, dtype=np.float64)
    weights = _estimated(heads, neutral, still=False)
    pitch = np.abs(turned[:, 1])
    best = int(at[np.argmin(angles + 0.5 * pitch + RESTLESS * (effort - effort.min()))])
    after = np.clip(np.searchsorted(at, np.arange(len(times))), 1, max(len(at) - 1, 1))
    frames = np.arange(len(times))
    nearest = np.where(frames - at[after - 1] <= at[after % len(at)] - frames, after - 1, after % len(at))
    return Performance(
        times=np.asarray(times, np.float64),
        seen=np.asarray(seen, bool),
        weights=weights[nearest],
        rotations=poses[nearest, :, :3],
        places=poses[nearest, :, 3],
        rest=RestingFace(lips_apart(neutral * scale), scale),
        best=best,
    )
