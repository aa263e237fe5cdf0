"""SMPLer-X: one cropped person in, SMPL-X parameters and a camera translation out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.bodies.joints import JOINTS_137
from models.bodies.smplx import BodyPose, Smplx
from models.smplerx import camera
from models.smplerx.config import (
    BODY_HEATMAP,
    BODY_JOINTS,
    FACE_EXTENSION,
    GRID,
    HAND_EXTENSION,
    HAND_HEATMAP,
    HAND_JOINTS,
    SmplerxConfig,
)
from models.smplerx.encoder import Encoder
from models.smplerx.heads import BodyRegressor, BoxNet, FaceRegressor, HandRegressor, HandRoi, PositionNet

SHAPE, CAMERA, EXPRESSION, JAW, BODY = 0, 1, 2, 3, slice(6, 31)  # meaning of the task tokens


@dataclass(frozen=True)
class Prediction:
    """What the network says of each crop, before any body model.

    pose: SMPL-X parameters, ``transl`` being the camera translation; camera axes x right, y down, z forward.
    joint_img (B, 65, 3): body, left-hand, right-hand joints in heat-map units. Boxes (B, 4) x1, y1, x2, y2 in pixels of
    the 384 x 512 crop.
    """

    pose: BodyPose
    joint_img: Tensor
    lhand_bbox: Tensor
    rhand_bbox: Tensor
    face_bbox: Tensor


class Smplerx(nn.Module):
    """Crops (B, 3, 512, 384) RGB in [0, 1] -> ``Prediction``."""

    def __init__(self, config: SmplerxConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.encoder = Encoder(config)
        self.body_position_net = PositionNet(width, BODY_JOINTS, BODY_HEATMAP)
        self.body_regressor = BodyRegressor(width)
        self.box_net = BoxNet(width)
        self.hand_position_net = PositionNet(width, HAND_JOINTS, HAND_HEATMAP)
        self.hand_roi_net = HandRoi(width)
        self.hand_regressor = HandRegressor(width)
        self.face_regressor = FaceRegressor(width)

    def forward(self, crops: Tensor) -> Prediction:
        features, tokens = self.encoder(crops[:, :, ::2, ::2])  # nearest halving keeps even rows and columns
        return self.regress(features, tokens)

    def regress(self, features: Tensor, tokens: Tensor) -> Prediction:
        """From the feature map (B, C, 16, 12) and the task tokens (B, 31, C)."""
        batch = len(features)
        heatmaps, body_joints = self.body_position_net(features)
        root, body, shape, cam = self.body_regressor(tokens[:, BODY], tokens[:, SHAPE], tokens[:, CAMERA], body_joints)
        centers, sizes = self.box_net(features, heatmaps)
        extensions = (HAND_EXTENSION, HAND_EXTENSION, FACE_EXTENSION)
        fixed = centers.detach(), sizes.detach()
        left, right, face = (
            camera.restore_box(*(part[:, i] for part in fixed), extension) for i, extension in enumerate(extensions)
        )
        hands = self.hand_roi_net(features, left, right)  # (2 B, C, 16, 16)
        _, hand_joints = self.hand_position_net(hands)
        fingers = camera.six_to_axis_angle(self.hand_regressor(hands, hand_joints).unflatten(1, (-1, 6))).flatten(1)
        expression, jaw = self.face_regressor(tokens[:, EXPRESSION], tokens[:, JAW])
        left_joints = hand_joints[:batch] * hand_joints.new_tensor([-1.0, 1.0, 1.0])
        left_joints = left_joints + hand_joints.new_tensor([HAND_HEATMAP[2] - 1.0, 0.0, 0.0])
        return Prediction(
            pose=BodyPose(
                global_orient=camera.six_to_axis_angle(root),
                body_pose=camera.six_to_axis_angle(body.unflatten(1, (-1, 6))).flatten(1),
                betas=shape,
                expression=expression,
                left_hand_pose=camera.mirror_axis_angle(fingers[:batch]),
                right_hand_pose=fingers[batch:],
                jaw_pose=camera.six_to_axis_angle(jaw),
                transl=camera.camera_translation(cam),
            ),
            joint_img=torch.cat(
                [body_joints, hand_to_body(left_joints, left), hand_to_body(hand_joints[batch:], right)], dim=1
            ),
            lhand_bbox=camera.body_to_crop(left),
            rhand_bbox=camera.body_to_crop(right),
            face_bbox=camera.body_to_crop(face),
        )


def hand_to_body(joints: Tensor, box: Tensor) -> Tensor:
    """Hand joints (B, 20, 3) in bins of their crop -> heat-map units of the body; z keeps the hand's own bins."""
    scale = box.new_tensor([GRID[1] / 192, GRID[0] / 256])
    origin, end = box[:, :2] * scale, box[:, 2:] * scale
    cells = box.new_tensor([HAND_HEATMAP[2], HAND_HEATMAP[1]])
    xy = joints[..., :2] / cells * (end - origin)[:, None] + origin[:, None]
    return torch.cat([xy, joints[..., 2:]], dim=-1)


@dataclass(frozen=True)
class Bodies:
    """Posed meshes of a prediction: vertices (B, V, 3) in camera space, joint_proj (B, 137, 2) in heat-map units."""

    vertices: Tensor
    joint_proj: Tensor


def pose_bodies(prediction: Prediction, body: Smplx) -> Bodies:
    """Runs the body model on a prediction."""
    out = body(prediction.pose)
    on_full_mesh = out.joints.shape[1] > max(JOINTS_137)
    joints = out.joints[:, list(JOINTS_137)] if on_full_mesh else out.joints
    return Bodies(out.vertices, camera.project(joints))
