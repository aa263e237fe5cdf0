"""The released variants as data."""

from __future__ import annotations

from dataclasses import dataclass

from models.runtime.errors import InputError

PATCH = 14  # pixels per token side; image sides are multiples of it
GRID = 37  # side of the stored grid of position embeddings, in tokens


@dataclass(frozen=True)
class BackboneConfig:
    """A DINOv2 vision transformer. Block numbers count from 0.

    ``taps`` are the blocks whose output the heads read. From ``alternate_from`` on, odd blocks attend over all views
    together, and queries and keys are normalised and rotated by position; None keeps every view to itself.
    """

    width: int
    depth: int
    heads: int
    taps: tuple[int, ...]
    alternate_from: int | None = None
    gated: bool = False  # SwiGLU feed-forward

    @property
    def token_width(self) -> int:
        """Channels of a tapped token: alternating variants join the last per-view and the current state."""
        return self.width * (2 if self.alternate_from is not None else 1)


@dataclass(frozen=True)
class Config:
    """One network: a backbone and the widths of its DPT heads.

    Alternating backbones carry the dual head (depth, confidence, rays) and the camera modules, the others the
    depth-and-sky head.
    """

    name: str
    backbone: BackboneConfig
    features: int
    stage_channels: tuple[int, int, int, int]
    gaussians: bool = False

    @property
    def multi_view(self) -> bool:
        return self.backbone.alternate_from is not None


@dataclass(frozen=True)
class NestedConfig:
    """A multi-view network whose scale comes from a metric one."""

    name: str
    any_view: Config
    metric: Config


SMALL = Config("da3-small", BackboneConfig(384, 12, 6, (5, 7, 9, 11), 4), 64, (48, 96, 192, 384))
BASE = Config("da3-base", BackboneConfig(768, 12, 12, (5, 7, 9, 11), 4), 128, (96, 192, 384, 768))
LARGE = Config("da3-large", BackboneConfig(1024, 24, 16, (11, 15, 19, 23), 8), 256, (256, 512, 1024, 1024))
GIANT = Config(
    "da3-giant",
    BackboneConfig(1536, 40, 24, (19, 27, 33, 39), 13, gated=True),
    256,
    (256, 512, 1024, 1024),
    gaussians=True,
)
_PLAIN_LARGE = BackboneConfig(1024, 24, 16, (4, 11, 17, 23))
METRIC = Config("da3metric-large", _PLAIN_LARGE, 256, (256, 512, 1024, 1024))
MONO = Config("da3mono-large", _PLAIN_LARGE, 256, (256, 512, 1024, 1024))
NESTED = NestedConfig("da3nested-giant-large", GIANT, METRIC)

VARIANTS: dict[str, Config | NestedConfig] = {
    config.name: config for config in (SMALL, BASE, LARGE, GIANT, METRIC, MONO, NESTED)
}


def variant(name: str) -> Config | NestedConfig:
    """The variant of a released name: ``da3-large``, ``DA3-LARGE-1.1``, ``depth-anything/DA3-LARGE`` are one.

    Version 1.1 is a retraining, its architecture is unchanged.

    Raises:
        InputError: no such variant.
    """
    short = name.rstrip("/").rpartition("/")[2].lower().removesuffix("-1.1")
    if short not in VARIANTS:
        raise InputError(f"{name!r} is no Depth Anything 3 variant; known are {', '.join(VARIANTS)}")
    return VARIANTS[short]
