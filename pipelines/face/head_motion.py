"""The motion of a head as that of a whole body that stands still: what the Character tab dances to."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from models.bodies.joints import INDEX, JOINTS
from models.bodies.mannequin import load
from pipelines.export.expression import ExpressionClip
from pipelines.export.motion import Motion

NECK_SHARE = 0.4  # of the head's turn
JAW_RADIANS = 0.35  # of an open mouth
ARMS_DOWN = 1.2  # radians from the T-pose


def head_motion(clip: ExpressionClip, fps: float) -> Motion:
    """Neck, head and jaw of the clip on the mannequin, arms hanging."""
    body = load().data
    count = len(clip.times)
    rotations = np.zeros((count, JOINTS, 3))
    rotations[:, INDEX["left_shoulder"], 2] = -ARMS_DOWN
    rotations[:, INDEX["right_shoulder"], 2] = ARMS_DOWN
    neck = NECK_SHARE * clip.head
    rotations[:, INDEX["neck"]] = neck
    # Turns about one axis add up, so the rest is the head's own.
    rest = Rotation.from_rotvec(neck).inv() * Rotation.from_rotvec(clip.head)
    rotations[:, INDEX["head"]] = rest.as_rotvec()
    rotations[:, INDEX["jaw"], 0] = JAW_RADIANS * clip.curve("jawOpen")
    joints = (body.J_regressor @ body.v_template).astype(np.float64)
    return Motion(rotations, np.zeros((count, 3)), np.zeros(body.identity), fps, joints, clip.times, clip.seen)
