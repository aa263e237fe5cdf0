"""Which photos are matched with which."""

from __future__ import annotations

import cv2
import numpy as np

EXHAUSTIVE_UP_TO = 60
_GRID, _ORIENTATIONS = 4, 8
NEIGHBOURS = 20  # most similar photos each photo is matched with beyond that


def choose_pairs(kind: str, count: int, thumbnails: np.ndarray | None) -> tuple[tuple[int, int], ...]:
    """Index pairs (a, b), a < b, each once.

    ``kind``: ``exhaustive``, ``sequential`` (close in time, and every power of two apart) or ``similar`` (by
    ``thumbnails`` (N, h, w, 3) uint8, plus the direct neighbours in the order given).
    """
    if kind == "exhaustive" or count <= 3:
        return tuple((a, b) for a in range(count) for b in range(a + 1, count))
    if kind == "sequential":
        steps = sorted({1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32})
        return tuple((a, a + s) for a in range(count) for s in steps if a + s < count)
    descriptors = np.stack([describe(t) for t in thumbnails])
    similarity = descriptors @ descriptors.T
    np.fill_diagonal(similarity, -np.inf)
    pairs = {(a, a + 1) for a in range(count - 1)} | {(a, a + 2) for a in range(count - 2)}
    for a in range(count):
        for b in np.argsort(-similarity[a])[: min(NEIGHBOURS, count - 1)]:
            pairs.add((min(a, int(b)), max(a, int(b))))
    return tuple(sorted(pairs))


def describe(thumbnail: np.ndarray) -> np.ndarray:
    """A global descriptor (D,) of unit length: gradient orientations on a coarse grid, and colours. (h, w, 3) uint8."""
    small = cv2.resize(thumbnail, (64, 64), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    dx, dy = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    turn = (np.arctan2(dy, dx) / np.pi % 1.0 * _ORIENTATIONS).astype(int) % _ORIENTATIONS
    layers = np.hypot(dx, dy)[..., None] * (turn[..., None] == np.arange(_ORIENTATIONS))
    shape = np.sqrt(layers.reshape(_GRID, 64 // _GRID, _GRID, 64 // _GRID, _ORIENTATIONS).sum((1, 3))).ravel()
    colour = cv2.resize(cv2.cvtColor(small, cv2.COLOR_RGB2LAB), (4, 4), interpolation=cv2.INTER_AREA)
    colour = (colour.astype(np.float32) - 128).ravel()
    shape -= shape.mean()
    vector = np.concatenate([shape / (np.linalg.norm(shape) + 1e-6), 0.5 * colour / (np.linalg.norm(colour) + 1e-6)])
    return vector / (np.linalg.norm(vector) + 1e-6)


def views_that_help(
    extrinsics: np.ndarray,
    visible: tuple[np.ndarray, ...],
    points: np.ndarray,
    count: int,
) -> list[list[int]]:
    """For every view the source views to sweep against, best first.

    Scored by the points seen by both, each weighted by how near its viewing angle is to a good one (Yao et al. 2018,
    MVSNet, section 4.1: 5 degrees, falling off faster below than above). extrinsics (N, 3, 4); visible: per view a
    bool mask over ``points`` (P, 3). Views without a common point fall back to distance and viewing direction.
    """
    n = len(extrinsics)
    centres = -np.einsum("nji,nj->ni", extrinsics[:, :, :3], extrinsics[:, :, 3])
    scores = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1, n):
            common = visible[i] & visible[j]
            if not common.any():
                continue
            a, b = centres[i] - points[common], centres[j] - points[common]
            cosine = (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)
            angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
            sigma = np.where(angle < 5.0, 2.0, 10.0)
            scores[i, j] = scores[j, i] = np.exp(-((angle - 5.0) ** 2) / (2 * sigma**2)).sum()
    if not scores.any():
        axis = extrinsics[:, 2, :3]
        distance = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
        scores = np.maximum(axis @ axis.T, 0.01) / (distance + distance.mean() * 0.1 + 1e-9)
    np.fill_diagonal(scores, 0)
    return [[int(j) for j in np.argsort(-scores[i])[:count] if scores[i, j] > 0] for i in range(n)]
