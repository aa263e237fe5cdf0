"""What SMPLer-X is trained with: absolute differences under validity masks, each term's mean over all its entries.

B is the batch. Heat-map units are those of the 16 x 12 grid. Joints come in the 137 order, of which the first 65 are
body, left hand and right hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from models.bodies.joints import JOINTS_137, LEFT_WRIST_137, NECK_137, PARTS_137, PELVIS_137, RIGHT_WRIST_137
from models.bodies.smplx import Smplx
from models.smplerx import camera
from models.smplerx.config import BODY, BODY_HEATMAP, GRID, HAND_HEATMAP
from models.smplerx.network import Prediction, Smplerx

HANDS = {"left_hand": "lhand", "right_hand": "rhand"}


@dataclass(frozen=True)
class LossWeights:
    """Factors of the groups of terms, as in the released configurations."""

    parameters: float = 1.0
    pose: float = 10.0
    joints_3d: float = 100.0
    joints_2d: float = 1.0
    heatmaps: float = 1.0


@dataclass(frozen=True)
class TrainingOutputs:
    """A prediction with what only training looks at.

    centers, sizes (B, 3, 2) of left hand, right hand, face in heat-map units; hand joints (B, 20, 3) in the bins of
    their own crops, which are turned back where mirrored.
    """

    prediction: Prediction
    centers: Tensor
    sizes: Tensor
    left_hand: Tensor
    right_hand: Tensor


def part_relative(joints: Tensor) -> Tensor:
    """Pelvis-relative joints (B, 137, 3) with hands relative to their wrist and the face to the neck."""
    out = joints.clone()
    for part, anchor in (("left_hand", LEFT_WRIST_137), ("right_hand", RIGHT_WRIST_137), ("face", NECK_137)):
        out[:, PARTS_137[part]] = joints[:, PARTS_137[part]] - joints[:, [anchor]]
    return out


def training_outputs(network: Smplerx, crops: Tensor) -> TrainingOutputs:
    """Runs the network and keeps its inner positions. Crops (B, 3, 512, 384) in [0, 1]."""
    kept: dict[str, tuple[Tensor, ...]] = {}
    hooks = [
        network.box_net.register_forward_hook(lambda _m, _i, out: kept.update(boxes=out)),
        network.hand_position_net.register_forward_hook(lambda _m, _i, out: kept.update(hands=out)),
    ]
    try:
        prediction = network(crops)
    finally:
        for hook in hooks:
            hook.remove()
    centers, sizes = kept["boxes"]
    hands = kept["hands"][1]
    left, right = hands.chunk(2)
    turned = torch.cat([HAND_HEATMAP[2] - 1 - left[..., :1], left[..., 1:]], dim=-1)
    return TrainingOutputs(prediction, centers, sizes, turned, right)


def losses(
    out: TrainingOutputs,
    body: Smplx,
    targets: Mapping[str, Tensor],
    valid: Mapping[str, Tensor],
    weights: LossWeights | None = None,
) -> dict[str, Tensor]:
    """All terms by the original's names; the objective is their sum.

    Args:
        targets: joint_img, smplx_joint_img (B, 137, 3), joint_cam, smplx_joint_cam (B, 137, 3), smplx_pose (B, 159),
            smplx_shape, smplx_expr (B, 10), ``{lhand,rhand,face}_bbox_{center,size}`` (B, 2).
        valid: masks: joint_valid, joint_trunc, smplx_joint_valid, smplx_joint_trunc (B, 137, 1), smplx_pose_valid
            (B, 159), smplx_shape_valid, smplx_expr_valid, is_3D, ``*_bbox_valid`` (B,).
    """
    w = weights or LossWeights()
    pose = out.prediction.pose
    full = torch.cat([_p(pose.global_orient), _p(pose.body_pose), _p(pose.left_hand_pose), _p(pose.right_hand_pose),
                      _p(pose.jaw_pose)], dim=1)  # fmt: skip
    posed = body(pose)
    joints = posed.joints[:, list(JOINTS_137)]
    rooted = joints - joints[:, [PELVIS_137]]
    three = valid["is_3D"][:, None, None]
    found: dict[str, Tensor] = {
        "smplx_pose": w.pose * _gap(full, targets["smplx_pose"], valid["smplx_pose_valid"]),
        "smplx_shape": w.parameters * _gap(_p(pose.betas), targets["smplx_shape"], valid["smplx_shape_valid"][:, None]),
        "smplx_expr": w.parameters
        * _gap(_p(pose.expression), targets["smplx_expr"], valid["smplx_expr_valid"][:, None]),
        "joint_cam": w.joints_3d * _gap(rooted, targets["joint_cam"], valid["joint_valid"] * three),
        "smplx_joint_cam": w.joints_3d
        * _gap(part_relative(rooted), targets["smplx_joint_cam"], valid["smplx_joint_valid"]),
    }
    for k, name in enumerate(("lhand", "rhand", "face")):
        ok = valid[f"{name}_bbox_valid"]
        if bool(ok.any()):
            found[f"{name}_bbox"] = _gap(out.centers[:, k], targets[f"{name}_bbox_center"], ok[:, None]) + _gap(
                out.sizes[:, k], targets[f"{name}_bbox_size"], ok[:, None]
            )
    boxes = {"left_hand": out.prediction.lhand_bbox / 2, "right_hand": out.prediction.rhand_bbox / 2}
    image, image_seen = into_hands(targets["joint_img"], valid["joint_trunc"], boxes)
    model_image, model_seen = into_hands(targets["smplx_joint_img"], valid["smplx_joint_trunc"], boxes)
    flat = aligned_projection(camera.project(joints), image, image_seen, boxes)
    found["joint_proj"] = w.joints_2d * _gap(flat, image[..., :2], image_seen)
    heat = torch.cat([out.prediction.joint_img[:, PARTS_137["body"]], out.left_hand, out.right_hand], dim=1)
    count = heat.shape[1]
    depth = torch.cat([torch.ones_like(heat[..., :2]), three.expand(-1, count, 1)], dim=-1)
    found["joint_img"] = w.heatmaps * _gap(heat, image[:, :count], image_seen[:, :count] * depth)
    found["smplx_joint_img"] = w.heatmaps * _gap(heat, model_image[:, :count], model_seen[:, :count])
    return found


def into_hands(points: Tensor, seen: Tensor, boxes: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Target joints (B, 137, 3) with hands in the bins of the predicted hand boxes, x1, y1, x2, y2 in body pixels;
    points outside them are no longer seen (B, 137, 1)."""
    points, seen = points.clone(), seen.clone()
    for part, box in boxes.items():
        area = PARTS_137[part]
        moved = _in_box(points[:, area, :2], box)
        inside = ((moved >= 0) & (moved < HAND_HEATMAP[2])).all(dim=-1, keepdim=True)
        seen[:, area] = seen[:, area] * inside
        depth = points[:, area, 2:] * (HAND_HEATMAP[0] / BODY_HEATMAP[0])
        points[:, area] = torch.cat([moved, depth], dim=-1)
    return points, seen


def aligned_projection(flat: Tensor, target: Tensor, seen: Tensor, boxes: Mapping[str, Tensor]) -> Tensor:
    """Projected joints (B, 137, 2) with hands in their boxes, and hands and face moved by their mean offset to the
    visible targets, so that only their shape counts there."""
    flat = flat.clone()
    for part in (*HANDS, "face"):
        area = PARTS_137[part]
        own = _in_box(flat[:, area], boxes[part]) if part in boxes else flat[:, area]
        mask = seen[:, area]
        offset = ((target[:, area, :2] - own) * mask).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp(
            min=1
        )
        flat[:, area] = own + offset
    return flat


def _in_box(points: Tensor, box: Tensor) -> Tensor:
    """Heat-map points (B, J, 2) -> bins of a box x1, y1, x2, y2 in body pixels."""
    scale = box.new_tensor([GRID[1] / BODY[1], GRID[0] / BODY[0]])
    low, high = (box[:, :2] * scale)[:, None], (box[:, 2:] * scale)[:, None]
    return (points - low) * box.new_tensor([HAND_HEATMAP[2], HAND_HEATMAP[1]]) / (high - low)


def _p(part: Tensor | None) -> Tensor:
    if part is None:
        raise ValueError("the network predicts every part of the pose")
    return part


def _gap(found: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    return ((found - target).abs() * mask).mean()
