"""Depth Anything 3 on a set of pictures: processing, network, and the way back to given cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from models.depth_anything_3.alignment import to_given_cameras
from models.depth_anything_3.cameras import normalize_extrinsics
from models.depth_anything_3.gaussians import Gaussians
from models.depth_anything_3.network import DepthAnything3, NestedNetwork, Request
from models.geometry.cameras import homogeneous
from pipelines.scene.da3_preprocess import Method, Processed, process

SKY = 0.5  # sky score from which a pixel is sky in the result


@dataclass(frozen=True)
class Da3Settings:
    """How pictures are prepared and cameras are treated; what the network computes is in ``request``."""

    resolution: int = 504
    method: Method = "upper_bound_resize"
    align_to_given_scale: bool = True
    request: Request = field(default_factory=Request)


@dataclass(frozen=True)
class Da3Views:
    """Results per view, N views of H x W pixels; None where the variant has no such output.

    depth (N, H, W); conf (N, H, W) >= 1; extrinsics (N, 3|4, 4) world-to-camera; intrinsics (N, 3, 3) in pixels of
    ``images`` (N, H, W, 3) uint8; sky (N, H, W) bool; features {block: (N, ph, pw, C)}; ``sizes`` (N, 2) height and
    width of the originals; ``scale_factor``: metres per unit of the splats.
    """

    depth: NDArray[np.float32]
    conf: NDArray[np.float32] | None
    extrinsics: NDArray[np.float32] | None
    intrinsics: NDArray[np.float32] | None
    images: NDArray[np.uint8]
    sizes: NDArray[np.int64]
    sky: NDArray[np.bool_] | None = None
    features: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    gaussians: Gaussians | None = None
    metric: bool = False
    scale_factor: float = 1.0


def run(
    network: DepthAnything3 | NestedNetwork,
    pictures: Sequence[NDArray[np.uint8]],
    settings: Da3Settings,
    device: torch.device,
    extrinsics: ArrayLike | None = None,
    intrinsics: ArrayLike | None = None,
    generator: torch.Generator | None = None,
) -> Da3Views:
    """One job of the network: all pictures together.

    Args:
        pictures: N arrays (H, W, 3) uint8 RGB of any sizes.
        extrinsics, intrinsics: known cameras, (N, 3|4, 4) world-to-camera and (N, 3, 3) in pixels of the pictures.
    Raises:
        InputError: a picture is too small, or the variant cannot use what was asked for.
    """
    batch = process(pictures, intrinsics, settings.resolution, settings.method)
    return run_batch(network, batch, settings, device, extrinsics, generator)


def run_batch(
    network: DepthAnything3 | NestedNetwork,
    batch: Processed,
    settings: Da3Settings,
    device: torch.device,
    extrinsics: ArrayLike | None = None,
    generator: torch.Generator | None = None,
) -> Da3Views:
    """As ``run``, for pictures that are processed already; ``batch`` holds the intrinsics of known ``extrinsics``."""
    given = None if extrinsics is None else homogeneous(np.asarray(extrinsics, np.float32)).astype(np.float32)
    poses = lenses = None
    if given is not None:
        poses = normalize_extrinsics(torch.from_numpy(given)[None]).to(device)
        lenses = torch.from_numpy(batch.intrinsics)[None].to(device)
    out = network(batch.tensor().to(device), poses, lenses, settings.request, generator=generator)

    def array(value: torch.Tensor | None) -> NDArray | None:
        return None if value is None else value[0].float().cpu().numpy()

    views = Da3Views(
        depth=array(out.depth),
        conf=array(out.confidence),
        extrinsics=array(out.extrinsics),
        intrinsics=array(out.intrinsics),
        images=batch.truncated() if settings.request.upstream_compat else batch.images,
        sizes=batch.sizes,
        sky=None if out.sky is None else array(out.sky) >= SKY,
        features={layer: array(value) for layer, value in out.features.items()},
        gaussians=out.gaussians,
        metric=out.metric,
        scale_factor=1.0 if out.scale_factor is None else float(out.scale_factor.float().reshape(-1)[0]),
    )
    if given is None or views.extrinsics is None:
        return views
    depth, placed = to_given_cameras(
        views.depth, views.extrinsics, given, settings.align_to_given_scale, settings.request.upstream_compat
    )
    return replace(
        views,
        depth=np.asarray(depth, np.float32),
        extrinsics=np.asarray(placed, np.float32),
        intrinsics=batch.intrinsics,
    )
