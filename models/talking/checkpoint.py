"""Strict loading of the talking-head networks as released."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.runtime.big_kernels import quicken_big_kernels
from models.runtime.errors import WeightsInvalid
from models.runtime.fuse import fold_norms
from models.runtime.safe_load import load_torch
from models.runtime.state_dict import check_state, load_strict
from models.talking.bisenet import BiSeNet
from models.talking.dinet import Dinet
from models.talking.gfpgan import Gfpgan, ModulatedConv
from models.talking.pfld import Pfld
from models.talking.wav2lip import SyncNet, Wav2Lip
from models.talking.wenet import Conformer, config_of

State = dict[str, Tensor]


def _entry(stored: Any, *path: str) -> Mapping[str, Tensor]:
    """Follows names into a stored dict; raises WeightsInvalid naming the absent one."""
    for name in path:
        if not isinstance(stored, Mapping) or name not in stored:
            raise WeightsInvalid(f"not the checkpoint expected: no entry {name!r} inside")
        stored = stored[name]
    return stored


def _without_wrapper(state: Mapping[str, Tensor]) -> State:
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def _dinet_state(stored: Any) -> State:
    return _without_wrapper(_entry(stored, "state_dict", "net_g"))


def _wav2lip_state(stored: Any) -> State:
    return _without_wrapper(_entry(stored, "state_dict"))


def _pfld_state(stored: Any) -> State:
    return dict(_entry(stored, "pfld_backbone"))


def _gfpgan_state(stored: Any) -> State:
    return dict(_entry(stored, "params_ema" if isinstance(stored, Mapping) and "params_ema" in stored else "params"))


def _wenet_state(stored: Any) -> State:
    """The encoder of a whole speech checkpoint; its decoder and CTC head are not needed."""
    state = {n.removeprefix("encoder."): t for n, t in _entry(stored).items() if n.startswith("encoder.")}
    if "encoders.0.feed_forward.w_1.weight" not in state:
        raise WeightsInvalid("not a WeNet conformer: no entry 'encoder.encoders.0.feed_forward.w_1.weight' inside")
    return state


def _plain(stored: Any) -> State:
    return dict(_entry(stored))


NETWORKS: dict[str, tuple[Callable[[Any], State], Callable[[State], nn.Module]]] = {
    "dinet": (_dinet_state, lambda state: Dinet()),
    "wav2lip": (_wav2lip_state, lambda state: Wav2Lip()),
    "syncnet": (_wav2lip_state, lambda state: SyncNet()),
    "bisenet": (_plain, lambda state: BiSeNet()),
    "pfld": (_pfld_state, lambda state: Pfld()),
    "gfpgan": (_gfpgan_state, lambda state: Gfpgan()),
    "wenet": (_wenet_state, lambda state: Conformer(config_of(state))),
}
FOLDED = ("wav2lip", "syncnet", "bisenet", "dinet")
CPU = torch.device("cpu")


def prepare(network: str, module: nn.Module, device: torch.device = CPU) -> nn.Module:
    """The module as it runs on ``device``: batch norms folded where they follow a convolution, convolution stacks
    channels-last, and on a processor big kernels by their transforms."""
    if network in FOLDED:
        fold_norms(module)
    if network in {"wav2lip", "bisenet", "gfpgan"}:
        for part in module.modules():  # not the whole: modulated weights have five axes
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
                part.to(memory_format=torch.channels_last)
            if isinstance(part, ModulatedConv):
                part.settle()
    if isinstance(module, Dinet):
        module.settle()
        if device.type == "cpu":
            quicken_big_kernels(module)
    return module


def load(network: str, path: Path, device: torch.device) -> nn.Module:
    """One of ``NETWORKS`` from its released file, ready to run on ``device``.

    Raises:
        WeightsInvalid: a key is missing, extra or misshapen.
    """
    read, build = NETWORKS[network]
    state = read(load_torch(path))
    with torch.device("meta"):
        module = build(state)
    return prepare(network, load_strict(module, state, path.name), device).to(device)


def _validator(network: str) -> Callable[[Path], None]:
    def validate(path: Path) -> None:
        read, build = NETWORKS[network]
        state = read(load_torch(path))
        with torch.device("meta"):
            module = build(state)
        check_state(state, module.state_dict(), path.name)

    return validate


validate_dinet = _validator("dinet")
validate_wav2lip = _validator("wav2lip")
validate_syncnet = _validator("syncnet")
validate_bisenet = _validator("bisenet")
validate_pfld = _validator("pfld")
validate_gfpgan = _validator("gfpgan")
validate_wenet = _validator("wenet")
