"""Points fixed to a mesh, and the face contour that slides with head yaw (FLAME's dynamic landmarks)."""

from __future__ import annotations

import torch
from torch import Tensor

CONTOUR_LIMIT = 39  # degrees of head yaw the contour table covers on each side


def contour_row(rotation: Tensor, mirrored: bool = False) -> Tensor:
    """Row of the 79-row contour table for head rotations (B, 3, 3) -> (B,) int64.

    0..39 for yaw to one side, 40..78 for 1..39 degrees to the other; the angle is rounded half to even. ``mirrored``
    turns the sign of the yaw, as the body model has it.
    """
    level = (rotation[:, 0, 0].square() + rotation[:, 1, 0].square()).sqrt()
    yaw = torch.rad2deg(torch.atan2(-rotation[:, 2, 0], level))
    degrees = (-yaw if mirrored else yaw).clamp(max=CONTOUR_LIMIT).round().long()
    other_side = (CONTOUR_LIMIT - degrees).clamp(max=2 * CONTOUR_LIMIT)
    return torch.where(degrees >= 0, degrees, other_side)


def on_surface(vertices: Tensor, corners: Tensor, bary: Tensor) -> Tensor:
    """Points on triangles: vertices (B, V, 3), corners (B, L, 3) vertex ids, bary (..., L, 3) -> (B, L, 3)."""
    batch = torch.arange(len(vertices), device=vertices.device)[:, None, None]
    return (vertices[batch, corners] * bary[..., None]).sum(-2)
