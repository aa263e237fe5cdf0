"""From one person's measurements to a motion: shape, rotations, place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch

from models.bodies.joints import INDEX
from models.geometry.rotations import matrix_to_axis_angle
from models.runtime.threads import one_thread
from pipelines.body.clip import Track
from pipelines.body.root import Placement, focal_length, place
from pipelines.body.shape import Figure, fit_betas
from pipelines.body.solve import Solver
from pipelines.export.motion import Motion

BLINK = 0.12  # seconds: who is missed for no longer was there all the same
PICTURE_SHARE = 0.6  # how far landmarks are moved onto the picture's rays
# Landmarks and the joints that stand for them, for judging a solution.
FOLLOWED = {
    11: "left_shoulder", 12: "right_shoulder", 13: "left_elbow", 14: "right_elbow", 15: "left_wrist", 16: "right_wrist",
    23: "left_hip", 24: "right_hip", 25: "left_knee", 26: "right_knee", 27: "left_ankle", 28: "right_ankle",
}  # fmt: skip


@dataclass(frozen=True)
class Recovered:
    """A person's motion with the floor and standing feet.

    ``error_mm``: mean distance of the joints from the visible world landmarks they came from, both about the hips where
    those are seen.
    """

    number: int
    first: int
    motion: Motion
    placement: Placement
    error_mm: float


def recover(track: Track, figure: Figure, strength: float, lock_feet: bool = True, pitch: float = 0.0) -> Recovered:
    """Solves one track. ``strength`` of the smoothing in 0..1; ``pitch`` of the camera in radians."""
    with one_thread():
        return _recover(track, figure, strength, lock_feet, pitch)


def _recover(track: Track, figure: Figure, strength: float, lock_feet: bool, pitch: float) -> Recovered:
    betas = fit_betas(figure, track)
    rest = figure.joints(betas)
    solution = Solver(track, rest, strength).run(limbs_only=True)
    placement = place(track, solution.joints, strength, lock_feet, pitch)
    lifted = lift(track, solution.offset + placement.transl)
    solution = Solver(lifted, rest, strength).run()
    placement = place(track, solution.joints, strength, lock_feet, pitch)
    axis_angle = matrix_to_axis_angle(torch.from_numpy(solution.rotations)).numpy()
    motion = Motion(
        rotations=axis_angle,
        transl=placement.transl,
        betas=betas,
        fps=track.fps,
        rest_joints=rest,
        times=track.times,
        seen=bridged(track.seen, round(BLINK * track.fps)),
    )
    return Recovered(track.number, track.first, motion, placement, follow_error(lifted, solution.joints))


def bridged(seen: np.ndarray, most: int) -> np.ndarray:
    """``seen`` (T,) with gaps of at most ``most`` frames closed: the motion runs through them."""
    at = np.flatnonzero(seen)
    out = seen.copy()
    for start, end in pairwise(at):
        out[start:end] |= end - start <= most + 1
    return out


def lift(track: Track, offset: np.ndarray) -> Track:
    """The track with landmarks moved onto their rays through the picture, at the depth they have.

    ``offset`` (T, 3) takes world landmarks to viewer axes. The picture shows places far better than depth, and only so
    do bodies cover the people they belong to.
    """
    focal = focal_length(track.size)
    depth = np.maximum(-(track.world[..., 2] + offset[:, None, 2]), 0.2)
    ray = (track.picture - np.array(track.size) / 2) / focal * depth[..., None] * (1, -1)
    share = (PICTURE_SHARE * np.clip((track.visibility - 0.4) / 0.4, 0, 1))[..., None]
    world = track.world.copy()
    world[..., :2] += share * (ray - offset[:, None, :2] - world[..., :2])
    return replace(track, world=world)


def follow_error(track: Track, joints: np.ndarray) -> float:
    """Mean distance in millimetres between joints (T, 55, 3) and visible world landmarks, both about their middle.

    The middle is that of the hips, and of all visible landmarks in frames where the hips are out of sight.
    """
    points, names = list(FOLLOWED), [INDEX[n] for n in FOLLOWED.values()]
    visible = (track.visibility[:, points] > 0.5) & track.seen[:, None]
    hips = np.array([name.endswith("hip") for name in FOLLOWED.values()])
    share = np.where((visible & hips).sum(axis=1, keepdims=True) == 2, hips, visible)[..., None].astype(float)
    apart = joints[:, names] - track.world[:, points]
    apart = apart - (apart * share).sum(axis=1, keepdims=True) / np.maximum(share.sum(axis=1, keepdims=True), 1)
    gaps = np.linalg.norm(apart, axis=-1)
    return float(1000 * gaps[visible].mean()) if visible.any() else float("nan")
