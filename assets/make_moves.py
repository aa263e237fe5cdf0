"""Makes the two motions that come with Pip, a dance and a wave: `python -m assets.make_moves [--out FOLDER]`.

Poses at beats, joined by periodic splines; then hips are put where the planted feet want them. Both clips loop.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d

from models.bodies.joints import INDEX, JOINTS
from pipelines.export.motion import Motion, write_motion
from pipelines.export.retarget import human

Array = np.ndarray
FOLDER = Path(__file__).resolve().parent / "character"
FPS = 30.0
Pose = Mapping[str, tuple[float, float, float]]  # degrees about x, y, z of SMPL-X's rest frame, arms held out
DOWN = {
    "left_shoulder": (0, -12, -66), "right_shoulder": (0, 12, 66), "left_elbow": (0, -22, 0), "right_elbow": (0, 22, 0),
}  # fmt: skip


def bend(left: float, right: float, lean: float = 0.0) -> dict[str, tuple[float, float, float]]:
    """Knees bent by degrees, soles level, hips leaning to the left by ``lean`` degrees."""
    pose = {}
    for side, knee in (("left", left), ("right", right)):
        pose[f"{side}_hip"] = (-knee, 0, -lean)
        pose[f"{side}_knee"] = (2 * knee, 0, 0)
        pose[f"{side}_ankle"] = (-knee, 0, lean)
    pose["spine1"] = (0.15 * (left + right), 0, 0.9 * lean)
    return pose


def dance() -> list[tuple[float, Pose]]:
    """Beats and poses: sways with pumping arms, arms overhead, a turn all the way round, kicks and a last cheer."""
    pump_left = {"left_shoulder": (0, -50, -38), "left_elbow": (0, -30, 95), "right_shoulder": (0, 10, 58),
                 "right_elbow": (0, 50, -20)}  # fmt: skip
    pump_right = _mirrored(pump_left)
    over_left = {"left_shoulder": (0, -8, 52), "left_elbow": (0, 0, 40), "right_shoulder": (0, 8, -68),
                 "right_elbow": (0, 0, -18), "spine2": (0, 0, 10), "head": (0, 0, 8)}  # fmt: skip
    over_right = _mirrored(over_left)
    wide = {"left_shoulder": (0, 0, -8), "right_shoulder": (0, 0, 8), "left_elbow": (0, -12, 18),
            "right_elbow": (0, 12, -18)}  # fmt: skip
    kick_left = {"left_hip": (-58, 0, 6), "left_knee": (22, 0, 0), "left_ankle": (12, 0, 0), "right_hip": (-9, 0, 0),
                 "right_knee": (18, 0, 0), "right_ankle": (-9, 0, 0), "spine1": (-8, 0, 0),
                 "left_shoulder": (0, 26, -48), "right_shoulder": (0, 62, 30), "right_elbow": (0, 40, 0)}  # fmt: skip
    kick_right = _mirrored(kick_left)
    cheer = {"left_shoulder": (0, -8, 60), "right_shoulder": (0, 8, -60), "left_elbow": (0, 0, 22),
             "right_elbow": (0, 0, -22), "head": (-14, 0, 0), "spine3": (-8, 0, 0)}  # fmt: skip

    def turn(degrees: float) -> dict[str, tuple[float, float, float]]:
        return {"pelvis": (0, degrees, 0)}

    return [
        (0.0, {**bend(6, 6), **DOWN}),
        (0.5, {**bend(22, 12, 7), **pump_left, "head": (0, 0, -7)}),
        (1.0, {**bend(5, 5), **DOWN}),
        (1.5, {**bend(12, 22, -7), **pump_right, "head": (0, 0, 7)}),
        (2.0, {**bend(5, 5), **DOWN}),
        (2.5, {**bend(18, 10, 9), **over_left}),
        (3.0, {**bend(6, 6), **cheer}),
        (3.5, {**bend(10, 18, -9), **over_right}),
        (4.0, {**bend(22, 22), **DOWN, "spine3": (8, 25, 0), "head": (0, -20, 0)}),
        (4.5, {**bend(5, 8), **wide, **turn(120)}),
        (5.0, {**bend(8, 5), **wide, **turn(240)}),
        (5.5, {**bend(20, 20), **DOWN, **turn(360), "head": (0, 0, 0)}),
        (6.0, {**kick_left, **turn(360)}),
        (6.5, {**bend(14, 14), **DOWN, **turn(360)}),
        (7.0, {**kick_right, **turn(360)}),
        (7.5, {**bend(16, 16), **cheer, **turn(360)}),
        (8.0, {**bend(6, 6), **DOWN, **turn(360)}),
    ]


def wave() -> list[tuple[float, Pose]]:
    """Looks up, lifts the right hand and waves it, with a little hop in the knees."""
    keys: list[tuple[float, Pose]] = [(0.0, {**bend(3, 3), **DOWN}), (0.8, {**bend(9, 9), **DOWN, "head": (4, 0, 3)})]
    for k in range(5):
        swing = 24 if k % 2 == 0 else -14
        up = {"right_shoulder": (0, 22, -18), "right_elbow": (0, 26, -78 + swing), "right_wrist": (0, 0, 0.4 * swing)}
        keys.append((1.6 + 0.5 * k, {**bend(4 + 5 * (k % 2), 4, 3), **DOWN, **up, "head": (-3, 8, -9),
                                     "spine2": (0, 4, -3)}))  # fmt: skip
    return [*keys, (4.6, {**bend(7, 7), **DOWN, "head": (5, 0, 0)}), (5.5, {**bend(3, 3), **DOWN})]


def _mirrored(pose: Pose) -> dict[str, tuple[float, float, float]]:
    swap = {"left": "right", "right": "left"}
    out = {}
    for name, (x, y, z) in pose.items():
        side, _, rest = name.partition("_")
        out[f"{swap[side]}_{rest}" if side in swap else name] = (x, -y, -z)
    return out


def clip(keys: list[tuple[float, Pose]], beat: float) -> Motion:
    """A looping motion through poses at beats of ``beat`` seconds, its lowest foot on the floor."""
    times = np.array([k for k, _ in keys]) * beat
    count = round(times[-1] * FPS)
    at = np.arange(count) / FPS
    rotations = np.zeros((count, JOINTS, 3))
    for name in sorted({n for _, pose in keys for n in pose}):
        table = np.radians([pose.get(name, (0.0, 0.0, 0.0)) for _, pose in keys])
        grown = table - np.outer(times / times[-1], table[-1] - table[0])  # whole turns are no jump
        spline = CubicSpline(times, np.concatenate([grown[:-1], grown[:1]]), bc_type="periodic")
        rotations[:, INDEX[name]] = spline(at) + np.outer(at / times[-1], table[-1] - table[0])
    rig = human()
    motion = Motion(rotations, np.zeros((count, 3)), np.zeros(10), FPS, rig.joints, at, np.ones(count, bool))
    return replace(motion, transl=_planted(motion))


def _planted(motion: Motion) -> Array:
    """Shifts (T, 3) that keep the lowest foot on the floor and the weight over it."""
    joints = motion.joints()
    ankles = joints[:, [INDEX["left_ankle"], INDEX["right_ankle"]]]
    lowest = ankles[..., 1].min(axis=1)
    standing = ankles[..., 1] - lowest[:, None]
    share = np.exp(-standing / 0.02)
    share /= share.sum(axis=1, keepdims=True)
    under = (ankles[..., [0, 2]] * share[..., None]).sum(axis=1)
    rest = motion.rest_joints[INDEX["left_ankle"], 1]
    shift = np.zeros((len(joints), 3))
    shift[:, [0, 2]] = -gaussian_filter1d(under, 2.0, axis=0, mode="wrap") * 0.85
    shift[:, 1] = gaussian_filter1d(rest - lowest, 1.0, mode="wrap")
    return shift


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER)
    folder = parser.parse_args().out
    for name, keys, beat in (("dance", dance(), 0.56), ("wave", wave(), 0.62)):
        path = write_motion(folder / f"{name}.npz", clip(keys, beat))
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
