"""Face crops as DECA was trained on: a square round the face, taken to 224 pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE = 224
SCALE = 1.25
BoxKind = Literal["kpt68", "bbox"]


@dataclass(frozen=True)
class FaceBox:
    """Left, top, right, bottom in pixels. ``kpt68`` is the box of 68 landmarks, ``bbox`` a detector's face box."""

    left: float
    top: float
    right: float
    bottom: float
    kind: BoxKind = "kpt68"

    @classmethod
    def of_points(cls, points: NDArray[np.floating]) -> FaceBox:
        """Tight box of landmarks (N, 2+)."""
        low, high = points[:, :2].min(0), points[:, :2].max(0)
        return cls(float(low[0]), float(low[1]), float(high[0]), float(high[1]))

    @property
    def size(self) -> float:
        """Side the crop is derived from: the mean side, a tenth more for landmarks (they leave out the forehead)."""
        mean = (self.right - self.left + self.bottom - self.top) / 2
        return mean * 1.1 if self.kind == "kpt68" else mean

    @property
    def center(self) -> tuple[float, float]:
        x, y = (self.left + self.right) / 2, (self.top + self.bottom) / 2
        return (x, y + self.size * 0.12) if self.kind == "bbox" else (x, y)


def no_face_box(height: int, width: int, upstream_compat: bool = False) -> FaceBox:
    """The whole picture, used when no face is found; the original exchanges height and width here."""
    if upstream_compat:
        height, width = width, height
    return FaceBox(0, 0, width - 1, height - 1)


def crop_transform(box: FaceBox, scale: float = SCALE, size: int = SIZE) -> NDArray[np.float64]:
    """(3, 3) from picture pixels to crop pixels: the square of ``scale`` times the face to 0 .. size - 1."""
    side = int(box.size * scale)
    x, y = box.center
    factor = (size - 1) / side
    return np.array([[factor, 0, -(x - side / 2) * factor], [0, factor, -(y - side / 2) * factor], [0, 0, 1]])


def whole_transform(height: int, width: int, size: int = SIZE) -> NDArray[np.float64]:
    """(3, 3) for pictures used uncropped: the least-squares similarity of three corners to the square's corners.

    A picture that is not square comes out turned by this rule, as it does in the original.
    """
    source = np.array([[0, 0], [0, height - 1], [width - 1, 0]], np.float64)
    target = np.array([[0, 0], [0, size - 1], [size - 1, 0]], np.float64)
    rows, values = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        values += [u, v]
    a, b, tx, ty = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    return np.array([[a, -b, tx], [b, a, ty], [0, 0, 1]])


def warp(image: NDArray[np.uint8], transform: NDArray[np.floating], size: int = SIZE) -> NDArray[np.float32]:
    """Picture (H, W, 3) -> (size, size, 3) float32 in [0, 1], bilinear, zero outside, pixel centres at integers."""
    planes = image.astype(np.float64) / 255  # double precision: a float32 warp rounds positions too coarsely
    inverse = np.linalg.inv(np.asarray(transform, np.float64))
    ys, xs = np.mgrid[0:size, 0:size].astype(np.float64)
    x = inverse[0, 0] * xs + inverse[0, 1] * ys + inverse[0, 2]
    y = inverse[1, 0] * xs + inverse[1, 1] * ys + inverse[1, 2]
    x0, y0 = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    height, width = image.shape[:2]
    padded = cv2.copyMakeBorder(planes, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)

    def at(row: NDArray[np.int64], column: NDArray[np.int64]) -> NDArray[np.float64]:
        return padded[np.clip(row, -1, height) + 1, np.clip(column, -1, width) + 1]

    top = at(y0, x0) * (1 - fx) + at(y0, x0 + 1) * fx
    bottom = at(y0 + 1, x0) * (1 - fx) + at(y0 + 1, x0 + 1) * fx
    return (top * (1 - fy) + bottom * fy).astype(np.float32)
