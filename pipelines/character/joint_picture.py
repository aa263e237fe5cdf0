"""A figure to look at and to correct: its joints drawn over it, and which of them a click means."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.character.figure import JOINTS, PARENTS, Figure

SIDE = 640  # pixels of the longer side on show
_TILE, _LIGHT, _DARK = 12, 246, 228  # of the chequered ground that stands for nothing
_BONE, _JOINT, _CHOSEN = (70, 70, 90), {"right": (230, 90, 60), "left": (40, 130, 220)}, (20, 170, 80)
_MIDDLE = (140, 80, 190)
_NEAR = 0.06  # of the picture's longer side within which a click means a joint


def shown_scale(shape: tuple[int, ...]) -> float:
    """Pixels on show per pixel of a picture of ``shape`` (H, W, ...)."""
    return SIDE / max(shape[:2])


def with_joints(figure: Figure, chosen: str = "") -> NDArray[np.uint8]:
    """The figure (h, w, 3) on chequered ground, its bones and joints drawn, ``chosen`` in another colour."""
    scale = shown_scale(figure.rgba.shape)
    size = tuple(max(1, round(side * scale)) for side in figure.rgba.shape[1::-1])
    rgba = cv2.resize(figure.rgba, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    y, x = np.mgrid[: size[1], : size[0]] // _TILE
    ground = np.where((x + y) % 2 == 0, _LIGHT, _DARK)[..., None]
    alpha = rgba[..., 3:].astype(np.float32) / 255
    picture = np.rint(rgba[..., :3] * alpha + ground * (1 - alpha)).astype(np.uint8)
    at = [tuple(int(v) for v in np.rint((place + 0.5) * scale - 0.5)) for place in figure.joints]
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            cv2.line(picture, at[joint], at[parent], (255, 255, 255), 6, cv2.LINE_AA)
            cv2.line(picture, at[joint], at[parent], _BONE, 3, cv2.LINE_AA)
    for joint, name in enumerate(JOINTS):
        colour = _CHOSEN if name == chosen else _JOINT.get(name.split("_")[0], _MIDDLE)
        radius = 11 if name == chosen else 8
        cv2.circle(picture, at[joint], radius + 2, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(picture, at[joint], radius, colour, -1, cv2.LINE_AA)
    return picture


def joint_at(figure: Figure, x: float, y: float) -> str:
    """The joint that a click at (x, y), pixels of the figure, means; an empty text where none is near."""
    far = np.linalg.norm(figure.joints - (x, y), axis=1)
    nearest = int(np.argmin(far))
    return JOINTS[nearest] if far[nearest] < _NEAR * max(figure.rgba.shape[:2]) else ""
