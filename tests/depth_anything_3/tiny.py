"""Networks of the family small enough to run in milliseconds, under stand-in weights."""

from __future__ import annotations

import torch
from torch import Tensor

from models.depth_anything_3.checkpoint import from_state
from models.depth_anything_3.config import BackboneConfig, Config, NestedConfig
from models.depth_anything_3.network import DepthAnything3, NestedNetwork, build
from tests.parity.synth import synth_tensor

CPU = torch.device("cpu")
MULTI = Config("tiny", BackboneConfig(128, 6, 2, (2, 3, 4, 5), 2), 16, (8, 16, 24, 32), gaussians=True)
GATED = Config("tiny-gated", BackboneConfig(128, 6, 2, (2, 3, 4, 5), 3, gated=True), 16, (8, 16, 24, 32))
SKY = Config("tiny-sky", BackboneConfig(128, 4, 2, (0, 1, 2, 3)), 16, (8, 16, 24, 32))
NESTED = NestedConfig("tiny-nested", MULTI, SKY)


def stand_in(config: Config | NestedConfig, seed: int = 0) -> dict[str, Tensor]:
    with torch.device("meta"):
        shapes = build(config).state_dict()
    state = {f"model.{name}": synth_tensor(f"model.{name}", t.shape, seed=seed) for name, t in shapes.items()}
    for name, tensor in state.items():
        if name.endswith("cam_dec.fc_fov.0.bias"):
            tensor.fill_(1.0)
        if name.endswith("scratch.sky_output_conv2.2.bias"):
            tensor.fill_(0.0)
    return state


def network(config: Config | NestedConfig, seed: int = 0, dtype: torch.dtype = torch.float32):
    net: DepthAnything3 | NestedNetwork = from_state(config, stand_in(config, seed), CPU, dtype)
    return net


def images(views: int, height: int = 42, width: int = 56, seed: int = 0, batch: int = 1) -> Tensor:
    return torch.randn(batch, views, 3, height, width, generator=torch.Generator().manual_seed(seed))
