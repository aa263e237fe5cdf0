"""The pose landmark network: 33 body landmarks with depth, visibility and presence, and the same in metres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.blaze.config import POSE_LANDMARK
from models.blaze.runtime import LiteSession, scale_pixels, sigmoid

LANDMARKS = 33
NAMES = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
    "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky", "left_index", "right_index",
    "left_thumb", "right_thumb", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    "left_heel", "right_heel", "left_foot_index", "right_foot_index",
)  # fmt: skip
EDGES = (
    (0, 2), (2, 7), (0, 5), (5, 8), (9, 10), (11, 12), (11, 13), (13, 15), (15, 17), (15, 19), (15, 21), (17, 19),
    (12, 14), (14, 16), (16, 18), (16, 20), (16, 22), (18, 20), (11, 23), (12, 24), (23, 24), (23, 25), (25, 27),
    (27, 29), (27, 31), (29, 31), (24, 26), (26, 28), (28, 30), (28, 32), (30, 32),
)  # fmt: skip
LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP = 11, 12, 23, 24
REFINE_REACH = 4  # cells to each side: a window of 9x9
REFINE_MINIMUM = 0.5


@dataclass(frozen=True)
class PoseLandmarks:
    """One crop's pose.

    ``points`` (33, 3) and ``axis`` (2, 2) are in units of the crop's side; z is relative to the hips' middle, negative
    towards the camera. ``axis`` holds the body's centre and the end of its circle, the next frame's region.
    ``world`` (33, 3) in metres from the hips' middle in the crop's axes (x right, y down, z away).
    ``visibility`` and ``presence`` (33,) in 0..1; ``peaks`` (33,) the heat maps' probabilities there; ``score`` is the
    probability that the crop shows a person.
    """

    points: np.ndarray
    axis: np.ndarray
    world: np.ndarray
    visibility: np.ndarray
    presence: np.ndarray
    peaks: np.ndarray
    score: float


def refine_by_heatmap(points: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Moves points (K, 2), in units of the crop, to the centre of mass of their heat maps, logits (H, W, K).

    The mass is that of the probabilities in a window of 9x9 cells about the cell a point lies in; points outside the
    map, or whose window nowhere reaches one half, stay. A cell's index over the map's size is its coordinate.
    Second result: the highest probability (K,) in each point's window, 0 outside the map.
    """
    height, width, count = logits.shape
    out, peaks = points.copy(), np.zeros(count)
    column, row = np.floor(points * (width, height)).astype(int).T
    whole = (column >= REFINE_REACH) & (column < width - REFINE_REACH) & (row >= REFINE_REACH)
    whole &= row < height - REFINE_REACH
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    # Windows that lie whole within the map are read together, those cut by its edge one by one.
    for ids in (np.flatnonzero(whole), *np.flatnonzero(inside & ~whole)[:, None]):
        if not len(ids):
            continue
        x0, y0 = np.maximum(column[ids] - REFINE_REACH, 0), np.maximum(row[ids] - REFINE_REACH, 0)
        x = x0[:, None] + np.arange(min(column[ids[0]] + REFINE_REACH + 1, width) - x0[0])
        y = y0[:, None] + np.arange(min(row[ids[0]] + REFINE_REACH + 1, height) - y0[0])
        windows = sigmoid(logits[y[:, :, None], x[:, None], ids[:, None, None]])
        peaks[ids] = windows.max(axis=(1, 2))
        mass = windows.reshape(len(ids), -1).sum(axis=1)
        centre = np.stack([(windows.sum(axis=1) * x).sum(axis=1), (windows.sum(axis=2) * y).sum(axis=1)], axis=1)
        moved = peaks[ids] >= REFINE_MINIMUM
        out[ids[moved], :2] = (centre / mass[:, None] / (width, height))[moved]
    return out, peaks


class PoseLandmarker:
    """BlazePose GHUM (arXiv 2006.10204, 2206.11678), the full variant: one upright crop of a whole person in."""

    def __init__(self, session: LiteSession) -> None:
        self.session = session

    def __call__(self, crop: np.ndarray) -> PoseLandmarks:
        """Pose of ``crop`` (256, 256, 3) uint8 RGB."""
        landmarks, flag, heatmap, metres = (spec.name for spec in POSE_LANDMARK.outputs)
        out = self.session(scale_pixels(crop))
        values = out[landmarks].reshape(39, 5)
        points = values[:, :3] / self.session.input_shape[1]
        points[:, :2], peaks = refine_by_heatmap(points[:, :2], out[heatmap])
        return PoseLandmarks(
            points=points[:LANDMARKS],
            axis=points[LANDMARKS : LANDMARKS + 2, :2],
            world=out[metres].reshape(39, 3)[:LANDMARKS],
            visibility=sigmoid(values[:LANDMARKS, 3]),
            presence=sigmoid(values[:LANDMARKS, 4]),
            peaks=peaks[:LANDMARKS],
            score=float(out[flag].reshape(())),
        )
