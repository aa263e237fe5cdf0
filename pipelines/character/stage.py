"""A body moving before a camera: the motion carried to its skeleton, its feet on the floor, the picture well filled."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy.ndimage import gaussian_filter1d

from models.geometry.cameras import look_at
from pipelines.character.options import ViewOptions
from pipelines.export.motion import Motion
from pipelines.export.retarget import Rig, carry, leg_length, motion_rig, motion_turns, place
from pipelines.render.shading import Camera
from pipelines.render.skinned import SkinnedBody

Array = np.ndarray
LENS_DEGREES = 18.0  # vertical angle of view: long, as drawings have little perspective
MARGIN = 0.07  # of the picture left free on each side
CALM_SECONDS = 0.7  # over which a following camera is smoothed
_FEET = tuple(f"{side}_{part}" for side in ("left", "right") for part in ("ankle", "foot", "knee"))


class Stage:
    """Poses ``body`` through ``motion`` and stands the cameras.

    size: (width, height) of the pictures.
    """

    def __init__(self, body: SkinnedBody, motion: Motion, view: ViewOptions, size: tuple[int, int]) -> None:
        self.body, self.size, self.view, self.fps = body, size, view, motion.fps
        source = motion_rig(motion)
        self.turns = carry(motion_turns(motion), source, body.rig)  # (T, J, 3, 3)
        scale = leg_length(body.rig) / leg_length(source)
        theirs = motion.joints()
        pelvis = theirs[:, source.known["pelvis"]] * scale
        offset = body.rig.joints[body.rig.known["pelvis"]] - body.rig.joints[0]
        self.roots = pelvis - offset
        own = place(self.turns, body.rig, self.roots)
        heights = _lowest(theirs, source)
        lift = scale * (heights - np.percentile(heights, 5)) - _lowest(own, body.rig)
        self.roots[:, 1] += lift
        self.joints = own + np.array([0, 1.0, 0]) * lift[:, None, None]

    def __len__(self) -> int:
        return len(self.turns)

    def vertices(self, frame: int) -> Array:
        """(V, 3) float32 in the world."""
        return self.body.posed(self.turns[frame], self.roots[frame])

    @cached_property
    def _centres(self) -> Array:
        """Where the camera looks (T, 3): over the hips, at a height that stays."""
        hips = self.joints[:, self.body.rig.known["pelvis"]].copy()
        if self.view.follow and len(hips) > 1:
            hips = gaussian_filter1d(hips, CALM_SECONDS * self.fps, axis=0, mode="nearest")
        else:
            hips[:] = 0.5 * (hips.min(axis=0) + hips.max(axis=0))
        hips[:, 1] = 0.0
        return hips

    @cached_property
    def _span(self) -> tuple[float, float, float]:
        """(lowest, highest, widest) of the body against the centres over the clip."""
        extent = self.body.rest.max(axis=0) - self.body.rest.min(axis=0)
        low, high, wide, angles = np.inf, -np.inf, 0.0, self._angles
        step = max(1, len(self) // 40)
        for frame in range(0, len(self), step):
            points = self.vertices(frame)[::7] - self._centres[frame]
            low, high = min(low, float(points[:, 1].min())), max(high, float(points[:, 1].max()))
            across = points[:, [0, 2]] @ np.array([np.cos(angles[frame]), np.sin(angles[frame])])
            wide = max(wide, float(np.abs(across).max()))
        return low - 0.01 * extent[1], high + 0.01 * extent[1], wide

    @cached_property
    def _angles(self) -> Array:
        """The camera's way round (T,) in radians. Turning the character left is going round it to the right."""
        return np.radians(-self.view.yaw + self.view.orbit * np.arange(len(self)) / self.fps)

    def camera(self, frame: int) -> Camera:
        """The camera of a frame."""
        width, height = self.size
        low, high, wide = self._span
        room = 1 - 2 * MARGIN
        tall = max(high - low, 2 * wide * height / width) / room / self.view.zoom
        distance = 0.5 * tall / np.tan(np.radians(LENS_DEGREES / 2))
        focus = self._centres[frame] + np.array([0, 0.5 * (low + high), 0])
        up, around = np.radians(self.view.elevation), self._angles[frame]
        direction = np.array([np.cos(up) * np.sin(around), np.sin(up), np.cos(up) * np.cos(around)])
        extrinsics = look_at(focus + distance * direction, focus)
        focal = 0.5 * height / np.tan(np.radians(LENS_DEGREES / 2))
        intrinsics = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])
        return Camera(extrinsics, intrinsics, width, height)


def _lowest(joints: Array, rig: Rig) -> Array:
    """Height (T,) of the lowest point of the feet, taken as sticking out of their joints as at rest."""
    floor = min(rig.joints[rig.known[name], 1] for name in _FEET if name in rig.known)
    found = []
    for name in _FEET:
        if name in rig.known:
            above = rig.joints[rig.known[name], 1] - floor if not name.endswith("knee") else 0.0
            found.append(joints[:, rig.known[name], 1] - above)
    return np.min(found, axis=0)
