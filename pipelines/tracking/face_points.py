"""Which of the 468 face landmarks are lips, chin, cheeks and so on; left and right as seen in the picture."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

CORNERS = (61, 291)
# From the left corner to the right one, corners included.
UPPER_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
LOWER_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
UPPER_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
INNER_TOP, INNER_BOTTOM = 13, 14
LIPS = tuple(dict.fromkeys((*UPPER_OUTER, *UPPER_INNER, *LOWER_OUTER, *LOWER_INNER)))
# Parts of the face that speech does not move against the skull.
SKULL = (
    33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 98, 327, 129, 358, 48, 278, 115, 344, 122, 351, 193, 417,
    127, 356, 10, 151, 9, 8, 46, 276, 234, 454,
)  # fmt: skip
NOSE_BASE = (2, 97, 326, 98, 327, 1, 164)
# Held still while the lips move, around the upper lip.
STILL = (2, 97, 326, 98, 327, 129, 358, 36, 266, 50, 280, 117, 346, 123, 352, 234, 454, 93, 323)
# Skin that follows the jaw, with its share of the chin's movement; the rest is drawn along by interpolation.
JAW = {
    18: 0.95, 83: 0.95, 313: 0.95, 200: 0.92, 201: 0.9, 421: 0.9, 199: 0.9, 208: 0.88, 428: 0.88, 175: 0.9, 152: 0.9,
    148: 0.88, 377: 0.88, 176: 0.82, 400: 0.82, 171: 0.88, 396: 0.88, 140: 0.82, 369: 0.82, 149: 0.7, 378: 0.7,
    150: 0.52, 379: 0.52, 136: 0.34, 365: 0.34, 172: 0.2, 397: 0.2, 58: 0.08, 288: 0.08, 32: 0.82, 262: 0.82,
    211: 0.7, 431: 0.7, 204: 0.8, 424: 0.8, 194: 0.85, 418: 0.85, 210: 0.5, 430: 0.5, 212: 0.35, 432: 0.35,
    214: 0.25, 434: 0.25, 192: 0.14, 416: 0.14, 207: 0.15, 427: 0.15, 205: 0.05, 425: 0.05, 132: 0.03, 361: 0.03,
}  # fmt: skip
CHIN, FOREHEAD = 152, 10
EYES = (33, 263)  # outer corners
RIGHT_EYE = {"upper": (33, 246, 161, 160, 159, 158, 157, 173, 133), "lower": (33, 7, 163, 144, 145, 153, 154, 155, 133)}
LEFT_EYE = {
    "upper": (362, 398, 384, 385, 386, 387, 388, 466, 263),
    "lower": (362, 382, 381, 380, 374, 373, 390, 249, 263),
}
# The 68 points among the 468 of the face mesh, contour from the left of the picture to its right.
MESH_68 = (
    127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
# Lines through the 68: jaw, brows, bridge and base of the nose, eyes, outer and inner lips.
LINES_68 = tuple(
    MESH_68[start:end] + (MESH_68[start:start + 1] if start >= 36 else ())
    for start, end in pairwise((0, 17, 22, 27, 31, 36, 42, 48, 60, 68))
)  # fmt: skip
BROWS = {"right": (70, 63, 105, 66, 107), "left": (336, 296, 334, 293, 300)}


def to_68(mesh: np.ndarray) -> np.ndarray:
    """Face mesh landmarks (..., 468, 2 or 3) -> (..., 68, 2)."""
    return mesh[..., list(MESH_68), :2]


def opening(points: np.ndarray) -> np.ndarray:
    """Distance of the inner lips relative to that of the outer eye corners, of landmarks (..., 468, 2 or 3)."""
    gap = np.linalg.norm(points[..., INNER_TOP, :2] - points[..., INNER_BOTTOM, :2], axis=-1)
    eyes = np.linalg.norm(points[..., EYES[0], :] - points[..., EYES[1], :], axis=-1)
    return gap / np.maximum(eyes, 1e-6)


def yaw_and_pitch(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Degrees by which faces (..., 468, 3) look aside and up or down, both 0 for a face looking into the camera."""
    across = points[..., 454, :] - points[..., 234, :]
    down = points[..., CHIN, :] - points[..., FOREHEAD, :]
    yaw = np.degrees(np.arctan2(across[..., 2], np.hypot(across[..., 0], across[..., 1])))
    pitch = np.degrees(np.arctan2(down[..., 2], np.hypot(down[..., 0], down[..., 1])))
    return yaw, pitch
