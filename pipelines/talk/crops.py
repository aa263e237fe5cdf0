"""Where the lip networks look: DINet's crop around the nose line, Wav2Lip's smoothed face box."""

from __future__ import annotations

import numpy as np

# iBUG's 68 points that count here: nose bridge end, nose base, mouth corners.
BRIDGE, BASE, LEFT_CORNER, RIGHT_CORNER = 29, 33, 48, 54
RANDOM_SCALE = 1.05
LARGEST_SPREAD = 1.5  # of the frames' own radii within a clip
SMOOTHED = 5


def mouth_radius(points: np.ndarray) -> np.ndarray:
    """Radius of the mouth in each frame with landmarks (T, 68, 2)."""
    height = points[:, :, 1].max(axis=1) - points[:, BRIDGE, 1]
    width = points[:, RIGHT_CORNER, 0] - points[:, LEFT_CORNER, 0]
    return np.maximum(height, width)


def crop_radius(points: np.ndarray, size: tuple[int, int], scale: float = RANDOM_SCALE) -> int | None:
    """DINet's radius for a short clip with landmarks (T, 68, 2) in pictures of ``size`` (width, height).

    None where a crop would leave the picture or the mouth's size changes too much.
    """
    sizes = mouth_radius(points)
    radii = (sizes * scale).astype(int) // 2
    radius = int(radii.max())
    radius = (int(radius / 4) + 1) * 4
    if radii.min() <= 0 or radii.max() > LARGEST_SPREAD * radii.min():
        return None
    for frame in points:
        top, bottom, left, right = crop_box(frame, radius)
        if top < 0 or left < 0 or bottom > size[1] or right > size[0]:
            return None
    return radius


def crop_box(points: np.ndarray, radius: int) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of DINet's crop for landmarks (68, 2)."""
    row, column = int(points[BRIDGE, 1]), int(points[BASE, 0])
    beside = radius + radius // 4
    return row - radius, row + 2 * radius + radius // 4, column - beside, column + beside


def smooth_boxes(boxes: np.ndarray, window: int = SMOOTHED) -> np.ndarray:
    """Wav2Lip's running mean of integer boxes (T, 4): each becomes the mean of itself and those that follow, the end
    that of the last ``window``; means are cut to integers and used for the boxes after."""
    smooth = boxes.copy()
    for i in range(len(smooth)):
        part = smooth[i : i + window] if i + window <= len(smooth) else smooth[-window:]
        smooth[i] = part.mean(axis=0)
    return smooth
