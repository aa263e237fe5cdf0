"""Metres and sky: what the depth-and-sky network knows and the multi-view one does not."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.runtime.errors import InputError

CANONICAL_FOCAL = 300.0  # pixels; the metric network's depth is metres at this focal length
SKY = 0.3
FAR_QUANTILE = 0.99
FARTHEST = 200.0  # metres
ENOUGH = 10  # pixels
SUBSET = 100_000


def quantile(values: Tensor, q: float) -> Tensor:
    """The q-quantile of all values, linear between neighbours, whatever their number."""
    values = values.flatten()
    place = q * (values.numel() - 1)
    low = int(place)
    a = values.kthvalue(low + 1).values
    b = values.kthvalue(min(low + 2, values.numel())).values
    return torch.lerp(a, b, place - low)


def random_subset(values: Tensor, replacement: bool) -> Tensor:
    """At most ``SUBSET`` values drawn with torch's global generator, the original's shortcut before quantiles."""
    values, n = values.flatten(), values.numel()
    if n <= SUBSET:
        return values
    draw = torch.randint(0, n, (SUBSET,)) if replacement else torch.randperm(n)[:SUBSET]
    return values[draw.to(values.device)]


def metres(depth: Tensor, intrinsics: Tensor) -> Tensor:
    """Depth (B, N, H, W) of the metric network in metres, from the focal lengths of (B, N, 3, 3) in pixels."""
    focal = (intrinsics[..., 0, 0] + intrinsics[..., 1, 1]) / 2
    return depth * (focal / CANONICAL_FOCAL)[..., None, None]


def fill_sky(depth: Tensor, sky: Tensor, upstream_compat: bool = False) -> Tensor:
    """Depth (B, N, H, W) with the sky moved to the .99 quantile of everything else.

    Left as it is unless both sky and ground have more than ten pixels. ``upstream_compat`` takes the quantile of a
    random subset where there are more than 100 000 pixels.
    """
    ground = sky < SKY
    known = int(ground.sum())
    if known <= ENOUGH or ground.numel() - known <= ENOUGH:
        return depth
    values = random_subset(depth[ground], replacement=True) if upstream_compat else depth[ground]
    return torch.where(ground, depth, quantile(values, FAR_QUANTILE))


@dataclass(frozen=True)
class Scaled:
    """Multi-view depth, confidence and extrinsics brought to metres, and the factor that did it."""

    depth: Tensor
    confidence: Tensor
    extrinsics: Tensor
    factor: Tensor


def scale_to_metres(
    depth: Tensor,
    confidence: Tensor,
    extrinsics: Tensor,
    metric_depth: Tensor,
    sky: Tensor,
    upstream_compat: bool = False,
) -> Scaled:
    """Scales a reconstruction by least squares against metric depth over its confident, non-sky pixels.

    Args:
        depth, confidence: (B, N, H, W) of the multi-view network.
        extrinsics: world-to-camera (B, N, 3|4, 4).
        metric_depth: (B, N, H, W) metres.
        sky: (B, N, H, W) of the metric network.
    Raises:
        InputError: almost everything is sky, so that there is nothing to measure.
    """
    ground = sky < SKY
    if int(ground.sum()) <= ENOUGH:
        raise InputError("The pictures show almost only sky; metric scale needs something on the ground.")
    known = confidence[ground]
    median = quantile(random_subset(known, replacement=False) if upstream_compat else known, 0.5)
    use = (confidence >= median) & ground & (metric_depth > 1e-2) & (depth > 1e-3)
    ours, theirs = depth[use], metric_depth[use]
    factor = (theirs @ ours) / (ours @ ours).clamp_min(1e-12)
    depth = depth * factor
    moved = extrinsics.clone()
    moved[..., :3, 3] *= factor
    depth, confidence = push_sky_back(depth, confidence, ground, upstream_compat)
    return Scaled(depth, confidence, moved, factor)


def push_sky_back(
    depth: Tensor, confidence: Tensor, ground: Tensor, upstream_compat: bool = False
) -> tuple[Tensor, Tensor]:
    """Metric depth and confidence with everything that is not ``ground`` at the far end of what is, at most 200 m."""
    seen = random_subset(depth[ground], replacement=True) if upstream_compat else depth[ground]
    far = quantile(seen, FAR_QUANTILE).clamp_max(FARTHEST)
    return torch.where(ground, depth, far), torch.where(ground, confidence, 1.0)
