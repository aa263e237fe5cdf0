"""SCRFD face detection (Guo et al., 2021): picture preparation and decoding of the nine head outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

STRIDES = (8, 16, 32)
ANCHORS = 2  # per place, at the same centre
SCORE, OVERLAP = 0.5, 0.4
MEAN, SCALE = 127.5, 128.0


@dataclass(frozen=True)
class ScrfdFaces:
    """N faces, best first: ``boxes`` (N, 5) x0, y0, x1, y1, score; ``keypoints`` (N, 5, 2): left eye, right eye, nose,
    left and right mouth corner as seen in the picture; pixels."""

    boxes: np.ndarray
    keypoints: np.ndarray

    def largest(self, count: int, size: tuple[int, int], by_area: bool = False) -> ScrfdFaces:
        """The ``count`` faces of most weight in a picture of ``size`` (width, height): area less twice the squared
        distance from the middle, or the area alone."""
        if len(self.boxes) <= count:
            return self
        box = self.boxes
        area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
        middle = np.array([size[0] // 2, size[1] // 2])
        away = (box[:, :2] + box[:, 2:4]) / 2 - middle
        value = area if by_area else area - 2.0 * (away**2).sum(axis=1)
        chosen = np.argsort(value)[::-1][:count]
        return ScrfdFaces(box[chosen], self.keypoints[chosen])


def prepare(image: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, float]:
    """A picture (H, W, 3) uint8 RGB as network input (1, 3, h, w) float32 of ``size`` (w, h), and its scale.

    Fitted into the upper left corner, the rest black.
    """
    width, height = size
    tall = image.shape[0] / image.shape[1]
    if tall > height / width:
        new_height, new_width = height, int(height / tall)
    else:
        new_width, new_height = width, int(width * tall)
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[:new_height, :new_width] = cv2.resize(image, (new_width, new_height))
    blob = (canvas.astype(np.float32) - np.float32(MEAN)) / np.float32(SCALE)
    return blob.transpose(2, 0, 1)[None], new_height / image.shape[0]


def decode(
    outputs: Sequence[np.ndarray],
    size: tuple[int, int],
    scale: float,
    min_score: float = SCORE,
    max_overlap: float = OVERLAP,
) -> ScrfdFaces:
    """Faces from the head outputs: scores of strides 8, 16, 32, then boxes, then key points, each (A, 1 | 4 | 10).

    Args:
        size: (width, height) of the network's input.
        scale: what ``prepare`` returned.
    """
    levels = len(STRIDES)
    parts = [o[0] if o.ndim == 3 else o for o in outputs]  # batched exports
    scores, boxes, points = [], [], []
    for level, stride in enumerate(STRIDES):
        score = parts[level].reshape(-1)
        offsets = parts[level + levels].reshape(-1, 4).astype(np.float32) * stride
        marks = parts[level + 2 * levels].reshape(-1, 5, 2).astype(np.float32) * stride
        rows, columns = np.mgrid[: size[1] // stride, : size[0] // stride]
        centres = np.stack([columns, rows], axis=-1).reshape(-1, 2).astype(np.float32) * stride
        centres = np.repeat(centres, ANCHORS, axis=0)
        keep = np.flatnonzero(score >= min_score)
        at = centres[keep]
        scores.append(score[keep])
        boxes.append(np.concatenate([at - offsets[keep, :2], at + offsets[keep, 2:]], axis=1))
        points.append(at[:, None] + marks[keep])
    score = np.concatenate(scores)
    order = np.argsort(score)[::-1]
    table = np.concatenate([np.concatenate(boxes) / scale, score[:, None]], axis=1).astype(np.float32)[order]
    marks = (np.concatenate(points) / scale).astype(np.float32)[order]
    chosen = suppress(table, max_overlap)
    return ScrfdFaces(table[chosen], marks[chosen])


def suppress(boxes: np.ndarray, max_overlap: float) -> np.ndarray:
    """Indices of boxes (N, 4+), best first, that overlap no better one by more; widths count both end pixels."""
    x0, y0, x1, y1 = boxes[:, :4].T
    areas = (x1 - x0 + 1) * (y1 - y0 + 1)
    left, kept = np.arange(len(boxes)), []
    while len(left):
        best, rest = left[0], left[1:]
        kept.append(best)
        width = np.maximum(0.0, np.minimum(x1[best], x1[rest]) - np.maximum(x0[best], x0[rest]) + 1)
        height = np.maximum(0.0, np.minimum(y1[best], y1[rest]) - np.maximum(y0[best], y0[rest]) + 1)
        shared = width * height
        left = rest[shared / (areas[best] + areas[rest] - shared) <= max_overlap]
    return np.array(kept, dtype=int)
