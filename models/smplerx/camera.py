"""Rotations, boxes and the virtual camera of SMPLer-X."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from models.geometry.rotations import rotation_6d_to_matrix
from models.smplerx.config import BODY, CAMERA_SIZE, CROP, FOCAL, GRID

DEPTH_SCALE = math.sqrt(FOCAL * FOCAL * CAMERA_SIZE * CAMERA_SIZE / (BODY[0] * BODY[1]))
PRINCIPAL = (BODY[1] / 2, BODY[0] / 2)


def six_to_axis_angle(six: Tensor) -> Tensor:
    """Axis-angle of a row-major 3 x 2 matrix: (..., 6) -> (..., 3), length at most pi.

    Follows the released code's choice of quaternion branch, so that degenerate rows (six zeros: half a turn about y)
    agree too.
    """
    m = rotation_6d_to_matrix(six, row_major=True)
    m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    tx, ty, tz, tw = 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22, 1 + m00 + m11 + m22
    candidates = torch.stack(
        [
            torch.stack([wx, tx, xy, xz], -1),
            torch.stack([wy, xy, ty, yz], -1),
            torch.stack([wz, xz, yz, tz], -1),
            torch.stack([tw, wx, wy, wz], -1),
        ],
        dim=-2,
    )  # (..., branch, 4)
    down = m22 < 1e-6
    branch = torch.where(down, torch.where(m00 > m11, 0, 1), torch.where(m00 < -m11, 2, 3))
    trace = torch.stack([tx, ty, tz, tw], -1).gather(-1, branch[..., None])
    q = candidates.gather(-2, branch[..., None, None].expand(*branch.shape, 1, 4))[..., 0, :]
    q = 0.5 * q / trace.sqrt()
    w, v = q[..., :1], q[..., 1:]
    sine = v.norm(dim=-1, keepdim=True)
    half = torch.where(w < 0, torch.atan2(-sine, -w), torch.atan2(sine, w))
    factor = torch.where(sine > 0, 2 * half / torch.where(sine > 0, sine, 1.0), 2.0)
    return (v * factor).nan_to_num(0.0)


def mirror_axis_angle(pose: Tensor) -> Tensor:
    """Axis-angles (..., 3 J) of a hand seen in a mirror."""
    sign = pose.new_tensor([1.0, -1.0, -1.0]).repeat(pose.shape[-1] // 3)
    return pose * sign


def camera_translation(camera: Tensor) -> Tensor:
    """Network output (B, 3) -> translation (B, 3) in metres, camera axes x right, y down, z forward."""
    return torch.cat([camera[:, :2], camera[:, 2:].sigmoid() * DEPTH_SCALE], dim=1)


def project(points: Tensor) -> Tensor:
    """Camera-space points (B, J, 3) -> heat-map units (B, J, 2) of the 16 x 12 grid."""
    xy = points[..., :2] / (points[..., 2:] + 1e-4) * FOCAL + points.new_tensor(PRINCIPAL)
    return xy * points.new_tensor([GRID[1] / BODY[1], GRID[0] / BODY[0]])


def restore_box(center: Tensor, size: Tensor, extension: float) -> Tensor:
    """Boxes in heat-map units (B, 2) and (B, 2) -> squares x1, y1, x2, y2 in body pixels (B, 4)."""
    scale = center.new_tensor([BODY[1] / GRID[1], BODY[0] / GRID[0]])
    corners = torch.stack([(center - size / 2) * scale, (center + size / 2) * scale], dim=1)  # (B, 2, 2)
    middle, extent = corners.mean(1), corners[:, 1] - corners[:, 0]
    width, height = extent.unbind(-1)
    side = torch.maximum(width, height)
    half = torch.stack([side, side], -1) * (extension / 2)
    return torch.cat([middle - half, middle + half], dim=1)


def body_to_crop(box: Tensor) -> Tensor:
    """Boxes x1, y1, x2, y2 from body pixels (192 x 256) to crop pixels (384 x 512)."""
    return box * box.new_tensor([CROP[1] / BODY[1], CROP[0] / BODY[0]] * 2)


def full_frame_camera(box: Tensor) -> tuple[Tensor, Tensor]:
    """Focal lengths and principal points in the whole picture of crop boxes (..., 4) x, y, w, h: two (..., 2)."""
    origin, size = box[..., :2], box[..., 2:]
    body = box.new_tensor([BODY[1], BODY[0]])
    return FOCAL / body * size, box.new_tensor(PRINCIPAL) / body * size + origin
