"""One person's pose in one picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.blaze.pose import LEFT_HIP, LEFT_SHOULDER, RIGHT_HIP, RIGHT_SHOULDER
from pipelines.tracking.regions import Region


@dataclass(frozen=True)
class Pose:
    """A measured pose; landmarks in the order of ``models.blaze.pose.NAMES``.

    ``landmarks`` (33, 3) in pixels, z relative to the hips' middle and negative towards the camera. ``world`` (33, 3)
    in metres from the hips' middle, x right, y down, z away from the camera. ``visibility`` and ``presence`` (33,) in
    0..1: of being seen, and of lying within the picture; ``peaks`` (33,) are the heat maps' probabilities there.
    ``axis`` (2, 2) in pixels: the body's centre and the end of
    its circle. ``score`` in 0..1 that somebody is there. ``region`` is what the network looked at.
    """

    landmarks: np.ndarray
    world: np.ndarray
    visibility: np.ndarray
    presence: np.ndarray
    peaks: np.ndarray
    axis: np.ndarray
    score: float
    region: Region

    @property
    def hips(self) -> np.ndarray:
        """The middle of the hips (2,) in pixels."""
        return self.landmarks[[LEFT_HIP, RIGHT_HIP], :2].mean(axis=0)

    @property
    def shoulders(self) -> np.ndarray:
        """The middle of the shoulders (2,) in pixels."""
        return self.landmarks[[LEFT_SHOULDER, RIGHT_SHOULDER], :2].mean(axis=0)

    @property
    def clarity(self) -> float:
        """Mean heat-map probability of the landmarks that are seen; 0 where none is."""
        seen = self.visibility > 0.5
        return float(self.peaks[seen].mean()) if seen.any() else 0.0

    @property
    def box(self) -> np.ndarray:
        """Box (4,) x0, y0, x1, y1 in pixels about the landmarks that are seen, all of them where none is."""
        seen = self.visibility > 0.3
        points = self.landmarks[seen if seen.any() else slice(None), :2]
        return np.concatenate([points.min(axis=0), points.max(axis=0)])
