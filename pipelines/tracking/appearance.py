"""What a subject looks like, apart from where it is: colours at points fixed to the body or face."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pipelines.tracking.regions import Border, Region

CUT = 64  # side of the small crop that colours are read from
SPREAD = 5  # side of the box filter over it
COLOUR_SCALE = 40.0  # a colour difference (CIELAB) of this much reads as wholly different


@dataclass(frozen=True)
class Appearance:
    """CIELAB ``colours`` (K, 3) float32 at K fixed places, each with a ``weight`` (K,) 0..1 of how visible it was."""

    colours: np.ndarray
    weights: np.ndarray

    def distance(self, other: Appearance) -> float:
        """0 for the same colours to 1 for wholly different ones, over places visible in both; 0.5 where none is."""
        both = np.minimum(self.weights, other.weights)
        total = float(both.sum())
        if total < 0.5:
            return 0.5
        gaps = np.linalg.norm(self.colours - other.colours, axis=1)
        return float(np.minimum(gaps / COLOUR_SCALE, 1.0) @ both) / total

    def blended(self, new: Appearance, rate: float) -> Appearance:
        """A running mean: places follow ``new`` at ``rate`` times its weights, unseen ones stay."""
        share = rate * new.weights / np.maximum(self.weights * (1 - rate) + rate * new.weights, 1e-6)
        colours = self.colours + share[:, None] * (new.colours - self.colours)
        return Appearance(colours, np.maximum(self.weights * (1 - rate / 4), new.weights))


def look(image: np.ndarray, region: Region, points: np.ndarray, weights: np.ndarray) -> Appearance:
    """Reads the colours of an RGB picture about ``points`` (K, 2) in pixels, all near ``region``.

    Points outside the region or the picture weigh nothing.
    """
    crop = cv2.blur(region.cut(image, CUT, Border.REPLICATE), (SPREAD, SPREAD))
    lab = cv2.cvtColor(crop.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    unit = region.to_unit(points)
    height, width = image.shape[:2]
    inside = ((unit >= 0) & (unit < 1)).all(axis=1) & ((points >= 0) & (points < (width, height))).all(axis=1)
    column, row = np.clip((unit * CUT).astype(int), 0, CUT - 1).T
    return Appearance(lab[row, column], weights * inside)
