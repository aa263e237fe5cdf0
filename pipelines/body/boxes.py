"""Boxes of people: the original's gates, order and suppression, and its crops.

Boxes are x, y, w, h or x1, y1, x2, y2 in pixels, as each function says.
"""

from __future__ import annotations

import cv2
import numpy as np

from models.smplerx.config import CROP

Array = np.ndarray
CROP_ASPECT = CROP[1] / CROP[0]
INFERENCE_RATIO = 1.25


def sanitize(box: Array, size: tuple[int, int]) -> Array | None:
    """x, y, w, h clipped to a picture (width, height); None when nothing is left. A negative x is clipped without
    shrinking the width first, as the original has it."""
    x, y, w, h = (float(v) for v in box)
    x1, y1 = max(0.0, x), max(0.0, y)
    x2 = min(size[0] - 1.0, x1 + max(0.0, w - 1))
    y2 = min(size[1] - 1.0, y1 + max(0.0, h - 1))
    if w * h <= 0 or x2 <= x1 or y2 <= y1:
        return None
    return np.array([x1, y1, x2 - x1, y2 - y1], np.float32)


def process(box: Array, size: tuple[int, int], ratio: float = INFERENCE_RATIO) -> Array | None:
    """The crop's box x, y, w, h (float32): sanitised, brought to 3:4 and enlarged about its middle; None if empty."""
    clean = sanitize(box, size)
    if clean is None:
        return None
    x, y, w, h = (float(v) for v in clean)
    cx, cy = x + w / 2, y + h / 2
    if w > CROP_ASPECT * h:
        h = w / CROP_ASPECT
    elif w < CROP_ASPECT * h:
        w = h * CROP_ASPECT
    w, h = w * ratio, h * ratio
    return np.array([cx - w / 2, cy - h / 2, w, h], np.float32)


def area_order(boxes: Array) -> Array:
    """Indices of boxes (N, 4+) x1, y1, x2, y2 by area, largest first; of equal ones the later first, the pivot last.

    The order of ties is that of a quicksort around the middle element that keeps what is not smaller in front.
    """
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])

    def sort(ids: list[int]) -> list[int]:
        if len(ids) <= 1:
            return ids
        middle = ids[len(ids) // 2]
        others = [i for i in ids if i != middle]
        front = [i for i in others if areas[i] >= areas[middle]]
        back = [i for i in others if areas[i] < areas[middle]]
        return [*sort(front), middle, *sort(back)]

    return np.array(sort(list(range(len(boxes)))), int)


def iou_pixels(boxes: Array) -> Array:
    """Intersection over union (N, N) of x1, y1, x2, y2 boxes whose last pixels count (+1)."""
    b = np.asarray(boxes, np.float64)
    area = (b[:, 2] - b[:, 0] + 1) * (b[:, 3] - b[:, 1] + 1)
    low = np.maximum(b[:, None, :2], b[None, :, :2])
    high = np.minimum(b[:, None, 2:4], b[None, :, 2:4])
    inner = np.prod(np.maximum(high - low + 1, 0), axis=-1)
    return inner / (area[:, None] + area[None] - inner)


def suppress(boxes: Array, threshold: float) -> Array:
    """Indices that survive, highest score first: boxes (N, 5) x1, y1, x2, y2, score."""
    overlap = iou_pixels(boxes)
    order = list(np.argsort(boxes[:, 4])[::-1])
    kept: list[int] = []
    while order:
        best = order.pop(0)
        kept.append(int(best))
        order = [i for i in order if overlap[best, i] < threshold]
    return np.array(kept, int)


def large_enough(box: Array, threshold: float) -> bool:
    """Whether x1, y1, x2, y2 is at least ``threshold`` wide and three times that high."""
    return bool(box[2] - box[0] >= threshold and box[3] - box[1] >= 3 * threshold)


def crop_matrix(
    box: Array,
    scale: float = 1.0,
    degrees: float = 0.0,
    out: tuple[int, int] = (CROP[1], CROP[0]),
    inverse: bool = False,
) -> Array:
    """The affine (2, 3) float32 from picture to crop (width, height ``out``) of a box x, y, w, h."""
    x, y, w, h = (np.float32(v) for v in box)
    w, h = w * np.float32(scale), h * np.float32(scale)
    centre = np.array([x + np.float32(box[2]) * np.float32(0.5), y + np.float32(box[3]) * np.float32(0.5)], np.float32)
    angle = np.pi * degrees / 180
    sine, cosine = np.sin(angle), np.cos(angle)

    def turned(px: float, py: float) -> Array:
        return np.array([px * cosine - py * sine, px * sine + py * cosine], np.float32)

    down, right = turned(0, h * np.float32(0.5)), turned(w * np.float32(0.5), 0)
    source = np.stack([centre, centre + down, centre + right]).astype(np.float32)
    middle = np.array([out[0] * 0.5, out[1] * 0.5], np.float32)
    target = np.stack(
        [middle, middle + np.array([0, out[1] * 0.5], np.float32), middle + np.array([out[0] * 0.5, 0], np.float32)]
    ).astype(np.float32)
    pair = (target, source) if inverse else (source, target)
    return cv2.getAffineTransform(*pair).astype(np.float32)


def crop(
    image: Array, box: Array, scale: float = 1.0, degrees: float = 0.0, flip: bool = False,
    out: tuple[int, int] = (CROP[1], CROP[0]),
) -> Array:  # fmt: skip
    """The crop (h, w, 3) float32 0..255 of a box x, y, w, h; outside the picture 0."""
    box = np.asarray(box, np.float32)
    if flip:
        image, box = image[:, ::-1], mirrored(box, image.shape[1])
    matrix = crop_matrix(box, scale, degrees, out)
    picture = np.ascontiguousarray(image, np.float32)
    return cv2.warpAffine(picture, matrix, out, flags=cv2.INTER_LINEAR)


def mirrored(box: Array, width: int) -> Array:
    """A box x, y, w, h in the mirror image of a picture of that width."""
    out = np.asarray(box, np.float32).copy()
    out[0] = width - (box[0] + box[2] / 2) - 1 - box[2] / 2
    return out


def from_pose(landmarks: Array, visibility: Array) -> Array:
    """x0, y0, x1, y1 about a body's landmarks (33, 2+), with room for hair, hands and shoes."""
    seen = visibility > 0.4
    points = landmarks[seen if seen.sum() >= 6 else slice(None), :2]
    low, high = points.min(axis=0), points.max(axis=0)
    span = high - low
    return np.concatenate([low - span * (0.10, 0.10), high + span * (0.10, 0.04)])
