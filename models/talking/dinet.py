"""DINet: deforms reference mouths to fit the speech, then paints them into the face (Zhang et al., AAAI 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PI = 3.14159  # the value the released weights were trained with
REFERENCES = 5


@dataclass(frozen=True)
class DinetConfig:
    """Channels of the inputs: masked source, stacked reference pictures, audio features per step."""

    source: int = 3
    reference: int = 3 * REFERENCES
    audio: int = 29


def crop_size(mouth: int) -> tuple[int, int]:
    """(height, width) of the face crop for a mouth region of ``mouth`` pixels (64, 128 or 256)."""
    return 3 * mouth // 2 + mouth // 8, mouth + mouth // 4


def mask_box(mouth: int) -> tuple[slice, slice]:
    """Rows and columns of the crop that are zeroed in the source."""
    return slice(mouth // 2, mouth // 2 + mouth), slice(mouth // 8, mouth // 8 + mouth)


class Same(nn.Module):
    """Convolution, batch norm, ReLU; halves the size with ``stride`` 2."""

    def __init__(self, channels: int, out: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2)
        self.norm = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).relu()


class Up(Same):
    """Nearest doubling, then as ``Same``."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.interpolate(x, scale_factor=2, mode="nearest"))


class SettledUp(nn.Module):
    """An ``Up`` whose norm is folded in: each of the four pixels a pixel becomes sees 2x2 of the smaller picture, so
    its 3x3 kernel is summed to 2x2 and nothing is enlarged before the convolution. 4/9 of the multiplications."""

    def __init__(self, up: Up) -> None:
        super().__init__()
        weight = up.conv.weight.detach()  # (D, C, 3, 3)
        below, above = torch.tensor([[1.0, 0, 0], [0, 1, 1]]), torch.tensor([[1.0, 1, 0], [0, 0, 1]])
        phases = [
            torch.einsum("dcyx,ay,bx->dcab", weight, rows.to(weight), columns.to(weight))
            for rows in (below, above)
            for columns in (below, above)
        ]
        self.register_buffer("weight", torch.cat(phases))  # (4 D, C, 2, 2)
        self.register_buffer("bias", up.conv.bias.detach().repeat(4))

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        every = F.conv2d(x, self.weight, self.bias, padding=1).view(batch, 4, -1, height + 1, width + 1)
        out = every.new_empty(batch, every.shape[2], height, 2, width, 2)
        for phase in range(4):
            down, right = divmod(phase, 2)
            picked = every[:, phase, :, down : down + height, right : right + width]
            out[:, :, :, down, :, right] = picked
        return out.view(batch, -1, 2 * height, 2 * width).relu_()


class Res(nn.Module):
    """Pre-activation residual block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(channels)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.norm1(x).relu())
        return x + self.conv2(self.norm2(y).relu())


class Same1d(nn.Module):
    def __init__(self, channels: int, out: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, out, kernel, stride, kernel // 2)
        self.norm = nn.BatchNorm1d(out)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).relu()


class Res1d(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv1d(channels, channels, 3, padding=1)
        self.norm1 = nn.BatchNorm1d(channels)
        self.norm2 = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.norm1(x).relu())
        return x + self.conv2(self.norm2(y).relu())


def blend_channels(feature: Tensor) -> Tensor:
    """What sampling a volume of channels at "its own" channel gives when grid and sampler disagree on the corners.

    The channel grid spans [-1, 1] with both ends, the sampler takes it for areas: channel i reads at
    i * C / (C - 1) - 1/2, a blend of two neighbours (zero beyond the ends). (B, C, H, W) -> the same.
    """
    channels = feature.shape[1]
    depth = 2 * torch.arange(channels, dtype=torch.float32) / (channels - 1) - 1
    at = ((depth + 1) * channels - 1) / 2  # in single precision, as the sampler computes it
    below = at.floor()
    share = (at - below).to(feature)[:, None, None]
    below = below.long().to(feature.device)
    padded = F.pad(feature, (0, 0, 0, 0, 1, 1))
    return padded[:, below + 1] * (1 - share) + padded[:, below + 2] * share


class AdaptiveAffine(nn.Module):
    """AdaAT: every channel turned, scaled and shifted by what pictures and speech ask for (section 3.2)."""

    def __init__(self, channels: int = 256) -> None:
        super().__init__()
        self.commn_linear = nn.Sequential(nn.Linear(channels, channels), nn.ReLU())
        self.scale = nn.Sequential(nn.Linear(channels, channels), nn.Sigmoid())
        self.rotation = nn.Sequential(nn.Linear(channels, channels), nn.Tanh())
        self.translation = nn.Sequential(nn.Linear(channels, 2 * channels), nn.Tanh())

    def forward(self, feature: Tensor, para: Tensor) -> Tensor:
        return self.deform(blend_channels(feature), para)

    def deform(self, blended: Tensor, para: Tensor) -> Tensor:
        """Warps features that ``blend_channels`` has prepared: (B, C, H, W) by para (B, 256)."""
        batch, channels, height, width = blended.shape
        para = self.commn_linear(para)
        scale = self.scale(para) * 2  # (B, C)
        angle = self.rotation(para) * PI
        shift = self.translation(para).view(batch, channels, 2)
        cos, sin = angle.cos() * scale, angle.sin() * scale
        theta = torch.stack(
            [torch.stack([cos, -sin, shift[..., 0]], -1), torch.stack([sin, cos, shift[..., 1]], -1)], dim=-2
        )  # (B, C, 2, 3)
        xs = torch.linspace(-1, 1, width, dtype=blended.dtype, device=blended.device)
        ys = torch.linspace(-1, 1, height, dtype=blended.dtype, device=blended.device)
        plane = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=-1).view(-1, 2)  # (H W, 2)
        grid = plane @ theta[..., :2].transpose(-1, -2) + theta[..., None, :, 2]  # (B, C, H W, 2)
        images = blended.reshape(batch * channels, 1, height, width)
        grid = grid.view(batch * channels, height, width, 2)
        out = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return out.view(batch, channels, height, width)


@dataclass(frozen=True)
class Reference:
    """What depends on the reference pictures alone, computed once per clip.

    feature (1, 256, h, w) before the appearance stack; blended: after its first half, ready for the deformation.
    """

    feature: Tensor
    blended: Tensor


class Dinet(nn.Module):
    """Source (B, 3, H, W), its mouth zeroed, reference (1, 15, H, W), audio (B, 29, 5) -> (B, 3, H, W) in [0, 1]."""

    def __init__(self, config: DinetConfig | None = None) -> None:
        super().__init__()
        config = config or DinetConfig()
        self.source_in_conv = nn.Sequential(Same(config.source, 64, 7), Same(64, 128, 3, 2), Same(128, 256, 3, 2))
        self.ref_in_conv = nn.Sequential(Same(config.reference, 64, 7), Same(64, 128, 3, 2), Same(128, 256, 3, 2))
        self.trans_conv = nn.Sequential(
            Same(512, 128),
            Same(128, 128, 11),
            Same(128, 128, 11),
            Same(128, 128, 3, 2),
            Same(128, 128, 7),
            Same(128, 128, 7),
            Same(128, 128, 3, 2),
            Same(128, 128),
            Same(128, 128, 3, 2),
            Same(128, 128),
            Same(128, 128, 3, 2),
        )
        self.audio_encoder = nn.Sequential(
            Same1d(config.audio, 128, 5),
            Res1d(128),
            Same1d(128, 128, 3, 2),
            Res1d(128),
            Same1d(128, 128, 3, 2),
            Same1d(128, 128),
        )
        self.appearance_conv_list = nn.ModuleList(nn.Sequential(*(Res(256) for _ in range(4))) for _ in range(2))
        self.adaAT = AdaptiveAffine(256)
        self.out_conv = nn.Sequential(
            Same(512, 128), Up(128, 128), Res(128), Up(128, 128), nn.Conv2d(128, 3, 7, padding=3), nn.Sigmoid()
        )

    def settle(self) -> None:
        """Makes its doublings cheap, once the norms are folded; the state dict fits no checkpoint after."""
        for index, part in enumerate(self.out_conv):
            if isinstance(part, Up):
                self.out_conv[index] = SettledUp(part)

    def prepare(self, reference: Tensor) -> Reference:
        """Reference pictures (1, 15, H, W) in [0, 1], once per clip."""
        feature = self.ref_in_conv(reference)
        return Reference(feature, blend_channels(self.appearance_conv_list[0](feature)))

    def listen(self, audio: Tensor) -> Tensor:
        """Speech features (B, 29, 5) -> (B, 128)."""
        return self.audio_encoder(audio).mean(2)

    def draw(self, source: Tensor, reference: Reference, audio: Tensor) -> Tensor:
        """A batch of frames that share the clip's references."""
        seen = self.source_in_conv(source)
        batch = len(seen)
        feature = reference.feature.expand(batch, -1, -1, -1)
        image_para = self.trans_conv(torch.cat([seen, feature], dim=1)).mean((2, 3))  # (B, 128)
        para = torch.cat([image_para, self.listen(audio)], dim=1)
        deformed = self.adaAT.deform(reference.blended.expand(batch, -1, -1, -1), para)
        deformed = self.appearance_conv_list[1](deformed)
        return self.out_conv(torch.cat([seen, deformed], dim=1))

    def forward(self, source: Tensor, reference: Tensor, audio: Tensor) -> Tensor:
        return self.draw(source, self.prepare(reference), audio)
