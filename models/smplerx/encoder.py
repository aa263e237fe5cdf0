"""The ViT backbone of SMPLer-X with its learned task tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.smplerx.config import GRID, PATCH, TASK_TOKENS, SmplerxConfig

NORM_EPS = 1e-6


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, N, d) each
        if x.device.type == "cpu":  # no slower there than the fused kernel, and it rounds as the released code does
            mixed = (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """One pre-norm layer; while training each branch is left out for a share ``drop`` of the samples."""

    def __init__(self, config: SmplerxConfig, drop: float = 0.0) -> None:
        super().__init__()
        self.drop = drop
        self.norm1 = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.attn = Attention(config.width, config.heads)
        self.norm2 = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.mlp = Mlp(config.width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._kept(self.attn(self.norm1(x)))
        return x + self._kept(self.mlp(self.norm2(x)))

    def _kept(self, branch: Tensor) -> Tensor:
        if not self.training or self.drop == 0:
            return branch
        keep = torch.empty(len(branch), 1, 1, dtype=branch.dtype, device=branch.device).bernoulli_(1 - self.drop)
        return branch * keep / (1 - self.drop)


class PatchEmbed(nn.Module):
    """16-pixel patches with two pixels of padding: (B, 3, 256, 192) -> (B, 192, C), row by row."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, stride=PATCH, padding=2)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).flatten(2).transpose(1, 2)


class Encoder(nn.Module):
    """Images (B, 3, 256, 192) in [0, 1] -> feature map (B, C, 16, 12) and task tokens (B, 31, C)."""

    def __init__(self, config: SmplerxConfig) -> None:
        super().__init__()
        patches = GRID[0] * GRID[1]
        self.task_tokens = nn.Parameter(torch.zeros(1, TASK_TOKENS, config.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, patches + 1, config.width))
        self.patch_embed = PatchEmbed(config.width)
        drops = torch.linspace(0, config.drop_path, config.depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(Block(config, drop) for drop in drops)
        self.last_norm = nn.LayerNorm(config.width, eps=NORM_EPS)

    def embed(self, images: Tensor) -> Tensor:
        """Tokens (B, 31 + 192, C); the first positional row is added to every patch."""
        patches = self.patch_embed(images) + (self.pos_embed[:, 1:] + self.pos_embed[:, :1])
        return torch.cat([self.task_tokens.expand(len(images), -1, -1), patches], dim=1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = self.embed(images)
        for block in self.blocks:
            x = block(x)
        x = self.last_norm(x)
        features = x[:, TASK_TOKENS:].transpose(1, 2).unflatten(2, GRID)  # (B, C, 16, 12)
        return features, x[:, :TASK_TOKENS]
