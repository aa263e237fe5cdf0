"""Multi-view geometric consistency: which depths other views confirm, and their average."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, fastmath=True)
def confirm(
    i: int,
    others: np.ndarray,
    depths: np.ndarray,
    sizes: np.ndarray,
    K: np.ndarray,
    K_inv: np.ndarray,
    E: np.ndarray,
    pixel_tolerance: float,
    depth_tolerance: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Checks view ``i`` against ``others`` (J,) by projecting there and back.

    depths (N, H, W) float32, 0 = none; sizes (N, 2) as (h, w); K, K_inv (N, 3, 3) and E (N, 3, 4) world-to-camera
    float64. A depth is confirmed by a view if the point found there comes back within ``pixel_tolerance`` pixels and
    ``depth_tolerance`` relative depth. Returns the number of confirming views (H, W) int16, the mean of the own and
    the confirmed depths (H, W) float32, and the mean return error (H, W) float32 in pixels.
    """
    h, w = sizes[i]
    count = np.zeros(depths.shape[1:], np.int16)
    mean = np.zeros(depths.shape[1:], np.float32)
    error = np.zeros(depths.shape[1:], np.float32)
    n = len(others)
    A, b, A_back, b_back = np.empty((n, 3, 3)), np.empty((n, 3)), np.empty((n, 3, 3)), np.empty((n, 3))
    for k in range(n):
        j = others[k]
        R = np.ascontiguousarray(E[j, :, :3]) @ np.ascontiguousarray(E[i, :, :3].T)
        t = np.ascontiguousarray(E[j, :, 3]) - R @ np.ascontiguousarray(E[i, :, 3])
        back_R = np.ascontiguousarray(R.T)
        A[k] = K[j] @ R @ K_inv[i]
        b[k] = K[j] @ t
        A_back[k] = K[i] @ back_R @ K_inv[j]
        b_back[k] = -(K[i] @ (back_R @ t))
    for y in range(h):
        for x in range(w):
            depth = depths[i, y, x]
            if depth <= 0:
                continue
            total, wrong, found = float(depth), 0.0, 0
            for k in range(n):
                j = others[k]
                z = depth * (A[k, 2, 0] * x + A[k, 2, 1] * y + A[k, 2, 2]) + b[k, 2]
                if z <= 0:
                    continue
                u = (depth * (A[k, 0, 0] * x + A[k, 0, 1] * y + A[k, 0, 2]) + b[k, 0]) / z
                v = (depth * (A[k, 1, 0] * x + A[k, 1, 1] * y + A[k, 1, 2]) + b[k, 1]) / z
                if not (-0.5 < u < sizes[j, 1] - 0.5 and -0.5 < v < sizes[j, 0] - 0.5):
                    continue
                iu, iv = int(u + 0.5), int(v + 0.5)
                there = depths[j, iv, iu]
                if there <= 0:
                    continue
                back = there * (A_back[k, 2, 0] * u + A_back[k, 2, 1] * v + A_back[k, 2, 2]) + b_back[k, 2]
                if back <= 0:
                    continue
                du = (there * (A_back[k, 0, 0] * u + A_back[k, 0, 1] * v + A_back[k, 0, 2]) + b_back[k, 0]) / back - x
                dv = (there * (A_back[k, 1, 0] * u + A_back[k, 1, 1] * v + A_back[k, 1, 2]) + b_back[k, 1]) / back - y
                off = np.sqrt(du * du + dv * dv)
                if off < pixel_tolerance and abs(back - depth) < depth_tolerance * depth:
                    found += 1
                    total += back
                    wrong += off
            count[y, x] = found
            mean[y, x] = total / (found + 1)
            if found:
                error[y, x] = wrong / found
    return count, mean, error


@njit(nogil=True, cache=True)
def drop_speckles(depth: np.ndarray, least: int, step: float) -> np.ndarray:
    """Mask (H, W) of the pixels in connected pieces of at least ``least`` pixels; 4-neighbours belong together when
    their depths differ by less than ``step`` relative. depth (H, W) float32, 0 = none."""
    h, w = depth.shape
    label = np.zeros((h, w), np.int32)
    keep = np.zeros((h, w), np.bool_)
    stack = np.empty(h * w, np.int32)
    current = 0
    for start in range(h * w):
        y0, x0 = start // w, start % w
        if depth[y0, x0] <= 0 or label[y0, x0] != 0:
            continue
        current += 1
        label[y0, x0] = current
        stack[0] = start
        top, read = 1, 0
        while read < top:
            y, x = stack[read] // w, stack[read] % w
            read += 1
            for k in range(4):
                yy = y + (1 if k == 0 else (-1 if k == 1 else 0))
                xx = x + (1 if k == 2 else (-1 if k == 3 else 0))
                if yy < 0 or xx < 0 or yy >= h or xx >= w or label[yy, xx] != 0 or depth[yy, xx] <= 0:
                    continue
                if abs(depth[yy, xx] - depth[y, x]) < step * depth[y, x]:
                    label[yy, xx] = current
                    stack[top] = yy * w + xx
                    top += 1
        if top >= least:
            for k in range(top):
                keep[stack[k] // w, stack[k] % w] = True
    return keep


def confirm_all(
    depth: np.ndarray,
    score: np.ndarray,
    sizes: np.ndarray,
    intrinsics: np.ndarray,
    extrinsics: np.ndarray,
    sources: Sequence[Sequence[int]],
    pixel_tolerance: float = 1.0,
    depth_tolerance: float = 0.02,
) -> tuple[np.ndarray, np.ndarray]:
    """Keeps what enough other views confirm (two, or one where only two views see a place).

    depth and score (N, H, W) float32, sizes (N, 2), cameras as in ``Prediction``, ``sources`` per view the views it was
    computed from. Returns depth (0 = not confirmed) and confidence: 0 or 0.5..1.
    """
    n = len(depth)
    K, E = np.ascontiguousarray(intrinsics, np.float64), np.ascontiguousarray(extrinsics, np.float64)
    K_inv = np.linalg.inv(K)
    partners = [sorted(set(sources[i]) | {j for j in range(n) if i in sources[j]}) for i in range(n)]

    def one(i: int) -> tuple[np.ndarray, np.ndarray]:
        others = np.array(partners[i], np.int64)
        if len(others) == 0:
            return np.zeros_like(depth[i]), np.zeros_like(depth[i])
        count, mean, error = confirm(i, others, depth, sizes, K, K_inv, E, pixel_tolerance, depth_tolerance)
        needed = min(2, len(others))
        kept = np.where(count >= needed, mean, 0).astype(np.float32)
        kept[~drop_speckles(kept, max(16, kept.size // 20_000), 0.03)] = 0
        quality = (1 - 0.6**count) * (0.5 + 0.5 * np.clip(score[i], 0, 1)) * (1 - 0.5 * np.clip(error, 0, 1))
        return kept, np.where(kept > 0, 0.5 + 0.5 * quality, 0).astype(np.float32)

    with ThreadPoolExecutor(max(1, min(os.cpu_count() or 1, n))) as pool:
        found = list(pool.map(one, range(n)))
    return np.stack([f[0] for f in found]), np.stack([f[1] for f in found])
