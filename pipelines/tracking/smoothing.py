"""Steady landmarks without lag: the motion of the whole is filtered lightly, the shape's own motion more.

Every point carries its own noise, which the mean over all points hardly has. So each set of points is split into a
similarity of the plane (place, size, turn) and the shape left when that is taken out, and the two get a One-Euro filter
each: a head that jumps drags no filter behind it, while its outline no longer trembles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.tracking.one_euro import OneEuro, OneEuroConfig

MOTION = OneEuroConfig(min_cutoff=4.0, beta=120.0, derivative_cutoff=12.0)
SHAPE = OneEuroConfig(min_cutoff=1.0, beta=30.0, derivative_cutoff=6.0)


@dataclass(frozen=True)
class SmoothingConfig:
    """Filters of the whole's ``motion`` and of the ``shape``; speeds are in sizes (rms radius) per second."""

    motion: OneEuroConfig = MOTION
    shape: OneEuroConfig = SHAPE


@dataclass(frozen=True)
class PlaneFrame:
    """A similarity of the picture's plane: ``centre`` (2,), ``size`` (rms radius, pixels) and the ``turn`` (2,), a unit
    vector (cosine, sine) of the clockwise angle."""

    centre: np.ndarray
    size: float
    turn: np.ndarray

    @property
    def rotation(self) -> np.ndarray:
        c, s = self.turn
        return np.array([[c, -s], [s, c]])

    def to_shape(self, points: np.ndarray) -> np.ndarray:
        """Points (K, 2 or 3) in the frame's own units and axes."""
        plane = (points[:, :2] - self.centre) @ self.rotation
        return np.concatenate([plane, points[:, 2:]], axis=1) / self.size

    def to_image(self, shape: np.ndarray) -> np.ndarray:
        """The inverse of ``to_shape``."""
        scaled = shape * self.size
        return np.concatenate([scaled[:, :2] @ self.rotation.T + self.centre, scaled[:, 2:]], axis=1)


def frame_of(points: np.ndarray, reference: np.ndarray | None, weights: np.ndarray) -> PlaneFrame:
    """Centre and size of weighted points (K, 2+), and the turn that fits them best to the shape ``reference``.

    The turn is the closed-form least-squares rotation of the plane (Procrustes); none without a reference.
    """
    share = weights / weights.sum()
    centre = share @ points[:, :2]
    away = points[:, :2] - centre
    size = max(float(np.sqrt(share @ (away**2).sum(axis=1))), 1e-6)
    if reference is None:
        return PlaneFrame(centre, size, np.array([1.0, 0.0]))
    along = float(share @ (away * reference[:, :2]).sum(axis=1))
    across = float(share @ (away[:, 1] * reference[:, 0] - away[:, 0] * reference[:, 1]))
    length = float(np.hypot(along, across))
    turn = np.array([along, across]) / length if length > 1e-9 else np.array([1.0, 0.0])
    return PlaneFrame(centre, size, turn)


class ShapeSmoother:
    """Filters one subject's landmarks (K, 2 or 3), one set per timestamp."""

    def __init__(self, config: SmoothingConfig) -> None:
        self._place = OneEuro(config.motion)
        self._size_and_turn = OneEuro(config.motion)
        self._shape = OneEuro(config.shape)
        self._reference: np.ndarray | None = None

    def __call__(self, points: np.ndarray, time: float, weights: np.ndarray | None = None) -> np.ndarray:
        """The smoothed points; ``weights`` (K,) say how much each counts for the motion of the whole."""
        points = np.asarray(points, dtype=np.float64)
        frame = frame_of(points, self._reference, np.ones(len(points)) if weights is None else weights + 1e-6)
        centre = self._place(frame.centre, time, frame.size)
        size, turn = self._size_and_turn(np.array([[np.log(frame.size), 0.0], frame.turn]), time)
        self._reference = self._shape(frame.to_shape(points), time)
        return PlaneFrame(centre, float(np.exp(size[0])), turn / np.hypot(*turn)).to_image(self._reference)
