"""Where the body is: translation in the camera's space from the picture, the floor, and feet that stand still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.bodies.joints import INDEX
from pipelines.body.clip import Track
from pipelines.body.smooth import smooth, stiffness

Array = np.ndarray
# Landmark to joint: what the picture and the skeleton have in common.
PAIRS = {
    "shoulder": (11, 12),
    "elbow": (13, 14),
    "wrist": (15, 16),
    "hip": (23, 24),
    "knee": (25, 26),
    "ankle": (27, 28),
}
SHARED = tuple(
    (landmark, INDEX[f"{side}_{joint}"])
    for joint, pair in PAIRS.items()
    for side, landmark in zip(("left", "right"), pair, strict=True)
)
VIEW_ANGLE = 1.1  # focal length in long sides of the picture, that of an ordinary lens
STANDS = 0.35  # m/s below which a low foot stands


@dataclass(frozen=True)
class Placement:
    """transl (T, 3): added to the skeleton (pelvis at its rest place), in viewer axes.

    floor: height of the floor above the camera once that is level, nan where no foot was seen to stand; contact (T, 2):
    whether the left and the right foot stand.
    """

    transl: Array
    floor: float
    contact: Array


def focal_length(size: tuple[int, int]) -> float:
    """Assumed focal length in pixels of a picture (width, height)."""
    return VIEW_ANGLE * max(size)


def place(track: Track, joints: Array, strength: float, lock_feet: bool = True, pitch: float = 0.0) -> Placement:
    """Finds the translation that puts the joints (T, 55, 3) over the landmarks in the picture.

    Each landmark (u, v) says ``f (x + tx) = (u - cx) (depth + tz)`` and alike for y: linear in the translation.
    ``pitch``: how far the camera looks down, in radians.
    """
    width, height = track.size
    focal = focal_length(track.size)
    ids = np.array(SHARED)
    u = track.picture[:, ids[:, 0], 0] - width / 2
    v = track.picture[:, ids[:, 0], 1] - height / 2
    weight = np.clip((track.visibility[:, ids[:, 0]] - 0.2) / 0.6, 0.0, 1.0) * track.seen[:, None] + 1e-4
    x, y, z = np.moveaxis(joints[:, ids[:, 1]], -1, 0)
    # Camera axes: y down and depth = -z.
    rows_x = np.stack([np.full_like(u, focal), np.zeros_like(u), u], axis=-1)
    rows_y = np.stack([np.zeros_like(v), np.full_like(v, -focal), v], axis=-1)
    A = np.concatenate([rows_x, rows_y], axis=1)  # (T, 2 K, 3)
    b = np.concatenate([-u * z - focal * x, -v * z + focal * y], axis=1)
    w = np.concatenate([weight, weight], axis=1)
    normal = np.einsum("tki,tk,tkj->tij", A, w, A)
    transl = np.linalg.solve(normal, np.einsum("tki,tk,tk->ti", A, w, b)[..., None])[..., 0]
    transl[:, 2] = np.minimum(transl[:, 2], -0.2)
    sure = weight.mean(axis=1)
    stiff = stiffness(strength, track.fps)
    # Depth is far noisier than place: along the ray it is smoothed much more, and the picture stays fitted.
    depth = -transl[:, 2]
    slow = np.exp(smooth(np.log(np.maximum(depth, 0.2)), sure, stiff * 60))
    transl = transl * (slow / depth)[:, None]
    transl[:, :2] = smooth(transl[:, :2], sure, stiff)
    feet = (joints + transl[:, None])[:, [INDEX["left_foot"], INDEX["right_foot"]]]
    height = feet[..., 1] * np.cos(pitch) + feet[..., 2] * np.sin(pitch)
    contact = contacts(feet, height, track)
    floor = float(np.median(height[contact])) if contact.sum() >= 5 else float("nan")
    if lock_feet and np.isfinite(floor) and strength > 0:
        transl = transl + hold_feet(feet, contact, stiff)
    return Placement(transl, floor, contact)


def contacts(feet: Array, height: Array, track: Track) -> Array:
    """Which of the feet (T, 2, 3) at ``height`` (T, 2) stand, (T, 2): low, slow against the camera, and seen."""
    if len(feet) < 3:
        return np.zeros((len(feet), 2), bool)
    speed = np.linalg.norm(np.gradient(feet[..., :2], axis=0), axis=-1) * track.fps
    low = height < height.min(axis=1, keepdims=True) + 0.06
    seen = np.stack([track.visibility[:, [29, 31]].min(axis=1), track.visibility[:, [30, 32]].min(axis=1)], axis=1)
    return low & (speed < STANDS) & (seen > 0.5)


def hold_feet(feet: Array, contact: Array, stiff: float, most: float = 0.06) -> Array:
    """Shift (T, 3) of the body, at most ``most`` metres, that keeps standing feet where they came down."""
    wanted, weights = np.zeros((len(feet), 3)), np.full(len(feet), 1e-3)
    for side in (0, 1):
        edges = np.flatnonzero(np.diff(np.r_[0, contact[:, side].astype(int), 0]))
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            if end - start < 3:
                continue
            spot = np.median(feet[start:end, side], axis=0)
            wanted[start:end] += spot - feet[start:end, side]
            weights[start:end] += 1
    wanted /= np.maximum(weights, 1)[:, None]
    return np.clip(smooth(wanted, weights, stiff * 40), -most, most)
