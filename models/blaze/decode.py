"""From raw detector outputs to boxes with key points: decoding, overlap and score-weighted suppression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.blaze.anchors import anchor_centres
from models.blaze.config import DetectorConfig
from models.blaze.runtime import LiteSession, scale_pixels, sigmoid


@dataclass(frozen=True)
class Detections:
    """N detections, best first: ``boxes`` (N, 4) x0, y0, x1, y1; ``keypoints`` (N, K, 2); ``scores`` (N,) in 0..1.

    Coordinates are in units of the detector's square picture, or pixels once a region has mapped them.
    """

    boxes: np.ndarray
    keypoints: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def pick(self, index: np.ndarray) -> Detections:
        """Those at ``index`` (integers or a mask)."""
        return Detections(self.boxes[index], self.keypoints[index], self.scores[index])


def decode(raw_boxes: np.ndarray, raw_scores: np.ndarray, config: DetectorConfig) -> Detections:
    """Detections above ``config.min_score``, not yet suppressed, best first.

    Args:
        raw_boxes: (A, 4 + 2K) centre offset, size and key point offsets in input pixels relative to the anchors.
        raw_scores: (A, 1) logits.
    """
    scores = sigmoid(raw_scores[:, 0])
    keep = np.flatnonzero(scores >= config.min_score)
    keep = keep[np.argsort(-scores[keep], kind="stable")]
    values = raw_boxes[keep] / config.input_size
    centres = anchor_centres(config)[keep]
    middle, half = values[:, :2] + centres, values[:, 2:4] / 2
    points = values[:, 4:].reshape(len(keep), config.keypoints, 2) + centres[:, None]
    return Detections(np.concatenate([middle - half, middle + half], axis=1), points, scores[keep])


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union (N, M) of boxes ``a`` (N, 4) and ``b`` (M, 4), x0, y0, x1, y1."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.prod(np.clip(high - low, 0, None), axis=-1)
    area_a, area_b = (np.prod(np.clip(x[:, 2:] - x[:, :2], 0, None), axis=-1) for x in (a, b))
    union = area_a[:, None] + area_b[None] - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def weighted_nms(detections: Detections, max_iou: float) -> Detections:
    """Blends each best detection with all that overlap it by more than ``max_iou``, weighted by their scores.

    Blending instead of dropping keeps boxes of a video steady (BlazeFace, arXiv 1907.05047, section 3.4). The score is
    that of the best of each group. Boxes left may still overlap one another after blending.
    """
    order = np.argsort(-detections.scores, kind="stable")
    boxes, points, scores = detections.boxes[order], detections.keypoints[order], detections.scores[order]
    left = np.arange(len(scores))
    out_boxes, out_points, out_scores = [], [], []
    while len(left):
        overlap = box_iou(boxes[left[:1]], boxes[left])[0] > max_iou
        overlap[0] = True
        group = left[overlap]
        weights = scores[group] / scores[group].sum()
        out_boxes.append(weights @ boxes[group])
        out_points.append(np.einsum("n,nkd->kd", weights, points[group]))
        out_scores.append(scores[group[0]])
        left = left[~overlap]
    if not out_scores:
        return detections.pick(np.zeros(0, dtype=int))
    return Detections(np.stack(out_boxes), np.stack(out_points), np.array(out_scores, dtype=scores.dtype))


class Detector:
    """One detector network: a square uint8 RGB picture in, suppressed detections in its unit coordinates out."""

    def __init__(self, session: LiteSession, config: DetectorConfig) -> None:
        self.session = session
        self.config = config

    def __call__(self, crop: np.ndarray) -> Detections:
        """Detections of ``crop`` (S, S, 3) uint8 with S = ``config.input_size``."""
        out = self.session(scale_pixels(crop, self.config.value_range))
        found = decode(out[self.config.boxes], out[self.config.scores], self.config)
        return weighted_nms(found, self.config.max_iou)
