"""Is it really a face? What the landmark network's own confidence does not tell."""

from __future__ import annotations

import cv2
import numpy as np

from pipelines.tracking.regions import Border, Region

CUT = 64
FLAT_SHARE = 0.6  # of the face within ``FLAT_RANGE`` (CIELAB) of its middle colour
FLAT_RANGE = 6.0
ONE_SIDED = 0.15  # tones on one side of the middle against those on the other


def disagreement(landmarks: np.ndarray, keypoints: np.ndarray) -> float:
    """Mean distance in pixels of a detector's eyes, nose and mouth (6, 2) from the landmarks' (468+, 3)."""
    points = landmarks[:, :2]
    own = [points[[33, 133]].mean(axis=0), points[[362, 263]].mean(axis=0), points[1], points[[13, 14]].mean(axis=0)]
    return float(np.linalg.norm(np.array(own) - keypoints[:4], axis=1).mean())


def is_line_drawing(image: np.ndarray, region: Region, landmarks: np.ndarray) -> bool:
    """Whether a face is lines on a flat ground, such as a smiley or a pen drawing.

    The networks take these for faces. Skin, fur and paint always have tones on both sides of the middle one; a drawing
    has one even ground and only darker (or, on a blackboard, only lighter) lines.
    """
    crop = cv2.GaussianBlur(region.cut(image, CUT, Border.REPLICATE), (3, 3), 0)
    lab = cv2.cvtColor(crop.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    outline = cv2.convexHull((region.to_unit(landmarks[:468, :2]) * CUT).astype(np.int32))
    inside = cv2.fillConvexPoly(np.zeros((CUT, CUT), np.uint8), outline, 1) > 0
    if not inside.any():
        return False
    colours = lab[inside]
    middle = np.median(colours, axis=0)
    if (np.linalg.norm(colours - middle, axis=1) < FLAT_RANGE).mean() < FLAT_SHARE:
        return False
    low, high = np.percentile(colours[:, 0], (1, 99)) - middle[0]
    return bool(min(-low, high) <= ONE_SIDED * max(-low, high))
