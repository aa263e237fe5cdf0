"""PFLD landmark network: 98 face points from a 112 x 112 crop (Guo et al., 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CROP, POINTS = 112, 98


class InvertedResidual(nn.Module):
    """Widen, filter per channel, narrow; the input is added when ``residual``."""

    def __init__(self, channels: int, out: int, stride: int, residual: bool, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.residual = residual
        self.conv = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            nn.Conv2d(wide, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class Pfld(nn.Module):
    """(B, 3, 112, 112) RGB in [0, 1] -> (B, 98, 2), x and y in [0, 1] of the crop."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = nn.Conv2d(64, 64, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.conv3_1 = InvertedResidual(64, 64, 2, False, 2)
        for index in range(2, 6):
            self.add_module(f"block3_{index}", InvertedResidual(64, 64, 1, True, 2))
        self.conv4_1 = InvertedResidual(64, 128, 2, False, 2)
        self.conv5_1 = InvertedResidual(128, 128, 1, False, 4)
        for index in range(2, 7):
            self.add_module(f"block5_{index}", InvertedResidual(128, 128, 1, True, 4))
        self.conv6_1 = InvertedResidual(128, 16, 1, False, 2)
        self.conv7 = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.conv8 = nn.Conv2d(32, 128, 7)
        self.bn8 = nn.BatchNorm2d(128)  # in the released file, never applied
        self.fc = nn.Linear(176, 2 * POINTS)

    def features(self, x: Tensor) -> Tensor:
        """(B, 64, 28, 28)."""
        x = self.bn1(self.conv1(x)).relu()
        x = self.bn2(self.conv2(x)).relu()
        x = self.conv3_1(x)
        for index in range(2, 6):
            x = self.get_submodule(f"block3_{index}")(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv5_1(self.conv4_1(self.features(x)))
        for index in range(2, 7):
            x = self.get_submodule(f"block5_{index}")(x)
        coarse = self.conv6_1(x)  # (B, 16, 14, 14)
        middle = self.conv7(coarse)  # (B, 32, 7, 7)
        fine = self.conv8(middle).relu()  # (B, 128, 1, 1)
        pooled = [coarse.mean((2, 3)), middle.mean((2, 3)), fine.flatten(1)]
        return self.fc(torch.cat(pooled, dim=1)).unflatten(1, (POINTS, 2))
