"""CoNR as a whole: a character sheet parsed once, then one picture per target pose."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.conr.config import PARSER, POSE_ENCODER, SIZE_STEP
from models.conr.encoder import ResidualUNet
from models.conr.shader import LevelTrace, Shader
from models.runtime.errors import InputError

OPAQUE = 0.95  # mean alpha from which a reference counts as not cut out


class Bottleneck(nn.Module):
    """Residual block whose "norm" layers are plain 1x1 convolutions, as released."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm1 = nn.Conv2d(channels, channels, 1)
        self.norm2 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv1(self.norm1(x).relu())
        return x + self.conv2(self.norm2(inner).relu())


class RgbaDecoder(nn.Module):
    """(B, 64, H, W) message -> (B, 4, H, W) straight RGBA in (0, 1)."""

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        self.conv_rgba = nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1))
        self.bottleneck = nn.ModuleDict({"r0": Bottleneck(channels)})

    def forward(self, message: Tensor) -> Tensor:
        return self.conv_rgba(self.bottleneck["r0"](message)).sigmoid()


@dataclass(frozen=True)
class Sheet:
    """A parsed character sheet, reused for every frame.

    features: five (M, C, h, w); colours (M, 4, S, S) premultiplied colours and alpha; udp (M, 4, S, S) estimated
    ultra-dense pose and alpha in [0, 1].
    """

    features: tuple[Tensor, ...]
    colours: Tensor
    udp: Tensor

    def joined(self, other: Sheet) -> Sheet:
        """This sheet's references and another's, as one sheet."""
        pairs = zip(self.features, other.features, strict=True)
        features = tuple(torch.cat([mine, theirs]) for mine, theirs in pairs)
        return Sheet(features, torch.cat([self.colours, other.colours]), torch.cat([self.udp, other.udp]))


class Conr(nn.Module):
    """The four networks. Sides are multiples of 128."""

    def __init__(self) -> None:
        super().__init__()
        self.udpparsernet = ResidualUNet(PARSER)
        self.target_pose_encoder = ResidualUNet(POSE_ENCODER)
        self.shader = Shader()
        self.rgbadecodernet = RgbaDecoder()

    def prepared(self) -> Conr:
        """Itself, suited to inference on processors: same results up to rounding, faster.

        Its state dict fits no checkpoint after.
        """
        self.shader.prepare()
        self.target_pose_encoder.to(memory_format=torch.channels_last)
        self.rgbadecodernet.to(memory_format=torch.channels_last)
        return self

    def parse(self, images: Tensor, masks: Tensor) -> Sheet:
        """Parses references: images (M, 3, S, S) premultiplied RGB and masks (M, 1, S, S), both in [0, 1].

        Raises:
            InputError: a side is not a multiple of 128, or a reference has no transparent background.
        """
        if any(side % SIZE_STEP for side in images.shape[-2:]):
            raise InputError(f"CoNR works on sides that are multiples of {SIZE_STEP}, not {tuple(images.shape[-2:])}")
        opaque = [i + 1 for i, mean in enumerate(masks.mean(dim=(1, 2, 3)).tolist()) if mean >= OPAQUE]
        if opaque:
            raise InputError(f"Reference {opaque[0]} has no transparent background: cut the figure out first")
        raw, features = self.udpparsernet(images)
        # the loader has multiplied the colours by alpha once already; the released pipeline does it twice
        features = tuple(feature.contiguous(memory_format=torch.channels_last) for feature in features)
        return Sheet(features, torch.cat([masks * images, masks], dim=1), raw.clamp(0, 1))

    def estimate_udp(self, images: Tensor) -> Tensor:
        """Ultra-dense pose and alpha (B, 4, S, S) in [0, 1] of drawings (B, 3, S, S)."""
        return self.udpparsernet(images)[0].clamp(0, 1)

    def render(self, sheet: Sheet, udp: Tensor, alpha: Tensor, trace: list[LevelTrace] | None = None) -> Tensor:
        """Draws the character in new poses: udp (N, 3 or 4, S, S), alpha (N, 1, S, S) -> premultiplied RGBA."""
        pose = torch.cat([udp[:, :3] * alpha, alpha], dim=1)
        target = self.target_pose_encoder.features(pose)
        frames = len(pose)
        references = [feature.expand(frames, *feature.shape) for feature in sheet.features]
        colours = sheet.colours.expand(frames, *sheet.colours.shape)
        rgba = self.rgbadecodernet(self.shader(target, references, colours, trace))
        return torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], dim=1)
