"""The networks of engine ``da3`` on a device: which checkpoint, how it is loaded, and the call that needs the GPU."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.depth_anything_3.checkpoint import load
from models.depth_anything_3.config import PATCH, Config, NestedConfig, variant
from models.depth_anything_3.gaussians import Gaussians
from models.runtime.cache import ModelCache, ModelSpec
from models.runtime.device import compute_dtype
from models.runtime.errors import InputError, WeightsMissing
from models.runtime.gpu import gpu
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from pipelines.scene.da3_inference import Da3Settings, Da3Views, run_batch
from pipelines.scene.da3_preprocess import Processed
from pipelines.scene.options import DA3_VARIANTS, Precision


@dataclass(frozen=True)
class Checkpoint:
    """A variant, the released folder that holds it, and the precision of its backbone's products.

    ``auto`` is half where the device gains from it, ``half`` also on a processor.
    """

    variant: str
    folder: Path
    precision: Precision = "auto"

    @property
    def config(self) -> Config:
        """Of the network that sees all views, or of the only one."""
        config = variant(self.variant)
        return config.any_view if isinstance(config, NestedConfig) else config

    @property
    def multi_view(self) -> bool:
        return self.config.multi_view

    @property
    def last_single_view_block(self) -> int:
        """The deepest block of the backbone whose tokens owe nothing to other views."""
        start = self.config.backbone.alternate_from
        return (self.config.backbone.depth if start is None else start) - 1

    @property
    def metric(self) -> bool:
        """Whether its depth is metres, given a focal length."""
        return self.variant in ("da3nested-giant-large", "da3metric-large")

    @property
    def gaussians(self) -> bool:
        return self.config.gaussians

    def spec(self) -> ModelSpec:
        """For the model cache."""

        def ready(device: torch.device) -> torch.nn.Module:
            return load(self.folder, device, self._dtype(device))

        return ModelSpec(
            f"{self.variant}{'' if self.precision == 'auto' else f'-{self.precision}'}@{self.folder}", ready
        )

    def _dtype(self, device: torch.device) -> torch.dtype:
        if self.precision == "float32":
            return torch.float32
        return torch.bfloat16 if self.precision == "half" and device.type == "cpu" else compute_dtype(device)


def choose_checkpoint(name: str, weights: WeightsStore, precision: Precision = "auto") -> Checkpoint:
    """The checkpoint asked for; ``auto`` takes the one DA3_MODEL_DIR names, else the most capable one installed.

    Raises:
        WeightsMissing: it, or for ``auto`` every one, is not installed.
        InputError: DA3_MODEL_DIR is no folder and no name of a variant.
    """
    asked = weights.settings.extra.get("DA3_MODEL_DIR", "")
    if name == "auto" and asked:
        folder = Path(asked).expanduser()
        if not folder.is_dir():
            return Checkpoint(variant(asked).name, weights.path(variant(asked).name), precision)
    found = [v for v in DA3_VARIANTS if weights.installed(v)]
    if name == "auto":
        given = [v for v in found if weights.status(v).where == "given"]
        if not found:
            raise WeightsMissing(
                "Engine da3 needs a Depth Anything 3 checkpoint: open the Models tab or run "
                "`python -m studio weights get da3-small`"
            )
        name = (given or found)[0]
    return Checkpoint(name, weights.path(name), precision)


def working_bytes(shape: tuple[int, ...], checkpoint: Checkpoint, head_views: int) -> int:
    """About what the activations of N views (N, H, W) take: tokens of all views, heads of ``head_views`` at a time."""
    n, height, width = shape
    config = checkpoint.config
    tokens = n * (height // PATCH) * (width // PATCH)
    backbone = tokens * config.backbone.width * 4 * 24
    heads = min(n, head_views) * height * width * config.features * 4 * 3
    return backbone + heads + n * height * width * 4 * 8


def _seconds(views: Processed, *rest: object, **more: object) -> int:
    """ZeroGPU lends a card for this long."""
    del rest, more
    return min(240, 20 + len(views.images))


@gpu(duration=_seconds)
def compute_views(
    views: Processed,
    checkpoint: Checkpoint,
    settings: Da3Settings,
    runtime: Settings,
    extrinsics: NDArray[np.floating] | None = None,
) -> Da3Views:
    """All views of one job through the network; what comes back lies in main memory.

    Args:
        views: the processed photos, with intrinsics where ``extrinsics`` (N, 3|4, 4) world-to-camera are known.
    Raises:
        OutOfMemory: the device does not hold the job, even with fewer views decoded at once.
    """
    cache = ModelCache.shared(runtime)

    def call(network: torch.nn.Module, head_views: int) -> Da3Views:
        chosen = replace(settings, request=replace(settings.request, head_views=head_views))
        return run_batch(network, views, chosen, cache.device, extrinsics)

    chunk = settings.request.head_views
    need = working_bytes(views.images.shape[:3], checkpoint, chunk)
    found = cache.run_chunked(checkpoint.spec(), call, chunk, need)
    return found if found.gaussians is None else replace(found, gaussians=_on_cpu(found.gaussians))


def _on_cpu(splats: Gaussians) -> Gaussians:
    return Gaussians(*(getattr(splats, name).float().cpu() for name in Gaussians.__dataclass_fields__))


def check_request(checkpoint: Checkpoint, feature_layers: tuple[int, ...], gaussians: bool, ray_poses: bool) -> None:
    """Raises InputError, before any work, for what a variant cannot do."""
    depth = checkpoint.config.backbone.depth
    wrong = [layer for layer in feature_layers if not 0 <= layer < depth]
    if wrong:
        raise InputError(f"{checkpoint.variant} has blocks 0 to {depth - 1}, no block {wrong[0]}")
    if gaussians and not checkpoint.gaussians:
        raise InputError(f"{checkpoint.variant} makes no Gaussian splats; use da3-giant or da3nested-giant-large")
    if ray_poses and not checkpoint.multi_view:
        raise InputError(f"{checkpoint.variant} gives no cameras; turn off `use_ray_pose` or use another variant")
