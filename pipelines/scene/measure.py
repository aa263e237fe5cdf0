"""Distances in a finished scene: from two pixels of one view to two places, and how far they lie apart."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.geometry.cameras import unproject_pixels
from models.runtime.errors import InputError
from pipelines.scene.prediction import Prediction

_NEAR = 3  # pixels around a click in which depth is looked for
_RED = (224, 40, 40)
_SHOWN = 960  # pixels across of the picture to click into


@dataclass(frozen=True)
class Place:
    """A clicked pixel (column, row) of a view at depth resolution, its depth along the camera's z, its point (3,)."""

    pixel: tuple[int, int]
    depth: float
    point: NDArray[np.float64]


def place_at(prediction: Prediction, view: int, column: float, row: float) -> Place:
    """What lies at a pixel (column, row); the nearest known depth within a few pixels.

    Raises:
        InputError: nothing is known there, or no such view or pixel.
    """
    if not 0 <= view < len(prediction):
        raise InputError(f"There is no view {view + 1}")
    depth, _, _ = prediction.view(view)
    x, y = round(column), round(row)
    if not (0 <= y < depth.shape[0] and 0 <= x < depth.shape[1]):
        raise InputError("That pixel lies outside the picture")
    top, left = max(0, y - _NEAR), max(0, x - _NEAR)
    rows, columns = np.nonzero(depth[top : y + _NEAR + 1, left : x + _NEAR + 1] > 0)
    if not len(rows):
        raise InputError("No depth is known there; click somewhere else")
    best = int(np.argmin((rows + top - y) ** 2 + (columns + left - x) ** 2))
    y, x = int(rows[best]) + top, int(columns[best]) + left
    z = float(depth[y, x])
    point = unproject_pixels(np.array([[x, y]], np.float64), np.array([z]), prediction.intrinsics[view])[0]
    return Place((x, y), z, point)


def distance(first: Place, second: Place) -> float:
    """Straight-line distance of two places of one view, in the prediction's unit."""
    return float(np.linalg.norm(first.point - second.point))


def shown_scale(image: NDArray[np.uint8]) -> float:
    """How much a depth-sized picture (H, W, 3) is enlarged to be clicked into."""
    return max(1.0, _SHOWN / image.shape[1])


def marked(image: NDArray[np.uint8], places: tuple[Place, ...] = ()) -> NDArray[np.uint8]:
    """The picture (H, W, 3), enlarged, with the places as circles, joined by a line when there are two."""
    scale = shown_scale(image)
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    at = [(round((p.pixel[0] + 0.5) * scale - 0.5), round((p.pixel[1] + 0.5) * scale - 0.5)) for p in places]
    if len(at) == 2:
        cv2.line(image, *at, _RED, 2, cv2.LINE_AA)
    for pixel in at:
        cv2.circle(image, pixel, 5, _RED, -1, cv2.LINE_AA)
    return image
