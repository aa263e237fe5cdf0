"""Closing gaps in depth maps from what surrounds them; never presented as measured."""

from __future__ import annotations

import cv2
import numpy as np
from numba import njit

_DIRECTIONS = np.array([(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)], np.int64)


@njit(nogil=True, cache=True)
def _look_around(inverse: np.ndarray, image: np.ndarray, reach: int, directions: np.ndarray) -> tuple:
    """Per direction the nearest known value (8, H, W), its distance in steps (0 = none) and colour difference."""
    h, w = inverse.shape
    n = len(directions)
    value = np.zeros((n, h, w), np.float32)
    steps = np.zeros((n, h, w), np.int32)
    colour = np.zeros((n, h, w), np.float32)
    for k in range(n):
        dy, dx = directions[k]
        for jy in range(h):
            y = jy if dy <= 0 else h - 1 - jy
            for jx in range(w):
                x = jx if dx <= 0 else w - 1 - jx
                yy, xx = y + dy, x + dx
                if yy < 0 or xx < 0 or yy >= h or xx >= w:
                    continue
                jump = np.float32(0.0)
                for c in range(3):
                    jump += abs(np.float32(image[y, x, c]) - np.float32(image[yy, xx, c]))
                if inverse[yy, xx] > 0:
                    value[k, y, x] = inverse[yy, xx]
                    steps[k, y, x] = 1
                    colour[k, y, x] = jump
                elif 0 < steps[k, yy, xx] < reach:
                    value[k, y, x] = value[k, yy, xx]
                    steps[k, y, x] = steps[k, yy, xx] + 1
                    colour[k, y, x] = max(colour[k, yy, xx], jump)
    return value, steps, colour


def fill_holes(
    depth: np.ndarray, image: np.ndarray, reach: int, surrounded: int, may_fill: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Fills a gap where at least ``surrounded`` of eight directions meet a known depth within ``reach`` pixels.

    The value is the weighted median of what is met: near, and reached without crossing an edge of the image, counts
    most. depth (H, W) float32, 0 = none; image (H, W, 3) uint8. Returns the depth and the mask of filled pixels.
    """
    inverse = np.where(depth > 0, 1.0 / np.maximum(depth, 1e-9), 0).astype(np.float32)
    smooth = cv2.bilateralFilter(image, 5, 25, 3)
    value, steps, colour = _look_around(inverse, smooth, reach, _DIRECTIONS)
    met = steps > 0
    hole = (inverse <= 0) & (met.sum(0) >= surrounded)
    if may_fill is not None:
        hole &= may_fill
    where = np.nonzero(hole)
    weight = np.where(met[:, *where], np.exp(-colour[:, *where] / 24.0) / (steps[:, *where] + 2.0), 0)
    values = value[:, *where]
    order = np.argsort(values, axis=0)
    weight, values = np.take_along_axis(weight, order, 0), np.take_along_axis(values, order, 0)
    total = np.cumsum(weight, axis=0)
    pick = (total >= 0.5 * total[-1]).argmax(0)
    out = depth.copy()
    out[where] = 1.0 / np.maximum(np.take_along_axis(values, pick[None], 0)[0], 1e-9)
    return out, hole
