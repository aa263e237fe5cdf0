"""Depth and confidence as pictures: a perceptually ordered colour map, a range outliers do not move, grey holes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

DEPTH_MAP = "inferno"
CONFIDENCE_MAP = "viridis"
HOLE = (58, 60, 66)  # a neutral grey that neither map contains
_SAMPLES = 1_000_000


@lru_cache(maxsize=16)
def color_table(name: str) -> NDArray[np.uint8]:
    """The 256 colours (256, 3) of a matplotlib map, by name."""
    from matplotlib import colormaps

    return (colormaps[name](np.linspace(0, 1, 256))[:, :3] * 255 + 0.5).astype(np.uint8)


def valid_depth(depth: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Depth that says something: finite and in front of the camera."""
    return np.isfinite(depth) & (depth > 0)


def value_range(
    values: NDArray[np.floating], valid: NDArray[np.bool_], low: float = 2.0, high: float = 98.0
) -> tuple[float, float]:
    """Percentiles of the valid values; (0, 1) where there are none, and never an empty range.

    Pass all views or frames at once, so that they share their colours.
    """
    chosen = values[valid]
    if chosen.size == 0:
        return 0.0, 1.0
    chosen = chosen[:: -(-chosen.size // _SAMPLES)]
    a, b = (float(v) for v in np.percentile(chosen, [low, high]))
    return (a, b) if b > a else (a - 0.5 * (abs(a) or 1.0), a + 0.5 * (abs(a) or 1.0))


def colorize(
    values: NDArray[np.floating],
    valid: NDArray[np.bool_],
    limits: tuple[float, float],
    table: str = DEPTH_MAP,
    hole: tuple[int, int, int] = HOLE,
) -> NDArray[np.uint8]:
    """Values (..., H, W) to colours (..., H, W, 3) uint8 RGB: ``limits`` span the map, invalid pixels get ``hole``."""
    low, high = limits
    scaled = np.where(valid, (np.where(valid, values, low) - low) / (high - low), 0)
    image = color_table(table)[(np.clip(scaled, 0, 1) * 255 + 0.5).astype(np.uint8)]
    image[~valid] = hole
    return image


def inverse_depth(depth: NDArray[np.floating]) -> NDArray[np.floating]:
    """``1 / depth``, 0 where the depth is invalid: what depth pictures show, as it gives near things more colours."""
    valid = valid_depth(depth)
    return np.where(valid, 1 / np.where(valid, depth, 1), 0)


def depth_limits(depth: NDArray[np.floating], low: float = 2.0, high: float = 98.0) -> tuple[float, float]:
    """The inverse-depth range shared by all given depth maps (..., H, W)."""
    return value_range(inverse_depth(depth), valid_depth(depth), low, high)


def depth_image(
    depth: NDArray[np.floating], limits: tuple[float, float] | None = None, table: str = DEPTH_MAP
) -> NDArray[np.uint8]:
    """Depth (..., H, W), 0 or not finite where unknown -> RGB uint8 (..., H, W, 3); near is bright.

    ``limits`` as from ``depth_limits``; None takes this depth's own.
    """
    return colorize(inverse_depth(depth), valid_depth(depth), limits or depth_limits(depth), table)


def confidence_image(
    confidence: NDArray[np.floating], limits: tuple[float, float] | None = None, table: str = CONFIDENCE_MAP
) -> NDArray[np.uint8]:
    """Confidence (..., H, W) -> RGB uint8 (..., H, W, 3); 0 and what is not finite counts as no value."""
    valid = np.isfinite(confidence) & (confidence > 0)
    return colorize(confidence, valid, limits or value_range(confidence, valid), table)
