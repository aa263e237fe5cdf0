"""SMPLer-X's network and the SMPL-X layer against stored results."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.bodies.joints import JOINTS_137, PELVIS_137
from models.bodies.smplx import BodyPose, Smplx, SmplxData
from models.geometry.rotations import axis_angle_to_matrix
from models.runtime.state_dict import load_strict
from models.smplerx import camera
from models.smplerx.checkpoint import config_of, network_state
from models.smplerx.config import FACE_EXTENSION, HAND_EXTENSION, TASK_TOKENS
from models.smplerx.heads import sample_features, soft_argmax_2d, soft_argmax_3d
from models.smplerx.losses import part_relative
from models.smplerx.network import EXPRESSION, JAW, Prediction, Smplerx, pose_bodies
from tests.parity.runner import Case, Check, absolute, kind, relative
from tests.parity.synth import synth_state

IDENTITY_6D = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
# Output layers scaled and shifted so that a random network has peaked heat maps, boxes of a real size and rotations
# near rest (the recipe the conditioned cases were made with).
SCALE = {
    "encoder.pos_embed": 10.0,
    "body_position_net.conv.0.weight": 6.0,
    "hand_position_net.conv.0.weight": 6.0,
    "box_net.bbox_center.0.weight": 500.0,
    "body_regressor.root_pose_out.0.weight": 0.2,
    "body_regressor.body_pose_out.0.weight": 0.15,
    "hand_regressor.hand_pose_out.0.weight": 0.15,
    "face_regressor.jaw_pose_out.0.weight": 0.1,
    "body_regressor.shape_out.0.weight": 0.5,
    "face_regressor.expr_out.0.weight": 0.5,
    "body_regressor.cam_out.0.weight": 0.1,
}
SHIFT = {
    "box_net.lhand_size.2.bias": (1.5, 1.75),
    "box_net.rhand_size.2.bias": (1.6, 1.4),
    "box_net.face_size.2.bias": (1.25, 1.5),
    "body_regressor.root_pose_out.0.bias": (1.0, 0.0, 0.0, -1.0, 0.0, 0.0),
    "body_regressor.body_pose_out.0.bias": IDENTITY_6D * 21,
    "hand_regressor.hand_pose_out.0.bias": IDENTITY_6D * 15,
    "face_regressor.jaw_pose_out.0.bias": IDENTITY_6D,
    "body_regressor.cam_out.0.bias": (0.0, 0.35, 0.9),
}


@lru_cache(maxsize=1)
def _network(root: Path, variant: str, seed: int, conditioned: bool) -> Smplerx:
    keys = json.loads((root / "smplerx" / "keys" / f"smpler_x_{variant}.json").read_text(encoding="utf-8"))
    state = network_state({"network": synth_state(keys, seed)})
    if conditioned:
        state |= {name: state[name] * factor for name, factor in SCALE.items()}
        state |= {name: state[name] + torch.tensor(values) for name, values in SHIFT.items()}
    with torch.device("meta"):
        network = Smplerx(config_of(state))
    return load_strict(network, state, variant)


def network_of(case: Case) -> Smplerx:
    return _network(case.root, case.meta["variant"], case.seed, case.meta["weights"] == "conditioned")


@lru_cache(maxsize=2)
def _body(root: Path, flat_hands: bool) -> Smplx:
    """The made-up SMPL-X body of the parity set, written by its own script."""
    spec = importlib.util.spec_from_file_location("synth_smplx", root / "smplerx" / "synth_smplx.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Smplx(SmplxData.from_fields(module.smplx_arrays(0)), flat_hand_mean=flat_hands)


def body_of(case: Case, flat_hands: bool = False) -> Smplx:
    return _body(case.root, flat_hands)


def tensors(case: Case, *names: str) -> list[Tensor]:
    return [torch.from_numpy(case[name]) for name in names]


@kind("smplerx", "rotations*")
def rotations(case: Case) -> Iterator[Check]:
    six, want = tensors(case, "rot6d", "axis_angle")
    got = camera.six_to_axis_angle(six)
    sure = want.norm(dim=-1) < 3.1
    yield absolute("axis_angle", got[sure], want[sure], 1e-5)
    yield absolute("matrix", axis_angle_to_matrix(got), case["matrix"], 1e-5)
    zero = camera.six_to_axis_angle(torch.zeros(len(case["zero_input_axis_angle"]), 6))
    yield absolute("zero_input_axis_angle", zero, case["zero_input_axis_angle"], 1e-5)
    hands = camera.six_to_axis_angle(torch.from_numpy(case["hand_rot6d_flippedleft_right"]).unflatten(1, (-1, 6)))
    yield absolute("hand_axis_angle", hands.flatten(1), case["hand_axis_angle"], 1e-5)
    left = camera.mirror_axis_angle(hands.flatten(1)[: len(case["left_hand_mirrored"])])
    yield absolute("left_hand_mirrored", left, case["left_hand_mirrored"], 1e-5)


@kind("smplerx", "softargmax*")
def softargmax(case: Case) -> Iterator[Check]:
    scores, flat, features, points = tensors(case, "heatmap3d", "heatmap2d", "sample_feat", "sample_xy")
    normalised = scores.flatten(2).softmax(-1).view_as(scores)
    yield absolute("coord3d", soft_argmax_3d(normalised), case["coord3d"], 1e-5)
    yield absolute("coord2d", soft_argmax_2d(flat), case["coord2d"], 1e-5)
    yield absolute("sampled", sample_features(features, points), case["sampled"], 1e-5)


@kind("smplerx", "camera*")
def cameras(case: Case) -> Iterator[Check]:
    cam, center, size, box = tensors(case, "cam_param", "bbox_center_hm", "bbox_size_hm", "crop_bbox_xywh")
    yield absolute("cam_trans", camera.camera_translation(cam), case["cam_trans"], 1e-4)
    for name, extension in (("hand_bbox_xyxy", HAND_EXTENSION), ("face_bbox_xyxy", FACE_EXTENSION)):
        yield absolute(name, camera.restore_box(center, size, extension), case[name], 1e-4)
    focal, principal = camera.full_frame_camera(box)
    yield relative("full_focal", focal, case["full_focal"], 1e-6)
    yield relative("full_princpt", principal, case["full_princpt"], 1e-6, floor=100.0)
    verts = torch.from_numpy(case["verts_cam"])
    flat = verts[..., :2] / verts[..., 2:] * focal[:, None] + principal[:, None]
    yield relative(
        "verts_2d_and_depth", torch.cat([flat, verts[..., 2:]], -1), case["verts_2d_and_depth"], 1e-6, floor=100.0
    )


@kind("smplerx", "smplx_layer*")
def smplx_layer(case: Case) -> Iterator[Check]:
    names = ("in_root", "in_body", "in_lhand", "in_rhand", "in_jaw", "in_shape", "in_expr", "in_cam_trans")
    root, body, left, right, jaw, shape, expression, transl = tensors(case, *names)
    pose = BodyPose(root, body, shape, expression, left, right, jaw)
    out = body_of(case)(pose)
    yield absolute("vertices", out.vertices, case["vertices"], 1e-5)
    yield absolute("joints144", out.joints, case["joints144"], 1e-5)
    yield absolute("joints127", out.joints[:, :127], case["joints127"], 1e-5)
    yield absolute("full_pose", out.full_pose, case["full_pose"], 1e-5)
    yield absolute("joint_idx_137", np.array(JOINTS_137), case["joint_idx_137"], 0)
    joints = out.joints[:, list(JOINTS_137)]
    yield absolute("joints137", joints, case["joints137"], 1e-5)
    zero = body_of(case)(BodyPose(torch.zeros(1, 3), torch.zeros(1, 63)))
    head = zero.vertices[:, : case["zero_pose_vertices_head"].shape[1]]
    yield absolute("zero_pose_vertices_head", head, case["zero_pose_vertices_head"], 1e-5)
    yield absolute("zero_pose_joints144", zero.joints, case["zero_pose_joints144"], 1e-5)
    flat = body_of(case, flat_hands=True)(pose)
    yield absolute("flat_joints144", flat.joints, case["flat_joints144"], 1e-5)
    moved = joints + transl[:, None]
    yield absolute("joint_proj_hm", camera.project(moved), case["joint_proj_hm"], 1e-4)
    relative_joints = joints - joints[:, [PELVIS_137]]
    yield absolute("joint_cam_root_relative", relative_joints, case["joint_cam_root_relative"], 1e-5)
    yield absolute("joint_cam_part_relative", part_relative(relative_joints), case["joint_cam_part_relative"], 1e-5)
    sample = (out.vertices + transl[:, None])[:, ::10]
    yield absolute("mesh_cam_sample", sample, case["mesh_cam_sample"], 1e-5)


def images(case: Case) -> Tensor:
    return torch.from_numpy(case["image_u8"]).permute(0, 3, 1, 2).float() / 255


@kind("smplerx", "encoder_*")
def encoder(case: Case) -> Iterator[Check]:
    net = network_of(case).encoder
    with torch.inference_mode():
        x = net.embed(images(case))
        patches = net.patch_embed(images(case))
        yield absolute("patch_embed_head12", patches[:, :12], case["patch_embed_head12"], 1e-4)
        for index, block in enumerate(net.blocks):
            x = block(x)
            if f"block{index}_head40" in case:
                yield absolute(f"block{index}_head40", x[:, :40], case[f"block{index}_head40"], 1e-4)
        features, tokens = net(images(case))
    assert tokens.shape[1] == TASK_TOKENS
    yield absolute("img_feat", features, case["img_feat"], 1e-4)
    yield absolute("task_tokens", tokens, case["task_tokens"], 1e-4)


@kind("smplerx", "modules_*")
def modules(case: Case) -> Iterator[Check]:
    net = network_of(case)
    features, tokens = (t.float() for t in tensors(case, "img_feat", "task_tokens"))
    with torch.inference_mode():
        heatmaps, joints = net.body_position_net(features)
        # the stored slice: first joint, four planes of depth
        want = case["body_heatmap_joint0_3"]
        yield absolute("body_heatmap_joint0_3", heatmaps[:, : want.shape[1]], want, 1e-4)
        yield absolute("body_joint_img", joints, case["body_joint_img"], 1e-3)
        root, body, shape, cam = net.body_regressor(tokens[:, 6:31], tokens[:, 0], tokens[:, 1], joints)
        for name, value in (("root_6d", root), ("body_6d", body), ("shape", shape), ("cam_param", cam)):
            yield absolute(name, value, case[name], 1e-4)
        centers, sizes = net.box_net(features, heatmaps)
        boxes = []
        for index, (name, extension) in enumerate(
            (("lhand", HAND_EXTENSION), ("rhand", HAND_EXTENSION), ("face", FACE_EXTENSION))
        ):
            yield absolute(f"{name}_center", centers[:, index], case[f"{name}_center"], 1e-3)
            yield absolute(f"{name}_size", sizes[:, index], case[f"{name}_size"], 1e-4)
            boxes.append(camera.restore_box(centers[:, index], sizes[:, index], extension))
            yield absolute(f"{name}_bbox", boxes[-1], case[f"{name}_bbox"], 5e-3)
        left, right = boxes[:2]
        crops = net.hand_roi_net.cut(features, left, right)
        yield absolute("roi_aligned", crops, case["roi_aligned"], 1e-3)
        hands = net.hand_roi_net(features, left, right)
        yield absolute("hand_feat", hands[:, : case["hand_feat"].shape[1]], case["hand_feat"], 1e-3)
        yield absolute("hand_feat_channel_mean", hands.mean((2, 3)), case["hand_feat_channel_mean"], 1e-4)
        _, hand_joints = net.hand_position_net(hands)
        yield absolute("hand_joint_img", hand_joints, case["hand_joint_img"], 1e-3)
        yield absolute("hand_6d", net.hand_regressor(hands, hand_joints), case["hand_6d"], 1e-4)
        expression, jaw = net.face_regressor(tokens[:, EXPRESSION], tokens[:, JAW])
        yield absolute("expr", expression, case["expr"], 1e-4)
        yield absolute("jaw_6d", jaw, case["jaw_6d"], 1e-4)


@kind("smplerx", "full_*")
def full(case: Case) -> Iterator[Check]:
    with torch.inference_mode():
        found = network_of(case)(images(case))
        bodies = pose_bodies(found, body_of(case))
    conditioned = case.meta["weights"] == "conditioned"
    strict, pixels = (5e-5, 1e-4) if conditioned else (2e-4, 2e-4)  # wild rotations of plain random weights
    yield absolute("smplx_mesh_cam", bodies.vertices, case["smplx_mesh_cam"], strict)
    yield absolute("smplx_joint_proj", bodies.joint_proj, case["smplx_joint_proj"], pixels)
    for name, value in parameters(found).items():
        yield absolute(name, value, case[name], strict)
    yield absolute("joint_img", found.joint_img, case["joint_img"], 2e-3)
    for name in ("lhand_bbox", "rhand_bbox", "face_bbox"):
        yield absolute(name, getattr(found, name), case[name], 1e-2)


def parameters(found: Prediction) -> dict[str, Tensor]:
    """A prediction under the original's names."""
    pose = found.pose
    return {
        "smplx_root_pose": pose.global_orient,
        "smplx_body_pose": pose.body_pose,
        "smplx_lhand_pose": pose.left_hand_pose,
        "smplx_rhand_pose": pose.right_hand_pose,
        "smplx_jaw_pose": pose.jaw_pose,
        "smplx_shape": pose.betas,
        "smplx_expr": pose.expression,
        "cam_trans": pose.transl,
    }
