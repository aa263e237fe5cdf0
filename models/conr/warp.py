"""Backward warping by flows in pixels: channel 0 points right, channel 1 down."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def warp(x: Tensor, flow: Tensor) -> Tensor:
    """Samples ``x`` (B, C, H, W) at every pixel plus its flow (B, 2, H, W); the border is repeated outwards."""
    height, width = x.shape[-2:]
    rows = torch.linspace(-1, 1, height, dtype=x.dtype, device=x.device)
    columns = torch.linspace(-1, 1, width, dtype=x.dtype, device=x.device)
    grid_x = columns + flow[:, 0] / ((width - 1) / 2)
    grid_y = rows[:, None] + flow[:, 1] / ((height - 1) / 2)
    grid = torch.stack([grid_x, grid_y], dim=-1)  # (B, H, W, 2)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=True)


def warp_groups(x: Tensor, flow: Tensor) -> Tensor:
    """Like ``warp`` with one flow per group of consecutive channels: x (B, C, H, W), flow (B, 2 G, H, W)."""
    groups = flow.shape[1] // 2
    if groups == 1:
        return warp(x, flow)
    batch, channels, height, width = x.shape
    x = x.reshape(batch * groups, channels // groups, height, width)
    flow = flow.reshape(batch * groups, 2, height, width)
    return warp(x, flow).view(batch, channels, height, width)


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of (B, C, h, w) to ``size`` with pixel areas aligned."""
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def rescale_flow(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """A flow at another resolution, its lengths scaled with the width."""
    factor = size[1] / flow.shape[-1]
    return flow if factor == 1 else resize(flow, size) * factor
