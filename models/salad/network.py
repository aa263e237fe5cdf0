"""SALAD: one vector per photo, alike for photos of one place (Izquierdo and Civera, CVPR 2024, arXiv 2311.15937).

Names are those of ``dino_salad.ckpt``: a DINOv2 ViT-B/14 under ``backbone.model`` and the aggregation under
``aggregator``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.depth_anything_3.backbone import VisionTransformer
from models.depth_anything_3.config import BackboneConfig
from models.runtime.safe_load import load_torch
from models.runtime.state_dict import check_state, load_strict

SIDE = 336  # pixels; photos are squeezed to a square
UNUSED = "backbone.model.mask_token"  # only training reads it


@dataclass(frozen=True)
class Config:
    """Widths of the released network; ``rounds`` of Sinkhorn's iteration."""

    backbone: BackboneConfig = field(default_factory=lambda: BackboneConfig(768, 12, 12, ()))
    hidden: int = 512
    clusters: int = 64
    cluster_width: int = 128
    token_width: int = 256
    rounds: int = 3

    @property
    def length(self) -> int:
        """Of a description."""
        return self.token_width + self.clusters * self.cluster_width


def assignment(scores: Tensor, dustbin: Tensor, rounds: int) -> Tensor:
    """Shares (N, K, P) of P patches in K clusters: entropic optimal transport with a bin for what tells nothing.

    Every cluster takes one patch's mass and the bin the other P - K (section 3.2); Sinkhorn's iteration on logarithms.
    Args:
        scores: (N, K, P), P > K.
        dustbin: score of the bin, one number.
    """
    n, clusters, patches = scores.shape
    cost = torch.cat([scores, dustbin.expand(n, 1, patches)], dim=1)  # (N, K + 1, P)
    mass = cost.new_zeros(1, clusters + 1, 1)
    mass[:, -1] = math.log(patches - clusters)
    columns = cost.new_zeros(n, 1, patches)
    for _ in range(rounds):
        rows = mass - torch.logsumexp(cost + columns, dim=2, keepdim=True)
        columns = -torch.logsumexp(cost + rows, dim=1, keepdim=True)
    return (cost + rows + columns)[:, :-1].exp()


class Aggregator(nn.Module):
    """Patches and the class token of a photo to one description."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.rounds = config.rounds
        width, hidden = config.backbone.width, config.hidden

        def per_patch(out: int) -> nn.Sequential:  # the third place was a dropout
            return nn.Sequential(nn.Conv2d(width, hidden, 1), nn.Identity(), nn.ReLU(), nn.Conv2d(hidden, out, 1))

        self.token_features = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, config.token_width))
        self.cluster_features = per_patch(config.cluster_width)
        self.score = per_patch(config.clusters)
        self.dust_bin = nn.Parameter(torch.ones(()))

    def forward(self, patches: Tensor, token: Tensor) -> Tensor:
        """Patches (N, C, h, w) and token (N, C) -> (N, D) of unit length."""
        features = self.cluster_features(patches).flatten(2)  # (N, L, P)
        shares = assignment(self.score(patches).flatten(2), self.dust_bin, self.rounds)  # (N, K, P)
        sums = F.normalize(features @ shares.mT, dim=1)  # (N, L, K)
        scene = F.normalize(self.token_features(token), dim=-1)
        return F.normalize(torch.cat([scene, sums.flatten(1)], dim=-1), dim=-1)


class Backbone(nn.Module):
    """Holds the transformer under its released name."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.model = VisionTransformer(config)
        self.model.norm.eps = 1e-6


class Salad(nn.Module):
    """Photos to descriptions whose inner product is their likeness."""

    def __init__(self, config: Config | None = None) -> None:
        super().__init__()
        config = config or Config()
        self.backbone = Backbone(config.backbone)
        self.aggregator = Aggregator(config)

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) normalised by ImageNet's statistics, sides multiples of 14 -> (N, D) float32."""
        vit = self.backbone.model
        x = vit.embed(images)
        for block in vit.blocks:
            x = block(x)
        x = vit.norm(x)  # (N, 1 + P, C)
        rows = images.shape[-2] // vit.patch_embed.proj.stride[0]
        return self.aggregator(x[:, 1:].transpose(1, 2).unflatten(2, (rows, -1)), x[:, 0])


def load(path: Path, device: torch.device, config: Config | None = None) -> Salad:
    """The released file, or one of another ``config``, on ``device``.

    Raises:
        WeightsInvalid: unreadable, or a key missing, unexpected or misshapen.
    """
    with torch.device("meta"):
        network = Salad(config)
    return load_strict(network, _read(path), path.name).float().to(device)


def validate(path: Path) -> None:
    """Raises WeightsInvalid unless ``path`` is the complete released file."""
    with torch.device("meta"):
        network = Salad()
    check_state(_read(path), network.state_dict(), path.name)


def _read(path: Path) -> dict[str, Tensor]:
    state = dict(load_torch(path))
    state.pop(UNUSED, None)
    return state
