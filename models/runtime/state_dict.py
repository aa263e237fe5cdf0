"""Strict loading of released state dicts: a missing, extra or misshapen key is an error that names it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor, nn

from models.runtime.errors import WeightsInvalid

Module = TypeVar("Module", bound=nn.Module)
NAMED = 3  # offenders spelled out in a message


def check_state(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> None:
    """Compares names and shapes of ``state`` with ``expected``; ``what`` names the file in the message.

    Raises:
        WeightsInvalid: naming the first missing, unexpected or misshapen keys.
    """
    missing = [name for name in expected if name not in state]
    extra = [name for name in state if name not in expected]
    misshapen = [
        f"{name} is {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    for label, names in (("missing", missing), ("unexpected", extra), ("misshapen", misshapen)):
        if names:
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            raise WeightsInvalid(f"{what}: {label} {', '.join(names[:NAMED])}{more}")


def load_strict(module: Module, state: Mapping[str, Tensor], what: str) -> Module:
    """Fills ``module`` (which may live on the meta device) with exactly ``state``, in evaluation mode.

    Raises:
        WeightsInvalid: as ``check_state``.
    """
    check_state(state, module.state_dict(), what)
    module.load_state_dict(state, strict=True, assign=True)
    return module.requires_grad_(False).eval()
