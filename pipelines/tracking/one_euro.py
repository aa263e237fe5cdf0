"""The One-Euro filter over whole arrays: steady when nothing moves, quick when something does.

Casiez, Roussel, Vogel: 1 Euro Filter, CHI 2012.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import numpy as np


@dataclass(frozen=True)
class OneEuroConfig:
    """``min_cutoff`` in Hz is the smoothing at rest (lower is steadier), ``beta`` how fast the cutoff rises with speed.

    Speeds are in units of the values per second; ``derivative_cutoff`` in Hz smooths the speed itself.
    """

    min_cutoff: float = 1.0
    beta: float = 10.0
    derivative_cutoff: float = 1.0


def smoothing_factor(cutoff: np.ndarray | float, step: float) -> np.ndarray:
    """Weight in 0..1 of the new value of a first-order low pass with ``cutoff`` in Hz after ``step`` seconds."""
    angular = 2 * pi * np.asarray(cutoff) * step
    return angular / (angular + 1)


class OneEuro:
    """Filters one array per timestamp, each point by its own speed.

    Arrays have shape (..., D); points are rows of D coordinates that share one speed, so that a point is never pulled
    off its path by filtering its coordinates differently.
    """

    def __init__(self, config: OneEuroConfig | None = None) -> None:
        self.config = config or OneEuroConfig()
        self.reset()

    def reset(self) -> None:
        """Forgets everything; the next value passes unchanged."""
        self._time: float | None = None
        self._value = np.zeros(0)
        self._speed = np.zeros(0)

    def __call__(self, value: np.ndarray, time: float, scale: float = 1.0) -> np.ndarray:
        """The filtered value at ``time`` seconds; ``scale`` is how many of the value's units make one of the config's.

        A time that does not advance returns the last value unchanged; a change of shape starts over.
        """
        value = np.asarray(value, dtype=np.float64)
        if self._time is None or value.shape != self._value.shape:
            self._time, self._value = time, value.copy()
            self._speed = np.zeros_like(value)
            return value.copy()
        step = time - self._time
        if step <= 0:
            return self._value.copy()
        config = self.config
        speed = (value - self._value) / (step * scale)
        self._speed += smoothing_factor(config.derivative_cutoff, step) * (speed - self._speed)
        pace = np.linalg.norm(self._speed, axis=-1, keepdims=True)
        weight = smoothing_factor(config.min_cutoff + config.beta * pace, step)
        self._value = self._value + weight * (value - self._value)
        self._time = time
        return self._value.copy()
