"""DECA's networks: two ResNet-50 regressors (coarse code, detail code) and the UV displacement decoder.

State-dict names are those of the released checkpoint, so ``load_state_dict`` is strict.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torchvision.models import resnet50

from models.deca.config import DecaConfig
from models.geometry.rotations import euler_to_matrix, matrix_to_axis_angle


class Regressor(nn.Module):
    """ResNet-50 features and a two-layer head.

    Input (B, 3, 224, 224) RGB in [0, 1] without mean or deviation normalisation; output (B, ``n_out``), linear.
    """

    def __init__(self, n_out: int) -> None:
        super().__init__()
        self.encoder = resnet50(weights=None)
        self.encoder.fc = nn.Identity()
        self.layers = nn.Sequential(nn.Linear(2048, 1024), nn.ReLU(), nn.Linear(1024, n_out))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(self.encoder(images))  # (B, n_out)


class DetailDecoder(nn.Module):
    """Displacement along the normals in UV space: (B, 181) -> (B, 1, 256, 256) in metres.

    The input is jaw pose (3), expression (50) and detail code (128), in that order.
    """

    def __init__(self, config: DecaConfig) -> None:
        super().__init__()
        self.scale = config.max_displacement
        self.l1 = nn.Sequential(nn.Linear(config.n_latent, 128 * 8 * 8))
        blocks: list[nn.Module] = [nn.BatchNorm2d(128)]
        widths = (128, 128, 64, 64, 32, 16)
        for before, after in pairwise(widths):
            blocks += [
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
                nn.Conv2d(before, after, 3, padding=1),
                nn.BatchNorm2d(after, eps=config.detail_norm_eps),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        blocks += [nn.Conv2d(widths[-1], 1, 3, padding=1), nn.Tanh()]
        self.conv_blocks = nn.Sequential(*blocks)

    def forward(self, latent: Tensor) -> Tensor:
        grid = self.l1(latent).view(-1, 128, 8, 8)
        return self.conv_blocks(grid) * self.scale  # (B, 1, 256, 256)


@dataclass(frozen=True)
class DecaCode:
    """What DECA sees in one crop; every field is batched.

    shape (B, 100), tex (B, 50), exp (B, 50), pose (B, 6) global then jaw axis-angle, cam (B, 3) scale and translation,
    light (B, 9, 3) spherical-harmonic coefficients by colour, detail (B, 128) or None.
    """

    shape: Tensor
    tex: Tensor
    exp: Tensor
    pose: Tensor
    cam: Tensor
    light: Tensor
    detail: Tensor | None = None

    @property
    def jaw(self) -> Tensor:
        return self.pose[:, 3:]  # (B, 3)

    def with_expression_of(self, other: DecaCode) -> DecaCode:
        """This person with the jaw pose and expression of ``other``; everything else stays (section 5 of the paper)."""
        pose = torch.cat([self.pose[:, :3], other.pose[:, 3:].expand(len(self.pose), -1)], dim=1)
        return replace(self, pose=pose, exp=other.exp.expand(len(self.exp), -1))


class Deca(nn.Module):
    """The three networks of the released checkpoint under their released names."""

    def __init__(self, config: DecaConfig | None = None) -> None:
        super().__init__()
        self.config = config or DecaConfig()
        self.E_flame = Regressor(self.config.n_coarse)
        self.E_detail = Regressor(self.config.n_detail)
        self.D_detail = DetailDecoder(self.config)

    def encode(self, images: Tensor, use_detail: bool = True, euler_jaw: bool = False) -> DecaCode:
        """Codes of face crops.

        images: (B, 3, 224, 224) RGB in [0, 1]. ``euler_jaw`` reads the jaw as Euler angles (x, y, z) in radians.
        """
        parts = dict(
            zip(
                self.config.code_sizes,
                self.E_flame(images).split(list(self.config.code_sizes.values()), dim=1),
                strict=True,
            )
        )
        parts["light"] = parts["light"].reshape(-1, 9, 3)
        if euler_jaw:
            jaw = matrix_to_axis_angle(euler_to_matrix(parts["pose"][:, 3:], "XYZ"))
            parts["pose"] = torch.cat([parts["pose"][:, :3], jaw], dim=1)
        return DecaCode(**parts, detail=self.E_detail(images) if use_detail else None)

    def displacement(self, code: DecaCode) -> Tensor:
        """UV displacement (B, 1, 256, 256) in metres of a code that carries a detail part."""
        return self.D_detail(torch.cat([code.jaw, code.exp, code.detail], dim=1))
