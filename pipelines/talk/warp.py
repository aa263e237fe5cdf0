"""Smooth backward warps from moved points: thin-plate splines solved on a coarse grid."""

from __future__ import annotations

import cv2
import numpy as np

GRID = 40  # cells along the longer side of a region
STIFFNESS = 2e-3  # how far a point may miss for a smoother warp; 0 hits every point


def spline(at: np.ndarray, values: np.ndarray, stiffness: float = STIFFNESS) -> tuple[np.ndarray, np.ndarray]:
    """Thin-plate spline (Bookstein 1989) for ``values`` (K, D) at ``at`` (K, 2): weights (K, D) and affine (3, D)."""
    count = len(at)
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = _radial(at, at) + stiffness * np.eye(count)
    system[:count, count] = 1.0
    system[:count, count + 1 :] = at
    system[count:, :count] = system[:count, count:].T
    right = np.concatenate([values, np.zeros((3, values.shape[1]))])
    solved = np.linalg.solve(system, right)
    return solved[:count], solved[count:]


def _radial(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    across, down = (np.subtract.outer(a[:, axis], b[:, axis]) for axis in (0, 1))
    squared = across * across + down * down
    return 0.5 * squared * np.log(squared + 1e-12)


def displacement(
    moved: np.ndarray, original: np.ndarray, size: tuple[int, int], fade: np.ndarray | None = None
) -> np.ndarray:
    """Backward displacements (H, W, 2) float32 of a region: where pixel p of the result comes from is p + d(p).

    Args:
        moved, original: (K, 2) where points shall be and where they are, in pixels of the region.
        size: (width, height) of the region.
        fade: coarse weights (h, w) 0..1 that let the displacement die out, for example towards the border.
    """
    width, height = size
    unit = float(max(size))
    keep = _distinct(moved)
    weights, affine = spline(moved[keep] / unit, (original[keep] - moved[keep]) / unit)
    columns, rows = grid_shape(size)
    xs = (np.arange(columns) + 0.5) / columns * width / unit
    ys = (np.arange(rows) + 0.5) / rows * height / unit
    cells = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    coarse = _radial(cells, moved[keep] / unit) @ weights + affine[0] + cells @ affine[1:]
    coarse = (coarse * unit).reshape(rows, columns, 2)
    if fade is not None:
        coarse = coarse * fade[..., None]
    return cv2.resize(coarse.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)


def grid_shape(size: tuple[int, int]) -> tuple[int, int]:
    """Columns and rows of the coarse grid for a region of ``size`` (width, height)."""
    unit = max(size)
    return max(4, round(GRID * size[0] / unit)), max(4, round(GRID * size[1] / unit))


def border_fade(size: tuple[int, int], margin: float = 0.14) -> np.ndarray:
    """Coarse weights: 0 on the border of a region, 1 from ``margin`` of its sides inwards, smooth between."""
    columns, rows = grid_shape(size)

    def ramp(count: int) -> np.ndarray:
        place = (np.arange(count) + 0.5) / count
        level = np.clip((np.minimum(place, 1 - place) - 0.5 / count) / margin, 0, 1)
        return level * level * (3 - 2 * level)

    return ramp(rows)[:, None] * ramp(columns)[None]


def _distinct(points: np.ndarray, least: float = 0.35) -> np.ndarray:
    """Indices of points that are not on top of an earlier one: doubles would make the system singular."""
    across, down = (np.abs(np.subtract.outer(points[:, axis], points[:, axis])) for axis in (0, 1))
    doubled = np.tril((across <= least) & (down <= least), -1).any(axis=1)
    return np.flatnonzero(~doubled)


def sample(image: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The region ``image`` (H, W, 3) seen through backward displacements (H, W, 2)."""
    height, width = shift.shape[:2]
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    return cv2.remap(image, xs + shift[..., 0], ys + shift[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
