"""Secondary motion: what lies away from the bones - hair, ears, skirts, sleeves - lags behind and swings back.

Each such point hangs on its posed place by a damped spring: o'' = -share z'' - w^2 o - 2 d w o', with z the posed place
and o the offset from it. Shares and positions vary smoothly over the mesh, so the swinging does as well.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.character.puppet_mesh import Mesh
from pipelines.character.puppet_parts import HEAD, Parts

_HERTZ, _DAMPING = 2.4, 0.3
_FARTHEST = 0.1  # of the figure's height
_STEPS = 4  # of the integration per frame


def looseness(mesh: Mesh, parts: Parts) -> NDArray[np.float64]:
    """How freely each vertex hangs (V,): 0 within the limb's usual width, 1 from two and a half times of it on."""
    far = mesh.bone_distances(parts.bones)
    relative = (far / parts.radii).min(1)
    loose = np.clip((relative - 1.0) / 1.5, 0, 1)
    crown = parts.bone("crown")
    top = parts.bones[crown]
    along = ((mesh.rest - complex(*top.start)) * np.conj(top.direction)).real / max(top.length, 1e-9)
    hair = np.where(mesh.vertex_layer == HEAD, np.clip(along - 0.75, 0, 0.6), 0)
    return np.maximum(loose, hair)


class Swing:
    """Follows the frames of one clip in order."""

    def __init__(self, loose: NDArray[np.float64], fps: float, height: float, amount: float) -> None:
        self._loose, self._step, self._most = loose * amount, 1 / fps, _FARTHEST * height
        self._offset = np.zeros(len(loose), complex)
        self._speed = np.zeros(len(loose), complex)
        self._last: NDArray | None = None
        self._pace: NDArray | None = None

    def __call__(self, placed: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """The next frame's vertices (V,) with their swinging."""
        if self._last is None:
            self._last, self._pace = placed, np.zeros_like(placed)
            return placed
        pace = (placed - self._last) / self._step
        push = -self._loose * (pace - self._pace) / self._step
        self._last, self._pace = placed, pace
        omega, step = 2 * np.pi * _HERTZ, self._step / _STEPS
        for _ in range(_STEPS):
            self._speed += step * (push - omega**2 * self._offset - 2 * _DAMPING * omega * self._speed)
            self._offset += step * self._speed
        size = np.abs(self._offset)
        self._offset *= self._most * np.tanh(size / self._most) / np.maximum(size, 1e-9)
        return placed + self._offset
