"""DINOv2 with attention that alternates between one view and all views (arXiv 2511.10647, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.depth_anything_3.config import GRID, PATCH, BackboneConfig
from models.depth_anything_3.reference import choose_reference, reference_first, take_views

HEAD_WIDTH = 64
ROPE_BASE = 100.0
SMALL_ATTENTION = 1536  # tokens


@dataclass(frozen=True)
class Tap:
    """What the heads read of one block, views in input order.

    ``tokens`` (B, N, P, C') are normalised patch tokens, ``camera`` (B, N, C') is the first token before the norm.
    """

    tokens: Tensor
    camera: Tensor


@dataclass(frozen=True)
class Encoded:
    """Taps in block order, features (B, N, ph, pw, C) of the blocks asked for, and the reference view chosen (B,)."""

    taps: list[Tap]
    features: dict[int, Tensor]
    reference: Tensor | None


class Linear(nn.Linear):
    """Computes in the precision of its weights, whatever the precision of its input."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


class LayerScale(nn.Module):
    """A learned gain per channel on a residual branch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, branch: Tensor) -> Tensor:
        """``x + gamma * branch``, both (..., C)."""
        return torch.addcmul(x, self.gamma, branch.to(x.dtype))


class Rotary:
    """Rotary position embedding of two coordinates: one half of the channels turns by the row, the other by the column.

    Angles of a coordinate p are ``p * 100^(-2i/D)`` with D half the head width; channel i turns with channel i + D/2.
    """

    def __init__(self, positions: Tensor) -> None:
        """``positions`` (T, 2) as row, column."""
        half = HEAD_WIDTH // 2
        index = torch.arange(0, half, 2, dtype=torch.float32, device=positions.device)
        angle = positions.float()[..., None] * ROPE_BASE ** (-index / half)  # (T, 2, 16)
        self.cos = torch.stack([angle.cos(), angle.cos()], dim=-2).flatten(-3)  # (T, 64)
        self.sin = torch.stack([-angle.sin(), angle.sin()], dim=-2).flatten(-3)
        self.tokens = len(positions)

    def __call__(self, x: Tensor) -> Tensor:
        """Turns (..., T, 64)."""
        swapped = x.unflatten(-1, (2, 2, HEAD_WIDTH // 4)).flip(-2).flatten(-3)
        return torch.addcmul(x * self.cos, swapped, self.sin)


class Attention(nn.Module):
    """Multi-head self-attention; with ``qk_norm`` queries and keys are normalised per head."""

    def __init__(self, width: int, heads: int, qk_norm: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)
        if qk_norm:
            self.q_norm = nn.LayerNorm(width // heads, eps=1e-5)
            self.k_norm = nn.LayerNorm(width // heads, eps=1e-5)
        self.qk_norm = qk_norm

    def forward(self, x: Tensor, rotary: Rotary | None = None, views: int = 1) -> Tensor:
        """(B, T, C) -> (B, T, C). ``rotary`` covers the T tokens, or only the first token of each of the ``views``."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, T, D) each
        if self.qk_norm:
            q, k = self.q_norm(q.float()), self.k_norm(k.float())
        if rotary is not None:
            q, k = (turn_first(rotary, t, views) if rotary.tokens == 1 else rotary(t) for t in (q, k))
        return self.proj(attend(q.to(v.dtype), k.to(v.dtype), v).transpose(1, 2).flatten(2))


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention of (B, heads, T, D) each, scaled by ``D^-.5``.

    On a CPU in half precision two plain products are two to three times as fast as the fused kernel while the scores
    stay small (measured with bfloat16 instructions; errors of the whole network are the same).
    """
    if q.device.type == "cpu" and q.dtype != torch.float32 and q.shape[2] <= SMALL_ATTENTION:
        scores = (q * q.shape[-1] ** -0.5).flatten(0, 1) @ k.flatten(0, 1).mT  # (B * heads, T, T)
        return (scores.softmax(dim=-1) @ v.flatten(0, 1)).unflatten(0, q.shape[:2])
    return F.scaled_dot_product_attention(q, k, v)


def token_positions(rows: int, columns: int, device: torch.device | None = None) -> Tensor:
    """Row and column (1 + rows * columns, 2) of the first token, at the origin, and of the patches, from 1 on."""
    row, column = (torch.arange(1, n + 1, device=device) for n in (rows, columns))
    patches = torch.cartesian_prod(row, column).reshape(-1, 2)
    return torch.cat([patches.new_zeros(1, 2), patches])


def turn_first(rotary: Rotary, x: Tensor, views: int) -> Tensor:
    """Turns in place the first token of every view of (B, heads, views * T, 64)."""
    first = x.unflatten(2, (views, -1))[:, :, :, :1]
    first.copy_(rotary(first))
    return x


class Mlp(nn.Module):
    """Two layers with an exact GELU between them."""

    def __init__(self, width: int, hidden: int, out: int | None = None) -> None:
        super().__init__()
        self.fc1 = Linear(width, hidden)
        self.fc2 = Linear(hidden, out or width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class SwiGlu(nn.Module):
    """Gated feed-forward of the giant variant; the hidden width is 2/3 of 4C rounded up to a multiple of 8."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = (int(4 * width * 2 / 3) + 7) // 8 * 8
        self.w12 = Linear(width, 2 * hidden)
        self.w3 = Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(gate).mul_(value))


class Block(nn.Module):
    """A pre-norm transformer block with layer scale."""

    def __init__(self, width: int, heads: int, qk_norm: bool = False, gated: bool = False, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads, qk_norm)
        self.ls1 = LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = SwiGlu(width) if gated else Mlp(width, 4 * width)
        self.ls2 = LayerScale(width)

    def forward(self, x: Tensor, rotary: Rotary | None = None, views: int = 1) -> Tensor:
        """(B, T, C) -> (B, T, C); arguments as in ``Attention``."""
        x = self.ls1(x, self.attn(self.norm1(x), rotary, views))
        return self.ls2(x, self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """Images (M, 3, H, W) -> tokens (M, P, C), row by row."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, PATCH)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """The backbone under its released names."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        start, width = config.alternate_from, config.width
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        if start is not None:
            self.camera_token = nn.Parameter(torch.zeros(1, 2, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + GRID**2, width))
        self.patch_embed = PatchEmbed(width)
        self.blocks = nn.ModuleList(
            Block(width, config.heads, start is not None and i >= start, config.gated) for i in range(config.depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-5)

    def position_embedding(self, height: int, width: int) -> Tensor:
        """Embeddings (1, 1 + P, C) for an image of ``height`` x ``width`` pixels.

        The stored grid is resampled bicubically by *scale factors* with a tenth of a token added, which is not the
        same as resampling to a size: pixel centres move by a fraction of that tenth.
        """
        rows, columns = height // PATCH, width // PATCH
        if rows == columns == GRID:
            return self.pos_embed
        grid = self.pos_embed[:, 1:].float().unflatten(1, (GRID, GRID)).permute(0, 3, 1, 2)
        scale = ((rows + 0.1) / GRID, (columns + 0.1) / GRID)
        grid = F.interpolate(grid, scale_factor=scale, mode="bicubic", antialias=False)  # (1, C, rows, columns)
        return torch.cat([self.pos_embed[:, :1].float(), grid.flatten(2).transpose(1, 2)], dim=1)

    def embed(self, images: Tensor) -> Tensor:
        """Normalised images (M, 3, H, W) -> class and patch tokens (M, 1 + P, C) with their positions, float32."""
        patches = self.patch_embed(images.to(self.patch_embed.proj.weight.dtype)).float()
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1)
        return tokens + self.position_embedding(*images.shape[-2:])

    def rotaries(self, height: int, width: int, device: torch.device) -> tuple[Rotary, Rotary]:
        """Rotations for per-view attention over all tokens, and for global attention over first tokens only.

        Per view, patches sit at (row + 1, column + 1) and the first token at (0, 0). In global attention every patch
        sits at (1, 1); as only differences of positions count, turning the first tokens to (-1, -1) does the same.
        """
        positions = token_positions(height // PATCH, width // PATCH, device)
        return Rotary(positions), Rotary(positions.new_full((1, 2), -1))

    def forward(
        self,
        images: Tensor,
        pose_tokens: Tensor | None = None,
        strategy: str | int = "saddle_balanced",
        feature_layers: Sequence[int] = (),
        features_reordered: bool = False,
    ) -> Encoded:
        """Normalised images (B, N, 3, H, W), sides multiples of 14, to taps and features.

        Args:
            pose_tokens: (B, N, C) camera tokens of known cameras; they also keep the views in order.
            strategy: how the reference view is chosen from three or more views.
            feature_layers: blocks whose normalised patch tokens are returned too.
            features_reordered: return those features with the reference view first, as the original does.
        """
        B, N, _, H, W = images.shape
        start = self.config.alternate_from
        x = self.embed(images.flatten(0, 1)).unflatten(0, (B, N))  # (B, N, T, C)
        local_rotary, first_rotary = self.rotaries(H, W, x.device) if start is not None else (None, None)
        choose = start is not None and pose_tokens is None and N >= 3
        reference = inverse = None
        local = x
        taps: list[Tap] = []
        features: dict[int, Tensor] = {}
        for i, block in enumerate(self.blocks):
            if choose and i == start - 1:
                reference = choose_reference(x[:, :, 0], strategy)
                order = reference_first(reference, N)
                inverse = order.argsort(dim=1)
                x = take_views(x, order)
                local = take_views(local, order)
            if start is not None and i == start:
                x[:, :, 0] = self._camera_tokens(B, N) if pose_tokens is None else pose_tokens
            alternating = start is not None and i >= start
            if alternating and i % 2 == 1:
                x = block(x.flatten(1, 2), first_rotary, views=N).unflatten(1, (N, -1))
            else:
                x = block(x.flatten(0, 1), local_rotary if alternating else None).unflatten(0, (B, N))
                local = x
            if i in self.config.taps:
                taps.append(self._tap(local, x, inverse))
            if i in feature_layers:
                patches = self.norm(x)[:, :, 1:].unflatten(2, (H // PATCH, W // PATCH))
                features[i] = patches if inverse is None or features_reordered else take_views(patches, inverse)
        return Encoded(taps, features, reference)

    def _camera_tokens(self, batch: int, views: int) -> Tensor:
        """(B, N, C): the learned token of the reference view for the first, that of the others for the rest."""
        first, other = self.camera_token[:, :1], self.camera_token[:, 1:]
        return torch.cat([first, other.expand(-1, views - 1, -1)], dim=1).expand(batch, -1, -1)

    def _tap(self, local: Tensor, x: Tensor, inverse: Tensor | None) -> Tap:
        tokens, camera = self.norm(x[:, :, 1:]), x[:, :, 0]
        if self.config.alternate_from is not None:
            tokens = torch.cat([local[:, :, 1:], tokens], dim=-1)
            camera = torch.cat([local[:, :, 0], camera], dim=-1)
        if inverse is not None:
            tokens, camera = take_views(tokens, inverse), take_views(camera, inverse)
        return Tap(tokens, camera)


class Backbone(nn.Module):
    """Holds the transformer under the name the released files give it."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.pretrained = VisionTransformer(config)

    def compute_in(self, dtype: torch.dtype) -> None:
        """Stores the weights of all matrix products in ``dtype``; norms and the residual stream stay float32."""
        for module in self.modules():
            if isinstance(module, (Linear, nn.Conv2d)):
                module.to(dtype)
