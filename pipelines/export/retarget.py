"""Carrying a motion from one skeleton to another, whatever their rest poses, axes and sizes.

All rotations here are a joint's turn in the world since the rest pose. A joint of the target turns as the joint of the
same name in the source does, after its bone has been laid along the source's; joints without a counterpart follow
their parents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch

from models.bodies import mannequin
from models.bodies.joint_names import bone_ends, missing, recognise
from models.bodies.joints import INDEX, NAMES, PARENTS
from models.geometry.rotations import matrix_to_axis_angle
from models.runtime.errors import InputError
from pipelines.export.bvh import Bvh
from pipelines.export.motion import Motion

Array = np.ndarray
_KNOWN = "known are the names of Mixamo, VRM, Unreal, 3ds Max bipeds, CMU and SMPL"
_ENDS = bone_ends()


@dataclass(frozen=True)
class Rig:
    """A skeleton at rest: joints (J, 3) with x left, y up, z front; parents (-1 for roots; before their children);
    ``known`` maps SMPL-X's joint names to its joints."""

    joints: Array
    parents: tuple[int, ...]
    known: Mapping[str, int]


@cache
def human() -> Rig:
    """The mannequin's skeleton."""
    data = mannequin.load().data
    return Rig((data.J_regressor @ data.v_template).astype(np.float64), PARENTS, dict(INDEX))


def understand(names: Sequence[str], parents: Sequence[int], file: str) -> dict[str, int]:
    """The joints of a skeleton by SMPL-X's names. Raises InputError, naming what was not recognised."""
    found = recognise(names, parents)
    lacking = missing(found)
    if lacking:
        some = ", ".join(names[:6]) + (" ..." if len(names) > 6 else "")
        raise InputError(
            f"The skeleton of {file} has no joint that is known as {', '.join(lacking[:4])}; {_KNOWN}. Its joints are "
            f"called {some}"
        )
    return found


def upright(joints: Array, known: Mapping[str, int], file: str) -> Array:
    """The rotation (3, 3) that turns a skeleton at rest so that x is its left, y up and z its front.

    Raises:
        InputError: its rest pose has no width or height to tell by.
    """
    across = joints[known["left_hip"]] - joints[known["right_hip"]]
    across = across + joints[known["left_shoulder"]] - joints[known["right_shoulder"]]
    top = joints[known.get("head", known.get("neck", 0))]
    up = top - 0.5 * (joints[known["left_knee"]] + joints[known["right_knee"]])
    up = up - across * (up @ across) / max(float(across @ across), 1e-12)
    size = float(np.abs(joints - joints.mean(axis=0)).max())
    if np.linalg.norm(across) < 1e-3 * size or np.linalg.norm(up) < 1e-2 * size:
        raise InputError(f"The rest pose of {file} is no standing figure: its joints lie in one place or on a line")
    left, up = across / np.linalg.norm(across), up / np.linalg.norm(up)
    turn = np.stack([left, up, np.cross(left, up)])
    near = np.rint(turn)
    exact = np.abs(near).sum() == 3 and np.linalg.det(near) > 0.5
    # A file's axes are nearly always its own; a leaning back must not tilt the world.
    return near if exact and np.abs(turn - near).max() < 0.5 else turn


def shortest_turn(a: Array, b: Array) -> Array:
    """The smallest rotation (3, 3) that lays direction ``a`` along ``b`` (Rodrigues)."""
    a, b = a / max(np.linalg.norm(a), 1e-12), b / max(np.linalg.norm(b), 1e-12)
    v, c = np.cross(a, b), float(a @ b)
    if c < -0.999999:
        axis = np.cross(a, [1.0, 0, 0] if abs(a[0]) < 0.9 else [0, 1.0, 0])
        axis /= np.linalg.norm(axis)
        return 2 * np.outer(axis, axis) - np.eye(3)
    skew = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.eye(3) + skew + skew @ skew / (1 + c)


def carry(turns: Array, source: Rig, target: Rig) -> Array:
    """World turns (T, S, 3, 3) of the source's joints -> (T, J, 3, 3) of the target's."""
    out = np.empty((len(turns), len(target.parents), 3, 3))
    name_of = {index: name for name, index in target.known.items()}
    laid: dict[int, Array] = {}
    for joint, parent in enumerate(target.parents):
        name = name_of.get(joint)
        if name is None or name not in source.known:
            laid[joint] = laid.get(parent, np.eye(3))
            out[:, joint] = out[:, parent] if parent >= 0 else np.eye(3)
            continue
        end = next((e for e in _ENDS.get(name, ()) if e in source.known and e in target.known), None)
        if end is not None:
            there = target.joints[target.known[end]] - target.joints[joint]
            here = source.joints[source.known[end]] - source.joints[source.known[name]]
            laid[joint] = shortest_turn(there, here)
        else:
            limb = name.startswith(("left", "right"))
            laid[joint] = laid.get(parent, np.eye(3)) if limb else np.eye(3)
        out[:, joint] = turns[:, source.known[name]] @ laid[joint]
    return out


def leg_length(rig: Rig) -> float:
    """Hip to ankle (or knee, doubled) of a skeleton, in its unit."""
    hip, knee = (rig.joints[rig.known[f"left_{n}"]] for n in ("hip", "knee"))
    upper = float(np.linalg.norm(hip - knee))
    if "left_ankle" not in rig.known:
        return 2 * upper
    return upper + float(np.linalg.norm(knee - rig.joints[rig.known["left_ankle"]]))


def place(turns: Array, rig: Rig, root: Array) -> Array:
    """Joint positions (T, J, 3) from world turns and the places of the root (T, 3)."""
    out = np.empty((*turns.shape[:2], 3))
    for joint, parent in enumerate(rig.parents):
        if parent < 0:
            out[:, joint] = root + rig.joints[joint] - rig.joints[0]
        else:
            out[:, joint] = out[:, parent] + turns[:, parent] @ (rig.joints[joint] - rig.joints[parent])
    return out


def motion_turns(motion: Motion) -> Array:
    """World turns (T, J, 3, 3) of a motion's joints."""
    return motion.world()[:, :, :3, :3]


def motion_rig(motion: Motion, file: str = "the motion") -> Rig:
    """The skeleton of a motion file."""
    names = {n: i for i, n in enumerate(motion.names)}
    known = {n: names[n] for n in NAMES if n in names} if "pelvis" in names else None
    return Rig(
        np.asarray(motion.rest_joints, np.float64),
        motion.parents,
        known or understand(motion.names, motion.parents, file),
    )


def bvh_motion(bvh: Bvh, file: str) -> Motion:
    """A BVH as a motion of the human skeleton in metres.

    Raises:
        InputError: its joints are named in an unknown way, or its rest pose is no standing figure.
    """
    rest = np.zeros_like(bvh.offsets)
    for joint, parent in enumerate(bvh.parents):
        rest[joint] = (rest[parent] if parent >= 0 else 0) + (bvh.offsets[joint] if parent >= 0 else 0)
    known = understand(bvh.names, bvh.parents, file)
    axes = upright(rest, known, file)
    turns = np.empty_like(bvh.rotations)
    for joint, parent in enumerate(bvh.parents):
        turns[:, joint] = bvh.rotations[:, joint] if parent < 0 else turns[:, parent] @ bvh.rotations[:, joint]
    turns = axes @ turns @ axes.T
    source, target = Rig(rest @ axes.T, bvh.parents, known), human()
    scale = leg_length(target) / max(leg_length(source), 1e-9)
    own = place(turns, source, bvh.positions @ axes.T)
    carried = carry(turns, source, target)
    pelvis = own[:, known["pelvis"]] * scale
    return motion_of(carried, pelvis - target.joints[0], 1 / bvh.frame_time)


def motion_of(turns: Array, transl: Array, fps: float) -> Motion:
    """A motion of the human skeleton from world turns (T, 55, 3, 3) and shifts (T, 3)."""
    rig = human()
    local = turns.copy()
    for joint, parent in enumerate(rig.parents):
        if parent >= 0:
            local[:, joint] = np.swapaxes(turns[:, parent], 1, 2) @ turns[:, joint]
    count = len(turns)
    return Motion(
        rotations=matrix_to_axis_angle(torch.from_numpy(local)).numpy(),
        transl=transl,
        betas=np.zeros(10),
        fps=fps,
        rest_joints=rig.joints,
        times=np.arange(count) / fps,
        seen=np.ones(count, bool),
    )


def heading(motion: Motion) -> Array:
    """The direction (T,) in which the hips look: radians about y, 0 towards the viewer."""
    joints = motion.joints()
    known = motion_rig(motion).known
    across = joints[:, known["left_hip"]] - joints[:, known["right_hip"]]
    across = across + joints[:, known["left_shoulder"]] - joints[:, known["right_shoulder"]]
    return np.arctan2(-across[:, 2], across[:, 0])


def turned(motion: Motion, angle: float) -> Motion:
    """The motion turned about the vertical through the world's origin by ``angle`` radians."""
    c, s = np.cos(angle), np.sin(angle)
    about_y = np.array([[c, 0, s], [0, 1.0, 0], [-s, 0, c]])
    root = torch.from_numpy(about_y @ motion.matrices()[:, 0])
    rotations = np.array(motion.rotations, np.float64)
    rotations[:, 0] = matrix_to_axis_angle(root).numpy()
    pelvis = np.asarray(motion.rest_joints[0], np.float64)
    return replace(motion, rotations=rotations, transl=(motion.transl + pelvis) @ about_y.T - pelvis)
