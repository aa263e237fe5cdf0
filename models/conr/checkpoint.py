"""Strict loading of CoNR's four released files (plain state dicts)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from models.conr.config import PARSER, POSE_ENCODER
from models.conr.encoder import ResidualUNet
from models.conr.network import Conr, RgbaDecoder
from models.conr.shader import Shader
from models.runtime.errors import WeightsInvalid
from models.runtime.safe_load import load_torch
from models.runtime.state_dict import check_state, load_strict

PARTS = ("udpparsernet", "target_pose_encoder", "shader", "rgbadecodernet")


def empty(part: str) -> nn.Module:
    """One of the four networks without weights."""
    with torch.device("meta"):
        match part:
            case "udpparsernet":
                return ResidualUNet(PARSER)
            case "target_pose_encoder":
                return ResidualUNet(POSE_ENCODER)
            case "shader":
                return Shader()
            case "rgbadecodernet":
                return RgbaDecoder()
    raise ValueError(f"no such CoNR network: {part}")


def load(files: dict[str, Path], device: torch.device) -> Conr:
    """All four networks on ``device``; ``files`` names the file of each of ``PARTS``.

    Raises:
        WeightsInvalid: a key is missing, extra or misshapen.
    """
    with torch.device("meta"):
        network = Conr()
    for part in PARTS:
        load_strict(getattr(network, part), load_torch(files[part]), files[part].name)
    network = network.eval().to(device)
    return network.prepared() if device.type == "cpu" else network


def validate(path: Path) -> None:
    """Raises WeightsInvalid unless the file is one of the four networks, told by its name or its keys."""
    state = load_torch(path)
    if not isinstance(state, dict):
        raise WeightsInvalid(f"{path.name} holds no state dict")
    for part in PARTS:
        if path.stem == part:
            check_state(state, empty(part).state_dict(), path.name)
            return
    fitting = [part for part in PARTS if set(empty(part).state_dict()) == set(state)]
    if not fitting:
        raise WeightsInvalid(f"{path.name} is none of CoNR's networks ({', '.join(PARTS)})")
    check_state(state, empty(fitting[0]).state_dict(), path.name)
