"""From landmarks to the rotations of all 55 joints, in closed form, joint by joint down the tree.

Every joint is aimed from where it truly is (after its parents' limits) at where the next landmark lies, so errors do
not add up. Turns about the bones come from the planes of bent elbows and knees, from feet, hands and face. Axes: x
right, y up, z to the viewer; a person facing the camera with SMPL-X's rest pose has no rotation at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.bodies.joints import INDEX, JOINTS, PARENTS
from models.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, normalize
from pipelines.body.clip import Track
from pipelines.body.limits import clamp
from pipelines.body.smooth import smooth, stiffness

SIDES = ("left", "right")
SIGN = {"left": 1.0, "right": -1.0}
ARM = {"left": (11, 13, 15), "right": (12, 14, 16)}
LEG = {"left": (23, 25, 27), "right": (24, 26, 28)}
FOOT = {"left": (29, 31), "right": (30, 32)}
PALM = {"left": (19, 17), "right": (20, 18)}  # knuckles of index and little finger
FINGER_POINTS = {"thumb": 1, "index": 5, "middle": 9, "ring": 13, "pinky": 17}
TRUNK_FIRMNESS, FOOT_FIRMNESS = 12.0, 4.0  # trunk and head move more slowly than hands
NOSE_DROP = 0.17  # of the way from the ears forward to the nose: how much lower it lies on a level head
POSE_SHARE = 0.35
RELAXED = (0.25, 0.35, 0.2)  # curl of a resting finger's bones, in radians
BENT = {"elbow": (0.20, 0.55), "knee": (0.25, 0.65)}  # radians of bend from which the plane is believed, and fully


@dataclass(frozen=True)
class Solution:
    """Local rotations (T, 55, 3, 3) and joints (T, 55, 3) in metres, the pelvis at its rest place.

    ``offset`` (T, 3) takes the world landmarks into the same frame.
    """

    rotations: np.ndarray
    joints: np.ndarray
    offset: np.ndarray


def frame(first: Tensor, second: Tensor) -> Tensor:
    """Rotations (..., 3, 3) whose first column is along ``first`` and whose second lies towards ``second``."""
    x = normalize(first)
    y = normalize(second - (second * x).sum(-1, keepdim=True) * x)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)


def between(a: Tensor, b: Tensor) -> Tensor:
    """The shortest rotation (..., 3, 3) that takes directions ``a`` to ``b``."""
    a, b = torch.broadcast_tensors(normalize(a), normalize(b))
    axis = torch.linalg.cross(a, b)
    sine = axis.norm(dim=-1, keepdim=True)
    cosine = (a * b).sum(-1, keepdim=True)
    spare = torch.linalg.cross(
        a, torch.where(a[..., :1].abs() < 0.7, a.new_tensor([1.0, 0, 0]), a.new_tensor([0, 1.0, 0]))
    )
    unit = torch.where(sine > 1e-8, axis / sine.clamp(min=1e-8), normalize(spare))
    return axis_angle_to_matrix(unit * torch.atan2(sine, cosine))


def partly(rotation: Tensor, share: float | Tensor) -> Tensor:
    """A share of a rotation (..., 3, 3), about its own axis."""
    return axis_angle_to_matrix(matrix_to_axis_angle(rotation) * share)


def _ramp(value: Tensor, low: float, high: float) -> Tensor:
    t = ((value - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


class Solver:
    """Solves one track for one skeleton: rest joints (55, 3)."""

    def __init__(self, track: Track, rest: np.ndarray, strength: float) -> None:
        self.track = track
        self.rest = torch.from_numpy(np.asarray(rest, np.float64))
        self.stiff = stiffness(strength, track.fps)
        self.count = len(track)
        self.world = torch.from_numpy(_steady(track, rest, self.stiff))
        self.local = torch.eye(3, dtype=torch.float64).repeat(self.count, JOINTS, 1, 1)
        self.turned: list[Tensor] = [self.local[:, 0]] * JOINTS
        self.placed: list[Tensor] = [self.rest[0].expand(self.count, 3)] * JOINTS

    # Walking down the tree

    def arrive(self, joint: int) -> Tensor:
        """Where a joint is (T, 3), and its parent's rotation into ``turned``."""
        parent = PARENTS[joint]
        self.placed[joint] = self.placed[parent] + self.turned[parent] @ (self.rest[joint] - self.rest[parent])
        return self.placed[joint]

    def put(self, joint: int, local: Tensor) -> None:
        """Sets a joint's rotation within its limits."""
        if joint:
            local = clamp(local[:, None], [joint])[:, 0]
        self.local[:, joint] = local
        self.turned[joint] = local if joint == 0 else self.turned[PARENTS[joint]] @ local

    def relative(self, joint: int, world: Tensor) -> Tensor:
        """A world rotation as one relative to the joint's parent."""
        return self.turned[PARENTS[joint]].transpose(-1, -2) @ world

    def run(self, limbs_only: bool = False) -> Solution:
        """All joints, or those of trunk and limbs alone, the rest being meaningless."""
        self._trunk()
        for side in SIDES:
            self._leg(side)
            self._arm(side)
        if limbs_only:
            return Solution(self.local.numpy(), torch.stack(self.placed, dim=1).numpy(), self.at.numpy())
        self._head()
        self._fingers()
        for joint in (INDEX["left_eye"], INDEX["right_eye"]):
            self.arrive(joint)
            self.put(joint, torch.eye(3, dtype=torch.float64).repeat(self.count, 1, 1))
        return Solution(self.local.numpy(), torch.stack(self.placed, dim=1).numpy(), self.at.numpy())

    # Parts

    def _trunk(self) -> None:
        w, rest, at = self.world, self.rest, INDEX
        hips, shoulders = w[:, [23, 24]].mean(1), w[:, [11, 12]].mean(1)
        rest_hips = rest[[1, 2]].mean(0)
        rest_shoulders = rest[[at["left_shoulder"], at["right_shoulder"]]].mean(0)
        up, rest_up = shoulders - hips, rest_shoulders - rest_hips
        across = torch.tensor([1.0, 0, 0], dtype=torch.float64)
        pelvis = frame(w[:, 23] - w[:, 24], up) @ frame(across, rest_up).T
        chest = frame(up, w[:, 11] - w[:, 12]) @ frame(rest_up, across).T
        self.put(0, pelvis)
        bend = partly(pelvis.transpose(-1, -2) @ chest, 1 / 3)
        middle = hips + pelvis @ (rest[0] - rest_hips)  # the pelvis' place in the landmarks' frame
        self.origin = middle
        lean = torch.eye(3, dtype=torch.float64).expand(self.count, 3, 3)
        for _ in range(2):  # the second time with the lean that brings the shoulders to their place
            for name in ("spine1", "spine2", "spine3"):
                joint = at[name]
                self.arrive(joint)
                turned = self.turned[PARENTS[joint]] @ bend
                self.put(joint, self.relative(joint, lean @ turned if name == "spine1" else turned))
            top = self.placed[at["spine3"]] + self.turned[at["spine3"]] @ (rest_shoulders - rest[at["spine3"]])
            base = self.placed[at["spine1"]]
            lean = between(top - base, shoulders - middle + rest[0] - base) @ lean
        self.at = rest[0] - middle  # added to a landmark gives a place in the skeleton's frame
        for side in SIDES:
            collar, shoulder = at[f"{side}_collar"], at[f"{side}_shoulder"]
            here = self.arrive(collar)
            aim = w[:, ARM[side][0]] + self.at - here
            chest_frame = self.turned[PARENTS[collar]]
            wanted = chest_frame @ (rest[shoulder] - rest[collar])
            self.put(collar, self.relative(collar, between(wanted, aim) @ chest_frame))
            self.arrive(shoulder)

    def _head(self) -> None:
        w, at = self.world, INDEX
        ears = w[:, 7] - w[:, 8]
        forward = w[:, 0] - w[:, [7, 8]].mean(1)
        pose = frame(ears, forward) @ frame(ears.new_tensor([1.0, 0, 0]), ears.new_tensor([0, -NOSE_DROP, 1.0])).T
        seen = torch.from_numpy(self.track.head_seen)[:, None, None]
        # Two witnesses: the face's mesh is the sharper, the body's landmarks stray less on drawn and unusual faces.
        face = torch.from_numpy(self.track.head)
        head = torch.where(seen, face @ partly(face.transpose(-1, -2) @ pose, POSE_SHARE), pose)
        visible = torch.from_numpy(self.track.visibility[:, [0, 7, 8]].mean(axis=1)).clamp(0, 1)
        chest = self.turned[at["spine3"]]
        turn = partly(chest.transpose(-1, -2) @ head, _ramp(visible, 0.2, 0.6)[:, None])
        turn = self._steady_rotation(turn, visible.numpy())
        neck, skull = at["neck"], at["head"]
        self.arrive(neck)
        self.put(neck, partly(turn, 0.45))
        self.arrive(skull)
        self.put(skull, self.relative(skull, chest @ turn))
        self.arrive(at["jaw"])
        opening = torch.zeros(self.count, 3, dtype=torch.float64)
        opening[:, 0] = torch.from_numpy(smooth(self.track.jaw, np.ones(self.count), self.stiff / 8))
        self.put(at["jaw"], axis_angle_to_matrix(opening.clamp(min=0)))

    def _limb(self, upper: int, lower: int, end: int, points: tuple[int, int, int], hinge: Tensor, fall: Tensor,
              bent: tuple[float, float]) -> None:  # fmt: skip
        """Two bones. ``hinge`` (3,) is the rest axis of the middle joint's bend; ``fall`` (T, 3) stands in for it in
        the world while the limb is straight."""
        rest = self.rest
        a, b, c = (self.world[:, p] + self.at for p in points)
        here = self.placed[upper]
        first = b - here
        bone1, bone2 = rest[lower] - rest[upper], rest[end] - rest[lower]
        knee = here + normalize(first) * bone1.norm()
        second = c - knee
        plane = torch.linalg.cross(normalize(b - a), normalize(c - b))
        sine = plane.norm(dim=-1)
        bend = torch.atan2(sine, (normalize(b - a) * normalize(c - b)).sum(-1))
        trust = _ramp(bend, *bent)
        u = normalize(first)
        fall = normalize(fall - (fall * u).sum(-1, keepdim=True) * u)
        parent = self.turned[PARENTS[upper]]
        own = parent.transpose(-1, -2) @ (trust[:, None] * normalize(plane) + (1 - trust[:, None]) * fall)[..., None]
        own = torch.from_numpy(smooth(own[..., 0].numpy(), np.full(self.count, 1.0), self.stiff * 4))
        normal = (parent @ own[..., None])[..., 0]
        world = frame(first, normal) @ frame(bone1, hinge).T
        self.put(upper, self.relative(upper, world))
        here = self.arrive(lower)
        second = c - here
        above = self.turned[upper]
        aim = normalize((above.transpose(-1, -2) @ second[..., None])[..., 0])
        across = normalize(torch.linalg.cross(hinge.expand_as(bone2), bone2))
        angle = torch.atan2((aim * across).sum(-1), (aim * normalize(bone2)).sum(-1))
        # Behind the hinge's plane is noise of a straight limb, not a limb bent backwards.
        angle = torch.where(angle < 0, torch.where(angle < -2.2, angle + 2 * torch.pi, angle.new_zeros(())), angle)
        turn = axis_angle_to_matrix(hinge * angle[:, None])
        tilt = between((turn @ bone2), aim)
        self.put(lower, partly(tilt, 1.0) @ turn)
        self.arrive(end)

    def _leg(self, side: str) -> None:
        at, rest, w = INDEX, self.rest, self.world
        hip, knee, ankle, foot = (at[f"{side}_{n}"] for n in ("hip", "knee", "ankle", "foot"))
        self.arrive(hip)
        heel, toe = FOOT[side]
        forward = normalize(w[:, toe] - w[:, heel])
        thigh = normalize(w[:, LEG[side][1]] - w[:, LEG[side][0]])
        pelvis_x = self.turned[0][..., 0]
        by_foot = torch.linalg.cross(-thigh, forward)
        known = torch.from_numpy(self.track.visibility[:, [heel, toe]].min(axis=1))[:, None]
        fall = pelvis_x + 1.2 * _ramp(known, 0.3, 0.8) * by_foot
        hinge = rest.new_tensor([1.0, 0, 0])
        self._limb(hip, knee, ankle, LEG[side], hinge, fall, BENT["knee"])
        length = (rest[foot] - rest[ankle]).norm()
        rest_heel = rest[ankle] + length * rest.new_tensor([0.0, -0.28, -0.22])
        rest_toe = rest[foot] + length * rest.new_tensor([0.0, 0.06, 0.42])
        shin = self.turned[knee]
        aimed = frame(forward, shin[..., 0]) @ frame(rest_toe - rest_heel, hinge).T
        local = partly(self.relative(ankle, aimed), _ramp(known, 0.3, 0.7))
        self.put(ankle, local)
        self.arrive(foot)
        self.put(foot, torch.eye(3, dtype=torch.float64).repeat(self.count, 1, 1))

    def _arm(self, side: str) -> None:
        at, rest = INDEX, self.rest
        shoulder, elbow, wrist = (at[f"{side}_{n}"] for n in ("shoulder", "elbow", "wrist"))
        sign = SIGN[side]
        hinge = rest.new_tensor([0.0, -sign, 0.0])
        parent = self.turned[PARENTS[shoulder]]
        aim = self.world[:, ARM[side][1]] + self.at - self.placed[shoulder]
        swing = between(parent @ (rest[elbow] - rest[shoulder]), aim)
        fall = (swing @ parent @ hinge[:, None])[..., 0]
        self._limb(shoulder, elbow, wrist, ARM[side], hinge, fall, BENT["elbow"])
        fore = self.turned[elbow]
        bone = normalize(rest[wrist] - rest[elbow])
        hand, trust = self._palm(side)
        local = fore.transpose(-1, -2) @ hand
        # The twist of the hand against the forearm goes mostly into the forearm, as it does in people.
        aimed = (local @ bone[:, None])[..., 0]
        twist = between(aimed, bone) @ local
        turn = (matrix_to_axis_angle(twist) * bone).sum(-1)
        turn = torch.from_numpy(smooth(np.unwrap(turn.numpy()), trust, self.stiff * 3, np.zeros(self.count), 0.02))
        turn = turn.clamp(-2.0, 2.0)
        self.put(elbow, self.local[:, elbow] @ axis_angle_to_matrix(bone * (0.7 * turn)[:, None]))
        self.arrive(wrist)
        bent = between(bone.expand_as(aimed), aimed)
        rotated = (
            axis_angle_to_matrix(bone * (-0.7 * turn)[:, None]) @ bent @ axis_angle_to_matrix(bone * turn[:, None])
        )
        self.put(
            wrist, self._steady_rotation(partly(rotated, torch.from_numpy(trust)[:, None].clamp(0, 1)), trust + 0.05)
        )

    def _palm(self, side: str) -> tuple[Tensor, np.ndarray]:
        """World rotation of the hand and how far to trust it (T,)."""
        at, rest, k = INDEX, self.rest, SIDES.index(side)
        wrist = rest[at[f"{side}_wrist"]]
        index, pinky = rest[at[f"{side}_index1"]], rest[at[f"{side}_pinky1"]]
        resting = frame((index + pinky) / 2 - wrist, index - pinky)
        i, p = PALM[side]
        w = self.world
        rough = frame((w[:, i] + w[:, p]) / 2 - w[:, ARM[side][2]], w[:, i] - w[:, p])
        hand = torch.from_numpy(self.track.hands[:, k])
        fine = frame((hand[:, 5] + hand[:, 17]) / 2 - hand[:, 0], hand[:, 5] - hand[:, 17])
        seen = torch.from_numpy(self.track.hand_seen[:, k])
        visible = self.track.visibility[:, [i, p, ARM[side][2]]].min(axis=1)
        trust = np.where(self.track.hand_seen[:, k], 1.0, 0.35 * np.clip((visible - 0.3) / 0.4, 0, 1))
        return torch.where(seen[:, None, None], fine, rough) @ resting.T, trust

    def _fingers(self) -> None:
        """Both hands' fingers together, one bone at a time; (T, 10, ...) in the order of ``at[part]``."""
        rest = self.rest
        names = [(side, finger) for side in SIDES for finger in FINGER_POINTS]
        at = [[INDEX[f"{side}_{finger}{part}"] for side, finger in names] for part in (1, 2, 3)]
        hands = torch.from_numpy(self.track.hands)
        seen = self.track.hand_seen.astype(float)
        # Fingers are measured against the hand's own frame, whatever the wrist's limits made of it.
        frames = []
        for k, side in enumerate(SIDES):
            wrist, index, pinky = (rest[INDEX[f"{side}_{n}"]] for n in ("wrist", "index1", "pinky1"))
            resting = frame((index + pinky) / 2 - wrist, index - pinky)
            hand = hands[:, k]
            fine = frame((hand[:, 5] + hand[:, 17]) / 2 - hand[:, 0], hand[:, 5] - hand[:, 17]) @ resting.T
            frames.append(fine.transpose(-1, -2))
        which = [SIDES.index(side) for side, _ in names]
        into = torch.stack(frames, dim=1)[:, which]
        shown = torch.from_numpy(seen > 0)[:, which, None, None]
        straight = torch.eye(3, dtype=torch.float64).repeat(self.count, len(names), 1, 1)
        above = straight
        for part, joints in enumerate(at):
            p = [FINGER_POINTS[finger] + part for _, finger in names]
            along = hands[:, which, [k + 1 for k in p]] - hands[:, which, p]
            aim = (into @ along[..., None])[..., 0]
            own = normalize((above.transpose(-1, -2) @ aim[..., None])[..., 0])
            bones = torch.stack([rest[j + 1] - rest[j] if part < 2 else rest[j] - rest[j - 1] for j in joints])
            local = torch.where(shown, between(bones.expand_as(own), own), straight)
            vectors = matrix_to_axis_angle(local).numpy()
            for k, side in enumerate(SIDES):
                of_side = slice(k * len(FINGER_POINTS), (k + 1) * len(FINGER_POINTS))
                prior = np.zeros((len(FINGER_POINTS), 3))
                for row, finger in enumerate(FINGER_POINTS):
                    if finger != "thumb":
                        prior[row, 2] = -SIGN[side] * RELAXED[part]
                prior = np.tile(prior, (self.count, 1, 1))
                vectors[:, of_side] = smooth(vectors[:, of_side], seen[:, k], self.stiff * 2, prior, 0.02)
            local = clamp(axis_angle_to_matrix(torch.from_numpy(vectors)), joints)
            for row, joint in enumerate(joints):
                self.arrive(joint)
                self.local[:, joint] = local[:, row]
                self.turned[joint] = self.turned[PARENTS[joint]] @ local[:, row]
            above = above @ local

    def _steady_rotation(self, rotation: Tensor, weights: np.ndarray) -> Tensor:
        """Rotations smoothed as axis-angles: they stay far from half a turn here."""
        vectors = smooth(matrix_to_axis_angle(rotation).numpy(), np.asarray(weights, float), self.stiff)
        return axis_angle_to_matrix(torch.from_numpy(vectors))


def _steady(track: Track, rest: np.ndarray, stiff: float) -> np.ndarray:
    """Landmarks (T, 33, 3) smoothed by how well they are seen; unseen limbs are drawn to a relaxed standing pose."""
    world = track.world
    weights = np.clip((track.visibility - 0.15) / 0.6, 0.0, 1.0) ** 2 * track.seen[:, None]
    out = np.empty_like(world)
    hips, shoulders = world[:, [23, 24]].mean(axis=1), world[:, [11, 12]].mean(axis=1)
    up = shoulders - hips
    up = up / np.maximum(np.linalg.norm(up, axis=1, keepdims=True), 1e-9)
    across = world[:, 11] - world[:, 12]
    across = across - (across * up).sum(axis=1, keepdims=True) * up
    across = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    axes = np.stack([across, up, np.cross(across, up)], axis=-1)  # (T, 3, 3)
    # Seated or half in the picture, the hips are a guess: an upright back is the better one.
    level = np.array([0.0, 1.0, 0.0])
    relaxed = relaxed_landmarks(rest)
    for k in range(world.shape[1]):
        prior = (axes @ relaxed[k]) + hips
        pull = 0.03 if k >= 11 else 0.0
        if k >= 23:
            low = shoulders - level * (relaxed[[11, 12], 1].mean()) + (axes * [1, 0, 1]) @ relaxed[k]
            low = low + level * relaxed[k][1]
            prior = low
        firm = stiff * (TRUNK_FIRMNESS if k <= 12 or k in (23, 24) else FOOT_FIRMNESS if k >= 29 else 1.0)
        unseen = 1 - weights[:, k].mean()
        out[:, k] = smooth(world[:, k], np.maximum(weights[:, k], 1e-4), firm, prior, pull * unseen)
    return out


def relaxed_landmarks(rest: np.ndarray) -> np.ndarray:
    """The 33 landmarks (33, 3) about the hips of somebody who stands with hanging arms; those of the face are 0."""
    at = INDEX
    points = np.zeros((33, 3))
    for side, arm, leg, foot, palm in ((s, ARM[s], LEG[s], FOOT[s], PALM[s]) for s in SIDES):
        sign = SIGN[side]
        shoulder, elbow, wrist = (rest[at[f"{side}_{n}"]] for n in ("shoulder", "elbow", "wrist"))
        upper, lower = np.linalg.norm(elbow - shoulder), np.linalg.norm(wrist - elbow)
        points[arm[0]] = shoulder
        points[arm[1]] = shoulder + upper * np.array([sign * 0.22, -0.97, -0.08])
        points[arm[2]] = points[arm[1]] + lower * np.array([sign * 0.08, -0.94, 0.33])
        for p in palm:
            points[p] = points[arm[2]] + 0.09 * np.array([0.0, -0.95, 0.3]) + (p == palm[0]) * np.array([0, 0, 0.04])
        for p, name in zip(leg, ("hip", "knee", "ankle"), strict=True):
            points[p] = rest[at[f"{side}_{name}"]]
        points[foot[0]] = points[leg[2]] + (0, -0.05, -0.04)
        points[foot[1]] = points[leg[2]] + (0, -0.06, 0.17)
    return points - points[[23, 24]].mean(axis=0)
