"""Convolutions with big kernels on a processor: the same numbers with a fraction of the multiplications.

A picture is cut into tiles that overlap by the kernel; each tile's transform times the kernel's is the transform of its
part of the result (overlap-save), so that an 11x11 kernel costs a few multiplications per pixel and pair of channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KERNELS = (7, 9, 11)  # sides from which the transforms pay
FEWEST_CHANNELS = 64
FEWEST_OUTPUTS = 8  # below, most of what a processor's vectors compute at a time would be thrown away
TILE = 32  # side of the tiles: mostly result, little overlap, and transforms that stay in the cache


class TiledConv2d(nn.Module):
    """A convolution of stride 1 with zero padding that keeps the size: (B, C, H, W) float32 -> (B, D, H, W)."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.kernel = conv.kernel_size[0]
        # Layers of torch correlate while transforms convolve: hence the conjugate.
        spectrum = torch.fft.rfft2(conv.weight.detach(), s=(TILE, TILE)).conj().resolve_conj()
        spectrum = spectrum.flatten(2).permute(2, 0, 1)
        # (frequencies, 2 D, C), real parts before imaginary ones: one real product serves where a complex one is slow.
        self.register_buffer("spectrum", torch.cat([spectrum.real, spectrum.imag], dim=1).contiguous())
        self.register_buffer("bias", None if conv.bias is None else conv.bias.detach()[:, None, None].clone())

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        margin, side, half = self.kernel // 2, TILE - self.kernel + 1, TILE // 2 + 1
        rows, columns = -(-height // side), -(-width // side)
        tiles = batch * rows * columns
        x = F.pad(x, (margin, columns * side + margin - width, margin, rows * side + margin - height))
        cut = torch.view_as_real(torch.fft.rfft2(x.unfold(2, TILE, side).unfold(3, TILE, side)))
        cut = cut.permute(4, 5, 1, 6, 0, 2, 3).reshape(TILE * half, channels, 2 * tiles)
        product = torch.bmm(self.spectrum, cut)
        out = product.shape[1] // 2
        real = product[:, :out, :tiles] - product[:, out:, tiles:]
        imaginary = product[:, out:, :tiles] + product[:, :out, tiles:]
        made = torch.stack([real.permute(1, 2, 0), imaginary.permute(1, 2, 0)], dim=-1)
        made = torch.view_as_complex(made).view(out, tiles, TILE, half)
        made = torch.fft.irfft2(made, s=(TILE, TILE)).view(out, batch, rows, columns, TILE, TILE)[..., :side, :side]
        made = made.permute(1, 0, 2, 4, 3, 5).reshape(batch, out, rows * side, columns * side)[..., :height, :width]
        return made if self.bias is None else made + self.bias


class FewOutputsConv2d(nn.Module):
    """The same for a layer with few outputs: the kernel's columns are outputs of their own, shifted and added after."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.kernel = conv.kernel_size[0]
        weight = conv.weight.detach().permute(3, 0, 1, 2).flatten(0, 1)[..., None]  # (K D, C, K, 1)
        self.register_buffer("weight", weight.contiguous())
        self.register_buffer("bias", None if conv.bias is None else conv.bias.detach()[:, None, None].clone())

    def forward(self, x: Tensor) -> Tensor:
        width, margin = x.shape[3], self.kernel // 2
        columns = F.pad(F.conv2d(x, self.weight, padding=(margin, 0)), (margin, margin)).chunk(self.kernel, dim=1)
        out = columns[0][..., :width].clone() if self.bias is None else columns[0][..., :width] + self.bias
        for shift, column in enumerate(columns[1:], 1):
            out += column[..., shift : shift + width]
        return out


def quicker(conv: nn.Conv2d) -> nn.Module:
    """The layer in the form that is fastest on a processor, itself where that is so."""
    side = conv.kernel_size[0]
    plain = (
        side in KERNELS
        and conv.kernel_size == (side, side)
        and conv.padding == (side // 2, side // 2)
        and conv.stride == conv.dilation == (1, 1)
        and conv.groups == 1
        and conv.in_channels >= FEWEST_CHANNELS
    )
    if plain and conv.out_channels >= FEWEST_CHANNELS:
        return TiledConv2d(conv)
    return FewOutputsConv2d(conv) if plain and conv.out_channels < FEWEST_OUTPUTS else conv


def quicken_big_kernels(module: nn.Module) -> nn.Module:
    """Every convolution of a module in its ``quicker`` form, in place; the state dict fits no checkpoint after."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d):
                setattr(parent, name, quicker(child))
    return module
