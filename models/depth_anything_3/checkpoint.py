"""Released folders: ``model.safetensors`` with every name under ``model.``, and ``config.json`` naming the variant."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from models.depth_anything_3.config import Config, NestedConfig, variant
from models.depth_anything_3.network import DepthAnything3, NestedNetwork, build
from models.runtime.errors import InputError, WeightsInvalid
from models.runtime.safe_load import load_safetensors
from models.runtime.state_dict import check_state, load_strict

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
PREFIX = "model."
SHARED = "scratch.output_conv2_aux."


def read_config(folder: Path) -> Config | NestedConfig:
    """The variant a released folder says it is.

    Raises:
        WeightsInvalid: no readable ``config.json``, or one that names no known variant.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise WeightsInvalid(f"{folder.name}: {CONFIG} is missing beside {WEIGHTS}; copy both files of the release")
    try:
        name = json.loads(path.read_text(encoding="utf-8"))["model_name"]
        return variant(str(name))
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsInvalid(f"{folder.name}/{CONFIG} does not say which model this is (model_name)") from error
    except InputError as error:
        raise WeightsInvalid(f"{folder.name}/{CONFIG}: {error.message}") from error


def bare_names(state: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """A released state dict under the network's own names.

    The prefix of the wrapper goes. Files saved from memory may repeat the one LayerNorm that four output stacks share;
    true copies of it are dropped.

    Raises:
        WeightsInvalid: a repeated norm that is no copy.
    """
    bare = {name.removeprefix(PREFIX): tensor for name, tensor in state.items()}
    for name in [n for n in bare if SHARED in n]:
        head, _, rest = name.partition(SHARED)
        level, _, leaf = rest.partition(".")
        if level != "0" and leaf.startswith("2."):
            first = bare.get(f"{head}{SHARED}0.{leaf}")
            if first is not None and not torch.equal(first, bare[name]):
                raise WeightsInvalid(f"{what}: {name} differs from the norm it shares with {head}{SHARED}0.{leaf}")
            del bare[name]
    return bare


def load(
    folder: Path,
    device: torch.device,
    backbone_dtype: torch.dtype = torch.float32,
    compile_blocks: bool = False,
) -> DepthAnything3 | NestedNetwork:
    """The network of a released folder on ``device``, in evaluation mode.

    Args:
        backbone_dtype: precision of the backbone's matrix products (bfloat16 or float16 where the device gains);
            heads, cameras, norms and the residual stream stay float32.
        compile_blocks: compile the backbone's blocks at their first use; pays on a GPU for many pictures of one size.
    Raises:
        WeightsInvalid: a file is missing or truncated, or a key missing, unexpected or misshapen.
    """
    folder = Path(folder)
    config = read_config(folder)
    return from_state(config, _read(folder), device, backbone_dtype, compile_blocks, what=folder.name)


def from_state(
    config: Config | NestedConfig,
    state: Mapping[str, Tensor],
    device: torch.device,
    backbone_dtype: torch.dtype = torch.float32,
    compile_blocks: bool = False,
    what: str = "checkpoint",
) -> DepthAnything3 | NestedNetwork:
    """As ``load``, from a state dict in memory with released names."""
    with torch.device("meta"):
        network = build(config)
    network = load_strict(network, bare_names(state, what), what).float().to(device)
    for part in _networks(network):
        if device.type == "cpu":  # its convolutions are faster with channels innermost
            part.head.to(memory_format=torch.channels_last)
            if part.config.gaussians:
                part.gs_head.to(memory_format=torch.channels_last)
        if backbone_dtype != torch.float32:
            part.backbone.compute_in(backbone_dtype)
        if compile_blocks:
            for block in part.backbone.pretrained.blocks:
                block.compile(dynamic=True)
    return network


def _networks(network: DepthAnything3 | NestedNetwork) -> list[DepthAnything3]:
    return [network.da3, network.da3_metric] if isinstance(network, NestedNetwork) else [network]


def validate(path: Path) -> None:
    """Raises WeightsInvalid unless ``path`` is a complete released folder (or its ``model.safetensors``)."""
    folder = path if path.is_dir() else path.parent
    config = read_config(folder)
    with torch.device("meta"):
        network = build(config)
    check_state(bare_names(_read(folder), folder.name), network.state_dict(), folder.name)


def _read(folder: Path) -> dict[str, Tensor]:
    path = folder / WEIGHTS
    if not path.is_file():
        raise WeightsInvalid(f"{folder.name}: {WEIGHTS} is missing")
    return load_safetensors(path)
