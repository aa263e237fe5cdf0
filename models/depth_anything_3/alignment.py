"""Predicted cameras against given ones: one similarity, and what it does to depth."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from models.geometry.cameras import camera_centers, homogeneous
from models.geometry.similarity import Similarity, align_extrinsics, ransac_umeyama, umeyama
from models.runtime.errors import InputError

MANY = 10  # cameras from which outliers are looked for
DRAWS = 10
SEED = 42
POSE_SCALE_RANGE = (1 / 3, 3.0)


def align_cameras(estimate: ArrayLike, reference: ArrayLike, upstream_compat: bool = False) -> Similarity:
    """The similarity of the world that takes the cameras ``estimate`` onto ``reference``, (N, 3|4, 4) each.

    Camera centres decide; from ten cameras on, by RANSAC with a threshold of the median distance to the nearest
    reference camera after a first fit. One or two cameras and collinear paths are settled by the cameras' axes.

    Args:
        upstream_compat: refuse the cases that centres alone do not settle.
    Raises:
        InputError: only with ``upstream_compat``.
    """
    source, target = camera_centers(estimate), camera_centers(reference)
    if upstream_compat or len(source) >= MANY:
        try:
            first = umeyama(source, target)
        except InputError:
            if upstream_compat:
                raise
            return align_extrinsics(estimate, reference)
        return _robust(source, target, first) if len(source) >= MANY else first
    return align_extrinsics(estimate, reference)


def _robust(source: np.ndarray, target: np.ndarray, first: Similarity) -> Similarity:
    distance = np.linalg.norm(first.apply(source)[:, None] - target[None], axis=-1)
    threshold = float(np.median(distance.min(axis=1)))
    sample = max(3, (len(source) + 1) // 2)
    try:
        return ransac_umeyama(source, target, threshold, np.random.default_rng(SEED), DRAWS, sample)[0]
    except InputError:  # no draw had three inliers
        return first


def move_cameras(extrinsics: ArrayLike, similarity: Similarity) -> np.ndarray:
    """World-to-camera (N, 4, 4) of cameras that moved with the world."""
    return homogeneous(similarity.apply_extrinsics(extrinsics))


def to_given_cameras(
    depth: np.ndarray,
    predicted: ArrayLike,
    given: ArrayLike,
    keep_given_scale: bool = True,
    upstream_compat: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Depth (N, H, W) and cameras of a prediction that was conditioned on given cameras.

    Args:
        predicted, given: world-to-camera (N, 3|4, 4).
        keep_given_scale: take the given cameras as they are and divide depth by the scale between the two worlds;
            otherwise move the given cameras into the predicted world and leave depth alone.
    Returns:
        Depth (N, H, W) and extrinsics, (N, 3, 4) in the given world or (N, 4, 4) in the predicted one.
    """
    similarity = align_cameras(given, predicted, upstream_compat)
    if not keep_given_scale:
        return depth, move_cameras(given, similarity)
    return depth / similarity.scale, np.asarray(given)[:, :3]


def pose_scale(given: ArrayLike, predicted: ArrayLike) -> float:
    """How much larger the given cameras' world is than the predicted one, within 1/3..3; 1 for one camera."""
    try:
        scale = umeyama(camera_centers(predicted), camera_centers(given)).scale
    except InputError:
        scale = align_extrinsics(predicted, given).scale
    return float(np.clip(scale, *POSE_SCALE_RANGE))
