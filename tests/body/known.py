"""Landmarks computed from known motion, in the form that trackers give them."""

from __future__ import annotations

import numpy as np

from models.bodies.joints import INDEX
from pipelines.body.clip import Track
from pipelines.export.motion import Motion

POINTS = {
    11: "left_shoulder", 12: "right_shoulder", 13: "left_elbow", 14: "right_elbow", 15: "left_wrist", 16: "right_wrist",
    17: "left_pinky1", 18: "right_pinky1", 19: "left_index1", 20: "right_index1", 23: "left_hip", 24: "right_hip",
    25: "left_knee", 26: "right_knee", 27: "left_ankle", 28: "right_ankle",
}  # fmt: skip
HEAD = {
    0: (0, 0.05, 0.107), 2: (0.03, 0.087, 0.08), 5: (-0.03, 0.087, 0.08), 7: (0.08, 0.065, -0.01),
    8: (-0.08, 0.065, -0.01), 9: (0.02, 0.014, 0.09), 10: (-0.02, 0.014, 0.09),
}  # fmt: skip


def landmarks(motion: Motion) -> np.ndarray:
    """(T, 33, 3) in viewer axes, not centred."""
    placed = motion.world()
    joints, turned = placed[..., :3, 3], placed[..., :3, :3]
    points = np.zeros((len(motion), 33, 3))
    for k, name in POINTS.items():
        points[:, k] = joints[:, INDEX[name]]
    for k, offset in HEAD.items():
        points[:, k] = joints[:, INDEX["head"]] + turned[:, INDEX["head"]] @ np.array(offset)
    rest = motion.rest_joints
    for side, heel, toe in (("left", 29, 31), ("right", 30, 32)):
        ankle, foot = INDEX[f"{side}_ankle"], INDEX[f"{side}_foot"]
        length = np.linalg.norm(rest[foot] - rest[ankle])
        points[:, heel] = joints[:, ankle] + turned[:, ankle] @ (length * np.array([0, -0.28, -0.22]))
        tip = rest[foot] - rest[ankle] + length * np.array([0, 0.06, 0.42])
        points[:, toe] = joints[:, ankle] + turned[:, ankle] @ tip
    return points


def track_of(motion: Motion, focal: float = 704.0, size: tuple[int, int] = (640, 480)) -> Track:
    """A track without noise."""
    points = landmarks(motion)
    count = len(points)
    depth = np.maximum(-points[..., 2:], 0.1)
    picture = points[..., :2] / depth * focal * (1, -1) + np.array(size) / 2
    return Track(
        number=1, first=0, fps=motion.fps, size=size, times=motion.times,
        world=points - points[:, [23, 24]].mean(axis=1, keepdims=True), picture=picture,
        visibility=np.ones((count, 33)), seen=np.ones(count, bool), hands=np.zeros((count, 2, 21, 3)),
        hand_seen=np.zeros((count, 2), bool), head=np.tile(np.eye(3), (count, 1, 1)), head_seen=np.zeros(count, bool),
        jaw=np.zeros(count),
    )  # fmt: skip
