"""The canonical head: 468 landmarks, eyes, an inner mouth, skull and neck as one mesh with a texture layout of its own.

Head axes: metres, x to the picture's right, y up, z out of the face; the origin lies between the pupils.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.export.npz import read_npz
from pipelines.face.cranium import Sheet, Shell, doubled, sheet_behind
from pipelines.face.teeth import COLUMNS, layout, rows, triangles
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
EYE_HIDDEN = 1.16  # how much wider than the lids' opening it is
LIP_REACH = 0.011  # metres above and below the closed lips that the inside of the mouth is high
# In the texture the face lies in the middle, its sides drawn in, skull and neck around it up to a circle, the inside
# of the mouth in a corner.
FACE_WIDTH, FACE_HEIGHT, SIDES = 0.66, 0.80, 1.15  # of the file's layout; radians over which the sides are drawn in
ROUND = 0.49
BAG_SCALE = 0.42


@dataclass(frozen=True)
class CanonicalFace:
    """``positions`` (468, 3) neutral, lips closed; ``faces`` (F, 3) seen counter-clockwise; ``uv`` (V, 2), origin
    bottom left; ``pairs`` (468,) the landmark on the other side. Vertices beyond 468 are the eyes, the mouth's inside,
    the teeth, and skull and neck, in that order; they follow from the landmarks by ``complete``."""

    positions: NDArray[np.float64]
    faces: NDArray[np.int64]
    uv: NDArray[np.float64]
    pairs: NDArray[np.int64]
    right_eye: NDArray[np.int64]
    left_eye: NDArray[np.int64]
    mouth: NDArray[np.int64]
    cavity: NDArray[np.float64]
    sheet: Sheet

    @property
    def count(self) -> int:
        """Vertices of the whole mesh."""
        return len(self.uv)

    @property
    def inner_start(self) -> int:
        """First vertex of the mouth's inside."""
        return LANDMARKS + len(self.right_eye) + len(self.left_eye) + 2

    @property
    def teeth_start(self) -> int:
        """First vertex of the teeth, the last part of the mouth's inside."""
        return self.inner_start + len(self.cavity) * len(self.mouth) + 1

    @property
    def inner_stop(self) -> int:
        """First vertex of skull and neck, which are the last ones."""
        return self.teeth_start + 4 * COLUMNS

    @property
    def skin_faces(self) -> NDArray[np.bool_]:
        """(F,) which triangles lie on the landmarks alone."""
        return (self.faces < LANDMARKS).all(axis=1)

    def shell(self, landmarks: NDArray[np.floating]) -> Shell:
        """Skull and neck for landmarks (468, 3) in head axes, as large as the distance of the pupils asks for."""
        right, left = pupils(np.asarray(landmarks, np.float64))
        own = Shell(self.sheet.positions, self.positions[list(OVAL_RING)], self.sheet.fade)
        own = own.scaled(float(np.linalg.norm(left - right)) / PUPILS_APART)
        outline = np.asarray(landmarks, np.float64)[list(OVAL_RING)]
        return Shell(own.behind(outline).reshape(own.positions.shape), outline, own.fade)

    def complete(
        self,
        landmarks: NDArray[np.floating],
        rest: NDArray[np.floating] | None = None,
        shell: Shell | None = None,
    ) -> NDArray[np.float64]:
        """Landmarks (468, 3) in head axes -> all vertices (V, 3).

        ``rest`` (468, 3) are the landmarks that eyeballs and upper teeth are made from, where lids and lips move over
        them; ``shell`` is the person's own skull and neck.
        """
        points = np.asarray(landmarks, np.float64)
        source = points if rest is None else np.asarray(rest, np.float64)
        parts = [points]
        for ring in (self.right_eye, self.left_eye):
            lids = source[ring] - (0, 0, EYE_DEPTH)
            middle = lids.mean(0, keepdims=True)
            parts += [middle + (lids - middle) * (EYE_HIDDEN, EYE_HIDDEN, 1), middle + np.array([0, 0, EYE_BULGE])]
        parts += [self._inside(points[self.mouth]), rows(source, points)]
        parts.append((shell or self.shell(points)).behind(points[list(OVAL_RING)]))
        return np.concatenate(parts)

    @cached_property
    def _upward(self) -> NDArray[np.float64]:
        """(20,) how far the inside reaches behind each lip: up, less far down where an open jaw turns, 0 at corners."""
        return np.isin(self.mouth, UPPER_INNER[1:-1]) * 1.0 - np.isin(self.mouth, LOWER_INNER[1:-1]) * 0.5

    def _inside(self, lips: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mouth's inside behind the ring of the inner lips (20, 3): layers, then the middle of the last one."""
        middle = lips.mean(0)
        across = (lips[:, 0] - middle[0]) / max(np.ptp(lips[:, 0]) / 2, 1e-6)
        arch = self._upward * np.sqrt(np.clip(1 - across**2, 0, 1)) * LIP_REACH
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
    """The face that ships with the studio, read once, with skull and neck behind it."""
    arrays = read_npz(FILE)
    ints = {name: arrays[name].astype(np.int64) for name in ("faces", "pairs", "right_eye", "left_eye", "mouth")}
    positions, cavity = arrays["positions"].astype(np.float64), arrays["cavity"].astype(np.float64)
    sheet = sheet_behind(positions[list(OVAL_RING)])
    inner = LANDMARKS + len(ints["right_eye"]) + len(ints["left_eye"]) + 2
    own = arrays["uv"].astype(np.float64)
    uv = np.concatenate([_middle(own[:inner]), own[inner:] * BAG_SCALE * 2, layout()])
    around = _around(uv[list(OVAL_RING)], sheet)
    ids = np.concatenate([OVAL_RING, len(uv) + np.arange(len(around))])
    ints["faces"] = np.concatenate([ints["faces"], triangles() + len(own), ids[sheet.faces]])
    return CanonicalFace(positions, uv=np.concatenate([uv, around]), cavity=cavity, sheet=sheet, **ints)


def _middle(uv: NDArray[np.float64]) -> NDArray[np.float64]:
    """The face's texture coordinates (N, 2) drawn into the middle, its front larger than its sides."""
    across = np.sin((uv[:, 0] - 0.5) * 2 * SIDES) / np.sin(SIDES) / 2
    return np.stack([0.5 + across * FACE_WIDTH, 0.5 + (uv[:, 1] - 0.515) * FACE_HEIGHT], axis=-1)


def _around(outline: NDArray[np.float64], sheet: Sheet) -> NDArray[np.float64]:
    """Texture coordinates (2RN, 2) of skull and neck: straight out from the outline (N, 2) to a circle."""
    start = doubled(outline) - 0.5
    length = np.linalg.norm(start, axis=1, keepdims=True)
    share = (np.arange(1, len(sheet.along) + 1) / len(sheet.along))[:, None, None]
    return (0.5 + start / length * (length + (ROUND - length) * share)).reshape(-1, 2)


def pupils(landmarks: NDArray[np.floating]) -> NDArray[np.floating]:
    """Middles of the right and the left eye (..., 2, 3) of landmarks (..., 468, 3)."""
    right = landmarks[..., list(RIGHT_EYE_RING), :].mean(axis=-2)
    return np.stack([right, landmarks[..., list(LEFT_EYE_RING), :].mean(axis=-2)], axis=-2)
