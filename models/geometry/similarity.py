"""Similarity transforms between point sets, as numpy arrays: Umeyama's closed form and a robust version of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.runtime.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Similarity:
    """``y = scale * rotation @ x + translation``."""

    scale: float
    rotation: Array  # (3, 3)
    translation: Array  # (3,)

    @property
    def matrix(self) -> Array:
        """(4, 4) for homogeneous points."""
        T = np.eye(4)
        T[:3, :3] = self.scale * self.rotation
        T[:3, 3] = self.translation
        return T

    def apply(self, points: ArrayLike) -> Array:
        """Points (..., 3) -> (..., 3)."""
        return self.scale * np.asarray(points, dtype=np.float64) @ self.rotation.T + self.translation

    def apply_extrinsics(self, extrinsics: ArrayLike) -> Array:
        """World-to-camera (..., 3, 4) of cameras that moved along with the world, their depth scaled by ``scale``."""
        E = np.asarray(extrinsics, dtype=np.float64)
        R = E[..., :3, :3] @ self.rotation.T
        t = self.scale * E[..., :3, 3] - R @ self.translation
        return np.concatenate([R, t[..., None]], axis=-1)

    def inverse(self) -> Similarity:
        R = self.rotation.T
        return Similarity(1 / self.scale, R, -(R @ self.translation) / self.scale)

    def compose(self, other: Similarity) -> Similarity:
        """``self`` after ``other``."""
        return Similarity(
            self.scale * other.scale,
            self.rotation @ other.rotation,
            self.scale * self.rotation @ other.translation + self.translation,
        )


def _point_pair(source: ArrayLike, target: ArrayLike) -> tuple[Array, Array]:
    x, y = np.asarray(source, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 2 or x.shape[1] != 3:
        raise ValueError(f"alignment takes two (N, 3) arrays, not {x.shape} and {y.shape}")
    return x, y


def umeyama(
    source: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None, with_scale: bool = True
) -> Similarity:
    """The similarity (or rigid motion) that takes ``source`` nearest to ``target`` in least squares.

    Args:
        source, target: (N, 3) corresponding points, N >= 3, not all on one line.
        weights: (N,) non-negative, None for equal weights.
    Raises:
        InputError: fewer than three points, or they lie on one line, so that the rotation is not determined.
    Source: Umeyama 1991, equations 39-43.
    """
    x, y = _point_pair(source, target)
    w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (len(x),) or np.any(w < 0):
        raise ValueError("weights must be (N,) and non-negative")
    if np.count_nonzero(w) < 3:
        raise InputError("Aligning two point sets needs at least three corresponding points.")
    w = w / w.sum()
    mean_x, mean_y = w @ x, w @ y
    dx, dy = x - mean_x, y - mean_y
    spread = w @ np.square(dx).sum(axis=1)
    covariance = (w[:, None] * dy).T @ dx
    U, D, Vt = np.linalg.svd(covariance)
    if D[1] <= 1e-9 * D[0] or not _planar(w, dx, mean_x) or not _planar(w, dy, mean_y):
        raise InputError("The points to align lie on one line, which leaves the rotation about it undetermined.")
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(U) * np.linalg.det(Vt))])
    R = (U * sign) @ Vt
    scale = float((D * sign).sum() / spread) if with_scale else 1.0
    if scale <= 0:
        raise InputError("The two point sets are mirror images of each other; no similarity takes one to the other.")
    return Similarity(scale, R, mean_y - scale * R @ mean_x)


def _planar(weights: Array, centred: Array, mean: Array) -> bool:
    """True when points (N, 3) around their mean span at least a plane, judged against their own rounding error."""
    singular = np.linalg.svd(np.sqrt(weights)[:, None] * centred, compute_uv=False)
    return bool(singular[1] > max(1e-6 * singular[0], 1e-12 * np.abs(mean).max()))


def align_extrinsics(source: ArrayLike, target: ArrayLike, with_scale: bool = True) -> Similarity:
    """The similarity that takes the cameras ``source`` onto ``target``, (N, 3|4, 4) world-to-camera each.

    Three or more camera centres that are not on one line decide it alone. Otherwise (two cameras, or a path along a
    line) the rotation is the mean rotation between the cameras' axes, and scale and translation follow from the
    centres; a single camera, or cameras at one place, keep scale 1.

    Raises:
        InputError: no cameras.
    """
    a, b = np.asarray(source, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if len(a) == 0 or len(a) != len(b):
        raise InputError("Aligning cameras needs the same number of cameras on both sides, at least one.")
    ca, cb = (-np.einsum("nji,nj->ni", e[:, :3, :3], e[:, :3, 3]) for e in (a, b))
    if len(a) >= 3:
        try:
            return umeyama(ca, cb, with_scale=with_scale)
        except InputError:
            pass  # collinear centres: the cameras' own axes settle what the centres leave open
    U, _, Vt = np.linalg.svd(np.einsum("nji,njk->ik", b[:, :3, :3], a[:, :3, :3]))
    R = (U * np.array([1.0, 1.0, np.linalg.det(U @ Vt)])) @ Vt
    da, db = ca - ca.mean(axis=0), cb - cb.mean(axis=0)
    spread = float(np.square(da).sum())
    overlap = float((db * (da @ R.T)).sum())
    apart = spread > np.square(1e-9 * np.abs(ca).max())  # else what is left of the centres is rounding
    scale = overlap / spread if with_scale and apart and overlap > 0 else 1.0
    return Similarity(scale, R, cb.mean(axis=0) - scale * R @ ca.mean(axis=0))


def ransac_umeyama(
    source: ArrayLike,
    target: ArrayLike,
    threshold: float,
    rng: np.random.Generator,
    draws: int = 100,
    sample: int = 3,
    with_scale: bool = True,
) -> tuple[Similarity, NDArray[np.bool_]]:
    """Umeyama that survives outliers: the draw with the most inliers (then the least mean error) is refitted.

    Args:
        source, target: (N, 3) corresponding points.
        threshold: largest distance of an inlier, in units of ``target``.
        rng: decides the draws, so that a seed decides the result.
        sample: points per draw, at least 3.
    Returns:
        The similarity and the (N,) mask of its inliers.
    Raises:
        InputError: fewer points than a draw needs, or no draw has three inliers that determine a rotation.
    """
    x, y = _point_pair(source, target)
    if sample < 3 or len(x) < sample:
        raise InputError(f"Robust alignment needs at least {max(sample, 3)} corresponding points, not {len(x)}.")
    best: tuple[int, float, NDArray[np.bool_]] | None = None
    for _ in range(draws):
        chosen = rng.choice(len(x), size=sample, replace=False)
        try:
            fit = umeyama(x[chosen], y[chosen], with_scale=with_scale)
        except InputError:
            continue  # a degenerate draw
        error = np.linalg.norm(fit.apply(x) - y, axis=1)
        inliers = error <= threshold
        count = int(inliers.sum())
        if count < 3:
            continue
        score = (count, -float(error[inliers].mean()))
        if best is None or score > best[:2]:
            best = (*score, inliers)
    if best is None:
        raise InputError("No similarity fits three or more of the points; they do not correspond or are degenerate.")
    inliers = best[2]
    fit = umeyama(x[inliers], y[inliers], with_scale=with_scale)
    return fit, np.linalg.norm(fit.apply(x) - y, axis=1) <= threshold
