"""Residual U-Nets of CoNR: the character parser and the target pose encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models import resnet18, resnet50

from models.conr.config import DECODER_WIDTHS, DEVIATION, MEAN, EncoderConfig


class Norm(nn.Module):
    """Instance normalisation one level deep, as the released names have it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class UpBlock(nn.Module):
    """Doubles the resolution, joins the skip connection, mixes."""

    def __init__(self, channels: int, skip: int, out: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, out, 4, stride=2, padding=1, bias=False)
        self.bn1 = Norm(out)
        self.conv2 = nn.Conv2d(out + skip, out, 3, padding=1, bias=False)
        self.bn2 = Norm(out)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        x = self.bn1(self.up(x)).relu()
        if skip is not None:
            x = torch.cat([x, skip], dim=1)
        return self.bn2(self.conv2(x)).relu()


class ResidualUNet(nn.Module):
    """ResNet features at five strides and, on demand, a decoder back to full resolution."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        net = (resnet50 if config.depth == 50 else resnet18)(weights=None, norm_layer=Norm)
        if config.in_channels != 3:
            net.conv1 = nn.Conv2d(config.in_channels, 64, 7, stride=2, padding=3, bias=False)
        pool = nn.Conv2d(64, 64, 3, stride=2, padding=1, bias=False) if config.strided_stem else net.maxpool
        self.backbone = nn.Sequential(
            net.conv1, net.bn1, net.relu, pool, net.layer1, net.layer2, net.layer3, net.layer4
        )
        widths = config.feature_channels
        ins = (widths[0], *DECODER_WIDTHS[:-1])
        skips = (*widths[1:], 0)
        self.upsample_blocks = nn.ModuleList(map(UpBlock, ins, skips, DECODER_WIDTHS))
        self.final_conv = nn.Conv2d(DECODER_WIDTHS[-1], config.out_channels, 1)

    def features(self, x: Tensor) -> list[Tensor]:
        """Features of (B, C, H, W) in [0, 1] at strides 32, 16, 8, 4, 2; sides are multiples of 32."""
        x = (x - MEAN) / DEVIATION
        found: list[Tensor] = []
        for index, module in enumerate(self.backbone):
            x = module(x)
            if index == 2 or index >= 4:
                found.append(x)
        return found[::-1]

    def decode(self, features: list[Tensor]) -> Tensor:
        """(B, out, H, W), linear, from the five features."""
        x = features[0]
        for block, skip in zip(self.upsample_blocks, [*features[1:], None], strict=True):
            x = block(x, skip)
        return self.final_conv(x)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        features = self.features(x)
        return self.decode(features), features
