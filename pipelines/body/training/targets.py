"""What SMPLer-X is taught: a person's SMPL-X parameters and key points as seen in one augmented crop.

Heat-map units: x of 12, y of 16, depth of 16 bins. Joints come in the 137 order, rotations as 53 axis-angles: 22 of the
body, 15 of the left hand, 15 of the right hand, jaw. Camera axes are x right, y down, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from models.bodies.joints import JOINTS_137, PARTS_137, PELVIS_137
from models.bodies.smplx import BodyPose, Smplx
from models.smplerx.config import BODY_HEATMAP, CROP
from models.smplerx.losses import part_relative

Array = np.ndarray
WIDEST_SHAPE = 3.0  # betas beyond are taken for a failed fit
ROTATIONS = {"body": slice(0, 22), "left_hand": slice(22, 37), "right_hand": slice(37, 52), "face": slice(52, 53)}
DEPTH_SIZES = {"body": 2.0, "left_hand": 0.3, "right_hand": 0.3, "face": 0.3}  # metres the depth bins cover


def _pairs(*pairs: tuple[int, int]) -> list[tuple[int, int]]:
    return list(pairs)


FLIPPED_JOINTS = [
    *_pairs((1, 2), (3, 4), (5, 6), (8, 9), (10, 11), (12, 13), (14, 17), (15, 18), (16, 19), (20, 21), (22, 23)),
    *((i, i + 20) for i in range(25, 45)),
    *_pairs((67, 68), (69, 78), (70, 77), (71, 76), (72, 75), (73, 74), (83, 87), (84, 86), (88, 97), (89, 96)),
    *_pairs((90, 95), (91, 94), (92, 99), (93, 98), (100, 106), (101, 105), (102, 104), (107, 111), (108, 110)),
    *_pairs((112, 116), (113, 115), (117, 119)),
    *((120 + i, 136 - i) for i in range(8)),
]
FLIPPED_ROTATIONS = [
    *_pairs((1, 2), (4, 5), (7, 8), (10, 11), (13, 14), (16, 17), (18, 19), (20, 21)),
    *((i, i + 15) for i in range(22, 37)),
]


def _mirror_order(pairs: list[tuple[int, int]], count: int) -> Array:
    order = np.arange(count)
    for a, b in pairs:
        order[a], order[b] = b, a
    return order


MIRRORED_JOINTS = _mirror_order(FLIPPED_JOINTS, len(JOINTS_137))
MIRRORED_ROTATIONS = _mirror_order(FLIPPED_ROTATIONS, 53)


@dataclass(frozen=True)
class View:
    """How a crop shows its picture: ``img2bb`` (2, 3) into the crop, degrees of its turn, mirrored first or not;
    ``size`` is the picture's width and height."""

    img2bb: Array
    degrees: float
    flip: bool
    size: tuple[int, int]

    @property
    def turn(self) -> Array:
        """The turn (3, 3) of camera space that goes with the crop's."""
        angle = np.deg2rad(-self.degrees)
        sine, cosine = np.sin(angle), np.cos(angle)
        return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], np.float32)

    def points(self, pixels: Array) -> Array:
        """Pixels (N, 2) of the unmirrored picture -> heat-map units (N, 2)."""
        at = np.asarray(pixels, np.float64).copy()
        if self.flip:
            at[:, 0] = self.size[0] - 1 - at[:, 0]
        at = at @ np.asarray(self.img2bb, np.float64)[:, :2].T + self.img2bb[:, 2]
        return (at * [BODY_HEATMAP[2] / CROP[1], BODY_HEATMAP[1] / CROP[0]]).astype(np.float32)


@dataclass(frozen=True)
class CameraModel:
    """A pinhole: focal (2,), principal (2,) in pixels; where the truth is in world axes R (3, 3), t (3,)."""

    focal: Array
    principal: Array
    R: Array | None = None
    t: Array | None = None

    def pixels(self, points: Array) -> Array:
        """Camera-space points (N, 3) -> x, y in pixels and depth (N, 3)."""
        flat = points[:, :2] / points[:, 2:] * self.focal + self.principal
        return np.concatenate([flat, points[:, 2:]], axis=1)

    def points(self, pixels: Array) -> Array:
        """The inverse of ``pixels``."""
        flat = (pixels[:, :2] - self.principal) / self.focal * pixels[:, 2:]
        return np.concatenate([flat, pixels[:, 2:]], axis=1)


@dataclass(frozen=True)
class Truth:
    """SMPL-X parameters of a person: root (3,), body (63,), shape (10,), transl (3,), hands (45,), jaw (3,),
    expression (10,); a part that is not known is None."""

    root: Array
    body: Array
    shape: Array
    transl: Array
    left_hand: Array | None = None
    right_hand: Array | None = None
    jaw: Array | None = None
    expression: Array | None = None


@dataclass(frozen=True)
class ModelTargets:
    """Targets read off the body model. joint_img (137, 3) heat-map units and depth bins, joint_cam (137, 3) metres,
    relative to pelvis, wrists, neck; joint_trunc (137, 1); pose (159,), shape (10,), expression (10,);
    rotation_valid (53,), coord_valid (137,); mesh (V, 3) camera space before augmentation."""

    joint_img: Array
    joint_cam: Array
    joint_trunc: Array
    pose: Array
    shape: Array
    shape_valid: bool
    expression: Array
    rotation_valid: Array
    coord_valid: Array
    expression_valid: bool
    mesh: Array


@dataclass(frozen=True)
class PointTargets:
    """Targets from stored key points: ``cam_turned`` about the origin they came with, ``cam_parts`` relative to pelvis,
    wrists and neck, both (137, 3) metres; img (137, 3); valid and trunc (137, 1)."""

    img: Array
    cam_turned: Array
    cam_parts: Array
    valid: Array
    trunc: Array


def parts_relative(joints: Array) -> Array:
    """Pelvis-relative joints (137, 3) with hands relative to their wrist and the face to the neck."""
    return part_relative(torch.from_numpy(joints)[None])[0].numpy()


def depth_bins(joints: Array) -> Array:
    """Depths of part-relative joints (137, 3) in bins (137,)."""
    depth = np.empty(len(joints), np.float32)
    for part, size in DEPTH_SIZES.items():
        area = PARTS_137[part]
        depth[area] = (joints[area, 2] / (size / 2) + 1) / 2 * BODY_HEATMAP[0]
    return depth


def truncation(original: Array, seen: Array) -> Array:
    """Which joints (N, 1) lie inside the heat map: ``original`` x, y in pixels and depth bin, ``seen`` heat-map units.

    In mirrored crops the released training code compares a joint's left or right partner with the picture's edge; so
    does this, or masks would differ.
    """
    inside = (original > 0).all(axis=1) & (seen >= 0).all(axis=1) & (seen < BODY_HEATMAP[::-1]).all(axis=1)
    return inside[:, None].astype(np.float32)


def place(body: Smplx, truth: Truth, camera: CameraModel) -> tuple[Array, Array, Array]:
    """Root rotation (3,), joints (137, 3) and vertices (V, 3) in camera space."""
    root = np.asarray(truth.root, np.float32)
    if camera.R is not None:
        root = cv2.Rodrigues(np.asarray(camera.R, np.float32) @ cv2.Rodrigues(root)[0])[0].reshape(3)

    def row(values: Array | None, width: int) -> torch.Tensor:
        return torch.from_numpy(_flat(values, width))[None]

    pose = BodyPose(
        global_orient=row(root, 3), body_pose=row(truth.body, 63), betas=row(truth.shape, 10),
        expression=row(truth.expression, 10), left_hand_pose=row(truth.left_hand, 45),
        right_hand_pose=row(truth.right_hand, 45), jaw_pose=row(truth.jaw, 3), transl=row(truth.transl, 3),
    )  # fmt: skip
    with torch.inference_mode():
        out = body(pose)
    joints, mesh = out.joints[0, list(JOINTS_137)].numpy(), out.vertices[0].numpy()
    if camera.R is not None and camera.t is not None:
        # the model turns about its pelvis: its place, not only its rotation, goes through the camera
        pelvis = joints[PELVIS_137]
        shift = np.asarray(camera.R, np.float32) @ pelvis + np.asarray(camera.t, np.float32) - pelvis
        joints, mesh = joints + shift, mesh + shift
    return root, joints, mesh


def _flat(values: Array | None, width: int) -> Array:
    return np.zeros(width, np.float32) if values is None else np.asarray(values, np.float32).reshape(width)


def model_targets(
    body: Smplx, truth: Truth, camera: CameraModel, view: View, pixels: Array | None = None
) -> ModelTargets:
    """Targets of one person in one crop. ``pixels`` (137, 2), where given, replace the projection: data without a
    camera."""
    rotation_valid, coord_valid = np.ones(53, np.float32), np.ones(len(JOINTS_137), np.float32)
    known = {"left_hand": truth.left_hand is not None, "right_hand": truth.right_hand is not None,
             "face": truth.jaw is not None and truth.expression is not None}  # fmt: skip
    for part, ok in known.items():
        if not ok:
            rotation_valid[ROTATIONS[part]] = 0
            coord_valid[PARTS_137[part]] = 0
    if not known["face"]:
        truth = replace(truth, jaw=None, expression=None)
    wide = bool((np.abs(truth.shape) > WIDEST_SHAPE).any())
    shape = np.zeros_like(truth.shape) if wide else truth.shape
    root, joints, mesh = place(body, truth, camera)
    projected = camera.pixels(joints) if pixels is None else np.concatenate([pixels, joints[:, 2:]], axis=1)
    relative = parts_relative(joints - joints[PELVIS_137])
    bins = depth_bins(relative)
    original = np.concatenate([projected[:, :2], bins[:, None]], axis=1)
    image = np.concatenate([view.points(projected[:, :2]), bins[:, None]], axis=1)
    parts = ((root, 3), (truth.body, 63), (truth.left_hand, 45), (truth.right_hand, 45), (truth.jaw, 3))
    pose = np.concatenate([_flat(part, width) for part, width in parts]).reshape(53, 3)
    if view.flip:
        relative = relative[MIRRORED_JOINTS] * np.float32([-1, 1, 1])
        image = image[MIRRORED_JOINTS]
        coord_valid, rotation_valid = coord_valid[MIRRORED_JOINTS], rotation_valid[MIRRORED_ROTATIONS]
        pose = pose[MIRRORED_ROTATIONS] * np.float32([1, -1, -1])
    pose[0] = cv2.Rodrigues(view.turn @ cv2.Rodrigues(pose[0])[0])[0].reshape(3)
    return ModelTargets(
        joint_img=image.astype(np.float32),
        joint_cam=(relative @ view.turn.T).astype(np.float32),
        joint_trunc=truncation(original, image),
        pose=pose.ravel(),
        shape=np.asarray(shape, np.float32),
        shape_valid=not wide,
        expression=_flat(truth.expression, 10),
        rotation_valid=rotation_valid,
        coord_valid=coord_valid,
        expression_valid=known["face"],
        mesh=mesh,
    )


def point_targets(image: Array, cam: Array, valid: Array, view: View) -> PointTargets:
    """Targets from key points: image (137, 3) pixels and depth bins, cam (137, 3) metres, valid (137, 1)."""
    at, space = np.concatenate([view.points(image[:, :2]), image[:, 2:]], axis=1), cam
    if view.flip:
        at, valid = at[MIRRORED_JOINTS], valid[MIRRORED_JOINTS]
        space = cam[MIRRORED_JOINTS] * np.float32([-1, 1, 1])
    space = (space @ view.turn.T).astype(np.float32)
    return PointTargets(
        img=at.astype(np.float32),
        cam_turned=space,
        cam_parts=parts_relative(space - space[PELVIS_137]),
        valid=np.asarray(valid, np.float32),
        trunc=truncation(image, at) * valid,
    )


def box_target(box: Array, view: View) -> Array:
    """A box x0, y0, x1, y1 in pixels as upright corners (2, 2) in heat-map units around its turned image."""
    x0, y0, x1, y1 = (float(v) for v in box)
    corners = view.points(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]))
    return np.stack([corners.min(axis=0), corners.max(axis=0)])
