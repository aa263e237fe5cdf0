"""Stand-in checkpoints in the released layout."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from tests.parity.runner import SMALL_SET
from tests.parity.synth import synth_state

KEYS = SMALL_SET / "da3" / "keys"


def state_of(variant: str, seed: int = 0) -> dict[str, Tensor]:
    """Released names of a variant with made-up values; a wide field of view."""
    state = synth_state(json.loads((KEYS / f"{variant}.json").read_text(encoding="utf-8")), seed)
    for name in [n for n in state if n.endswith("cam_dec.fc_fov.0.bias")]:
        state[name].fill_(1.0)
    return state


def write_folder(folder: Path, variant: str = "da3-small", state: dict[str, Tensor] | None = None) -> Path:
    """``model.safetensors`` and ``config.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state_of(variant) if state is None else state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_name": variant}))
    return folder
