"""A skeleton's motion laid into the plane of a drawing: where each bone points, and which limb is in front.

Pictures run x to the right and y down, positions are complex x + iy. Limbs keep the lengths they were drawn with unless
foreshortening is asked for. Feet that stand in the motion stand in the picture: the root's way and the knees are solved
so that they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from pipelines.character.puppet_arap import Pose
from pipelines.character.puppet_feet import Contact, Steps, bend, find_contacts, hold, walk
from pipelines.character.puppet_parts import HEAD, LAYERS, Bone
from pipelines.export.motion import Motion
from pipelines.export.retarget import heading, leg_length, motion_rig

Plane = Literal["auto", "front", "side", "camera"]
SIDES = ("right", "left")
_CALM, _CALMER = 0.04, 0.22  # seconds over which directions are averaged where they are sure and where they are not
_TURN = 0.07  # seconds over which angles are averaged, sure ones counting more
_SURE = 0.45  # of a bone's length that must lie in the picture for its direction to be sure
_SIDE_CLEARLY = 1.6  # times more movement must show from the side
_SHORTEST = 0.3  # of its length that a foreshortened bone keeps
_MOST_TILT = np.radians(30)
_STRAIGHT = 0.992  # of its length to which a leg is stretched


@dataclass(frozen=True)
class PlanarMotion:
    """A clip of the puppet.

    ``pose`` in pixels of the drawing, its drawn root at 0; ``order`` (T, L) int8, layers from back to front; ``folded``
    (T, L) bool, limbs whose end lies behind their beginning; ``contacts`` of the feet; ``root`` (T,) complex.
    """

    pose: Pose
    order: NDArray[np.int8]
    folded: NDArray[np.bool_]
    contacts: tuple[Contact, ...]
    root: NDArray[np.complex128]

    def ends(self, bones: Sequence[Bone]) -> NDArray[np.complex128]:
        """Where the bones end (T, B)."""
        along = np.array([b.direction * b.length for b in bones])
        return self.pose.start + self.pose.turn * along * self.pose.stretch


def lay_flat(
    motion: Motion,
    bones: Sequence[Bone],
    *,
    arms: Plane = "auto",
    legs: Plane = "auto",
    foreshortening: float = 0.0,
    follow_root: bool = True,
) -> PlanarMotion:
    """The puppet's bones through a motion.

    Args:
        bones: of the drawing, as ``bones_of`` gives them.
        arms, legs: the plane they are seen in. ``front`` and ``side`` turn with the body, ``camera`` stays.
        foreshortening: 0 keeps limbs at their length, 1 shortens what points at the viewer.
        follow_root: False keeps the figure where it is drawn, with only its ups and downs.
    """
    return _Layer(motion, bones, arms, legs, foreshortening, follow_root).solve()


class _Layer:
    def __init__(
        self, motion: Motion, bones: Sequence[Bone], arms: Plane, legs: Plane, foreshortening: float, follow_root: bool
    ) -> None:
        self.bones = {b.name: i for i, b in enumerate(bones)}
        self.list = list(bones)
        self.along = np.array([b.direction for b in bones])
        self.length = np.array([b.length for b in bones])
        self.fps, self.count = motion.fps, len(motion)
        self.foreshortening, self.follow_root = foreshortening, follow_root
        rig = motion_rig(motion)
        self.leg = leg_length(rig)
        self.at = {name: motion.joints()[:, index] for name, index in rig.known.items()}
        self.seen_from_behind = (
            bones[self.bones["left_upper_arm"]].start[0] < bones[self.bones["right_upper_arm"]].start[0]
        )
        self.yaw = _smooth(np.unwrap(heading(motion)), 0.15 * self.fps)
        self.arms = self._choose(arms, (("shoulder", "elbow"), ("elbow", "wrist")))
        self.legs = self._choose(legs, (("hip", "knee"), ("knee", "ankle")))
        shape = (self.count, len(bones))
        self.turn, self.start, self.stretch = np.ones(shape, complex), np.zeros(shape, complex), np.ones(shape)

    def solve(self) -> PlanarMotion:
        self._trunk()
        for side in SIDES:
            self._arm(side)
        steps = Steps(*(self._leg_wish(side) for side in SIDES))
        contacts = find_contacts({s: self._foot(s) for s in SIDES}, self.leg, self.fps)
        scale = float(np.mean([self._drawn_leg(side) for side in SIDES])) / self.leg
        wander = self._flat(self.at["pelvis"], "camera") * scale
        if not self.follow_root:
            wander = wander[0].real + 1j * wander.imag
        heights = {s: self._height(s) * scale for s in SIDES}
        root, anchors = walk(steps, contacts, wander, heights, self._ground(), self.follow_root)
        self._legs(root, steps, contacts if self.follow_root else (), anchors)
        self.start += root[:, None]
        order, folded = self._depths()
        return PlanarMotion(Pose(self.turn, self.start, self.stretch), order, folded, contacts, root)

    # -- seeing the skeleton ------------------------------------------------------------------------------------------

    def _flat(self, vectors: NDArray, plane: str) -> NDArray[np.complex128]:
        """Vectors (T, 3) as seen in the picture, complex."""
        x, y, _ = self._seen(vectors, plane)
        return x - 1j * y

    def _seen(self, vectors: NDArray, plane: str) -> tuple[NDArray, NDArray, NDArray]:
        """Right, up and towards the viewer."""
        x, y, z = vectors.T
        if plane != "camera":
            c, s = np.cos(self.yaw), np.sin(self.yaw)
            x, z = c * x - s * z, s * x + c * z
        if plane == "side":
            return z, y, -x
        return (-x, y, -z) if self.seen_from_behind else (x, y, z)

    def _choose(self, plane: Plane, pieces: Sequence[tuple[str, str]]) -> str:
        if plane != "auto":
            return plane
        spread = np.zeros(2)
        for side in SIDES:
            for begin, end in pieces:
                x, _, z = self._seen(self._vector(side, begin, end), "front")
                spread += x.std(), z.std()
        return "side" if spread[1] > _SIDE_CLEARLY * max(spread[0], 1e-6) else "front"

    def _vector(self, side: str, begin: str, end: str) -> NDArray:
        """Unit vectors (T, 3) from joint to joint."""
        vector = self.at[f"{side}_{end}"] - self.at[f"{side}_{begin}"]
        return vector / np.maximum(np.linalg.norm(vector, axis=1, keepdims=True), 1e-9)

    def _direction(self, vectors: NDArray, plane: str) -> tuple[NDArray, NDArray]:
        """Steady directions (T,) complex of unit vectors in the picture, and the parts of their lengths in it."""
        flat = self._flat(vectors, plane)
        near, wide = _smooth(flat, _CALM * self.fps), _smooth(flat, _CALMER * self.fps)
        sure = np.clip(np.abs(near) / _SURE, 0, 1) ** 2
        angle = np.unwrap(np.angle(sure * near + (1 - sure) * wide))
        weight = np.abs(near) ** 2 + 0.02  # what passes through the line of sight swings round while it is unsure
        angle = _smooth(angle * weight, _TURN * self.fps) / _smooth(weight, _TURN * self.fps)
        return np.exp(1j * angle), np.abs(near)

    # -- the trunk and the arms ---------------------------------------------------------------------------------------

    def _set(self, name: str, turn: NDArray, start: NDArray, stretch: NDArray | float = 1.0) -> NDArray:
        """Places a bone and returns its end (T,), both relative to the root."""
        i = self.bones[name]
        self.turn[:, i], self.start[:, i], self.stretch[:, i] = turn, start, stretch
        return start + turn * self.along[i] * self.length[i] * stretch

    def _tilt(self, vectors: NDArray, rest: complex) -> NDArray[np.complex128]:
        direction, _ = self._direction(vectors, "front")
        angle = np.clip(np.angle(direction / rest), -_MOST_TILT, _MOST_TILT)
        return np.exp(1j * angle)

    def _trunk(self) -> None:
        neck = self.at.get("neck", 0.5 * (self.at["left_shoulder"] + self.at["right_shoulder"]))
        spine = neck - self.at["pelvis"]
        flat = _smooth(self._flat(_unit(spine), "front"), _CALM * self.fps)
        trunk = flat / np.maximum(np.abs(flat), 1e-6) / -1j
        upright = np.clip(np.abs(flat) / _SURE, 0, 1)
        trunk = trunk * upright + (1 - upright)
        trunk /= np.maximum(np.abs(trunk), 1e-6)
        zero = np.zeros(self.count, complex)
        chest = self._set("spine", trunk, zero)
        nape = self._set("nape", trunk, chest)
        head = trunk
        if "head" in self.at:
            relative = self._tilt(_unit(self.at["head"] - neck), -1j) / np.where(np.abs(trunk) > 0, trunk, 1)
            angle = np.clip(0.8 * np.angle(relative), -_MOST_TILT, _MOST_TILT)
            head = trunk * np.exp(1j * angle)
        crown = self._set("head", head, nape)
        self._set("crown", head, crown)
        hips = self._tilt(_unit(self.at["left_hip"] - self.at["right_hip"]), -1 if self.seen_from_behind else 1)
        for side in SIDES:
            self._set(f"{side}_collar", trunk, chest)
            self._set(f"{side}_pelvis", hips, zero)

    def _end(self, name: str) -> NDArray[np.complex128]:
        i = self.bones[name]
        return self.start[:, i] + self.turn[:, i] * self.along[i] * self.length[i] * self.stretch[:, i]

    def _short(self, shown: NDArray) -> NDArray[np.float64]:
        return np.maximum(1 - self.foreshortening * (1 - np.clip(shown, 0, 1)), _SHORTEST)

    def _arm(self, side: str) -> None:
        place = self._end(f"{side}_collar")
        turn = np.ones(self.count, complex)
        for name, begin, end in (("upper_arm", "shoulder", "elbow"), ("forearm", "elbow", "wrist")):
            direction, shown = self._direction(self._vector(side, begin, end), self.arms)
            bone = f"{side}_{name}"
            turn = direction / self.along[self.bones[bone]]
            place = self._set(bone, turn, place, self._short(shown))
        self._set(f"{side}_palm", turn, place)

    # -- the legs -----------------------------------------------------------------------------------------------------

    def _drawn_leg(self, side: str) -> float:
        return float(self.length[self.bones[f"{side}_thigh"]] + self.length[self.bones[f"{side}_shin"]])

    def _leg_wish(self, side: str) -> NDArray[np.complex128]:
        """Where the ankle wants to be (T,), relative to the root, as far from the hip as in the motion."""
        whole = self.at[f"{side}_ankle"] - self.at[f"{side}_hip"]
        direction, shown = self._direction(_unit(whole), self.legs)
        reach = np.linalg.norm(whole, axis=1) / self.leg * self._short(shown)
        return self._end(f"{side}_pelvis") + direction * self._drawn_leg(side) * np.minimum(reach, _STRAIGHT)

    def _foot(self, side: str) -> NDArray:
        """Ankle and toe (T, 2, 3)."""
        ankle = self.at[f"{side}_ankle"]
        return np.stack([ankle, self.at.get(f"{side}_foot", ankle)], 1)

    def _height(self, side: str) -> NDArray[np.float64]:
        """How high a foot is above where it is at its lowest (T,), metres."""
        both = [self._foot(s)[:, :, 1] for s in SIDES]
        floor = np.percentile(np.minimum(*both), 5, axis=0)
        return np.clip(self._foot(side)[:, :, 1] - floor, 0, None).min(1)

    def _ground(self) -> dict[str, float]:
        """The height in the picture at which each ankle stands: as drawn, relative to the drawn root."""
        root = self.list[self.bones["spine"]].start
        return {s: float(self.list[self.bones[f"{s}_sole"]].start[1] - root[1]) for s in SIDES}

    def _legs(
        self,
        root: NDArray,
        steps: Steps,
        contacts: tuple[Contact, ...],
        anchors: NDArray,
    ) -> None:
        for side in SIDES:
            hip = self._end(f"{side}_pelvis")
            foot, standing = hold(steps.of(side), root, side, contacts, anchors, self.fps)
            thigh, shin = self.bones[f"{side}_thigh"], self.bones[f"{side}_shin"]
            _, shown_thigh = self._direction(self._vector(side, "hip", "knee"), self.legs)
            _, shown_shin = self._direction(self._vector(side, "knee", "ankle"), self.legs)
            upper, lower = self._short(shown_thigh), self._short(shown_shin)
            out = self._knee_side(side)
            first, second, upper, lower = bend(foot - hip, self.length[thigh] * upper, self.length[shin] * lower, out)
            knee = self._set(f"{side}_thigh", first / self.along[thigh], hip, upper / self.length[thigh])
            turn = second / self.along[shin]
            ankle = self._set(f"{side}_shin", turn, knee, lower / self.length[shin])
            loose = np.angle(turn) * 0.4 * (1 - standing)
            self._set(f"{side}_sole", np.exp(1j * _smooth(loose, _CALM * self.fps) * (1 - standing)), ankle)

    def _knee_side(self, side: str) -> float:
        """+1 where knees bend clockwise of the way to the foot (as seen on the screen), constant so that none flips."""
        if self.legs == "side":
            return -1.0
        outward = -1.0 if (side == "left") != self.seen_from_behind else 1.0
        return outward

    # -- depth --------------------------------------------------------------------------------------------------------

    def _depths(self) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
        depth = np.zeros((self.count, len(LAYERS)))
        depth[:, HEAD] = 1e-3
        folded = np.zeros(depth.shape, bool)
        chest = 0.5 * (self.at["left_shoulder"] + self.at["right_shoulder"])
        for side, arm, leg in (("right", 2, 4), ("left", 3, 5)):
            elbow, wrist = self.at[f"{side}_elbow"], self.at[f"{side}_wrist"]
            *_, near = self._seen(0.4 * elbow + 0.6 * wrist - chest, self.arms)
            depth[:, arm] = _settled(_smooth(near, 0.08 * self.fps) / self.leg, -0.16, -0.06)
            *_, bent = self._seen(wrist - elbow, self.arms)
            folded[:, arm] = _settled(_smooth(bent, 0.08 * self.fps) / self.leg, -0.14, -0.06) < 0
            *_, near = self._seen(
                0.5 * (self.at[f"{side}_knee"] + self.at[f"{side}_ankle"]) - self.at[f"{side}_hip"], self.legs
            )
            depth[:, leg] = _settled(_smooth(near, 0.08 * self.fps) / self.leg, 0.1, 0.25)
        return np.argsort(depth, axis=1, kind="stable").astype(np.int8), folded


def _settled(values: NDArray, low: float, high: float) -> NDArray[np.float64]:
    """Signed depth that turns positive above ``high`` and negative below ``low`` only, so that nothing flickers."""
    front = bool(values[0] > 0.5 * (low + high))
    out = np.empty(len(values))
    for t, value in enumerate(values):
        front = value > low if front else value > high
        out[t] = max(value - low, 0.01) if front else min(value - high, -0.01)
    return out


def _unit(vectors: NDArray) -> NDArray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def _smooth(values: NDArray, sigma: float) -> NDArray:
    if len(values) < 2 or sigma < 0.1:
        return values
    if np.iscomplexobj(values):
        return _smooth(values.real, sigma) + 1j * _smooth(values.imag, sigma)
    return gaussian_filter1d(values.astype(np.float64), sigma, axis=0, mode="nearest")
