"""Cameras as nine numbers, and the two small networks that read and write them.

The nine are the camera's place (3), its orientation as a quaternion xyzw (4) and its vertical and horizontal field of
view in radians (2). Extrinsics are world-to-camera, OpenCV axes (x right, y down, z forward).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.depth_anything_3.backbone import Block, Mlp
from models.geometry.rotations import matrix_to_quaternion, quaternion_to_matrix, wxyz_to_xyzw, xyzw_to_wxyz

POSE = 9
ENCODER_HEADS = 16
ENCODER_BLOCKS = 4


def invert_rigid(transform: Tensor) -> Tensor:
    """Inverse of rigid transforms (..., 3, 4) or (..., 4, 4), same shape."""
    R = transform[..., :3, :3].transpose(-1, -2)
    inverse = torch.cat([R, -R @ transform[..., :3, 3:]], dim=-1)
    return inverse if transform.shape[-2] == 3 else to_4x4(inverse)


def to_4x4(transform: Tensor) -> Tensor:
    """(..., 3, 4) with the last row of a homogeneous transform appended."""
    if transform.shape[-2] == 4:
        return transform
    row = transform.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*transform.shape[:-2], 1, 4)
    return torch.cat([transform, row], dim=-2)


def encode_pose(camera_to_world: Tensor, intrinsics: Tensor, size: tuple[int, int]) -> Tensor:
    """Poses (..., 3|4, 4) and intrinsics (..., 3, 3) of images of ``size`` (H, W) -> (..., 9)."""
    quaternion = wxyz_to_xyzw(matrix_to_quaternion(camera_to_world[..., :3, :3]))
    fov = [2 * torch.atan(size[i] / 2 / intrinsics[..., 1 - i, 1 - i]) for i in (0, 1)]
    return torch.cat([camera_to_world[..., :3, 3], quaternion, torch.stack(fov, dim=-1)], dim=-1)


def decode_pose(pose: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(..., 9) -> camera-to-world (..., 3, 4) and intrinsics (..., 3, 3) in pixels, principal point in the middle.

    A field of view of zero gives a very long focal length, not an infinite one.
    """
    R = quaternion_to_matrix(xyzw_to_wxyz(pose[..., 3:7]))
    focal = [n / 2 / (pose[..., 7 + i] / 2).tan().clamp_min(1e-6) for i, n in enumerate(size)]  # fy, fx
    return torch.cat([R, pose[..., :3, None]], dim=-1), intrinsics_matrix(focal[1], focal[0], size)


def intrinsics_matrix(fx: Tensor, fy: Tensor, size: tuple[int, int]) -> Tensor:
    """(...) focal lengths -> (..., 3, 3) with the principal point at half of ``size`` (H, W)."""
    K = torch.zeros(*fx.shape, 3, 3, dtype=fx.dtype, device=fx.device)
    K[..., 0, 0], K[..., 1, 1] = fx, fy
    K[..., 0, 2], K[..., 1, 2], K[..., 2, 2] = size[1] / 2, size[0] / 2, 1
    return K


def normalize_extrinsics(extrinsics: Tensor) -> Tensor:
    """Given cameras as the network expects them: the first is the origin, the median distance to it is 1.

    (B, N, 4, 4) -> (B, N, 4, 4). The median runs over all cameras, the first included, takes the lower of two middle
    values, and is not taken below .1.
    """
    moved = extrinsics @ invert_rigid(extrinsics[:, :1])
    distance = invert_rigid(moved)[..., :3, 3].norm(dim=-1)  # (B, N)
    scale = distance.median(dim=1).values.clamp_min(0.1)
    moved[..., :3, 3] /= scale[:, None, None]
    return moved


class CameraEncoder(nn.Module):
    """Known cameras -> one token per view."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pose_branch = Mlp(POSE, width // 2, width)
        self.token_norm = nn.LayerNorm(width, eps=1e-5)
        self.trunk = nn.Sequential(*(Block(width, ENCODER_HEADS, eps=1e-5) for _ in range(ENCODER_BLOCKS)))
        self.trunk_norm = nn.LayerNorm(width, eps=1e-5)

    def forward(self, extrinsics: Tensor, intrinsics: Tensor, size: tuple[int, int]) -> Tensor:
        """World-to-camera (B, N, 3|4, 4) and intrinsics (B, N, 3, 3) of images of ``size`` (H, W) -> (B, N, C)."""
        pose = encode_pose(invert_rigid(extrinsics), intrinsics, size)
        return self.trunk_norm(self.trunk(self.token_norm(self.pose_branch(pose))))


class CameraDecoder(nn.Module):
    """First tokens of the last tap -> pose."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, width), nn.ReLU(inplace=True)
        )
        self.fc_t = nn.Linear(width, 3)
        self.fc_qvec = nn.Linear(width, 4)
        self.fc_fov = nn.Sequential(nn.Linear(width, 2), nn.ReLU())

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, 2C) -> (B, N, 9)."""
        x = self.backbone(tokens)
        return torch.cat([self.fc_t(x), self.fc_qvec(x), self.fc_fov(x)], dim=-1)
