"""DECA's camera: scaled orthographic, in coordinates of the crop that run from -1 to 1 (x right, y down)."""

from __future__ import annotations

import torch
from torch import Tensor

CROP = 224


def project(points: Tensor, cam: Tensor) -> Tensor:
    """World points (B, N, 3) by cam (B, 3) scale and shift -> crop coordinates; smaller z is nearer.

    ``s * (X + t)`` on x and y, ``s * z``, then y and z change sign.
    """
    shift = torch.cat([cam[:, 1:], torch.zeros_like(cam[:, :1])], dim=1)
    scaled = cam[:, None, :1] * (points + shift[:, None])
    return scaled * scaled.new_tensor([1.0, -1.0, -1.0])


def to_original(points: Tensor, tform: Tensor, height: int, width: int, crop: int = CROP) -> Tensor:
    """Crop coordinates (B, N, 3) -> coordinates of the whole picture, also -1 to 1; z is left as it is.

    tform (B, 3, 3) takes pixels of the picture to pixels of the crop.
    """
    back = torch.linalg.inv(tform).transpose(1, 2)
    pixels = (points[..., :2] * 0.5 + 0.5) * crop
    homogeneous = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1) @ back
    return torch.cat([homogeneous[..., :2] / homogeneous.new_tensor([width, height]) * 2 - 1, points[..., 2:]], dim=-1)
