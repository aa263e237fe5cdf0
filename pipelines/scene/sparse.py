"""Sparse points of posed views: which view sees which, and new ones where a model brings none."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from models.geometry.cameras import project
from pipelines.scene.matches import features, matched
from pipelines.scene.pairs import views_that_help

_ENOUGH = 20  # points a view needs before its own record is believed
_REPROJECTION = 2.0  # pixels
_LEAST_ANGLE = 1.0  # degrees between the rays of a triangulated point


def visible_points(
    points: np.ndarray,
    seen_image: np.ndarray,
    seen_point: np.ndarray,
    extrinsics: np.ndarray,
    intrinsics: np.ndarray,
    sizes: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """Per view a mask (P,) of the points it sees: those recorded for it (``seen_image`` and ``seen_point`` (M,)), or,
    where hardly any are, all that fall into its picture. sizes (N, 2) as (height, width)."""
    masks = []
    for i in range(len(extrinsics)):
        mask = np.zeros(len(points), bool)
        mask[seen_point[seen_image == i]] = True
        if mask.sum() < _ENOUGH and len(points):
            pixels, depth = project(points, extrinsics[i], intrinsics[i])
            inside = (pixels >= 0).all(-1) & (pixels <= sizes[i][::-1] - 1).all(-1)
            mask = (depth > 0) & inside
        masks.append(mask)
    return tuple(masks)


def triangulate(
    images: Sequence[np.ndarray], extrinsics: np.ndarray, intrinsics: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points (P, 3) and colours (P, 3) uint8 from matches between views (H, W, 3) whose cameras are known."""
    nothing = np.zeros((0, 3))
    partners = views_that_help(extrinsics, (np.zeros(0, bool),) * len(images), nothing, 2)
    found = [features(image, 3000) for image in images]
    P = intrinsics @ extrinsics
    pairs = sorted({(min(i, j), max(i, j)) for i, others in enumerate(partners) for j in others})
    points, colors = [nothing], [np.zeros((0, 3), np.uint8)]
    for a, b in pairs:
        xa, xb = matched(found[a], found[b])
        if not len(xa):
            continue
        solved = cv2.triangulatePoints(P[a], P[b], xa.T, xb.T)
        X = (solved[:3] / np.where(np.abs(solved[3:]) > 1e-12, solved[3:], 1e-12)).T
        keep = _parallax(X, extrinsics[a], extrinsics[b]) > _LEAST_ANGLE
        for i, x in ((a, xa), (b, xb)):
            pixels, depth = project(X, extrinsics[i], intrinsics[i])
            keep &= (depth > 0) & (np.linalg.norm(pixels - x, axis=-1) < _REPROJECTION)
        points.append(X[keep])
        columns, rows = np.rint(xa[keep]).astype(int).T
        colors.append(images[a][rows.clip(0, images[a].shape[0] - 1), columns.clip(0, images[a].shape[1] - 1)])
    return np.concatenate(points), np.concatenate(colors)


def _parallax(points: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle (P,) in degrees under which two cameras see each point."""
    rays = [points + e[:, :3].T @ e[:, 3] for e in (a, b)]
    rays = [r / np.maximum(np.linalg.norm(r, axis=-1, keepdims=True), 1e-12) for r in rays]
    return np.degrees(np.arccos(np.clip((rays[0] * rays[1]).sum(-1), -1, 1)))
