"""Where a subject will be: a constant-velocity Kalman filter over centre and size."""

from __future__ import annotations

import numpy as np

MEASUREMENT_NOISE = 0.03  # of the size
ACCELERATION_NOISE = 4.0  # sizes per second squared
SIZE_NOISE = 1.0  # change of log size per second squared
START_SPEED = 2.0  # sizes per second, how unsure the first speed is


class Motion:
    """State of one subject: x, y, log size and their rates, in pixels and seconds. Noise scales with the size."""

    def __init__(self, x: float, y: float, size: float, time: float) -> None:
        self._state = np.array([x, y, np.log(size), 0.0, 0.0, 0.0])
        self._covariance = np.diag(
            [*[(MEASUREMENT_NOISE * size) ** 2] * 2, MEASUREMENT_NOISE**2, *[(START_SPEED * size) ** 2] * 2, 1.0]
        )
        self._time = time

    def predict(self, time: float) -> tuple[np.ndarray, float, float]:
        """Position (2,), size and standard deviation of the position in pixels, at ``time``; changes nothing."""
        state, covariance = self._moved(time)
        spread = float(np.sqrt((covariance[0, 0] + covariance[1, 1]) / 2))
        return state[:2], float(np.exp(state[2])), spread

    def update(self, x: float, y: float, size: float, time: float) -> None:
        """Takes in a measurement."""
        state, covariance = self._moved(time)
        noise = np.diag([*[(MEASUREMENT_NOISE * size) ** 2] * 2, MEASUREMENT_NOISE**2])
        gain = covariance[:, :3] @ np.linalg.inv(covariance[:3, :3] + noise)
        self._state = state + gain @ (np.array([x, y, np.log(size)]) - state[:3])
        self._covariance = covariance - gain @ covariance[:3]
        self._time = time

    def _moved(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        step = max(0.0, time - self._time)
        transition = np.eye(6)
        transition[:3, 3:] = step * np.eye(3)
        size = float(np.exp(self._state[2]))
        noise = np.array([(ACCELERATION_NOISE * size) ** 2] * 2 + [SIZE_NOISE**2])
        push = np.vstack([step**2 / 2 * np.eye(3), step * np.eye(3)])
        return transition @ self._state, transition @ self._covariance @ transition.T + push @ np.diag(noise) @ push.T
