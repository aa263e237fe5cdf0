"""Smoothing of whole clips, forwards and backwards in time, so that nothing lags.

The curve x through measurements y with weights w minimises ``sum w (x - y)^2 + stiffness * sum (second difference)^2``.
That is the fixed-interval (Rauch-Tung-Striebel) smoother of a point whose velocity drifts at random, written as one
banded system: gaps (w = 0) are bridged, and what is seen badly follows its neighbours.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solveh_banded

Array = np.ndarray


def stiffness(strength: float, fps: float, cutoff: float = 2.8) -> float:
    """Stiffness whose half-power frequency falls from infinity at strength 0 to ``cutoff`` Hz at 0.5, and on to 1."""
    if strength <= 0:
        return 0.0
    frequency = min(cutoff * 0.5 / strength, 0.45 * fps)
    return float(1 / (2 * np.sin(np.pi * frequency / fps)) ** 4)


def smooth(values: Array, weights: Array, stiff: float, prior: Array | None = None, pull: float = 0.0) -> Array:
    """Smooths values (T, ...) with weights (T,); ``prior`` (T, ...) draws with weight ``pull`` where little is seen."""
    frames = len(values)
    flat = np.asarray(values, np.float64).reshape(frames, -1)
    weights = np.maximum(np.asarray(weights, np.float64), 1e-9)
    right = flat * weights[:, None]
    diagonal = weights.copy()
    if prior is not None and pull > 0:
        right = right + pull * np.asarray(prior, np.float64).reshape(frames, -1)
        diagonal = diagonal + pull
    if stiff <= 0 or frames < 3:
        return (right / diagonal[:, None]).reshape(values.shape)
    bands = np.zeros((3, frames))
    bands[2] = diagonal
    bands[2] += stiff * np.convolve(np.ones(frames - 2), [1, 4, 1])
    bands[1, 1:] += stiff * np.convolve(np.full(frames - 2, -2.0), [1, 1])
    bands[0, 2:] += stiff
    return solveh_banded(bands, right).reshape(values.shape)


def jitter(points: Array, fps: float) -> float:
    """Mean length of the second difference over time, as an acceleration; points (T, J, 3) in metres -> m/s^2."""
    if len(points) < 3:
        return 0.0
    return float(np.linalg.norm(np.diff(points, n=2, axis=0), axis=-1).mean() * fps**2)
