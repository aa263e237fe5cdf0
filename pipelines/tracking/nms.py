"""What was found twice: detections of several tiles, and how far two sets of landmarks lie apart."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from models.blaze.decode import Detections, box_iou


def join(parts: Iterable[Detections]) -> Detections | None:
    """All detections in one; None when there are no parts."""
    parts = list(parts)
    if not parts:
        return None
    return Detections(
        np.concatenate([p.boxes for p in parts]),
        np.concatenate([p.keypoints for p in parts]),
        np.concatenate([p.scores for p in parts]),
    )


def containment(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over the smaller area (N, M) of boxes ``a`` (N, 4) and ``b`` (M, 4), x0, y0, x1, y1."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.prod(np.clip(high - low, 0, None), axis=-1)
    area_a, area_b = (np.prod(np.clip(x[:, 2:] - x[:, :2], 0, None), axis=-1) for x in (a, b))
    smaller = np.minimum(area_a[:, None], area_b[None])
    return np.divide(inter, smaller, out=np.zeros_like(inter), where=smaller > 0)


def suppress_boxes(
    boxes: np.ndarray, scores: np.ndarray, max_iou: float, max_containment: float | None = None
) -> np.ndarray:
    """Indices of the boxes (N, 4) kept, best score first: each overlaps no better one by more than the limits.

    ``max_containment`` also drops boxes that lie largely inside a better one, or hold it.
    """
    kept: list[int] = []
    for index in np.argsort(-np.asarray(scores), kind="stable"):
        if kept:
            box, others = boxes[index : index + 1], boxes[kept]
            if box_iou(box, others).max() > max_iou:
                continue
            if max_containment is not None and containment(box, others).max() > max_containment:
                continue
        kept.append(int(index))
    return np.array(kept, dtype=int)


def shape_distance(a: np.ndarray, b: np.ndarray, scale: float, weights: np.ndarray | None = None) -> float:
    """Mean distance of corresponding points (K, 2+), third coordinates ignored, in units of ``scale`` pixels.

    ``weights`` (K,) say how much each point counts; infinite when none does.
    """
    gaps = np.linalg.norm(np.asarray(a)[:, :2] - np.asarray(b)[:, :2], axis=1)
    if weights is None:
        return float(gaps.mean()) / scale
    total = float(weights.sum())
    return float(gaps @ weights) / total / scale if total > 0 else float("inf")
