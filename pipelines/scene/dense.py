"""Depth maps of all views: plans each sweep, runs one view per thread, and reports as views finish."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np

from pipelines.scene.sweep import SweepResult, SweepSettings, sweep_view

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


def choose_planes(reference: View, sources: Sequence[View], count: int = 0) -> np.ndarray:
    """Inverse depths from far to near, evenly spaced; ``count`` 0 makes neighbours about 0.75 px apart."""
    low, high = 1.0 / reference.far, 1.0 / reference.near
    if count == 0:
        A, b = plane_homographies(reference, sources)
        h, w = reference.grey.shape
        corners = np.array([[x, y, 1.0] for x in (0.2 * w, 0.8 * w) for y in (0.2 * h, 0.5 * h, 0.8 * h)]).T
        spans = []
        for matrix, shift in zip(A, b, strict=True):
            ends = [matrix @ corners + q * shift[:, None] for q in (low, high)]
            pixels = [e[:2] / np.maximum(e[2], 1e-6) for e in ends]
            spans.append(np.median(np.linalg.norm(pixels[1] - pixels[0], axis=0)))
        count = int(np.clip(np.median(spans) / _PLANE_STEP_PX + 1, _MIN_PLANES, _MAX_PLANES))
    return np.linspace(low, high, count, dtype=np.float32)


def sweep_all(
    views: Sequence[View], source_ids: Sequence[Sequence[int]], planes: int, settings: SweepSettings
) -> Iterator[tuple[int, SweepResult]]:
    """Depth of every view, in the order in which they finish. Leaving the iterator starts no further view."""
    largest = max(v.grey.size for v in views) * (planes or _MAX_PLANES) * 3
    workers = max(1, min(os.cpu_count() or 1, len(views), _WORKING_BYTES // largest))
    waiting = [i for i in range(len(views)) if source_ids[i]]

    def one(i: int) -> SweepResult:
        sources = [views[j] for j in source_ids[i]]
        A, b = plane_homographies(views[i], sources)
        return sweep_view(
            views[i].grey, [s.grey for s in sources], A, b, choose_planes(views[i], sources, planes), settings
        )

    running: dict[Future[SweepResult], int] = {}
    with ThreadPoolExecutor(workers) as pool:
        while waiting or running:
            while waiting and len(running) < workers:
                i = waiting.pop(0)
                running[pool.submit(one, i)] = i
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield running.pop(future), future.result()
