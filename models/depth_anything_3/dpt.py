"""Dense prediction heads after DPT (arXiv 2103.13413): tapped tokens -> four maps -> fused map -> outputs per pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.depth_anything_3.config import PATCH, Config

UV_BASE = 100.0
UV_GAIN = 0.1
LEVELS = 4


def uv_axes(height: int, width: int, aspect: float) -> tuple[Tensor, Tensor]:
    """Coordinates u (width,) and v (height,) of the cell centres of an image plane whose half diagonal is 1.

    ``aspect`` is width over height of the image the cells belong to.
    """
    diagonal = (aspect**2 + 1) ** 0.5
    return tuple(
        torch.linspace(-1, 1, n) * (span / diagonal * (n - 1) / n) for n, span in ((width, aspect), (height, 1.0))
    )


def wave_embedding(coordinate: Tensor, channels: int) -> Tensor:
    """Sines, then cosines of a coordinate (n,) at frequencies ``100^(-2k/channels)``: (n, channels)."""
    k = torch.arange(channels // 2, dtype=torch.float64)
    angle = coordinate.double()[:, None] * UV_BASE ** (-2 * k / channels)
    return torch.cat([angle.sin(), angle.cos()], dim=1).float()


def add_uv(x: Tensor, aspect: float) -> Tensor:
    """Adds in place where each cell lies: u to the first half of the channels of (M, C, h, w), v to the second."""
    half = x.shape[1] // 2
    u, v = uv_axes(*x.shape[-2:], aspect)
    x[:, :half] += UV_GAIN * wave_embedding(u, half).T[:, None, :].to(x)
    x[:, half:] += UV_GAIN * wave_embedding(v, half).T[:, :, None].to(x)
    return x


def conv3(inputs: int, outputs: int, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)


def stretch(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear resampling that keeps the corner cells at the corners."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


class ResidualUnit(nn.Module):
    """``x + conv(relu(conv(relu(x))))``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv3(channels, channels)
        self.conv2 = conv3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x.relu()).relu_()).add_(x)


class Fusion(nn.Module):
    """Joins the coarser result with a lateral map and brings it to the next level's size."""

    def __init__(self, channels: int, lateral: bool) -> None:
        super().__init__()
        if lateral:
            self.resConfUnit1 = ResidualUnit(channels)
        self.resConfUnit2 = ResidualUnit(channels)
        self.out_conv = nn.Conv2d(channels, channels, 1)

    def forward(self, top: Tensor, size: Sequence[int], lateral: Tensor | None = None) -> Tensor:
        """``top`` and ``lateral`` (M, F, h, w) -> (M, F, *size)."""
        if lateral is not None:
            top = self.resConfUnit1(lateral).add_(top)
        # Mixing channels and resampling space commute; the 1x1 convolution is cheaper on the small map.
        return stretch(self.out_conv(self.resConfUnit2(top)), size)


def output_stack(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(conv3(inputs, 32), nn.ReLU(inplace=True), nn.Conv2d(32, outputs, 1))


class Scratch(nn.Module):
    """The fusion part of a head, under its released names."""

    def __init__(self, config: Config, outputs: int) -> None:
        super().__init__()
        F_ = config.features
        for level, channels in enumerate(config.stage_channels, start=1):
            setattr(self, f"layer{level}_rn", conv3(channels, F_, bias=False))
            setattr(self, f"refinenet{level}", Fusion(F_, lateral=level < LEVELS))
        self.output_conv1 = conv3(F_, F_ // 2)
        self.output_conv2 = output_stack(F_ // 2, outputs)

    def adapt(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Four stage maps, finest first, to the common width."""
        return [getattr(self, f"layer{i}_rn")(m) for i, m in enumerate(maps, start=1)]

    def fuse(self, maps: Sequence[Tensor], suffix: str = "") -> Tensor:
        """Four maps of one width, finest first -> one map at twice the finest size."""
        x = getattr(self, f"refinenet4{suffix}")(maps[3], maps[2].shape[-2:])
        for level in (3, 2, 1):
            finer = maps[level - 2].shape[-2:] if level > 1 else [2 * n for n in maps[0].shape[-2:]]
            x = getattr(self, f"refinenet{level}{suffix}")(x, finer, maps[level - 1])
        return x


class DptTrunk(nn.Module):
    """What all heads share: projection of the taps, stage maps at 4x, 2x, 1x and 1/2 of the patch grid."""

    token_norm = False
    embeds_position = False

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, channels = config.backbone.token_width, config.stage_channels
        if self.token_norm:
            self.norm = nn.LayerNorm(width, eps=1e-5)
        self.projects = nn.ModuleList(nn.Conv2d(width, c, 1) for c in channels)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(channels[0], channels[0], 4, stride=4),
                nn.ConvTranspose2d(channels[1], channels[1], 2, stride=2),
                nn.Identity(),
                nn.Conv2d(channels[3], channels[3], 3, stride=2, padding=1),
            ]
        )

    def stages(self, tokens: Sequence[Tensor], size: Sequence[int]) -> list[Tensor]:
        """Four taps (M, P, C) of images of ``size`` (H, W) -> four maps (M, C_i, h_i, w_i), finest first."""
        rows, columns = size[0] // PATCH, size[1] // PATCH
        maps = []
        for x, project, resize in zip(tokens, self.projects, self.resize_layers, strict=True):
            if self.token_norm:
                x = self.norm(x)
            x = F.linear(x, project.weight.flatten(1), project.bias)  # the 1x1 convolution, on tokens
            x = x.unflatten(1, (rows, columns)).permute(0, 3, 1, 2)  # channels last in memory
            if self.embeds_position:
                x = add_uv(x, size[1] / size[0])
            maps.append(resize(x))
        return maps
