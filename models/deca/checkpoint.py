"""Strict loading of ``deca_model.tar`` as released."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from models.deca.config import DecaConfig
from models.deca.network import Deca
from models.runtime.errors import WeightsInvalid
from models.runtime.safe_load import load_torch
from models.runtime.state_dict import check_state, load_strict

PARTS = ("E_flame", "E_detail", "D_detail")
LICENCE_PAGE = "https://deca.is.tue.mpg.de"


def flatten(checkpoint: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The three sub-dicts of the released file as one state dict with prefixed names; other entries are ignored."""
    absent = [part for part in PARTS if not isinstance(checkpoint.get(part), Mapping)]
    if absent:
        raise WeightsInvalid(
            f"not a DECA checkpoint: {', '.join(absent)} missing; get deca_model.tar at {LICENCE_PAGE}"
        )
    return {f"{part}.{name}": tensor for part in PARTS for name, tensor in checkpoint[part].items()}


def load(path: Path, device: torch.device, config: DecaConfig | None = None) -> Deca:
    """The networks of a released checkpoint on ``device``, in evaluation mode.

    Raises:
        WeightsInvalid: a key is missing, extra or misshapen, or the file is no checkpoint.
    """
    state = flatten(load_torch(path))
    with torch.device("meta"):
        network = Deca(config)
    return load_strict(network, state, path.name).float().to(device)


def validate(path: Path) -> None:
    """Raises WeightsInvalid unless ``path`` is a complete DECA checkpoint."""
    state = flatten(load_torch(path))
    with torch.device("meta"):
        network = Deca()
    check_state(state, network.state_dict(), path.name)
