"""Multi-view geometric consistency: which depths other views confirm, and their average."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, fastmath=True)
def _depth_at(depth: np.ndarray, h: int, w: int, u: float, v: float) -> tuple[float, float, float]:
    """Depth at a sub-pixel place and where it holds: inverse depth is interpolated on a surface (it is linear on a
    plane), at an edge the nearest pixel's is taken at that pixel. 0 where nothing is known."""
    iu, iv = int(u + 0.5), int(v + 0.5)
    nearest = float(depth[iv, iu])
    if nearest <= 0:
        return 0.0, u, v
    u0, v0 = min(max(int(u), 0), w - 2), min(max(int(v), 0), h - 2)
    a, b, c, d = depth[v0, u0], depth[v0, u0 + 1], depth[v0 + 1, u0], depth[v0 + 1, u0 + 1]
    low, high = min(min(a, b), min(c, d)), max(max(a, b), max(c, d))
    if low <= 0 or high > 1.25 * low:
        return nearest, float(iu), float(iv)
    fu, fv = u - u0, v - v0
    inverse = (1 - fv) * ((1 - fu) / a + fu / b) + fv * ((1 - fu) / c + fu / d)
    return 1.0 / inverse, u, v


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
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Checks view ``i`` against ``others`` (J,) by projecting there and back.

    depths (N, H, W) float32, 0 = none; sizes (N, 2) as (h, w); K, K_inv (N, 3, 3) and E (N, 3, 4) world-to-camera
    float64. A depth is confirmed by a view if the point found there comes back within ``pixel_tolerance`` pixels and
    ``depth_tolerance`` relative depth. Returns the number of confirming views (H, W) int16, the number of
    views the point falls into (H, W) int16, the mean of the own and the confirmed depths (H, W) float32, and the mean
    return error (H, W) float32 in pixels.
    """
    h, w = sizes[i]
    count = np.zeros(depths.shape[1:], np.int16)
    looking = np.zeros(depths.shape[1:], np.int16)
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
                looking[y, x] += 1
                there, u, v = _depth_at(depths[j], sizes[j, 0], sizes[j, 1], u, v)
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
    return count, looking, mean, error


@njit(nogil=True, cache=True)
def connected(depth: np.ndarray, strong: np.ndarray, least: int, step: float) -> np.ndarray:
    """Mask (H, W) of the pixels in connected pieces with at least ``least`` strong pixels.

    4-neighbours belong together when their depths (H, W) float32, 0 = none, differ by less than ``step`` relative; so a
    weak pixel stays only where it continues a surface that is sure.
    """
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
        top, read, sure = 1, 0, 0
        while read < top:
            y, x = stack[read] // w, stack[read] % w
            read += 1
            if strong[y, x]:
                sure += 1
            for k in range(4):
                yy = y + (1 if k == 0 else (-1 if k == 1 else 0))
                xx = x + (1 if k == 2 else (-1 if k == 3 else 0))
                if yy < 0 or xx < 0 or yy >= h or xx >= w or label[yy, xx] != 0 or depth[yy, xx] <= 0:
                    continue
                if abs(depth[yy, xx] - depth[y, x]) < step * depth[y, x]:
                    label[yy, xx] = current
                    stack[top] = yy * w + xx
                    top += 1
        if sure >= least:
            for k in range(top):
                keep[stack[k] // w, stack[k] % w] = True
    return keep


@dataclass(frozen=True)
class Confirmed:
    """What views say of each other's depth, each (N, H, W): averaged ``depth`` (0 = none), ``count`` of confirming
    views, ``strong`` where enough views confirm, and the mean return ``error`` in pixels."""

    depth: np.ndarray
    count: np.ndarray
    strong: np.ndarray
    error: np.ndarray


def partners_of(sources: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """Per view the views that share a sweep with it, either way round."""
    n = len(sources)
    return [np.array(sorted(set(sources[i]) | {j for j in range(n) if i in sources[j]}), np.int64) for i in range(n)]


def confirm_all(
    depth: np.ndarray,
    sizes: np.ndarray,
    intrinsics: np.ndarray,
    extrinsics: np.ndarray,
    partners: Sequence[np.ndarray],
    enough: int = 2,
    pixel_tolerance: float = 1.0,
    depth_tolerance: float = 0.05,
) -> Confirmed:
    """Checks all views. depth (N, H, W) float32, sizes (N, 2), cameras as in ``Prediction``, ``partners`` per view the
    views to ask; ``enough`` of them must confirm, or all that look where fewer do."""
    n = len(depth)
    K, E = np.ascontiguousarray(intrinsics, np.float64), np.ascontiguousarray(extrinsics, np.float64)
    K_inv = np.linalg.inv(K)

    def one(i: int) -> tuple[np.ndarray, ...]:
        if len(partners[i]) == 0:
            nothing = np.zeros_like(depth[i])
            return nothing, nothing.astype(np.int16), nothing > 0, nothing
        count, looking, mean, error = confirm(
            i, partners[i], depth, sizes, K, K_inv, E, pixel_tolerance, depth_tolerance
        )
        strong = (count > 0) & (count >= np.minimum(looking, enough))
        return np.where(count > 0, mean, 0).astype(np.float32), count, strong, error

    with ThreadPoolExecutor(max(1, min(os.cpu_count() or 1, n))) as pool:
        return Confirmed(*(np.stack(part) for part in zip(*pool.map(one, range(n)), strict=True)))


def confidence(count: np.ndarray, score: np.ndarray, error: np.ndarray) -> np.ndarray:
    """0.5..1 for confirmed pixels: more views, better correlation and smaller return error count for more."""
    quality = (1 - 0.6**count) * (0.5 + 0.5 * np.clip(score, 0, 1)) * (1 - 0.5 * np.clip(error, 0, 1))
    return (0.5 + 0.5 * quality).astype(np.float32)
