"""The three dense heads: depth with confidence and rays, depth with sky, and raw Gaussian parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from models.depth_anything_3.config import Config
from models.depth_anything_3.dpt import LEVELS, DptTrunk, Fusion, Scratch, add_uv, conv3, output_stack, stretch

RAY_CHANNELS = 7
GAUSSIAN_CHANNELS = 38


@dataclass(frozen=True)
class DepthRays:
    """``depth`` and ``confidence`` (M, H, W), confidence >= 1; rays (M, 8 ph, 8 pw, 6) as direction and camera centre
    in world axes with their confidence (M, 8 ph, 8 pw), None where they were not asked for."""

    depth: Tensor
    confidence: Tensor
    rays: Tensor | None = None
    ray_confidence: Tensor | None = None


class RayOutput(nn.ModuleDict):
    """conv3x3 - LayerNorm over channels - relu - conv1x1, its parts numbered as in the released files.

    The four levels share one norm, stored with the first.
    """

    def __init__(self, inputs: int, with_norm: bool) -> None:
        parts = {"0": conv3(inputs, 32), "5": nn.Conv2d(32, RAY_CHANNELS, 1)}
        if with_norm:
            parts["2"] = nn.LayerNorm(32, eps=1e-5)
        super().__init__(parts)

    def apply_with(self, norm: nn.Module, x: Tensor) -> Tensor:
        """(M, C, h, w) -> (M, h, w, 7)."""
        x = norm(self["0"](x).permute(0, 2, 3, 1)).relu_()
        return F.linear(x, self["5"].weight.flatten(1), self["5"].bias)


class DualScratch(Scratch):
    """A second fusion chain for rays on the same lateral maps. Only its finest level is ever read."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, outputs=2)
        full, half = config.features, config.features // 2
        for level in range(1, LEVELS + 1):
            setattr(self, f"refinenet{level}_aux", Fusion(full, lateral=level < LEVELS))
        widths = (full, half, full, half, full, half)
        self.output_conv1_aux = nn.ModuleList(
            nn.Sequential(*(conv3(a, b) for a, b in pairwise(widths))) for _ in range(LEVELS)
        )
        self.output_conv2_aux = nn.ModuleList(RayOutput(half, with_norm=level == 0) for level in range(LEVELS))

    def rays(self, maps: Sequence[Tensor], aspect: float) -> Tensor:
        """(M, 8 ph, 8 pw, 7)."""
        x = self.output_conv1_aux[-1](self.fuse(maps, "_aux"))
        return self.output_conv2_aux[-1].apply_with(self.output_conv2_aux[0]["2"], add_uv(x, aspect))


class DualDpt(DptTrunk):
    """Depth, confidence and rays of multi-view variants."""

    token_norm = True
    embeds_position = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.scratch = DualScratch(config)

    def forward(self, tokens: Sequence[Tensor], size: Sequence[int], with_rays: bool = True) -> DepthRays:
        """Four taps (M, P, C) of images of ``size`` (H, W)."""
        aspect = size[1] / size[0]
        maps = self.scratch.adapt(self.stages(tokens, size))
        x = stretch(self.scratch.output_conv1(self.scratch.fuse(maps)), size)
        depth, confidence = self.scratch.output_conv2(add_uv(x, aspect)).unbind(1)
        depth, confidence = depth.exp(), confidence.exp().add_(1)
        if not with_rays:
            return DepthRays(depth, confidence)
        rays = self.scratch.rays(maps, aspect)
        return DepthRays(depth, confidence, rays[..., :6], rays[..., 6].exp() + 1)


class SkyScratch(Scratch):
    def __init__(self, config: Config) -> None:
        super().__init__(config, outputs=1)
        self.sky_output_conv2 = output_stack(config.features // 2, 1)


class SkyDpt(DptTrunk):
    """Depth and sky of the single-view variants."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.scratch = SkyScratch(config)

    def forward(self, tokens: Sequence[Tensor], size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Four taps (M, P, C) -> depth and sky (M, H, W); sky is 0 on the ground and about 1 in the sky."""
        x = self.scratch.fuse(self.scratch.adapt(self.stages(tokens, size)))
        x = stretch(self.scratch.output_conv1(x), size)
        return self.scratch.output_conv2(x)[:, 0].exp(), self.scratch.sky_output_conv2(x)[:, 0].relu()


class GaussianDpt(DptTrunk):
    """Raw Gaussian parameters per pixel; the image itself joins the full-size map."""

    embeds_position = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.scratch = Scratch(config, GAUSSIAN_CHANNELS)
        half = config.features // 2
        self.images_merger = nn.Sequential(
            conv3(3, half // 4), nn.GELU(), conv3(half // 4, half // 2), nn.GELU(), conv3(half // 2, half), nn.GELU()
        )

    def forward(self, tokens: Sequence[Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
        """Four taps (M, P, C) and their normalised images (M, 3, H, W) -> raw (M, H, W, 37), density (M, H, W)."""
        size = images.shape[-2:]
        x = self.scratch.fuse(self.scratch.adapt(self.stages(tokens, size)))
        x = stretch(self.scratch.output_conv1(x), size).add_(self.images_merger(images))
        x = self.scratch.output_conv2(add_uv(x, size[1] / size[0])).permute(0, 2, 3, 1)
        return x[..., :-1], x[..., -1].sigmoid()
