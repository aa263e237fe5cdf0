"""GFPGANv1Clean face restoration (Wang et al., CVPR 2021): a U-Net that steers a StyleGAN2 decoder.

Modulated convolutions are computed by scaling the input with the style and the output with the demodulation, so the
weights stay constant; this equals modulating the weights (Karras et al. 2020, section 2.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2


@dataclass(frozen=True)
class GfpganConfig:
    """Sizes of GFPGAN v1.3 and v1.4. Channel tables run from 4 x 4 to 512 x 512."""

    size: int = 512
    style: int = 512
    mlp: int = 8
    encoder: tuple[int, ...] = (256, 256, 256, 256, 256, 128, 64, 32)
    decoder: tuple[int, ...] = (512, 512, 512, 512, 512, 256, 128, 64)

    @property
    def levels(self) -> int:
        return int(math.log2(self.size)) - 2  # doublings from 4 x 4

    @property
    def latents(self) -> int:
        return 2 * self.levels + 2


def _resize(x: Tensor, factor: float) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def _activated(x: Tensor) -> Tensor:
    """Leaky ReLU, in place where nothing is learnt."""
    return F.leaky_relu(x, SLOPE) if torch.is_grad_enabled() else F.leaky_relu_(x, SLOPE)


class ResBlock(nn.Module):
    """Two convolutions round a resize by ``factor``, plus the resized input through a 1x1 convolution."""

    def __init__(self, channels: int, out: int, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, out, 3, padding=1)
        self.skip = nn.Conv2d(channels, out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = _resize(_activated(self.conv1(x)), self.factor)
        inner = _activated(self.conv2(inner))
        if self.factor > 1:  # a 1x1 convolution commutes with the resize: do it on the fewer pixels
            return inner + _resize(self.skip(x), self.factor)
        return inner + self.skip(_resize(x, self.factor))


class ModulatedConv(nn.Module):
    """Convolution whose input channels are scaled by a style, output renormalised when ``demodulate``."""

    def __init__(self, channels: int, out: int, kernel: int, style: int, demodulate: bool) -> None:
        super().__init__()
        self.modulation = nn.Linear(style, channels)
        self.weight = nn.Parameter(torch.zeros(1, out, channels, kernel, kernel))
        self.demodulate = demodulate
        self._power: Tensor | None = None

    def settle(self) -> None:
        """Weights no longer change: what depends on them alone is computed once, and they lie channels-last."""
        with torch.no_grad():
            self._power = self.weight[0].square().sum((2, 3)) if self.demodulate else None  # (out, in)
            packed = self.weight[0].contiguous(memory_format=torch.channels_last)
            self.weight = nn.Parameter(packed[None], requires_grad=False)

    def forward(self, x: Tensor, latent: Tensor, up: bool = False) -> tuple[Tensor, Tensor | None]:
        """The convolution of the scaled (and doubled) input, and (B, out, 1, 1) still to multiply it by."""
        style = self.modulation(latent)  # (B, in)
        weight = self.weight[0]
        x = x * style[..., None, None]
        x = F.conv2d(_resize(x, 2) if up else x, weight, padding=weight.shape[-1] // 2)
        if not self.demodulate:
            return x, None
        power = weight.square().sum((2, 3)) if self._power is None else self._power.to(weight)
        return x, (style.square() @ power.T + 1e-8).rsqrt()[..., None, None]


class StyleConv(nn.Module):
    """Modulated 3x3 convolution with noise, bias and activation; doubles the size first when ``up``."""

    def __init__(self, channels: int, out: int, style: int, up: bool) -> None:
        super().__init__()
        self.up = up
        self.modulated_conv = ModulatedConv(channels, out, 3, style, demodulate=True)
        self.weight = nn.Parameter(torch.zeros(1))
        self.bias = nn.Parameter(torch.zeros(1, out, 1, 1))

    def forward(self, x: Tensor, latent: Tensor, noise: Tensor) -> Tensor:
        x, scale = self.modulated_conv(x, latent, self.up)
        if torch.is_grad_enabled():
            return F.leaky_relu(x * (scale * math.sqrt(2)) + (noise * self.weight + self.bias), SLOPE)
        # Pictures of this size are memory-bound: everything in place, the noise as one channel.
        x = x.mul_(scale * math.sqrt(2)).add_(noise * self.weight).add_(self.bias)
        return F.leaky_relu_(x, SLOPE)


class ToRgb(nn.Module):
    """Modulated 1x1 convolution to colour, added to the doubled picture of the level before."""

    def __init__(self, channels: int, style: int) -> None:
        super().__init__()
        self.modulated_conv = ModulatedConv(channels, 3, 1, style, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor, latent: Tensor, before: Tensor | None = None) -> Tensor:
        rgb = self.modulated_conv(x, latent)[0] + self.bias
        return rgb if before is None else rgb + _resize(before, 2)


class ConstantInput(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, channels, 4, 4))


class StyleDecoder(nn.Module):
    """StyleGAN2 without up-or-down filters; half of each level's channels take scale and shift from the U-Net."""

    def __init__(self, config: GfpganConfig) -> None:
        super().__init__()
        style, widths = config.style, config.decoder
        mlp: list[nn.Module] = [nn.Identity()]
        for _ in range(config.mlp):
            mlp += [nn.Linear(style, style), nn.LeakyReLU(SLOPE)]
        self.style_mlp = nn.Sequential(*mlp)  # in the released file, unused: the U-Net gives the latents
        self.constant_input = ConstantInput(widths[0])
        self.style_conv1 = StyleConv(widths[0], widths[0], style, up=False)
        self.to_rgb1 = ToRgb(widths[0], style)
        self.style_convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        self.noises = nn.Module()
        self.noises.register_buffer("noise0", torch.zeros(1, 1, 4, 4))
        for level in range(1, config.levels + 1):
            channels, out, side = widths[level - 1], widths[level], 4 << level
            self.style_convs += [StyleConv(channels, out, style, up=True), StyleConv(out, out, style, up=False)]
            self.to_rgbs.append(ToRgb(out, style))
            for index in (2 * level - 1, 2 * level):
                self.noises.register_buffer(f"noise{index}", torch.zeros(1, 1, side, side))

    def forward(self, latents: Tensor, scales: list[Tensor], shifts: list[Tensor], fresh_noise: bool) -> Tensor:
        """latents (B, 16, 512), scales and shifts per level -> (B, 3, 512, 512)."""

        def noise(index: int) -> Tensor:
            stored = self.noises.get_buffer(f"noise{index}")
            return torch.randn_like(stored) if fresh_noise else stored

        x = self.constant_input.weight.repeat(len(latents), 1, 1, 1)
        x = self.style_conv1(x, latents[:, 0], noise(0))
        rgb = self.to_rgb1(x, latents[:, 1])
        for level, (to_rgb, scale, shift) in enumerate(zip(self.to_rgbs, scales, shifts, strict=True)):
            index = 2 * level
            x = self.style_convs[index](x, latents[:, index + 1], noise(index + 1))
            kept, steered = x.chunk(2, dim=1)
            if torch.is_grad_enabled():
                x = torch.cat([kept, steered * scale + shift], dim=1)
            else:
                steered.mul_(scale).add_(shift)
            x = self.style_convs[index + 1](x, latents[:, index + 2], noise(index + 2))
            rgb = to_rgb(x, latents[:, index + 3], rgb)
        return rgb


def _condition(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1), nn.LeakyReLU(SLOPE), nn.Conv2d(channels, out, 3, padding=1)
    )


class Gfpgan(nn.Module):
    """Restores aligned faces: (B, 3, 512, 512) RGB in [-1, 1] -> the same."""

    def __init__(self, config: GfpganConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or GfpganConfig()
        narrow, wide, levels = config.encoder, config.decoder, config.levels
        self.conv_body_first = nn.Conv2d(3, narrow[-1], 1)
        self.conv_body_down = nn.ModuleList(
            ResBlock(narrow[level], narrow[level - 1], 0.5) for level in range(levels, 0, -1)
        )
        self.final_conv = nn.Conv2d(narrow[0], narrow[0], 3, padding=1)
        self.conv_body_up = nn.ModuleList(
            ResBlock(narrow[level - 1], narrow[level], 2) for level in range(1, levels + 1)
        )
        self.toRGB = nn.ModuleList(nn.Conv2d(narrow[level], 3, 1) for level in range(1, levels + 1))  # training only
        self.final_linear = nn.Linear(narrow[0] * 16, config.latents * config.style)
        self.condition_scale = nn.ModuleList(
            _condition(narrow[level], wide[level] // 2) for level in range(1, levels + 1)
        )
        self.condition_shift = nn.ModuleList(
            _condition(narrow[level], wide[level] // 2) for level in range(1, levels + 1)
        )
        self.stylegan_decoder = StyleDecoder(config)

    def encode(self, images: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Latents (B, 16, 512) and what steers each level of the decoder."""
        x = F.leaky_relu(self.conv_body_first(images), SLOPE)
        skips = []
        for block in self.conv_body_down:
            x = block(x)
            skips.append(x)
        x = F.leaky_relu(self.final_conv(x), SLOPE)
        latents = self.final_linear(x.flatten(1)).unflatten(1, (self.config.latents, -1))
        scales, shifts = [], []
        for level, block in enumerate(self.conv_body_up):
            x = block(x + skips[-1 - level])
            scales.append(self.condition_scale[level](x))
            shifts.append(self.condition_shift[level](x))
        return latents, scales, shifts

    def forward(self, images: Tensor, fresh_noise: bool = False) -> Tensor:
        latents, scales, shifts = self.encode(images)
        return self.stylegan_decoder(latents, scales, shifts, fresh_noise)
