"""Point matches between two photos."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

RATIO = 0.75  # of the best distance to the second best (Lowe 2004, section 7.1)
EPIPOLAR = 2.0  # pixels from the epipolar line that still fit


@dataclass(frozen=True)
class Features:
    """Positions (P, 2) in pixels and descriptors (P, 128) float32."""

    places: NDArray[np.float64]
    descriptors: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.places)


def features(rgb: NDArray[np.uint8], most: int) -> Features:
    """At most ``most`` SIFT features of a photo (H, W, 3)."""
    found, descriptors = cv2.SIFT_create(most).detectAndCompute(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), None)
    if descriptors is None:
        return Features(np.zeros((0, 2)), np.zeros((0, 128), np.float32))
    return Features(np.array([f.pt for f in found]), descriptors)


def matched(a: Features, b: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions (M, 2) in both photos of features that clearly belong together."""
    if not len(a) or len(b) < 2:
        return np.zeros((0, 2)), np.zeros((0, 2))
    nearest = (p for p in cv2.BFMatcher().knnMatch(a.descriptors, b.descriptors, k=2) if len(p) == 2)
    good = [(m.queryIdx, m.trainIdx) for m, n in nearest if m.distance < RATIO * n.distance]
    rows = np.array(good, np.int64).reshape(-1, 2)
    return a.places[rows[:, 0]], b.places[rows[:, 1]]


def consistent(a: NDArray[np.float64], b: NDArray[np.float64]) -> int:
    """How many matches (M, 2) fit one pair of rigid cameras."""
    if len(a) < 8:
        return 0
    _, mask = cv2.findFundamentalMat(a, b, cv2.USAC_MAGSAC, EPIPOLAR, 0.999, 2000)
    return 0 if mask is None else int(mask.sum())
