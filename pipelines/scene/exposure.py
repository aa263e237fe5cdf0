"""Even colours: photos taken at different exposure or white balance, brought to one brightness.

A pixel's recorded value is taken as the scene's colour times a gain of the photo and channel, which holds for exposure
and white balance behind a power-law tone curve. Ratios of gains are measured where two photos see the same surface;
all of them together are solved in the logarithm, with a weak pull to no change (Brown and Lowe 2007, section 5).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.geometry.cameras import project, unproject_pixels
from pipelines.scene.prediction import Prediction

PROBES = (12, 9)  # columns and rows of the grid that finds out which views see the same
PARTNERS = 6  # views each view is compared with
SHARED = 0.15  # share of the probes that two views must both see
NEAR = 0.05  # difference of depth, relative, up to which two views see the same surface
SAMPLES = 2000  # pixels compared per pair
ENOUGH = 60
USABLE = (12, 243)  # grey levels that are neither crushed nor blown out
PULL = 0.02  # weight of no change, relative to one pair
HUBER = 0.05
IGNORED = 0.02  # largest logarithm of a gain that is left alone


def even_gains(prediction: Prediction) -> NDArray[np.float64]:
    """Factors (N, 3) per view and channel for the images of a prediction; all 1 where they already agree."""
    n = len(prediction)
    ratios = [found for pair in partners(prediction) if (found := colour_ratio(prediction, *pair)) is not None]
    if not ratios:
        return np.ones((n, 3))
    i, j, ratio, weight = (np.array(column) for column in zip(*ratios, strict=True))
    logs = np.stack([_solve(n, i, j, ratio[:, c], weight) for c in range(3)], axis=1)
    logs -= np.median(logs, axis=0)
    return np.exp(logs) if np.abs(logs).max() > IGNORED else np.ones((n, 3))


def evened(image: NDArray[np.uint8], gain: NDArray[np.float64]) -> NDArray[np.uint8]:
    """An image (H, W, 3) under gains (3,)."""
    table = np.clip(np.rint(np.arange(256)[:, None] * gain), 0, 255).astype(np.uint8)
    return np.stack([table[:, c][image[..., c]] for c in range(3)], axis=-1)


def partners(prediction: Prediction) -> list[tuple[int, int]]:
    """Pairs (a, b), a < b, of views that see the same surfaces, the best ``PARTNERS`` of each."""
    n = len(prediction)
    seen = np.zeros((n, n))
    for i in range(n):
        height, width = prediction.sizes[i]
        columns, rows = (np.linspace(0.05, 0.95, k) * size for k, size in zip(PROBES, (width, height), strict=True))
        pixels = np.stack(np.meshgrid(columns, rows), -1).reshape(-1, 2).astype(int)
        points, valid = _points(prediction, i, pixels)
        for j in range(n):
            if i != j:
                seen[i, j] = (_found(prediction, j, points)[1] & valid).mean()
    both = np.minimum(seen, seen.T)
    best = np.argsort(-both, axis=1, kind="stable")[:, :PARTNERS]
    return sorted({(min(i, int(j)), max(i, int(j))) for i in range(n) for j in best[i] if both[i, j] >= SHARED})


def colour_ratio(prediction: Prediction, i: int, j: int) -> tuple[int, int, NDArray[np.float64], float] | None:
    """Both views, log of j's colours over i's where they see the same (3,), and a weight; None where too little is."""
    height, width = prediction.sizes[i]
    step = max(1, int(np.sqrt(height * width / SAMPLES)))
    grid = np.mgrid[step // 2 : height : step, step // 2 : width : step].reshape(2, -1)
    pixels = grid[::-1].T
    points, valid = _points(prediction, i, pixels)
    there, same = _found(prediction, j, points)
    use = same & valid
    if use.sum() < ENOUGH:
        return None
    # a little blur, because the two views never meet at exactly one point
    a, b = (cv2.blur(prediction.images[k], (3, 3)) for k in (i, j))
    a, b = a[pixels[use, 1], pixels[use, 0]], b[there[use, 1], there[use, 0]]
    clear = ((np.minimum(a, b) >= USABLE[0]) & (np.maximum(a, b) <= USABLE[1])).all(-1)
    if clear.sum() < ENOUGH:
        return None
    logs = np.log(b[clear].astype(np.float64) / a[clear])
    middle = np.median(logs, axis=0)
    spread = float(np.median(np.abs(logs - middle)))
    return i, j, middle, min(1.0, clear.sum() / 500) / (0.05 + spread)


def _points(prediction: Prediction, i: int, pixels: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """World points (P, 3) of pixels (P, 2) as column, row, and which have depth."""
    depth = prediction.depth[i][pixels[:, 1], pixels[:, 0]].astype(np.float64)
    points = unproject_pixels(pixels, depth, prediction.intrinsics[i], prediction.extrinsics[i])
    return points, depth > 0


def _found(prediction: Prediction, j: int, points: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Pixels (P, 2) of view j where points (P, 3) fall, and whether its depth says that it sees them."""
    places, depth = project(points, prediction.extrinsics[j], prediction.intrinsics[j])
    height, width = prediction.sizes[j]
    inside = (depth > 0) & np.isfinite(places).all(-1)
    inside &= (places >= -0.5).all(-1) & (places < np.array([width, height]) - 0.5).all(-1)
    pixels = np.where(inside[:, None], np.rint(np.where(inside[:, None], places, 0)), 0).astype(np.int64)
    measured = prediction.depth[j][pixels[:, 1], pixels[:, 0]]
    return pixels, inside & (measured > 0) & (np.abs(measured - depth) < NEAR * depth)


def _solve(
    count: int, i: NDArray[np.int64], j: NDArray[np.int64], ratio: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Log gains (count,) with gain[j] - gain[i] = -ratio, by Huber-weighted least squares."""
    gains = np.zeros(count)
    robust = np.ones(len(ratio))
    for _ in range(5):
        w = weight * robust
        A = np.zeros((count, count))
        np.add.at(A, (i, i), w)
        np.add.at(A, (j, j), w)
        np.add.at(A, (i, j), -w)
        np.add.at(A, (j, i), -w)
        A[np.diag_indices(count)] += PULL * weight.mean()
        b = np.zeros(count)
        np.add.at(b, i, w * ratio)
        np.add.at(b, j, -w * ratio)
        gains = np.linalg.solve(A, b)
        residual = np.abs(gains[j] - gains[i] + ratio)
        robust = np.where(residual > HUBER, HUBER / np.maximum(residual, 1e-12), 1.0)
    return gains
