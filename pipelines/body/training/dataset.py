"""Crops and targets for SMPLer-X from one or several HumanData files, with the augmentation it was trained with."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from models.bodies.joints import PELVIS_137
from models.bodies.smplx import BodyPose, Smplx
from models.runtime.errors import InputError
from pipelines.body.boxes import crop, crop_matrix, mirrored, process
from pipelines.body.sampling import Balanced, Concat
from pipelines.body.training.humandata import BOX_RATIO, Entry, HumanData
from pipelines.body.training.targets import (
    CameraModel,
    PointTargets,
    Truth,
    View,
    box_target,
    depth_bins,
    model_targets,
    parts_relative,
    point_targets,
)

Array = np.ndarray
UNIT = CameraModel(np.ones(2), np.zeros(2))  # for data without a camera: only depth is taken from it
BOXES = {"lhand": "rhand", "rhand": "lhand", "face": "face"}  # and what each becomes in a mirror


@dataclass(frozen=True)
class Augmentation:
    """How a crop is varied: scale, turn in degrees, mirrored, gain of each colour."""

    scale: float = 1.0
    degrees: float = 0.0
    flip: bool = False
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Augmentation:
        """At random, as in the original's training."""
        return cls(
            scale=1 + 0.25 * float(np.clip(rng.standard_normal(), -1, 1)),
            degrees=30 * float(np.clip(rng.standard_normal(), -2, 2)) if rng.random() <= 0.6 else 0.0,
            flip=bool(rng.random() <= 0.5),
            gains=tuple(float(g) for g in rng.uniform(0.8, 1.2, 3)),
        )


class Bodies(Dataset[dict[str, dict[str, Tensor]]]):
    """Items of several files walked as one. Each is ``image``, ``target`` and ``valid``, as ``losses`` takes them,
    and ``truth``: the SMPL-X parameters before augmentation, for judging."""

    def __init__(
        self, files: Sequence[HumanData], body: Smplx, walk: Concat | Balanced, augment: bool, seed: int = 2023
    ) -> None:
        self.files, self.body, self.walk, self.augment, self.seed = list(files), body, walk, augment, seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.walk)

    def __getitem__(self, index: int) -> dict[str, dict[str, Tensor]]:
        draw = np.random.SeedSequence([self.seed, self.epoch, index])
        which, item = self.walk.pair(index, random.Random(int(draw.generate_state(1)[0])))
        how = Augmentation.drawn(np.random.default_rng(draw)) if self.augment else Augmentation()
        return _item(self.files[which][item], self.body, self.files[which].camera, how)


def _item(entry: Entry, body: Smplx, camera: CameraModel | None, how: Augmentation) -> dict[str, dict[str, Tensor]]:
    picture = cv2.imread(str(entry.image), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if picture is None:
        raise InputError(f"The picture {entry.image} cannot be read")
    box = process(entry.box, entry.size, BOX_RATIO)
    assert box is not None, "unusable boxes were left out"
    rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    patch = crop(rgb, box, how.scale, how.degrees, how.flip)
    patch = np.clip(patch * np.float32(how.gains), 0, 255) / 255
    matrix = crop_matrix(mirrored(box, entry.size[0]) if how.flip else box, how.scale, how.degrees)
    view = View(matrix, how.degrees, how.flip, entry.size)
    made = model_targets(body, entry.truth, camera or UNIT, view, None if camera else entry.points[:, :2])
    points = _points(entry, view)
    target = {
        "joint_img": points.img,
        "joint_cam": points.cam_turned,
        "smplx_joint_img": made.joint_img,
        "smplx_joint_cam": made.joint_cam,
        "smplx_pose": made.pose,
        "smplx_shape": made.shape,
        "smplx_expr": made.expression,
    }
    coords = made.coord_valid[:, None]
    valid = {
        "joint_valid": points.valid,
        "joint_trunc": points.trunc,
        "smplx_joint_valid": coords,
        "smplx_joint_trunc": made.joint_trunc * coords,
        "smplx_pose_valid": np.repeat(made.rotation_valid, 3),
        "smplx_shape_valid": np.float32(made.shape_valid and entry.shape_known),
        "smplx_expr_valid": np.float32(made.expression_valid),
        "is_3D": np.float32(entry.joints is not None),
    }
    for name, other in BOXES.items():
        found = entry.parts[other if how.flip else name]
        corners = np.zeros((2, 2), np.float32)
        if found is not None:
            corners = box_target(np.concatenate([found[:2], found[:2] + found[2:]]), view)
        target[f"{name}_bbox_center"] = corners.mean(axis=0)
        target[f"{name}_bbox_size"] = corners[1] - corners[0]
        valid[f"{name}_bbox_valid"] = np.float32(found is not None)
    image = torch.from_numpy(np.ascontiguousarray(patch.transpose(2, 0, 1)))
    return {
        "image": {"crop": image},
        "target": {n: torch.from_numpy(np.asarray(v, np.float32)) for n, v in target.items()},
        "valid": {n: torch.from_numpy(np.asarray(v, np.float32)) for n, v in valid.items()},
        "truth": _truth(entry.truth),
    }


def _points(entry: Entry, view: View) -> PointTargets:
    joints = np.zeros((len(entry.points), 3), np.float32) if entry.joints is None else entry.joints
    rooted = joints - joints[PELVIS_137]
    image = np.concatenate([entry.points[:, :2], depth_bins(parts_relative(rooted))[:, None]], axis=1)
    return point_targets(image, rooted, entry.known, view)


def _truth(truth: Truth) -> dict[str, Tensor]:
    widths = {"root": 3, "body": 63, "shape": 10, "expression": 10, "left_hand": 45, "right_hand": 45, "jaw": 3}
    return {
        name: torch.zeros(width) if getattr(truth, name) is None else torch.from_numpy(getattr(truth, name))
        for name, width in widths.items()
    }


def pose_of(truth: dict[str, Tensor]) -> BodyPose:
    """A batch of ``truth`` as what the body model takes."""
    return BodyPose(*(truth[n] for n in ("root", "body", "shape", "expression", "left_hand", "right_hand", "jaw")))


def walk_of(lengths: Sequence[int], strategy: str, total: int) -> Concat | Balanced:
    """How files are walked: ``concat``, ``longest``, or ``balance`` to ``total`` items (0: as many as there are)."""
    if strategy == "concat":
        return Concat(lengths)
    return Balanced(lengths, None if strategy == "longest" else total or sum(lengths))
