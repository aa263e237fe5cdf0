"""The whole network: images in, depth, confidence, cameras and Gaussians out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from models.depth_anything_3.alignment import pose_scale
from models.depth_anything_3.backbone import Backbone, Encoded
from models.depth_anything_3.cameras import CameraDecoder, CameraEncoder, decode_pose, invert_rigid
from models.depth_anything_3.config import PATCH, Config, NestedConfig
from models.depth_anything_3.gaussians import Gaussians, make_gaussians
from models.depth_anything_3.heads import DualDpt, GaussianDpt, SkyDpt
from models.depth_anything_3.metric import fill_sky, metres, scale_to_metres
from models.depth_anything_3.rays import cameras_from_rays
from models.runtime.errors import InputError

HEAD_VIEWS = 8  # views decoded at once; bounds memory, changes no number


@dataclass(frozen=True)
class Request:
    """What to compute beyond depth.

    ``ray_poses`` takes cameras from the ray branch instead of the camera decoder; ``rays`` returns that branch without
    using it. ``strategy`` chooses the reference view. ``feature_layers`` are backbone blocks whose tokens are returned.
    ``upstream_compat`` keeps the original's accidents: features in reordered views, quantiles of random subsets.
    """

    ray_poses: bool = False
    rays: bool = False
    strategy: str | int = "saddle_balanced"
    feature_layers: tuple[int, ...] = ()
    gaussians: bool = False
    upstream_compat: bool = False
    head_views: int = HEAD_VIEWS


@dataclass(frozen=True)
class Output:
    """Everything per view, B batches of N views of H x W pixels; None where a variant does not have it.

    ``depth`` and ``confidence`` (>= 1) (B, N, H, W); ``extrinsics`` world-to-camera (B, N, 3, 4); ``intrinsics``
    (B, N, 3, 3) pixels; ``sky`` (B, N, H, W); ``features`` {block: (B, N, ph, pw, C)}; ``rays`` (B, N, 8 ph, 8 pw, 6)
    with ``ray_confidence``; ``pose`` (B, N, 9) as in ``cameras``; ``scale_factor`` units of the splats in metres.
    """

    depth: Tensor
    confidence: Tensor | None = None
    extrinsics: Tensor | None = None
    intrinsics: Tensor | None = None
    sky: Tensor | None = None
    features: dict[int, Tensor] = field(default_factory=dict)
    gaussians: Gaussians | None = None
    rays: Tensor | None = None
    ray_confidence: Tensor | None = None
    pose: Tensor | None = None
    reference: Tensor | None = None
    metric: bool = False
    scale_factor: Tensor | None = None


class DepthAnything3(nn.Module):
    """One network of the family; ``forward`` expects normalised images and, for known cameras, normalised poses."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config.backbone)
        self.head = DualDpt(config) if config.multi_view else SkyDpt(config)
        if config.multi_view:
            self.cam_enc = CameraEncoder(config.backbone.width)
            self.cam_dec = CameraDecoder(config.backbone.token_width)
        if config.gaussians:
            self.gs_head = GaussianDpt(config)

    @torch.inference_mode()
    def forward(
        self,
        images: Tensor,
        extrinsics: Tensor | None = None,
        intrinsics: Tensor | None = None,
        request: Request | None = None,
        samples: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Output:
        """
        Args:
            images: (B, N, 3, H, W), ImageNet-normalised, sides multiples of 14.
            extrinsics: world-to-camera (B, N, 4, 4) from ``cameras.normalize_extrinsics``, with ``intrinsics``.
            intrinsics: (B, N, 3, 3) in pixels of ``images``.
            samples, generator: fix the draws of the ray solver, see ``rays.cameras_from_rays``.
        Raises:
            InputError: the request does not fit the variant or the images.
        """
        request = request or Request()
        self._check(images, extrinsics, intrinsics, request)
        size = tuple(images.shape[-2:])
        pose_tokens = None if extrinsics is None else self.cam_enc(extrinsics, intrinsics, size)
        encoded = self.backbone.pretrained(
            images, pose_tokens, request.strategy, request.feature_layers, request.upstream_compat
        )
        if not self.config.multi_view:
            depth, sky = self._per_view(self.head, encoded, images, request.head_views, size)
            return Output(fill_sky(depth, sky, request.upstream_compat), sky=sky, features=encoded.features)
        output = self._geometry(encoded, images, request, samples, generator)
        if request.gaussians:
            output = replace(output, gaussians=self._gaussians(encoded, images, output, extrinsics, request))
        return output

    def _check(self, images: Tensor, extrinsics: Tensor | None, intrinsics: Tensor | None, request: Request) -> None:
        name = self.config.name
        if images.ndim != 5 or images.shape[2] != 3 or any(n % PATCH or n == 0 for n in images.shape[-2:]):
            raise InputError(f"{name} takes images (B, N, 3, H, W) with sides of {PATCH}n, not {tuple(images.shape)}")
        if (extrinsics is None) != (intrinsics is None):
            raise InputError("Known cameras need both extrinsics and intrinsics.")
        if not self.config.multi_view and (extrinsics is not None or request.ray_poses or request.rays):
            raise InputError(f"{name} looks at each picture by itself and knows no cameras.")
        if request.gaussians and not self.config.gaussians:
            raise InputError(f"{name} has no Gaussian head; use da3-giant or da3nested-giant-large.")
        wrong = [i for i in request.feature_layers if not 0 <= i < self.config.backbone.depth]
        if wrong:
            raise InputError(f"{name} has blocks 0..{self.config.backbone.depth - 1}, no block {wrong[0]}")

    def _per_view(
        self, head: Callable, encoded: Encoded, images: Tensor, chunk: int, *more: object
    ) -> tuple[Tensor, ...]:
        """Runs a head on ``chunk`` views at a time; its outputs (M, ...) come back as (B, N, ...)."""
        taps = [tap.tokens.flatten(0, 1) for tap in encoded.taps]
        parts = []
        for i in range(0, len(taps[0]), chunk):
            parts.append(head([t[i : i + chunk] for t in taps], *more))
        return tuple(torch.cat(p).unflatten(0, images.shape[:2]) for p in zip(*parts, strict=True))

    def _geometry(
        self,
        encoded: Encoded,
        images: Tensor,
        request: Request,
        samples: Tensor | None,
        generator: torch.Generator | None,
    ) -> Output:
        size = tuple(images.shape[-2:])
        with_rays = request.ray_poses or request.rays
        maps = self._per_view(self._dual, encoded, images, request.head_views, size, with_rays)
        depth, confidence, *ray_maps = maps
        rays, ray_confidence = ray_maps or (None, None)
        pose = None
        if request.ray_poses:
            B, N = images.shape[:2]
            solved = cameras_from_rays(rays.flatten(0, 1), ray_confidence.flatten(0, 1), samples, generator)
            extrinsics = solved.extrinsics.unflatten(0, (B, N))
            intrinsics = solved.intrinsics(size).unflatten(0, (B, N))
        else:
            pose = self.cam_dec(encoded.taps[-1].camera.float())
            camera_to_world, intrinsics = decode_pose(pose, size)
            extrinsics = invert_rigid(camera_to_world)
        return Output(
            depth,
            confidence,
            extrinsics,
            intrinsics,
            features=encoded.features,
            rays=rays,
            ray_confidence=ray_confidence,
            pose=pose,
            reference=encoded.reference,
        )

    def _dual(self, tokens: list[Tensor], size: tuple[int, int], with_rays: bool) -> tuple[Tensor, ...]:
        out = self.head(tokens, size, with_rays)
        return (out.depth, out.confidence, out.rays, out.ray_confidence) if with_rays else (out.depth, out.confidence)

    def _gaussians(
        self, encoded: Encoded, images: Tensor, output: Output, extrinsics: Tensor | None, request: Request
    ) -> Gaussians:
        taps = [tap.tokens.flatten(0, 1) for tap in encoded.taps]
        flat, chunk = images.flatten(0, 1), request.head_views
        parts = [
            self.gs_head([t[i : i + chunk] for t in taps], flat[i : i + chunk]) for i in range(0, len(flat), chunk)
        ]
        raw, density = (torch.cat(p).unflatten(0, images.shape[:2]) for p in zip(*parts, strict=True))
        scale: Tensor | float = 1.0
        if extrinsics is not None:
            pairs = zip(extrinsics.cpu().numpy(), output.extrinsics.cpu().numpy(), strict=True)
            scale = torch.tensor([pose_scale(given, predicted) for given, predicted in pairs])
        return make_gaussians(raw, density, output.depth, output.extrinsics, output.intrinsics, scale)


class NestedNetwork(nn.Module):
    """A multi-view network whose reconstruction is brought to metres by a metric one. Splats keep their own units."""

    def __init__(self, config: NestedConfig) -> None:
        super().__init__()
        self.config = config
        self.da3 = DepthAnything3(config.any_view)
        self.da3_metric = DepthAnything3(config.metric)

    @torch.inference_mode()
    def forward(
        self,
        images: Tensor,
        extrinsics: Tensor | None = None,
        intrinsics: Tensor | None = None,
        request: Request | None = None,
        samples: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Output:
        """As ``DepthAnything3.forward``; depth and camera places are metres, ``scale_factor`` says by how much."""
        request = request or Request()
        output = self.da3(images, extrinsics, intrinsics, request, samples, generator)
        metric = self.da3_metric(
            images, request=Request(upstream_compat=request.upstream_compat, head_views=request.head_views)
        )
        scaled = scale_to_metres(
            output.depth,
            output.confidence,
            output.extrinsics,
            metres(metric.depth, output.intrinsics),
            metric.sky,
            request.upstream_compat,
        )
        return replace(
            output,
            depth=scaled.depth,
            confidence=scaled.confidence,
            extrinsics=scaled.extrinsics,
            sky=metric.sky,
            metric=True,
            scale_factor=scaled.factor,
        )


def build(config: Config | NestedConfig) -> DepthAnything3 | NestedNetwork:
    """The network of a variant, weights not loaded."""
    return NestedNetwork(config) if isinstance(config, NestedConfig) else DepthAnything3(config)
