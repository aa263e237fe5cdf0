"""CoNR's shader: coarse-to-fine warping and fusion of any number of references (section 5.3 of the paper's model).

Everything inside a level is batched over frames and references. What all references of a frame share (target features,
fused flow, colours and message) goes through its own slice of each level's first convolution once per frame instead of
once per reference; the sum of the two slices is the released convolution.

``prepared`` suits a network to processors: everything channels-last, filters laid out once, and Winograd's filtering
where there are enough pixels for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.conr.config import SHADER_WIDTH, LevelConfig, shader_levels
from models.conr.warp import rescale_flow, resize, warp
from models.runtime.winograd import GemmUp4x4, Winograd3x3, WinogradUp4x4

# Parts of a block's input that differ between references: flow, colours, features, local message. The others (target
# features, fused flow, fused colours, fused message) are shared by all references of a frame.
PRIVATE = (0, 2, 3, 7)

# How ``prepared`` has the transposed convolutions done: (first, second) of each level, from the coarsest on.
GEMM, WINOGRAD = GemmUp4x4, WinogradUp4x4
UPWARDS = ((GEMM, GEMM), (GEMM, GEMM), (GEMM, GEMM), (WINOGRAD, GEMM), (WINOGRAD, WINOGRAD), (WINOGRAD, WINOGRAD))


@dataclass(frozen=True)
class BlockOutput:
    """What one level's block says, at that level's resolution; ``mask`` is in (0, 1)."""

    flow: Tensor
    message: Tensor
    message_flow: Tensor
    local: Tensor
    local_flow: Tensor
    mask: Tensor


@dataclass(frozen=True)
class LevelTrace:
    """A level's results at the next resolution, for comparison: per reference (N, M, ...) and fused (N, ...)."""

    flow: Tensor
    mask: Tensor
    warped_colours: Tensor
    warped_features: Tensor | None
    local: Tensor | None
    fused_flow: Tensor
    fused_mask: Tensor
    fused_colours: Tensor
    message: Tensor


def _stack() -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(6):
        layers += [nn.Conv2d(SHADER_WIDTH, SHADER_WIDTH, 3, padding=1), nn.PReLU(SHADER_WIDTH)]
    return nn.Sequential(*layers)


class Block(nn.Module):
    """One level: two strided convolutions, residual stacks, two transposed convolutions back up."""

    def __init__(self, config: LevelConfig) -> None:
        super().__init__()
        self.config = config
        width = SHADER_WIDTH
        self.conv0 = nn.Sequential(
            nn.Conv2d(sum(config.inputs), width, 3, stride=2, padding=1),
            nn.PReLU(width),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.PReLU(width),
        )
        self.convblocks = nn.ModuleList(_stack() for _ in range(config.stacks))
        self.conv_last = nn.Sequential(
            nn.ConvTranspose2d(width, width, 4, stride=2, padding=1),
            nn.PReLU(width),
            nn.ConvTranspose2d(width, sum(config.outputs), 4, stride=2, padding=1),
        )

        self._kernels: dict[tuple[int, ...], Tensor] | None = None  # kept once prepared

    def prepare(self, first: type[nn.Module], second: type[nn.Module]) -> None:
        """Suits the block to processors; the two types stand for its transposed convolutions."""
        self._kernels = {}
        for stack in self.convblocks:
            for index in range(0, len(stack), 2):
                stack[index] = Winograd3x3(stack[index])
        self.conv_last[0], self.conv_last[2] = first(self.conv_last[0]), second(self.conv_last[2])

    def forward(self, parts: list[Tensor | None], frames: int) -> BlockOutput:
        """``parts`` in the order of ``LevelConfig.inputs``: private ones (N M, C, h, w), shared ones (N, C, h, w).

        An absent part (None) stands for zeros. A shared part that comes as (N M, ...) is taken as private.
        """
        present = [i for i, part in enumerate(parts) if part is not None]
        private = tuple(i for i in present if i in PRIVATE or len(parts[i]) != frames)
        shared = tuple(i for i in present if i not in private)
        own = self._first(parts, private, None)  # (N M, 224, h/2, w/2)
        common = self._first(parts, shared, self.conv0[0].bias)  # (N, 224, h/2, w/2)
        views = len(own) // frames
        x = own.add_(common if frames == 1 else common.repeat_interleave(views, dim=0))
        for layer in self.conv0[1:]:
            x = layer(x)
        for stack in self.convblocks:
            x = stack(x) + x
        flow, message, message_flow, local, local_flow, mask = self.conv_last(x).split(self.config.outputs, dim=1)
        return BlockOutput(flow, message, message_flow, local, local_flow, mask.sigmoid())

    def _first(self, parts: list[Tensor | None], chosen: tuple[int, ...], bias: Tensor | None) -> Tensor:
        """The first convolution restricted to some parts of the input."""
        x = torch.cat([parts[i] for i in chosen], dim=1)
        if self._kernels is None:
            return F.conv2d(x, self._kernel(chosen), bias, stride=2, padding=1)
        if chosen not in self._kernels:
            self._kernels[chosen] = self._kernel(chosen).contiguous(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
        return F.conv2d(x, self._kernels[chosen], bias, stride=2, padding=1)

    def _kernel(self, chosen: tuple[int, ...]) -> Tensor:
        ends = list(accumulate(self.config.inputs))
        kernel = self.conv0[0].weight
        slices = [kernel[:, end - width : end] for end, width in zip(ends, self.config.inputs, strict=True)]
        return torch.cat([slices[i] for i in chosen], dim=1)


def _over_views(x: Tensor) -> Tensor:
    """The sum of (N, M, C, h, w) over M; adding views one by one is many times faster than a strided ``sum``."""
    return reduce(torch.add, x.unbind(1))


class Shader(nn.Module):
    """Fuses M references of one character into the 64-channel message of each target frame."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder_blocks = nn.ModuleList(map(Block, shader_levels()))

    def prepare(self) -> None:
        """Suits the loaded network to processors, in place; its state dict fits no checkpoint after."""
        self.to(memory_format=torch.channels_last)
        for block, upwards in zip(self.decoder_blocks, UPWARDS, strict=True):
            block.prepare(*upwards)

    def forward(
        self,
        target: list[Tensor],
        references: list[Tensor],
        colours: Tensor,
        trace: list[LevelTrace] | None = None,
    ) -> Tensor:
        """Runs all levels.

        Args:
            target: five features (N, C, h, w) of the target poses at strides 32, 16, 8, 4, 2.
            references: five features (N, M, C, h, w) of the references at the same strides.
            colours: (N, M, 4, S, S) reference colours, premultiplied, and alpha.
            trace: filled with every level's results when given (also what only a comparison reads).
        Returns:
            (N, 64, S, S).
        """
        frames, views = colours.shape[:2]
        sources = [feature.flatten(0, 1) for feature in references]  # (N M, C, h, w)
        paint = colours.flatten(0, 1)  # (N M, 4, S, S)
        sizes = [tuple(feature.shape[-2:]) for feature in sources] + [tuple(paint.shape[-2:])] * 2

        flow = fused_flow = local = message = None  # nothing yet: zeros
        own_colours = fused_colours = resize(paint, sizes[0])
        own_features = sources[0]
        for level, block in enumerate(self.decoder_blocks):
            last = level == len(self.decoder_blocks) - 1
            aim = None if last else target[level]
            out = block([flow, aim, own_colours, own_features, fused_flow, fused_colours, message, local], frames)
            size = sizes[level + 1]
            mask = resize(out.mask, size).unflatten(0, (frames, views))  # (N, M, 2 + C, h, w)
            # the softmax over views times the mask once more; masks are within (0, 1): nothing can overflow
            weight = mask.exp()
            weight = weight.div_(_over_views(weight)[:, None]).mul_(mask)
            carried = warp(resize(out.message, size), rescale_flow(out.message_flow, size))
            message = _over_views(carried.unflatten(0, (frames, views)).mul_(weight[:, :, 2:]))  # (N, C, h, w)
            if last and trace is None:
                break
            flow = rescale_flow(out.flow if flow is None else out.flow + flow, size)
            own_colours = warp(resize(paint, size), flow)
            own_features = warp(sources[level + 1], flow) if level + 1 < len(sources) else None
            if not last:
                local = warp(resize(out.local, size), rescale_flow(out.local_flow, size))
            fused_flow = _over_views(weight[:, :, :1] * flow.unflatten(0, (frames, views)))
            fused_colours = _over_views(weight[:, :, :1] * own_colours.unflatten(0, (frames, views)))
            if trace is not None:
                by_view = [
                    None if x is None else x.unflatten(0, (frames, views))
                    for x in (flow, own_colours, own_features, None if last else local)
                ]
                fused_mask = _over_views(weight[:, :, :1])
                trace.append(LevelTrace(by_view[0], mask, *by_view[1:], fused_flow, fused_mask, fused_colours, message))
        return message
