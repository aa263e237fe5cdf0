"""From raw sweeps to the surface one view can vouch for: joins facing and ground depth, leaves sky and blur empty."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit

from pipelines.scene.consistency import Confirmed, confidence, connected

_NO_TEXTURE = 0.1  # mean correlation below which a depth is nothing but smoothing
_WEAK_SCORE = 0.3  # correlation a depth needs that only one other view confirms
_VAGUE = 0.5  # correlation below which an empty region may grow over a depth
_SAME_COLOUR = 5  # grey levels between neighbours within one empty region
_PIECE = 3e-3  # smallest empty region that grows, as a share of the picture
_STEP = 0.03  # relative depth step that ends a surface


@dataclass(frozen=True)
class Layer:
    """One sweep's answer for one view, each (H, W); the first four as in ``Confirmed``, ``score`` the correlation."""

    depth: np.ndarray
    count: np.ndarray
    strong: np.ndarray
    error: np.ndarray
    score: np.ndarray

    @classmethod
    def cut(cls, confirmed: Confirmed, score: np.ndarray, part: tuple) -> Layer:
        """One view's part of the arrays of all views."""
        c = confirmed
        return cls(c.depth[part], c.count[part], c.strong[part], c.error[part], score[part])


def join(facing: Layer, ground: Layer | None, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The depth (H, W) a view can vouch for (0 = none), its confidence (0, or 0.5..1), and what is empty as far as one
    can see (sky), a mask.

    Sure facing depth wins, then sure ground, then facing depth that continues a sure surface. image (H, W, 3) uint8.
    """
    texture = cv2.blur(facing.score, (5, 5))
    strong = facing.strong & (texture > _NO_TEXTURE)
    weak = (facing.count > 0) & (cv2.blur(facing.score, (3, 3)) > _WEAK_SCORE)
    least = max(12, strong.size // 3000)
    strong &= connected(np.where(strong, facing.depth, 0).astype(np.float32), strong, least, _STEP)
    use_ground = np.zeros_like(strong) if ground is None else ground.strong & ~strong
    chosen = (
        facing
        if ground is None
        else Layer(*(np.where(use_ground, getattr(ground, k), getattr(facing, k)) for k in Layer.__dataclass_fields__))
    )
    sure = strong | use_ground
    depth = np.where(sure | weak, chosen.depth, 0).astype(np.float32)
    depth[~connected(depth, sure, least, _STEP)] = 0
    empty = grow_empty(depth <= 0, image, texture, use_ground)
    depth[empty] = 0
    depth[~connected(depth, sure, least, _STEP)] = 0
    conf = np.where(depth > 0, confidence(chosen.count, chosen.score, chosen.error), 0).astype(np.float32)
    return depth, conf, empty


def grow_empty(unknown: np.ndarray, image: np.ndarray, score: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """Where large unknown regions without texture (sky, mostly) reach under the rim of what stands before them.

    A correlation window at such a rim sees the object's edge and gives its depth to the sky around it. The region grows
    over pixels of its own colour that correlate badly, then a window's radius further, never over ``fixed`` ones.
    unknown, fixed (H, W) bool, score (H, W) float32, image (H, W, 3) uint8.
    """
    h, w = unknown.shape
    span = cv2.dilate(image, np.ones((5, 5), np.uint8)) - cv2.erode(image, np.ones((5, 5), np.uint8))
    smooth = unknown & (span.max(-1) < 4 * _SAME_COLOUR)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(smooth.astype(np.uint8), connectivity=4)
    large = np.flatnonzero(stats[1:count, cv2.CC_STAT_AREA] >= _PIECE * h * w) + 1
    colour = cv2.GaussianBlur(image, (3, 3), 0).astype(np.int16)
    steps = max(8, round(0.04 * max(h, w)))
    region = _grow(np.isin(labels, large), colour, (unknown | (score < _VAGUE)) & ~fixed, unknown, steps)
    return _grow(region, colour, ~fixed, np.zeros_like(unknown), 3)


@njit(nogil=True, cache=True)
def _grow(seeds: np.ndarray, colour: np.ndarray, allowed: np.ndarray, free: np.ndarray, steps: int) -> np.ndarray:
    """Seeds (H, W) grown over allowed 4-neighbours of nearly the same colour; ``free`` pixels cost no step."""
    h, w = seeds.shape
    region = seeds.copy()
    used = np.zeros((h, w), np.int32)
    queue = np.empty(h * w, np.int32)
    top, read = 0, 0
    for y in range(h):
        for x in range(w):
            if seeds[y, x]:
                queue[top] = y * w + x
                top += 1
    while read < top:
        y, x = queue[read] // w, queue[read] % w
        read += 1
        for k in range(4):
            yy = y + (1 if k == 0 else (-1 if k == 1 else 0))
            xx = x + (1 if k == 2 else (-1 if k == 3 else 0))
            if yy < 0 or xx < 0 or yy >= h or xx >= w or region[yy, xx] or not allowed[yy, xx]:
                continue
            cost = used[y, x] + (0 if free[yy, xx] else 1)
            if cost > steps:
                continue
            jump = 0
            for c in range(3):
                jump = max(jump, abs(colour[y, x, c] - colour[yy, xx, c]))
            if jump <= _SAME_COLOUR:
                region[yy, xx] = True
                used[yy, xx] = cost
                queue[top] = yy * w + xx
                top += 1
    return region
