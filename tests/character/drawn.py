"""Figures and motions made for tests."""

from __future__ import annotations

import cv2
import numpy as np

from pipelines.character.figure import Figure, from_named
from pipelines.export.motion import Motion
from pipelines.export.retarget import human, motion_of

INK, SKIN = (40, 30, 60), (250, 205, 170)


def figure(arms: float = 35.0, size: int = 400) -> Figure:
    """A plain figure; ``arms`` degrees from hanging straight down."""
    joints = {
        "root": (200, 232), "torso": (200, 140), "neck": (200, 80),
        "right_hip": (180, 240), "right_knee": (165, 300), "right_foot": (155, 360),
        "left_hip": (220, 240), "left_knee": (235, 300), "left_foot": (245, 360),
    }  # fmt: skip
    for side, sign in (("right", -1), ("left", 1)):
        out = np.array([sign * np.sin(np.radians(arms)), np.cos(np.radians(arms))])
        for part, far in (("shoulder", 0), ("elbow", 48), ("hand", 92)):
            joints[f"{side}_{part}"] = tuple(np.array([200 + sign * 26, 142]) + far * out)
    scale = size / 400
    places = from_named(joints) * scale
    rgba = np.zeros((size, size, 4), np.uint8)
    at = dict(zip(joints, (np.array(p) * scale for p in joints.values()), strict=True))
    for grown, colour in ((6, INK), (0, SKIN)):
        paint = (*colour, 255)

        def bone(a: str, b: str, width: float, grown: int = grown, paint: tuple = paint) -> None:
            ends = [tuple(int(v) for v in np.rint(at[n])) for n in (a, b)]
            cv2.line(rgba, *ends, paint, round((width + grown) * scale), cv2.LINE_AA)

        for side in ("right", "left"):
            bone(f"{side}_shoulder", f"{side}_elbow", 24)
            bone(f"{side}_elbow", f"{side}_hand", 22)
            bone(f"{side}_hip", f"{side}_knee", 30)
            bone(f"{side}_knee", f"{side}_foot", 26)
        bone("root", "torso", 68)
        bone("torso", "neck", 24)
        centre = tuple(int(v) for v in np.rint(at["neck"]))
        cv2.circle(rgba, centre, round((38 + grown / 2) * scale), paint, -1, cv2.LINE_AA)
    alpha = np.maximum(rgba[..., 3:], 1) / 255  # smooth lines on nothing come out premultiplied
    rgba[..., :3] = np.rint(rgba[..., :3] / alpha).clip(0, 255)
    return Figure(rgba, places)


def turned(angles: dict[str, list[float]], fps: float = 24.0, hop: list[float] | None = None) -> Motion:
    """The human skeleton with world turns about the viewing axis, degrees per frame by joint name; the rest follows."""
    rig = human()
    count = len(next(iter(angles.values())))
    turns = np.tile(np.eye(3), (count, len(rig.parents), 1, 1))
    for joint, parent in enumerate(rig.parents):
        name = next(n for n, i in rig.known.items() if i == joint)
        if name in angles:
            a = np.radians(angles[name])
            c, s = np.cos(a), np.sin(a)
            zero, one = np.zeros(count), np.ones(count)
            turns[:, joint] = np.stack([c, -s, zero, s, c, zero, zero, zero, one], 1).reshape(-1, 3, 3)
        elif parent >= 0:
            turns[:, joint] = turns[:, parent]
    transl = np.zeros((count, 3))
    if hop is not None:
        transl[:, 1] = hop
    return motion_of(turns, transl, fps)


def waving(count: int = 48) -> Motion:
    """Both arms up and down, one across the body, while the feet stand."""
    t = np.arange(count) / count * 2 * np.pi
    left, right = 60 * np.sin(t), -60 * np.sin(t + 0.7)
    return turned(
        {
            "left_shoulder": list(left), "left_elbow": list(left + 50 + 50 * np.sin(2 * t)),
            "right_shoulder": list(right), "right_elbow": list(right - 60),
        }
    )  # fmt: skip
