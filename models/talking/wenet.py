"""The WeNet conformer encoder that turns speech features into what the lip network listens to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_EPS = 1e-12  # of the release these checkpoints were made with


@dataclass(frozen=True)
class ConformerConfig:
    """Sizes of a released encoder. ``subsample`` is the convolutional front end (a quarter of the frames)."""

    blocks: int = 12
    hidden: int = 2048
    width: int = 256
    heads: int = 4
    kernel: int = 15
    bands: int = 80
    subsample: bool = True
    cmvn: bool = False


class GlobalCmvn(nn.Module):
    """Subtracts a stored mean and scales by a stored inverse deviation, per band."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(bands))
        self.register_buffer("istd", torch.ones(bands))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) * self.istd


class Subsampling(nn.Module):
    """Two strided convolutions and a projection: (B, T, bands) -> (B, ((T - 1) // 2 - 1) // 2, width)."""

    def __init__(self, bands: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, width, 3, 2), nn.ReLU(), nn.Conv2d(width, width, 3, 2), nn.ReLU())
        self.out = nn.Sequential(nn.Linear(width * (((bands - 1) // 2 - 1) // 2), width))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.conv(x[:, None]).transpose(1, 2).flatten(2))


class Projection(nn.Module):
    """A linear front end: (B, T, bands) -> (B, T, width)."""

    def __init__(self, bands: int, width: int) -> None:
        super().__init__()
        self.out = nn.Sequential(nn.Linear(bands, width), nn.LayerNorm(width, eps=NORM_EPS))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x)


class FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(width, hidden)
        self.w_2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.w_2(F.silu(self.w_1(x)))


class PositionAttention(nn.Module):
    """Self-attention with a position term at the key's place (no relative shift), as released."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.linear_q = nn.Linear(width, width)
        self.linear_k = nn.Linear(width, width)
        self.linear_v = nn.Linear(width, width)
        self.linear_out = nn.Linear(width, width)
        self.linear_pos = nn.Linear(width, width, bias=False)
        self.pos_bias_u = nn.Parameter(torch.zeros(heads, width // heads))
        self.pos_bias_v = nn.Parameter(torch.zeros(heads, width // heads))

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        q, k, v = (
            linear(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for linear in (self.linear_q, self.linear_k, self.linear_v)
        )  # (B, heads, T, d)
        p = self.linear_pos(positions).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        # (q + u) k + (q + v) p = q (k + p) + u k + v p: one attention with a bias per key
        bias = (self.pos_bias_u[:, None] * k).sum(-1) + (self.pos_bias_v[:, None] * p).sum(-1)  # (B, heads, T)
        scale = q.shape[-1] ** -0.5
        out = F.scaled_dot_product_attention(q, k + p, v, attn_mask=bias[:, :, None] * scale)
        return self.linear_out(out.transpose(1, 2).flatten(2))


class ConvolutionModule(nn.Module):
    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.pointwise_conv1 = nn.Conv1d(width, 2 * width, 1)
        self.depthwise_conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.BatchNorm1d(width)
        self.pointwise_conv2 = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.glu(self.pointwise_conv1(x.transpose(1, 2)), dim=1)
        x = F.silu(self.norm(self.depthwise_conv(x)))
        return self.pointwise_conv2(x).transpose(1, 2)


class ConformerBlock(nn.Module):
    """Half a feed-forward, attention, convolution, half a feed-forward, norm (Gulati et al. 2020)."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        width = config.width
        self.self_attn = PositionAttention(width, config.heads)
        self.feed_forward = FeedForward(width, config.hidden)
        self.feed_forward_macaron = FeedForward(width, config.hidden)
        self.conv_module = ConvolutionModule(width, config.kernel)
        for name in ("norm_ff", "norm_mha", "norm_ff_macaron", "norm_conv", "norm_final"):
            self.add_module(name, nn.LayerNorm(width, eps=NORM_EPS))
        self.concat_linear = nn.Linear(2 * width, width)  # in the released files, never applied

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        x = x + 0.5 * self.feed_forward_macaron(self.norm_ff_macaron(x))
        x = x + self.self_attn(self.norm_mha(x), positions)
        x = x + self.conv_module(self.norm_conv(x))
        x = x + 0.5 * self.feed_forward(self.norm_ff(x))
        return self.norm_final(x)


class Conformer(nn.Module):
    """Features (B, T, 80) -> (B, T', 256), T' = ((T - 1) // 2 - 1) // 2 with subsampling, else T."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.config = config
        if config.cmvn:
            self.global_cmvn = GlobalCmvn(config.bands)
        front = Subsampling if config.subsample else Projection
        self.embed = front(config.bands, config.width)
        self.encoders = nn.ModuleList(ConformerBlock(config) for _ in range(config.blocks))
        self.after_norm = nn.LayerNorm(config.width, eps=NORM_EPS)

    def start(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled embeddings (B, T', width) and the positions (1, T', width)."""
        x = self.global_cmvn(features) if self.config.cmvn else features
        x = self.embed(x) * self.config.width**0.5
        return x, sinusoids(x.shape[1], self.config.width).to(x)[None]

    def forward(self, features: Tensor) -> Tensor:
        x, positions = self.start(features)
        for block in self.encoders:
            x = block(x, positions)
        return self.after_norm(x)


def sinusoids(length: int, width: int) -> Tensor:
    """Position table (length, width): sines at even, cosines at odd columns (Vaswani et al. 2017, section 3.5)."""
    at = torch.arange(length, dtype=torch.float32)[:, None]
    rates = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * -(torch.tensor(10000.0).log() / width))
    table = torch.empty(length, width)
    table[:, 0::2] = (at * rates).sin()
    table[:, 1::2] = (at * rates).cos()
    return table


def config_of(state: dict[str, Tensor]) -> ConformerConfig:
    """Reads the sizes of an encoder off its state dict (names without prefix)."""
    blocks = 1 + max((int(n.split(".")[1]) for n in state if n.startswith("encoders.")), default=-1)
    return ConformerConfig(
        blocks=blocks,
        hidden=state["encoders.0.feed_forward.w_1.weight"].shape[0] if blocks else 0,
        subsample="embed.conv.0.weight" in state,
        cmvn="global_cmvn.mean" in state,
    )
