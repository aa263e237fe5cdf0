"""Face networks: 468 surface landmarks (Attention-free FaceMesh) and iris landmarks; indices of well-known points.

"Right" and "left" are the person's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.blaze.config import FACE_LANDMARK, IRIS_LANDMARK
from models.blaze.runtime import LiteSession, scale_pixels, sigmoid

LANDMARKS = 468
RIGHT_EYE_OUTER, RIGHT_EYE_INNER = 33, 133
LEFT_EYE_INNER, LEFT_EYE_OUTER = 362, 263
RIGHT_IRIS = slice(468, 473)  # centre, then four points of the rim
LEFT_IRIS = slice(473, 478)


@dataclass(frozen=True)
class FaceLandmarks:
    """``points`` (468, 3) in units of the crop's side, z in the scale of x and growing away from the
    camera; ``presence`` in 0..1.
    """

    points: np.ndarray
    presence: float


class FaceLandmarker:
    """FaceMesh (arXiv 1907.06724): one upright face crop in, surface landmarks out."""

    def __init__(self, session: LiteSession) -> None:
        self.session = session

    def __call__(self, crop: np.ndarray) -> FaceLandmarks:
        """Landmarks of ``crop`` (192, 192, 3) uint8 RGB."""
        surface, flag = (spec.name for spec in FACE_LANDMARK.outputs)
        out = self.session(scale_pixels(crop))
        points = out[surface].reshape(LANDMARKS, 3) / self.session.input_shape[1]
        return FaceLandmarks(points, float(sigmoid(out[flag].reshape(()))))


class IrisLandmarker:
    """Iris network (arXiv 2006.11341): one crop of the person's right eye (a left eye mirrored) in, five points out."""

    def __init__(self, session: LiteSession) -> None:
        self.session = session

    def __call__(self, crop: np.ndarray) -> np.ndarray:
        """Iris centre and rim (5, 3) in units of the side of ``crop`` (64, 64, 3) uint8 RGB."""
        out = self.session(scale_pixels(crop))
        return out[IRIS_LANDMARK.outputs[1].name].reshape(5, 3) / self.session.input_shape[1]
