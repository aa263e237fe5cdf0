"""Depth maps of all views: plans each sweep, runs one view per thread, and reports as views finish."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np

from pipelines.scene.sweep import PlaneFamily, SweepResult, SweepSettings, sweep_view

_MAX_PLANES = 256
_MIN_PLANES = 32
_PLANE_STEP_PX = 0.75  # distance between neighbouring planes along the epipolar line, in pixels
_WORKING_BYTES = 3 * 1024**3  # for the cost volumes of all threads together


@dataclass(frozen=True)
class View:
    """One view at depth resolution. ``grey`` (H, W) float32 0..255, ``extrinsics`` (3, 4), ``intrinsics`` (3, 3),
    ``near``/``far`` the depth range to search."""

    grey: np.ndarray
    extrinsics: np.ndarray
    intrinsics: np.ndarray
    near: float
    far: float


def plane_homographies(reference: View, sources: Sequence[View]) -> tuple[np.ndarray, np.ndarray]:
    """A (S, 3, 3) and b (S, 3), float32: pixel (x, y, 1) at inverse depth q lands at A p + q b in the source."""
    A, b = [], []
    inverse = np.linalg.inv(reference.intrinsics)
    for source in sources:
        R = source.extrinsics[:, :3] @ reference.extrinsics[:, :3].T
        t = source.extrinsics[:, 3] - R @ reference.extrinsics[:, 3]
        A.append(source.intrinsics @ R @ inverse)
        b.append(source.intrinsics @ t)
    return np.array(A, np.float32), np.array(b, np.float32)


def facing_planes(reference: View, sources: Sequence[View], count: int = 0) -> PlaneFamily:
    """Planes parallel to the image from far to near; ``count`` 0 makes neighbours about 0.75 px apart."""
    low, high = 1.0 / reference.far, 1.0 / reference.near
    if count == 0:
        h, w = reference.grey.shape
        spots = np.array([[x, y, 1.0] for x in (0.2 * w, 0.8 * w) for y in (0.2 * h, 0.5 * h, 0.8 * h)])
        count = _count(reference, sources, spots, low, high)
    return PlaneFamily(np.array([0.0, 0.0, 1.0]), np.linspace(low, high, count))


def _pixels(reference: View, sources: Sequence[View], spots: np.ndarray, low: float, high: float) -> float:
    """How far the spots (S, 3) move in the sources between two inverse depths: the median in pixels."""
    A, b = plane_homographies(reference, sources)
    spans = []
    for matrix, shift in zip(A, b, strict=True):
        ends = [spots @ matrix.T + q * shift for q in (low, high)]
        pixels = [e[:, :2] / np.maximum(e[:, 2:], 1e-6) for e in ends]
        spans.append(np.median(np.linalg.norm(pixels[1] - pixels[0], axis=1)))
    return float(np.median(spans))


def _count(reference: View, sources: Sequence[View], spots: np.ndarray, low: float, high: float) -> int:
    return int(np.clip(_pixels(reference, sources, spots, low, high) / _PLANE_STEP_PX + 1, _MIN_PLANES, _MAX_PLANES))


def thread_count(jobs: int) -> int:
    return max(1, min(os.cpu_count() or 1, jobs))


def sweep_all(
    views: Sequence[View],
    source_ids: Sequence[Sequence[int]],
    plan: Callable[[View, Sequence[View]], PlaneFamily | None],
    settings: SweepSettings,
) -> Iterator[tuple[int, SweepResult | None]]:
    """Depth of every view, in the order in which they finish; ``plan`` chooses the planes of a view, or None to leave
    it out. Leaving the iterator starts no further view."""
    largest = max(v.grey.size for v in views) * _MAX_PLANES * 3
    workers = min(thread_count(len(views)), max(1, _WORKING_BYTES // largest))
    waiting = [i for i in range(len(views)) if source_ids[i]]

    def one(i: int) -> SweepResult | None:
        sources = [views[j] for j in source_ids[i]]
        family = plan(views[i], sources)
        if family is None:
            return None
        A, b = plane_homographies(views[i], sources)
        return sweep_view(views[i].grey, [s.grey for s in sources], A, b, family, settings)

    running: dict[Future[SweepResult | None], int] = {}
    with ThreadPoolExecutor(workers) as pool:
        while waiting or running:
            while waiting and len(running) < workers:
                i = waiting.pop(0)
                running[pool.submit(one, i)] = i
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield running.pop(future), future.result()
