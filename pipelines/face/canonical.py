"""The canonical face: 468 landmarks, eyes and an inner mouth as one mesh with texture coordinates of its own.

Head axes: metres, x to the picture's right, y up, z out of the face; the origin lies between the pupils.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.export.npz import read_npz
from pipelines.tracking.face_points import LEFT_EYE, LOWER_INNER, RIGHT_EYE, UPPER_INNER

FILE = Path(__file__).resolve().parents[2] / "assets" / "face_canonical.npz"
LANDMARKS = 468
OVAL_RING = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150,
    136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip


def _ring(upper: tuple[int, ...], lower: tuple[int, ...]) -> tuple[int, ...]:
    return (*upper, *lower[-2:0:-1])


RIGHT_EYE_RING = _ring(RIGHT_EYE["upper"], RIGHT_EYE["lower"])
LEFT_EYE_RING = _ring(LEFT_EYE["upper"], LEFT_EYE["lower"])
MOUTH_RING = _ring(UPPER_INNER, LOWER_INNER)
PUPILS_APART = 0.063  # metres between the pupils of the mean adult, and of the canonical face
EYE_DEPTH = 0.0012  # metres that the eyeball lies behind the lids
EYE_BULGE = 0.0022
LIP_REACH = 0.011  # metres above and below the closed lips that the inside of the mouth is high


@dataclass(frozen=True)
class CanonicalFace:
    """``positions`` (468, 3) neutral, lips closed; ``faces`` (F, 3) seen counter-clockwise; ``uv`` (V, 2), origin
    bottom left; ``pairs`` (468,) the landmark on the other side. Vertices beyond 468 are the eyes and the mouth's
    inside; they follow from the landmarks by ``complete``."""

    positions: NDArray[np.float64]
    faces: NDArray[np.int64]
    uv: NDArray[np.float64]
    pairs: NDArray[np.int64]
    right_eye: NDArray[np.int64]
    left_eye: NDArray[np.int64]
    mouth: NDArray[np.int64]
    cavity: NDArray[np.float64]

    @property
    def count(self) -> int:
        """Vertices of the whole mesh."""
        return len(self.uv)

    @property
    def inner_start(self) -> int:
        """First vertex of the mouth's inside."""
        return LANDMARKS + len(self.right_eye) + len(self.left_eye) + 2

    @property
    def skin_faces(self) -> NDArray[np.bool_]:
        """(F,) which triangles lie on the landmarks alone."""
        return (self.faces < LANDMARKS).all(axis=1)

    def complete(
        self, landmarks: NDArray[np.floating], open_eyes: NDArray[np.floating] | None = None
    ) -> NDArray[np.float64]:
        """Landmarks (468, 3) in head axes -> all vertices (V, 3).

        ``open_eyes`` (468, 3) are the landmarks the eyeballs are made from, where lids may close over them.
        """
        points = np.asarray(landmarks, np.float64)
        source = points if open_eyes is None else np.asarray(open_eyes, np.float64)
        parts = [points]
        for ring in (self.right_eye, self.left_eye):
            lids = source[ring] - (0, 0, EYE_DEPTH)
            parts += [lids, lids.mean(0, keepdims=True) - (0, 0, -EYE_BULGE)]
        parts.append(self._inside(points[self.mouth]))
        return np.concatenate(parts)

    def _inside(self, lips: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mouth's inside behind the ring of the inner lips (20, 3): layers, then the middle of the last one."""
        middle = lips.mean(0)
        upward = np.zeros(len(lips))
        for side, ids in ((1.0, UPPER_INNER), (-1.0, LOWER_INNER)):
            upward[np.isin(self.mouth, ids[1:-1])] = side
        across = (lips[:, 0] - middle[0]) / max(np.ptp(lips[:, 0]) / 2, 1e-6)
        arch = upward * np.sqrt(np.clip(1 - across**2, 0, 1)) * LIP_REACH
        layers = []
        for height, width, depth in self.cavity:
            ring = middle + (lips - middle) * (width, 1, 1)
            ring[:, 1] += arch * height
            ring[:, 2] -= depth
            layers.append(ring)
        layers.append(layers[-1].mean(0, keepdims=True))
        return np.concatenate(layers)


@lru_cache(maxsize=1)
def canonical_face() -> CanonicalFace:
    """The face that ships with the studio, read once."""
    arrays = read_npz(FILE)
    ints = {name: arrays[name].astype(np.int64) for name in ("faces", "pairs", "right_eye", "left_eye", "mouth")}
    floats = {name: arrays[name].astype(np.float64) for name in ("positions", "uv", "cavity")}
    return CanonicalFace(**ints, **floats)


def pupils(landmarks: NDArray[np.floating]) -> NDArray[np.floating]:
    """Middles of the right and the left eye (..., 2, 3) of landmarks (..., 468, 3)."""
    right = landmarks[..., list(RIGHT_EYE_RING), :].mean(axis=-2)
    return np.stack([right, landmarks[..., list(LEFT_EYE_RING), :].mean(axis=-2)], axis=-2)
