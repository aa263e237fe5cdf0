"""Sizes of the CoNR networks (Lin et al., IJCAI 2023) as released."""

from __future__ import annotations

from dataclasses import dataclass

MEAN, DEVIATION = 0.6, 0.2970  # every encoder input is (x - MEAN) / DEVIATION, on all channels
SIZE_STEP = 128  # sides the shader can work on are multiples of this


@dataclass(frozen=True)
class EncoderConfig:
    """A residual encoder with a U-Net decoder. ``strided_stem`` replaces the max pool by a strided convolution."""

    depth: int
    in_channels: int
    out_channels: int
    strided_stem: bool

    @property
    def feature_channels(self) -> tuple[int, ...]:
        """Channels of the features at strides 32, 16, 8, 4, 2."""
        return (2048, 1024, 512, 256, 64) if self.depth == 50 else (512, 256, 128, 64, 64)


PARSER = EncoderConfig(depth=50, in_channels=3, out_channels=4, strided_stem=True)
POSE_ENCODER = EncoderConfig(depth=18, in_channels=4, out_channels=1, strided_stem=False)
DECODER_WIDTHS = (512, 384, 256, 128, 32)


@dataclass(frozen=True)
class LevelConfig:
    """One level of the shader: channels of what it reads and writes."""

    target: int
    reference: int
    message_in: int
    local_in: int
    message: int
    local: int
    stacks: int = 1

    @property
    def message_flow(self) -> int:
        return 2 * MESSAGE_GROUPS

    @property
    def local_flow(self) -> int:
        return 2 * MESSAGE_GROUPS if self.local else 0

    @property
    def masks(self) -> int:
        return 2 + self.message

    @property
    def inputs(self) -> tuple[int, ...]:
        """Widths of the parts of the input, in order: flow, target, colours, reference, fused flow and colours,
        fused message, own local message."""
        return (2, self.target, 4, self.reference, 2, 4, self.message_in, self.local_in)

    @property
    def outputs(self) -> tuple[int, ...]:
        """Widths of the parts of the output: flow, message and its flow, local message and its flow, masks."""
        return (2, self.message, self.message_flow, self.local, self.local_flow, self.masks)


MESSAGE_GROUPS = 16
SHADER_WIDTH = 224


def shader_levels() -> tuple[LevelConfig, ...]:
    """The six levels at strides 32, 16, 8, 4, 2, 1."""
    messages = (2048, 1024, 512, 256, 64, 64)
    levels = []
    for level, message in enumerate(messages):
        before = messages[level - 1] if level else 0
        last = level == len(messages) - 1
        levels.append(
            LevelConfig(
                target=0 if last else POSE_ENCODER.feature_channels[level],
                reference=0 if last else PARSER.feature_channels[level],
                message_in=before,
                local_in=before,
                message=message,
                local=0 if last else message,
                stacks=2 if last else 1,
            )
        )
    return tuple(levels)
