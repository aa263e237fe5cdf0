"""Two rows of teeth behind the lips: the upper one stays with the skull, the lower one goes with the jaw."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.tracking.face_points import CORNERS, INNER_BOTTOM, INNER_TOP, LOWER_OUTER

Array = NDArray[np.float64]
COLUMNS = 13
WIDE = 0.62  # of the mouth's half width
BEHIND, ROUNDED = 0.0045, 0.011  # metres behind the lips in the middle, and more than that at the row's ends
UPPER = (0.0065, -0.0022)  # metres above the lips' line: where the upper row begins and ends
LOWER = (-0.0005, -0.0085)
INWARD = 0.003  # that the lower row lies behind the upper one
JAW = (*LOWER_OUTER[4:7], 18, 200)  # landmarks that tell where the jaw is
# Corners of the rows in the texture, origin bottom left.
BOX = {"upper": (0.855, 0.075, 0.985, 0.125), "lower": (0.875, 0.01, 0.985, 0.06)}


def rows(rest: NDArray[np.floating], landmarks: NDArray[np.floating]) -> Array:
    """Vertices (4 * COLUMNS, 3) for a face at rest (468, 3) and as it is now: upper row, top to bottom, then lower."""
    line = (rest[INNER_TOP] + rest[INNER_BOTTOM]) / 2
    half = abs(rest[CORNERS[1], 0] - rest[CORNERS[0], 0]) / 2
    size = half / 0.026  # against the mouth of the canonical face
    t = np.linspace(-1, 1, COLUMNS)
    across = line[0] + t * half * WIDE
    depth = line[2] - (BEHIND + ROUNDED * t * t) * size
    shift = (np.asarray(landmarks)[list(JAW)] - np.asarray(rest)[list(JAW)]).mean(axis=0) * (0.6, 1, 1.1)
    parts = []
    for (high, low), inward, moved in ((UPPER, 0.0, np.zeros(3)), (LOWER, INWARD, shift)):
        for height in (high, low):
            rounded = height * size * (1 - 0.25 * t * t)
            parts.append(np.stack([across, line[1] + rounded, depth - inward * size], axis=-1) + moved)
    return np.concatenate(parts)


def triangles() -> NDArray[np.int64]:
    """(F, 3), seen counter-clockwise from the front."""
    faces = []
    for row in range(2):
        for i in range(COLUMNS - 1):
            top = row * 2 * COLUMNS + i
            low = top + COLUMNS
            faces += [(top, low, top + 1), (top + 1, low, low + 1)]
    return np.array(faces, np.int64)


def layout() -> Array:
    """Texture coordinates (4 * COLUMNS, 2)."""
    parts = []
    for left, low, right, high in (BOX["upper"], BOX["lower"]):
        u = np.linspace(left, right, COLUMNS)
        parts += [np.stack([u, np.full(COLUMNS, v)], axis=-1) for v in (high, low)]
    return np.concatenate(parts)


def paint(size: int, tooth: NDArray[np.floating], gum: NDArray[np.floating]) -> NDArray[np.float32]:
    """Colours (S, S, 3): teeth with gaps and gums within the rows' boxes, tooth everywhere else."""
    picture = np.broadcast_to(np.asarray(tooth, np.float32), (size, size, 3)).copy()
    for name, (left, low, right, high) in BOX.items():
        columns = slice(int(left * size), int(np.ceil(right * size)))
        lines = slice(int((1 - high) * size), int(np.ceil((1 - low) * size)))
        box = picture[lines, columns]
        v, u = np.mgrid[: box.shape[0], : box.shape[1]]
        t = 2 * (u + 0.5) / box.shape[1] - 1
        down = (v + 0.5) / box.shape[0] if name == "upper" else 1 - (v + 0.5) / box.shape[0]
        # Teeth grow narrower towards the sides, as seen from the front; the gap is darker, the gum a scalloped line.
        place = np.arcsin(np.clip(t, -1, 1)) / (np.pi / 2) * (4 if name == "upper" else 5)
        between = np.abs(place - np.round(place)) * 2
        shade = (0.80 + 0.2 * np.clip(between * 5, 0, 1)) * (1 - 0.5 * np.abs(t) ** 3)
        gums = np.clip((0.30 - 0.12 * between - down) * 14 + 0.5, 0, 1)[..., None]
        box[:] = (box * (1 - gums) + np.asarray(gum, np.float32) * gums) * shade[..., None]
    return picture
