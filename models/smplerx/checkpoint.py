"""Strict loading of ``smpler_x_*.pth.tar`` as released."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from models.runtime.errors import WeightsInvalid
from models.runtime.fuse import fold_norms
from models.runtime.safe_load import load_torch
from models.runtime.state_dict import check_state, load_strict
from models.smplerx.config import VARIANTS, SmplerxConfig
from models.smplerx.heads import doubled
from models.smplerx.network import Smplerx

RENAMED = {"backbone": "encoder", "body_rotation_net": "body_regressor", "hand_rotation_net": "hand_regressor"}


def network_state(checkpoint: object) -> dict[str, Tensor]:
    """The network's entries under their present names; wrapper prefix, old names and a body model are handled."""
    state = checkpoint.get("network") if isinstance(checkpoint, Mapping) else None
    if not isinstance(state, Mapping):
        raise WeightsInvalid("not a SMPLer-X checkpoint: no entry 'network' inside")
    found = {}
    for name, tensor in state.items():
        top, dot, rest = name.removeprefix("module.").partition(".")
        if top != "smplx_layer":
            found[RENAMED.get(top, top) + dot + rest] = tensor
    return found


def config_of(state: Mapping[str, Tensor]) -> SmplerxConfig:
    """The variant a state dict belongs to. Raises WeightsInvalid when it is none of the released sizes."""
    tokens = state.get("encoder.task_tokens")
    depth = 1 + max((int(n.split(".")[2]) for n in state if n.startswith("encoder.blocks.")), default=-1)
    for config in VARIANTS.values():
        if tokens is not None and (tokens.shape[-1], depth) == (config.width, config.depth):
            return config
    raise WeightsInvalid("not a SMPLer-X checkpoint of a known size (S, B, L, H)")


def load(path: Path, device: torch.device) -> Smplerx:
    """The network on ``device``, in evaluation mode. Raises WeightsInvalid."""
    state = network_state(load_torch(path))
    with torch.device("meta"):
        network = Smplerx(config_of(state))
    return prepared(load_strict(network, state, path.name)).to(device)


def prepared(network: Smplerx) -> Smplerx:
    """The network made ready for inference, in place: equal numbers, faster; its state no longer fits a checkpoint."""
    network.box_net.deconv = doubled(network.box_net.deconv)
    network.hand_roi_net.deconv = doubled(network.hand_roi_net.deconv)
    fold_norms(network.hand_regressor)
    return network


def validate(path: Path) -> None:
    """Raises WeightsInvalid unless ``path`` is a complete SMPLer-X checkpoint."""
    state = network_state(load_torch(path))
    with torch.device("meta"):
        network = Smplerx(config_of(state))
    check_state(state, network.state_dict(), path.name)
