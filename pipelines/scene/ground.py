"""The ground of a scene: level planes swept on their own, because a grazing floor looks different in every view.

Planes parallel to the image miss such a surface (Gallup et al. 2007, "Real-time plane-sweeping stereo with multiple
sweeping directions", section 3). Here its height is first voted for by all views together, then a plane is fitted to
what level sweeps find, and a narrow sweep around that plane gives the depth of the ground in each view.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from models.geometry.cameras import unproject
from pipelines.scene.dense import View, plane_homographies, sweep_all, thread_count
from pipelines.scene.sweep import COST_MAX, PlaneFamily, SweepSettings, family_homographies, stack_sources
from pipelines.scene.sweep import cost_volume as _cost_volume

_GRAZING = 0.01  # sine of the flattest angle at which ground is searched
_HEIGHTS = 96
_VOTERS = 6
_GOOD = 0.4  # correlation from which on a height gets votes
_CLEAR = 1.15  # how far the best height must stand out
_INLIER = 0.08  # distance to the plane, as a share of the cameras' height, that still belongs to it
_LEVEL = 0.985  # cosine of the steepest slope that is still ground
_SWEEP = SweepSettings(radius=6, noise=1.0, keep=3, p1=32, p2=800, p2_min=400)  # ground is smooth


@dataclass(frozen=True)
class Ground:
    """Plane ``normal @ x = offset`` in world coordinates, ``normal`` (3,) of unit length pointing up."""

    normal: np.ndarray
    offset: float

    def height(self, points: np.ndarray) -> np.ndarray:
        """Height of points (..., 3) above the plane."""
        return points @ self.normal - self.offset


def estimate_up(extrinsics: np.ndarray) -> np.ndarray:
    """The world's upward direction (3,) from cameras (N, 3, 4) that are held level: at right angles to all their x axes
    where those differ enough, else where the tops of the pictures point on average."""
    top = -extrinsics[:, 1, :3].mean(0)
    top /= np.linalg.norm(top) + 1e-12
    _, spread, axes = np.linalg.svd(extrinsics[:, 0, :3])
    if len(extrinsics) >= 3 and spread[1] > 0.15 * spread[0] and spread[2] < 0.3 * spread[1]:
        up = axes[2] * np.sign(axes[2] @ top)
        if up @ top > 0.7:
            return up
    return top


def find_ground(
    views: Sequence[View],
    source_ids: Sequence[Sequence[int]],
    up: np.ndarray,
    check: Callable[[], None] = lambda: None,
) -> Ground | None:
    """The plane the scene stands on, or None where the views agree on none. ``check`` is called between views."""
    elevation = _vote(views, source_ids, up)
    if elevation is None:
        return None
    level = Ground(up, elevation)
    points = []
    asked = [ids if i in _voters(source_ids) else () for i, ids in enumerate(source_ids)]
    for i, found in sweep_all(views, asked, lambda v, _: ground_planes(v, level, 0.6, 1.6, 160), _SWEEP):
        check()
        if found is None:
            continue
        sure = (found.inverse > 0) & (found.score > 0.6) & (found.margin > 0.01)
        depth = 1.0 / np.maximum(found.inverse.astype(np.float64), 1e-9)
        points.append(unproject(depth, views[i].intrinsics, views[i].extrinsics)[sure][::3])
    return _fit(np.concatenate(points), level, _centres(views)) if points else None


def sweep_ground(
    views: Sequence[View],
    source_ids: Sequence[Sequence[int]],
    ground: Ground,
    check: Callable[[], None] = lambda: None,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Depth (H, W) and correlation (H, W) of each view where a narrow sweep agrees with the ground plane, else 0.

    Within what the sweep can tell apart the plane itself is the answer: it is the same for all views.
    """
    depths = [np.zeros_like(v.grey) for v in views]
    scores = [np.zeros_like(v.grey) for v in views]
    for i, found in sweep_all(views, source_ids, lambda v, _: ground_planes(v, ground, 0.8, 1.25, 64), _SWEEP):
        check()
        if found is None:
            continue
        plane = _plane_inverse(views[i], ground)
        agrees = (plane > 0) & (found.inverse > 0) & (np.abs(found.inverse - plane) < _INLIER * plane)
        depths[i][agrees] = (1.0 / np.maximum(plane, 1e-9))[agrees]
        scores[i][agrees] = found.score[agrees]
    return depths, scores


def ground_planes(view: View, ground: Ground, low: float, high: float, count: int) -> PlaneFamily | None:
    """Planes parallel to the ground whose distance below the camera is 1 / high .. 1 / low times the ground's."""
    slope = -(view.extrinsics[:, :3] @ ground.normal) @ np.linalg.inv(view.intrinsics)
    height = float(ground.height(_centres([view])[0]))
    h, w = view.grey.shape
    left = slope[2] + slope[1] * np.arange(h)
    below = np.flatnonzero(np.minimum(left, left + slope[0] * (w - 1)) > _GRAZING)
    if height <= 0 or len(below) < 0.04 * h or below[-1] != h - 1:
        return None
    return PlaneFamily(slope, np.linspace(low / height, high / height, count), int(below[0]))


def _centres(views: Sequence[View]) -> np.ndarray:
    return np.array([-v.extrinsics[:, :3].T @ v.extrinsics[:, 3] for v in views])


def _plane_inverse(view: View, ground: Ground) -> np.ndarray:
    family = ground_planes(view, ground, 1.0, 1.0, 1)
    h, w = view.grey.shape
    x, y = np.meshgrid(np.arange(w), np.arange(h))
    facing = family.slope[0] * x + family.slope[1] * y + family.slope[2]
    facing[: family.first_row] = 0
    return np.maximum(facing, 0) * family.values[0]


def _voters(source_ids: Sequence[Sequence[int]]) -> list[int]:
    """Some views spread over all that have sources: enough to find one plane."""
    able = [i for i, ids in enumerate(source_ids) if len(ids)]
    return [able[k] for k in sorted({round(t) for t in np.linspace(0, len(able) - 1, _VOTERS)})] if able else []


def _vote(views: Sequence[View], source_ids: Sequence[Sequence[int]], up: np.ndarray) -> float | None:
    """The elevation at which level planes correlate best, seen by several views at once."""
    standing = _centres(views) @ up
    near = float(np.median([v.near for v in views]))
    below = np.geomspace(0.02, 1.0, _HEIGHTS) * near
    elevations = standing.min() - below
    voters = _voters(source_ids)

    def votes(i: int) -> np.ndarray | None:
        family = ground_planes(views[i], Ground(up, float(elevations[0])), 1.0, 1.0, 1)
        if family is None:
            return None
        sources = [views[j] for j in source_ids[i][:2]]
        family = replace(family, values=1.0 / (standing[i] - elevations))
        M = family_homographies(*plane_homographies(views[i], sources), family)
        stack, sizes = stack_sources([s.grey for s in sources])
        cost = _cost_volume(np.ascontiguousarray(views[i].grey[family.first_row :]), stack, sizes, M, 3, 1, 1.0)
        gain = np.maximum(0.0, (1 - _GOOD) * COST_MAX - cost.astype(np.float32)).mean((0, 1))
        return gain / max(float(np.median(gain)), 1e-6)

    with ThreadPoolExecutor(thread_count(len(voters))) as pool:
        cast = [v for v in pool.map(votes, voters) if v is not None]
    if not cast:
        return None
    total = np.mean(cast, axis=0)
    return float(elevations[total.argmax()]) if total.max() > _CLEAR else None


def _fit(points: np.ndarray, level: Ground, centres: np.ndarray) -> Ground | None:
    """Plane through most of the points (P, 3), nearly level and below every camera; RANSAC, then least squares."""
    if len(points) < 500:
        return None
    tolerance = _INLIER * float(np.median(level.height(centres)))
    rng = np.random.default_rng(0)
    sample = points[rng.choice(len(points), min(len(points), 20_000), replace=False)]
    best, most = None, 0
    for _ in range(300):
        a, b, c = sample[rng.choice(len(sample), 3, replace=False)]
        normal = np.cross(b - a, c - a)
        length = np.linalg.norm(normal)
        if length < 1e-12:
            continue
        normal *= np.sign(normal @ level.normal) / length
        inliers = int((np.abs(sample @ normal - normal @ a) < tolerance).sum())
        if normal @ level.normal > _LEVEL and inliers > most:
            best, most = Ground(normal, float(normal @ a)), inliers
    if best is None or most < 0.3 * len(sample):
        return None
    for _ in range(3):
        near = points[np.abs(best.height(points)) < tolerance]
        centre = near.mean(0)
        normal = np.linalg.svd((near - centre).T @ (near - centre))[0][:, 2]
        normal *= np.sign(normal @ level.normal)
        best = Ground(normal, float(normal @ centre))
    return best if best.normal @ level.normal > _LEVEL and best.height(centres).min() > 0 else None
