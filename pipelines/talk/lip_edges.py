"""Where the lips of a source picture end, so that nothing of its open mouth is drawn along with them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import maximum_filter1d, minimum_filter1d, uniform_filter1d

from pipelines.talk.mouth_shape import HeadPose
from pipelines.tracking import face_points as mp

CLEAR, CLEAR_PIXELS = 0.002, 0.8  # how far from the edges pixels are taken: eye distances, and pixels
BESIDE = 0.06  # eye distances around the lips that are looked at, and in which the effect dies out
DARK = 0.72  # share of the lips' brightness under which a pixel near the lips is the dark of the mouth
PARTED = (0.015, 0.055)  # opening from which, and at which fully, a mouth counts as parted
MOST_COLUMNS = 160


@dataclass(frozen=True)
class LipEdges:
    """Inner edges of the lips as lines v of u (person space, v from the seam); ``weight`` 0..1 how much they hold.

    Landmarks alone are not enough: they miss the dark corners of a smile by a few pixels.
    """

    us: np.ndarray
    top: np.ndarray
    bottom: np.ndarray
    weight: np.ndarray
    parted: float

    def keep(self, u: np.ndarray, v: np.ndarray, above: bool) -> np.ndarray:
        """``v`` (H, W), where it would be beyond the upper (``above``) or lower lip's edge, put back onto the lip."""
        edge = np.interp(u, self.us, self.top if above else self.bottom)
        held = np.minimum(v, edge) if above else np.maximum(v, edge)
        return v + (held - v) * np.interp(u, self.us, self.weight, left=0.0, right=0.0)

    def kept(self, shift: np.ndarray, u: np.ndarray, v: np.ndarray, pose: HeadPose, above: bool) -> np.ndarray:
        """Backward displacements (H, W, 2) of pixels at ``u``, ``v`` (H, W) that stay on their lip."""
        plane = (pose.scale * pose.rotation[:2, :2]).astype(np.float32)
        there = shift @ np.linalg.inv(plane).T
        from_v = v + there[..., 1]
        change = self.keep(u + there[..., 0], from_v, above) - from_v
        return shift + change[..., None].astype(np.float32) * plane[:, 1]


def parted(points: np.ndarray) -> float:
    """0..1: whether lips with landmarks (468, 3) are apart."""
    low, high = PARTED
    return float(np.clip((mp.opening(points) - low) / (high - low), 0, 1))


def lip_edges(
    pixels: np.ndarray, origin: np.ndarray, measured: np.ndarray, pose: HeadPose, seam: float, lips: np.ndarray
) -> LipEdges:
    """Edges of the lips in a picture.

    Args:
        pixels: (H, W, 3) uint8 around the mouth, whose upper left pixel is at ``origin`` (2,) in the frame.
        measured: landmarks (468, 3) in person space.
        seam: v at which the resting lips meet.
        lips: (3,) the lips' colour.
    """
    outer = np.concatenate([measured[list(mp.UPPER_OUTER), :2], measured[list(mp.LOWER_OUTER), :2][::-1]])
    inner = np.concatenate([measured[list(mp.UPPER_INNER), :2], measured[list(mp.LOWER_INNER), :2][::-1]])
    low, high = outer.min(axis=0) - BESIDE, outer.max(axis=0) + BESIDE
    step = max(0.8 / pose.scale, (high[0] - low[0]) / MOST_COLUMNS)
    us, vs = np.arange(low[0], high[0], step), np.arange(low[1], high[1], step)
    grid = np.stack(np.meshgrid(us, vs), axis=-1)
    depth = float(measured[list(mp.LIPS), 2].mean())
    there = np.concatenate([grid, np.full((*grid.shape[:2], 1), depth)], axis=-1).reshape(-1, 3)
    at = (pose.project(there) - origin).reshape(grid.shape).astype(np.float32)
    patch = cv2.remap(pixels, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    opened, near = (_filled((ring - low) / step, grid.shape[:2]) for ring in (inner, outer))
    near = cv2.dilate(near, np.ones((3, 3), np.uint8))
    dark = (patch.astype(np.float32).mean(axis=-1) < DARK * float(np.mean(lips))) & (near > 0)
    _, labels = cv2.connectedComponents((dark | (opened > 0)).astype(np.uint8))
    touched = np.unique(labels[opened > 0])
    inside = np.isin(labels, touched[touched > 0])
    columns = inside.any(axis=0)
    if not columns.any():
        return LipEdges(us, np.zeros(len(us)), np.zeros(len(us)), np.zeros(len(us)), 0.0)
    known = np.flatnonzero(columns)
    first = np.array([np.flatnonzero(inside[:, c])[0] for c in known])
    last = np.array([np.flatnonzero(inside[:, c])[-1] for c in known])
    clear = CLEAR + CLEAR_PIXELS / pose.scale
    every = np.arange(len(us))
    top = minimum_filter1d(np.interp(every, known, vs[first]), 5) - clear - seam
    bottom = maximum_filter1d(np.interp(every, known, vs[last]), 5) + clear - seam
    reach = max(3, 2 * round(0.3 * BESIDE / step) + 1)
    weight = uniform_filter1d(maximum_filter1d(columns.astype(float), reach), reach)
    amount = parted(measured)
    return LipEdges(us, uniform_filter1d(top, 3), uniform_filter1d(bottom, 3), weight * amount, amount)


def _filled(ring: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(ring * 16).astype(np.int32)], 255, cv2.LINE_8, 4)
    return mask
