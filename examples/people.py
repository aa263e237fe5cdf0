"""Known motion for the mannequin, and clips of it: somebody who walks and waves, and two people who cross.

The clips serve as examples and as ground truth: rotations, places and the camera are known exactly.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch

from models.bodies.joints import INDEX, JOINTS
from models.bodies.mannequin import Mannequin, load
from models.bodies.smplx import BodyPose, Smplx
from pipelines.export.motion import Motion
from pipelines.media.image import write_image
from pipelines.media.writer import VideoWriter
from pipelines.render.shading import Camera, Lights, render_mesh

Array = np.ndarray
FPS = 30.0
SPEED = 2.4  # metres a second per radian of stride: what the legs of this gait cover
CAMERA_HEIGHT = 1.25  # metres above the floor
FLIP = np.diag([1.0, -1.0, -1.0])  # y up and z to the viewer <-> y down and z forward
OUTFITS = (((92, 130, 158), (66, 70, 84)), ((176, 84, 66), (150, 140, 120)))  # shirt and trousers of each person


@dataclass(frozen=True)
class Clip:
    """People's motions with one camera: focal length in pixels, size (width, height)."""

    people: tuple[Motion, ...]
    focal: float
    size: tuple[int, int]


@cache
def _body() -> tuple[Mannequin, Smplx]:
    mannequin = load()
    return mannequin, Smplx(mannequin.data)


def _gait(phase: Array, stride: float) -> dict[str, Array]:
    """Rotations (T, 3) of the legs, arms and trunk over the phase of a walk, in radians."""
    zero = np.zeros_like(phase)
    pose = {}
    for side, shift, sign in (("left", 0.0, 1), ("right", np.pi, -1)):
        p = phase + shift
        hip = -stride * np.sin(p) - 0.06
        knee = 0.12 + 0.95 * stride * np.clip(np.sin(p - 1.0 + np.pi / 2), 0, None) ** 2 * 1.4
        ankle = -0.10 * np.sin(p + 0.6) - 0.02
        pose[f"{side}_hip"] = np.stack([hip, zero, sign * 0.02 + zero], 1)
        pose[f"{side}_knee"] = np.stack([knee, zero, zero], 1)
        pose[f"{side}_ankle"] = np.stack([ankle, zero, zero], 1)
        pose[f"{side}_shoulder"] = np.stack([zero, -sign * 0.75 * stride * np.sin(p + np.pi), -sign * 1.22 + zero], 1)
        pose[f"{side}_elbow"] = np.stack([zero, -sign * (0.4 + 0.25 * np.sin(p + np.pi)), zero], 1)
        for finger in ("index", "middle", "ring", "pinky"):
            for i, bend in ((1, 0.25), (2, 0.35), (3, 0.2)):
                pose[f"{side}_{finger}{i}"] = np.stack([zero, zero, -sign * bend + zero], 1)
    pose["spine1"] = np.stack([0.03 + zero, 0.05 * np.sin(phase), 0.02 * np.sin(phase)], 1)
    pose["spine3"] = np.stack([zero, -0.10 * np.sin(phase), zero], 1)
    pose["head"] = np.stack([0.02 * np.sin(2 * phase), 0.06 * np.sin(0.5 * phase), zero], 1)
    return pose


def walk(frames: int, start: tuple[float, float], heading: float, wave: bool, stride: float = 0.42) -> Motion:
    """A walk from ``start`` (x, z in metres) towards ``heading`` (radians about y, 0 to the camera).

    The lowest foot stays on the floor. ``wave`` lifts the right hand and waves it.
    """
    time = np.arange(frames) / FPS
    phase = 2 * np.pi * 0.85 * time
    pose = _gait(phase, stride)
    if wave:
        lift = np.clip((time - 0.4) / 0.8, 0, 1)
        lift = lift * lift * (3 - 2 * lift)
        swing = lift * 0.45 * np.sin(2 * np.pi * 1.3 * time)
        low = pose["right_shoulder"]
        up = np.stack([np.full(frames, 0.0), np.full(frames, 0.35), np.full(frames, 0.25)], 1)
        pose["right_shoulder"] = low + lift[:, None] * (up - low)
        bent = np.stack([np.zeros(frames), 0.5 + 0 * time, -1.75 * lift + swing], 1)
        pose["right_elbow"] = pose["right_elbow"] * (1 - lift[:, None]) + bent * lift[:, None]
        for finger in ("index", "middle", "ring", "pinky"):
            for i in (1, 2, 3):
                pose[f"right_{finger}{i}"] = pose[f"right_{finger}{i}"] * (1 - lift[:, None])
    rotations = np.zeros((frames, JOINTS, 3))
    for name, value in pose.items():
        rotations[:, INDEX[name]] = value
    rotations[:, 0, 1] = heading
    mannequin, layer = _body()
    with torch.inference_mode():
        rest = layer.shaped(None, None, 1)
        joints = (layer.J_regressor @ rest[0]).numpy()
    motion = Motion(rotations, np.zeros((frames, 3)), np.zeros(10), FPS, joints, time, np.ones(frames, bool))
    placed = motion.joints()
    feet = placed[:, [INDEX[n] for n in ("left_ankle", "right_ankle", "left_foot", "right_foot")], 1]
    kernel = np.hanning(9) / np.hanning(9).sum()
    shift = np.outer(SPEED * stride * time, [np.sin(heading), 0, np.cos(heading)])
    shift[:, 1] = np.convolve(np.pad(-feet.min(axis=1), 4, mode="edge"), kernel, mode="valid")
    lift = joints[INDEX["left_foot"], 1] - mannequin.floor
    transl = shift + np.array([start[0], lift - CAMERA_HEIGHT, start[1]])
    return replace(motion, transl=transl)


def walking(frames: int = 90, size: tuple[int, int] = (640, 480)) -> Clip:
    """One person comes walking and waves."""
    return Clip((walk(frames, (-0.7, -6.4), 0.6, wave=True),), 1.1 * size[0], size)


def crossing(frames: int = 90, size: tuple[int, int] = (640, 480)) -> Clip:
    """Two people walk past each other, one in front."""
    people = (walk(frames, (-1.35, -5.0), 1.3, wave=False), walk(frames, (1.35, -5.9), -1.3, wave=False))
    return Clip(people, 1.05 * size[0], size)


def vertices(motion: Motion, frame: int) -> Array:
    """The mannequin (V, 3) in one frame."""
    _, layer = _body()
    turned = torch.from_numpy(np.asarray(motion.rotations[frame : frame + 1], np.float32))
    pose = BodyPose(
        turned[:, 0],
        turned[:, 1:22].flatten(1),
        torch.from_numpy(np.asarray(motion.betas, np.float32))[None],
        None,
        turned[:, 25:40].flatten(1),
        turned[:, 40:55].flatten(1),
        turned[:, 22],
        transl=torch.from_numpy(np.asarray(motion.transl[frame : frame + 1], np.float32)),
    )
    with torch.inference_mode():
        return layer(pose).vertices[0].numpy()


def outfit(person: int) -> Array:
    """Vertex colours of one of the people."""
    mannequin, _ = _body()
    colors = mannequin.colors.astype(float)
    for new, old in zip(OUTFITS[person % len(OUTFITS)], OUTFITS[0], strict=True):
        near = np.clip(1 - np.abs(mannequin.colors.astype(float) - old).max(axis=1, keepdims=True) / 60, 0, 1)
        colors += near * (np.array(new) - old)
    return colors.clip(0, 255).astype(np.uint8)


def backdrop(clip: Clip) -> Array:
    """A plain room: a wall, and a floor of boards in perspective."""
    width, height = clip.size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    wall = 205 + 14 * (1 - y / height) + 5 * np.sin(x / width * 5.0)
    picture = np.stack([wall, wall * 0.985, wall * 0.95], axis=-1)
    horizon = height / 2
    depth = clip.focal * CAMERA_HEIGHT / np.maximum(y - horizon, 1e-3)
    place = (x - width / 2) / clip.focal * depth
    on_floor = depth < 7.5
    board = np.floor(place / 0.22)
    grain = 8 * np.sin(board * 12.9898) + 4 * np.sin(depth * 9 + board * 3.1)
    seam = np.abs(place / 0.22 - np.round(place / 0.22)) < 0.02
    tone = (150 + grain - 26 * seam)[..., None] * np.array([1.0, 0.86, 0.70])
    picture[on_floor] = tone[on_floor]
    return cv2.GaussianBlur(picture.clip(0, 255).astype(np.uint8), (3, 3), 0)


def render(clip: Clip, frame: int, room: Array) -> Array:
    """One frame (H, W, 3) uint8 of the clip over ``room``."""
    width, height = clip.size
    intrinsics = np.array([[clip.focal, 0, (width - 1) / 2], [0, clip.focal, (height - 1) / 2], [0, 0, 1.0]])
    extrinsics = np.concatenate([FLIP, np.zeros((3, 1))], axis=1)
    picture = room.astype(float)
    order = sorted(range(len(clip.people)), key=lambda i: clip.people[i].transl[frame, 2])
    mannequin, _ = _body()
    for person in order:
        shape = vertices(clip.people[person], frame)
        at = shape @ (intrinsics @ FLIP).T
        at = at[:, :2] / at[:, 2:]
        x0, y0 = (max(0, int(v) - 2) for v in at.min(axis=0))
        x1, y1 = (min(limit, int(v) + 3) for v, limit in zip(at.max(axis=0), clip.size, strict=True))
        picture *= 1 - 0.35 * render_shadow(shape, clip)[..., None]
        if x1 <= x0 or y1 <= y0:
            continue
        moved = intrinsics.copy()
        moved[:2, 2] -= (x0, y0)
        camera = Camera(extrinsics, moved, x1 - x0, y1 - y0)
        seen = render_mesh(camera, shape, mannequin.data.faces, outfit(person), lights=Lights())
        share = seen.alpha[..., None] / 255.0
        picture[y0:y1, x0:x1] = picture[y0:y1, x0:x1] * (1 - share) + seen.color * share
    return picture.clip(0, 255).astype(np.uint8)


def render_shadow(shape: Array, clip: Clip) -> Array:
    """A soft shadow (H, W) in 0..1 on the floor under somebody."""
    width, height = clip.size
    low = shape[shape[:, 1] < -CAMERA_HEIGHT + 0.25]
    shade = np.zeros((height, width), np.float32)
    if not len(low):
        return shade
    middle, spread = low.mean(axis=0), low.std(axis=0)
    depth = max(-middle[2], 0.5)
    at = (
        round(width / 2 + clip.focal * middle[0] / depth),
        round(height / 2 + clip.focal * CAMERA_HEIGHT / depth),
    )
    half = clip.focal / depth * (spread[0] + 0.18)
    cv2.ellipse(shade, at, (round(half), round(half * 0.28)), 0, 0, 360, 1.0, -1)
    return cv2.GaussianBlur(shade, (0, 0), max(1.0, half * 0.15))


def main() -> None:
    """Writes the clips and a picture of each: `python -m examples.people [--out DIR]`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "body")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    for name, clip in (("walking", walking()), ("crossing", crossing())):
        room = backdrop(clip)
        with VideoWriter(folder / f"{name}.mp4", FPS, clip.size, crf=24) as writer:
            for index in range(len(clip.people[0])):
                picture = render(clip, index, room)
                writer.write(picture)
                if index == len(clip.people[0]) // 3:
                    write_image(folder / f"{name}.jpg", picture)


if __name__ == "__main__":
    main()
