"""Convolutions with fewer multiplications, for processors: Winograd's minimal filtering in plain torch.

A row of m outputs of an r-tap filter needs only n = m + r - 1 products when filter and input are first evaluated at n
points (Toom-Cook; Winograd 1980, Lavin and Gray 2016): y = A ((G g) * (B d)) with small constant matrices. In two
dimensions the matrices act on rows and columns, here as one Kronecker product each, and the products of all channels
become n * n matrix products. All tiles have n = 6, so that B is the same for every filter length:

- 3 x 3 filters give 4 x 4 outputs a tile: 2.25 products an output instead of 9;
- a transposed 4 x 4 convolution of stride 2 is four 2 x 2 filters, one for every combination of odd and even rows and
  columns of the output; from one tile of input each gives 5 x 5 outputs: 1.44 products an output instead of 4.

The evaluation points 0, +-11/16, +-11/8 and infinity keep the rounding error about five times smaller than the usual
whole numbers do (1e-5 for 224 channels of unit variance). Filters are transformed once, in double precision. Pictures
are worked on in groups of tiles that stay in the processor's cache. Pays from about 128 channels and 16 x 16 pixels on;
smaller pictures take the direct way. Activations travel channels-last, values are as good as equal.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Array = np.ndarray
TILE = 6
POINTS = (0.0, 11 / 16, -11 / 16, 11 / 8, -11 / 8)  # and infinity
GROUP = 256  # tiles worked on at once
SMALLEST = 16  # pictures with fewer rows or columns are convolved directly


def input_matrix() -> Array:
    """B (6, 6): row i holds the coefficients of the polynomial that vanishes at all points but the i-th."""
    rows = np.zeros((TILE, TILE))
    for i in range(TILE):
        row = np.poly([p for j, p in enumerate(POINTS) if j != i])[::-1]
        rows[i, : len(row)] = row
    return rows


def filter_matrix(taps: int) -> Array:
    """G (6, taps): values of a filter at the points, divided by what B leaves there."""
    made = np.zeros((TILE, taps))
    for i, p in enumerate(POINTS):
        made[i] = p ** np.arange(taps) / np.prod([p - q for j, q in enumerate(POINTS) if j != i])
    made[-1, -1] = 1
    return made


def output_matrix(taps: int) -> Array:
    """A (7 - taps, 6)."""
    outputs = TILE + 1 - taps
    made = np.zeros((outputs, TILE))
    made[:, :-1] = np.array(POINTS) ** np.arange(outputs)[:, None]
    made[-1, -1] = 1
    return made


def _squared(matrix: Array) -> Tensor:
    """The matrix acting on rows and columns of flattened tiles."""
    return torch.from_numpy(np.kron(matrix, matrix))


def _transformed(filters: Tensor, taps: int) -> Tensor:
    """Filters (taps, taps, C, K) at the points: (36, C, K) float32."""
    channels, outputs = filters.shape[2:]
    values = _squared(filter_matrix(taps)) @ filters.double().reshape(taps * taps, channels * outputs)
    return values.view(TILE * TILE, channels, outputs).float()


class _Tiled(nn.Module):
    """What both kinds share: cutting into tiles and their way to the points and back.

    Buffers: ``filters`` (parts, 36, C, K), one part for each interleaved share of the output.
    """

    def __init__(self, filters: Tensor, bias: Tensor | None, taps: int) -> None:
        super().__init__()
        self.step = TILE + 1 - taps
        self.register_buffer("filters", filters.contiguous())
        self.register_buffer("bias", torch.zeros(filters.shape[-1]) if bias is None else bias.detach().clone())
        self.register_buffer("_into", _squared(input_matrix()).float())
        self.register_buffer("_back", _squared(output_matrix(taps)).float())

    def _tiles(self, padded: Tensor, count: tuple[int, int]) -> Iterator[tuple[slice, slice, list[Tensor]]]:
        """Yields images, rows of tiles and for every part the outputs (step, step, images, rows, columns, K).

        Args:
            padded: (N, height, width, C) contiguous, large enough for all tiles.
            count: rows and columns of tiles.
        """
        images, _, _, channels = padded.shape
        rows, columns = count
        many = max(1, GROUP // (rows * columns))  # images at once, or else rows of one image
        high = rows if rows * columns <= GROUP else max(1, GROUP // columns)
        outputs = self.filters.shape[-1]
        per_image, per_row, per_column, _ = padded.stride()
        room = many * high * columns
        cut, at_points = padded.new_empty(2, TILE * TILE * room * channels)
        products = padded.new_empty(TILE * TILE * room * outputs)
        back = [padded.new_empty(self.step**2 * room * outputs) for _ in self.filters]
        for image in range(0, images, many):
            for row in range(0, rows, high):
                shape = (min(many, images - image), min(high, rows - row), columns)
                tiles = shape[0] * shape[1] * columns
                source = padded.as_strided(
                    (TILE, TILE, *shape, channels),
                    (per_row, per_column, per_image, self.step * per_row, self.step * per_column, 1),
                    padded.storage_offset() + image * per_image + row * self.step * per_row,
                )
                square = TILE * TILE
                inside = cut[: square * tiles * channels].view(square, tiles * channels)
                values = at_points[: square * tiles * channels].view(square, tiles * channels)
                product = products[: square * tiles * outputs].view(square, tiles, outputs)
                inside.view(source.shape).copy_(source)
                torch.mm(self._into, inside, out=values)
                made = []
                for filters, room_back in zip(self.filters, back, strict=True):
                    torch.bmm(values.view(square, tiles, channels), filters, out=product)
                    flat = room_back[: self.step**2 * tiles * outputs].view(self.step**2, tiles * outputs)
                    torch.mm(self._back, product.view(square, -1), out=flat)
                    made.append(flat.view(-1, outputs).add_(self.bias).view(self.step, self.step, *shape, outputs))
                yield slice(image, image + shape[0]), slice(row, row + shape[1]), made


class Winograd3x3(_Tiled):
    """Stands for a 3 x 3 convolution of stride 1 that keeps the size; inference on the CPU only."""

    def __init__(self, conv: nn.Conv2d) -> None:
        if not fits_3x3(conv):
            raise ValueError(f"not a plain 3 x 3 convolution: {conv}")
        super().__init__(_transformed(conv.weight.detach().permute(2, 3, 1, 0), 3)[None], conv.bias, 3)
        self.direct = conv

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, K, H, W), channels-last."""
        images, _, height, width = x.shape
        if min(height, width) < SMALLEST:
            return self.direct(x)
        rows, columns = -(-height // self.step), -(-width // self.step)
        below, right = rows * self.step + 1 - height, columns * self.step + 1 - width
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, right, 1, below)).contiguous()
        out = padded.new_empty(images, rows, self.step, columns, self.step, self.filters.shape[-1])
        for image, row, (made,) in self._tiles(padded, (rows, columns)):
            out[image, row].copy_(made.permute(2, 3, 0, 4, 1, 5))
        out = out.view(images, rows * self.step, columns * self.step, -1)
        return out[:, :height, :width].permute(0, 3, 1, 2)


# Taps of a 4 x 4 filter of stride 2 that an output takes from the input before and after it: outputs 2 j + 1 see inputs
# j and j + 1, outputs 2 j + 2 see j and j + 1 too. A tile that begins at input j gives outputs 2 j + 1 .. 2 j + 10.
ODD, EVEN = (2, 0), (3, 1)


class WinogradUp4x4(_Tiled):
    """Stands for a transposed 4 x 4 convolution that doubles the size (stride 2, padding 1); inference on the CPU."""

    def __init__(self, conv: nn.ConvTranspose2d) -> None:
        if not fits_up(conv):
            raise ValueError(f"not a doubling 4 x 4 transposed convolution: {conv}")
        filters = conv.weight.detach().permute(2, 3, 0, 1)  # (4, 4, C, K)
        parts = [_transformed(filters[list(y)][:, list(x)], 2) for y in (ODD, EVEN) for x in (ODD, EVEN)]
        super().__init__(torch.stack(parts), conv.bias, 2)
        self.direct = conv

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, K, 2 H, 2 W), channels-last."""
        images, _, height, width = x.shape
        if min(height, width) < SMALLEST:
            return self.direct(x)
        reach = 2 * self.step  # outputs of a tile; the first one lies before the picture
        rows, columns = -(-(2 * height + 1) // reach), -(-(2 * width + 1) // reach)
        below, right = rows * self.step + 1 - height, columns * self.step + 1 - width
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, right, 1, below)).contiguous()
        out = padded.new_empty(images, rows, self.step, 2, columns, self.step, 2, self.filters.shape[-1])
        for image, row, made in self._tiles(padded, (rows, columns)):
            for part, values in enumerate(made):
                out[image, row, :, part // 2, :, :, part % 2].copy_(values.permute(2, 3, 0, 4, 1, 5))
        out = out.view(images, rows * reach, columns * reach, -1)
        return out[:, 1 : 2 * height + 1, 1 : 2 * width + 1].permute(0, 3, 1, 2)


class GemmUp4x4(nn.Module):
    """The same transposed convolution as four plain matrix products, for many channels on few pixels.

    A 2 x 2 neighbourhood of the input is a row of 4 C values; filters are laid out once, not at every call.
    """

    def __init__(self, conv: nn.ConvTranspose2d) -> None:
        if not fits_up(conv):
            raise ValueError(f"not a doubling 4 x 4 transposed convolution: {conv}")
        super().__init__()
        filters = conv.weight.detach().permute(2, 3, 0, 1)  # (4, 4, C, K)
        parts = [filters[list(y)][:, list(x)].flatten(0, 2) for y in (ODD, EVEN) for x in (ODD, EVEN)]
        self.register_buffer("filters", torch.stack(parts))  # (4, 4 C, K)
        bias = torch.zeros(filters.shape[-1]) if conv.bias is None else conv.bias.detach().clone()
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, K, 2 H, 2 W), channels-last."""
        images, channels, height, width = x.shape
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).contiguous()
        per_image, per_row, per_column, _ = padded.stride()
        out = padded.new_empty(images, height, 2, width, 2, self.filters.shape[-1])
        for part, filters in enumerate(self.filters):
            down, across = 1 - part // 2, 1 - part % 2  # odd outputs begin at their own input, even ones one before
            patches = padded.as_strided(
                (images, height, width, 2, 2, channels),
                (per_image, per_row, per_column, per_row, per_column, 1),
                padded.storage_offset() + down * per_row + across * per_column,
            )
            made = torch.addmm(self.bias, patches.reshape(-1, 4 * channels), filters)
            out[:, :, down, :, across].copy_(made.view(images, height, width, -1))
        return out.view(images, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)


def fits_3x3(module: nn.Module) -> bool:
    """Whether ``Winograd3x3`` can stand for the module."""
    return (
        isinstance(module, nn.Conv2d)
        and (module.kernel_size, module.stride, module.padding) == ((3, 3), (1, 1), (1, 1))
        and (module.dilation, module.groups, module.padding_mode) == ((1, 1), 1, "zeros")
    )


def fits_up(module: nn.Module) -> bool:
    """Whether ``WinogradUp4x4`` and ``GemmUp4x4`` can stand for the module."""
    return (
        isinstance(module, nn.ConvTranspose2d)
        and (module.kernel_size, module.stride, module.padding) == ((4, 4), (2, 2), (1, 1))
        and (module.dilation, module.groups, module.output_padding) == ((1, 1), 1, (0, 0))
    )
