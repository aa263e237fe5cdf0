"""Camera paths for videos of Gaussian splats. Poses are camera-to-world (M, 4, 4), intrinsics (M, 3, 3) in pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.geometry.cameras import camera_centers, homogeneous
from models.runtime.errors import InputError

Mode = Literal[
    "original", "smooth", "interpolate", "interpolate_smooth", "wander", "dolly_zoom", "extend", "wobble_inter"
]
Array = NDArray[np.float64]
FPS = 24
STEPS = 8  # poses per gap between two views
SHORTEST, TOO_LONG, LONGEST = 2 * FPS, 18 * FPS, 10 * FPS  # poses of a whole path
TAPS = 51
PARALLEL = 1e-4
LOOP = 120  # poses of a round trip
DISPARITY = 24.0  # pixels that a wandering camera moves, at unit depth
DOLLY, DOLLY_DEPTH = 2.0, 30.0
SHORT_DOLLY, SHORT_DOLLY_DEPTH = 0.1, 10.0
WOBBLE_EVERY, WOBBLE_STEPS = 3, 30


@dataclass(frozen=True)
class Path:
    """``poses`` (M, 4, 4) camera-to-world and ``intrinsics`` (M, 3, 3). Smoothed poses are nearly rigid only."""

    poses: Array
    intrinsics: Array

    def extrinsics(self) -> Array:
        """World-to-camera (M, 4, 4): transposed rotations."""
        R = np.swapaxes(self.poses[:, :3, :3], 1, 2)
        E = np.tile(np.eye(4), (len(R), 1, 1))
        E[:, :3, :3] = R
        E[:, :3, 3] = -np.einsum("nij,nj->ni", R, self.poses[:, :3, 3])
        return E

    def __len__(self) -> int:
        return len(self.poses)

    def __getitem__(self, part: slice) -> Path:
        return Path(self.poses[part], self.intrinsics[part])


def trajectory(mode: Mode, extrinsics: ArrayLike, intrinsics: ArrayLike) -> Path:
    """The path of a mode through given views.

    Args:
        extrinsics: world-to-camera (N, 3|4, 4); intrinsics: (N, 3, 3) in pixels.
    Raises:
        InputError: the mode needs more views.
    """
    E, K = homogeneous(np.asarray(extrinsics, np.float64)), np.asarray(intrinsics, np.float64)
    views = Path(np.linalg.inv(E), K)
    if len(views) == 1 and mode != "dolly_zoom":
        mode = "wander"
    make: dict[str, Callable[[Path], Path]] = {
        "original": lambda v: v,
        "smooth": smooth,
        "interpolate": interpolate,
        "interpolate_smooth": lambda v: smooth(interpolate(v)),
        "wander": lambda v: wander(v[:1]),
        "dolly_zoom": lambda v: dolly_zoom(v[:1]),
        "extend": extend,
        "wobble_inter": wobble_between,
    }
    return make[mode](views)


def smooth(views: Path, taps: int = TAPS) -> Path:
    """Poses blurred along the path with a Gaussian; rotations by their first two axes."""
    n = len(views)
    taps = max(3, min(taps, n if n % 2 else n - 1))
    kernel = cv2.getGaussianKernel(taps, -1)[:, 0]
    reach = taps // 2
    columns = np.concatenate([views.poses[:, :3, 0], views.poses[:, :3, 1], views.poses[:, :3, 3]], axis=1)
    padded = np.pad(columns, ((reach, reach), (0, 0)), mode="reflect" if n > reach else "symmetric")
    blurred = np.stack([np.convolve(c, kernel, mode="valid") for c in padded.T], axis=1)
    poses = views.poses.copy()
    x, y = (blurred[:, i : i + 3] / np.linalg.norm(blurred[:, i : i + 3], axis=1, keepdims=True) for i in (0, 3))
    poses[:, :3, 0], poses[:, :3, 1], poses[:, :3, 2] = x, y, np.cross(x, y)
    poses[:, :3, 3] = blurred[:, 6:]
    return Path(poses, views.intrinsics)


def steps_between(count: int) -> int:
    """Poses per gap of ``count`` views: 8, more for a short path and fewer for a very long one."""
    total = STEPS * (count - 1)
    if total > TOO_LONG:
        return LONGEST // (count - 1)
    if total < SHORTEST:
        return SHORTEST // (count - 1)
    return STEPS


def interpolate(views: Path) -> Path:
    """From view to view with a soft start and stop in each gap."""
    count = steps_between(len(views))
    if count <= 2:
        return views
    t = np.linspace(0, 1, count)
    eased = (np.cos(np.pi * (t + 1)) + 1) / 2
    poses, lenses = [], []
    for i in range(len(views) - 1):
        part = eased if i == 0 else eased[1:]
        poses.append(pivot_between(views.poses[i], views.poses[i + 1], part))
        lenses.append(_blend(views.intrinsics[i], views.intrinsics[i + 1], part))
    return Path(np.concatenate(poses), np.concatenate(lenses))


def _blend(a: Array, b: Array, t: Array) -> Array:
    return a + (b - a) * t[:, None, None]


def pivot_between(first: Array, last: Array, t: Array) -> Array:
    """Poses (T, 4, 4) between two by turning around the point both look at: where their optical axes come nearest, or
    halfway between parallel cameras. Distances to it change evenly, angles go the shorter way round."""
    looks = first[:3, 2], last[:3, 2]
    centers = first[:3, 3], last[:3, 3]
    parallel = abs(abs(looks[0] @ looks[1]) - 1) < PARALLEL
    pivot = (centers[0] + centers[1]) / 2 if parallel else _nearest_point(centers, looks)
    frame = _plane_frame(*looks)
    a, b = (_around(pose, frame, pivot) for pose in (first, last))
    return np.stack([_placed(_mix(a, b, s), frame, pivot) for s in t])


def _nearest_point(centers: tuple[Array, Array], directions: tuple[Array, Array]) -> Array:
    """The point with the least squared distance to two lines."""
    across = [np.eye(3) - np.outer(d, d) for d in directions]
    return np.linalg.lstsq(sum(across), sum(m @ c for m, c in zip(across, centers, strict=True)), rcond=None)[0]


def _plane_frame(a: Array, b: Array) -> Array:
    """Columns x, y, z: z along ``a``, y across the plane of ``a`` and ``b``."""
    for other in (b, np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])):
        if abs(abs(a @ other) - 1) >= PARALLEL:
            y = np.cross(a, other)
            y /= np.linalg.norm(y)
            return np.stack([np.cross(y, a), y, a], axis=1)
    raise InputError("A camera without a viewing direction cannot be interpolated")


def _around(pose: Array, frame: Array, pivot: Array) -> Array:
    """(5,): the way to the pivot along the camera's own axes in the plane, the angle in it, and the roll."""
    y, look = frame[:, 1], pose[:3, 2]
    axes = np.stack([np.cross(y, look), y, look], axis=1)
    R = np.linalg.inv(frame) @ pose[:3, :3]
    return np.array([*(axes.T @ (pivot - pose[:3, 3])), np.arctan2(R[0, 2], R[2, 2]), np.arctan2(R[1, 0], R[1, 1])])


def _mix(a: Array, b: Array, t: float) -> Array:
    gap = b - a
    gap[3:] = (gap[3:] + np.pi) % (2 * np.pi) - np.pi
    return a + gap * t


def _placed(values: Array, frame: Array, pivot: Array) -> Array:
    """The pose of ``_around``'s values."""
    (sy, cy), (sz, cz) = ((np.sin(v), np.cos(v)) for v in values[3:])
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]) @ np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    R = frame @ turn
    y, look = frame[:, 1], R[:, 2]
    pose = np.eye(4)
    pose[:3, :3] = R
    pose[:3, 3] = pivot - np.stack([np.cross(y, look), y, look], axis=1) @ values[:3]
    return pose


def _moved(view: Path, offsets: Array) -> Array:
    """The view's pose shifted by offsets (T, 3) in its own frame."""
    poses = np.repeat(view.poses[:1], len(offsets), axis=0)
    poses[:, :3, 3] += offsets @ view.poses[0, :3, :3].T
    return poses


def wander(view: Path, count: int = LOOP, disparity: float = DISPARITY) -> Path:
    """A round trip on an ellipse before one view, which also begins and ends it."""
    angle = 2 * np.pi * np.linspace(0, 1, count)
    r = disparity / view.intrinsics[0, 0, 0]
    offsets = np.stack([-r * np.sin(angle), -r * np.cos(angle) / 3, -r * np.cos(angle) / 3], axis=1)
    poses = np.concatenate([view.poses[:1], _moved(view, offsets), view.poses[:1]])
    return Path(poses, np.repeat(view.intrinsics[:1], count + 2, axis=0))


def dolly_zoom(view: Path, count: int = LOOP, way: float = DOLLY, depth: float = DOLLY_DEPTH) -> Path:
    """Back and forth again while zooming, so that what is ``depth`` away keeps its size."""
    back = 0.5 * (1 - np.cos(2 * np.pi * np.linspace(0, 1, count))) * way
    lenses = np.repeat(view.intrinsics[:1], count, axis=0)
    lenses[:, 0, 0] *= depth / (depth + back)
    lenses[:, 1, 1] *= depth / (depth + back)
    return Path(_moved(view, np.stack([0 * back, 0 * back, -back], axis=1)), lenses)


def extend(views: Path) -> Path:
    """The smooth path through all views, with a round trip and a dolly zoom half way."""
    path = smooth(interpolate(views))
    middle = len(path) // 2
    count = int(np.clip(middle // 2, 36, 60))
    here = path[middle : middle + 1]
    parts = (
        path[:middle],
        wander(here, count),
        dolly_zoom(here, count, SHORT_DOLLY, SHORT_DOLLY_DEPTH),
        path[middle:],
    )
    return Path(np.concatenate([p.poses for p in parts]), np.concatenate([p.intrinsics for p in parts]))


def wobble_between(views: Path) -> Path:
    """Between every third view, circling around the way with half its length as radius.

    Raises:
        InputError: fewer than four views.
    """
    if len(views) < WOBBLE_EVERY + 1:
        raise InputError(f"wobble_inter needs at least {WOBBLE_EVERY + 1} views; use wander or extend")
    chosen = views[::WOBBLE_EVERY]
    t = np.linspace(0, 1, WOBBLE_STEPS)
    angle = 2 * np.pi * t
    poses, lenses = [], []
    for i in range(len(chosen) - 1):
        between = pivot_between(chosen.poses[i], chosen.poses[i + 1], t)
        r = np.linalg.norm(np.subtract(*camera_centers(np.linalg.inv(chosen.poses[i : i + 2])))) / 2
        offsets = np.stack([r * np.sin(angle), -r * np.cos(angle), 0 * angle], axis=1)
        between[:, :3, 3] += np.einsum("nij,nj->ni", between[:, :3, :3], offsets)
        poses.append(between)
        lenses.append(_blend(chosen.intrinsics[i], chosen.intrinsics[i + 1], t))
    return Path(np.concatenate(poses), np.concatenate(lenses))
