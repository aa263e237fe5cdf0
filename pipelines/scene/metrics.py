"""How good cameras, clouds and depth maps are against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from models.geometry.cameras import homogeneous, rotation_angle_error, translation_angle_error

AUC_LIMITS = (30, 15, 5, 3)  # degrees


@dataclass(frozen=True)
class PoseErrors:
    """Angles in degrees of every pair of views: ``rotation`` and ``translation`` (P,), the latter at most 90."""

    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]

    def auc(self, limit: int) -> float:
        """Mean over 1, 2, ... ``limit`` degrees of the share of pairs whose larger error stays below that."""
        worst = np.maximum(self.rotation, self.translation)
        counts, _ = np.histogram(worst, bins=np.arange(limit + 1))
        return float(np.mean(np.cumsum(counts / max(len(worst), 1))))


def from_first(extrinsics: ArrayLike) -> NDArray[np.float64]:
    """World-to-camera (N, 4, 4) in the frame of the first view."""
    E = homogeneous(np.asarray(extrinsics, np.float64))
    return E @ np.linalg.inv(E[0])


def pose_errors(predicted: ArrayLike, truth: ArrayLike) -> PoseErrors:
    """Errors of the relative poses of all pairs; world-to-camera (N, 3|4, 4) each."""
    a, b = from_first(predicted), from_first(truth)
    i, j = np.triu_indices(len(a), 1)
    relative = [np.linalg.inv(E[i]) @ E[j] for E in (a, b)]
    angle = translation_angle_error(*relative)
    return PoseErrors(rotation_angle_error(*relative), np.minimum(angle, 180 - angle))


@dataclass(frozen=True)
class CloudErrors:
    """``accuracy`` and ``completeness``: mean distances from prediction to truth and back, in their unit;
    ``precision`` and ``recall``: shares nearer than a threshold."""

    accuracy: float
    completeness: float
    precision: float
    recall: float

    @property
    def overall(self) -> float:
        return (self.accuracy + self.completeness) / 2

    @property
    def f_score(self) -> float:
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total > 0 else 0.0


def cloud_errors(predicted: ArrayLike, truth: ArrayLike, threshold: float) -> CloudErrors:
    """Nearest-neighbour distances between clouds (P, 3) and (Q, 3) in one frame."""
    a, b = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    there, back = cKDTree(b).query(a)[0], cKDTree(a).query(b)[0]
    return CloudErrors(
        float(there.mean()), float(back.mean()), float((there < threshold).mean()), float((back < threshold).mean())
    )


def voxel_means(points: ArrayLike, size: float) -> NDArray[np.float64]:
    """The mean point of every cube of that size, (P, 3) -> (Q, 3)."""
    points = np.asarray(points, np.float64)
    _, index = np.unique(np.floor(points / size).astype(np.int64), axis=0, return_inverse=True)
    index = index.ravel()
    sums = np.stack([np.bincount(index, points[:, k]) for k in range(3)], axis=1)
    return sums / np.bincount(index)[:, None]


@dataclass(frozen=True)
class DepthErrors:
    """``abs_rel`` mean relative error, ``rmse`` in the unit of the truth, ``delta1`` share within a factor of 1.25."""

    abs_rel: float
    rmse: float
    delta1: float


def depth_errors(predicted: Sequence[ArrayLike], truth: Sequence[ArrayLike], fit_scale: bool = True) -> DepthErrors:
    """Depth maps against the truth where both are positive; ``fit_scale`` brings the medians together first."""
    a, b = (np.concatenate([np.ravel(m) for m in maps]).astype(np.float64) for maps in (predicted, truth))
    known = (a > 0) & (b > 0) & np.isfinite(a) & np.isfinite(b)
    a, b = a[known], b[known]
    if fit_scale:
        a = a * (np.median(b) / np.median(a))
    ratio = np.maximum(a / b, b / a)
    return DepthErrors(
        float(np.mean(np.abs(a - b) / b)), float(np.sqrt(np.mean((a - b) ** 2))), float(np.mean(ratio < 1.25))
    )
