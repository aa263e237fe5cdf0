"""Stand-in checkpoints: every tensor is a pure function of (seed, parameter name, shape).

Released checkpoints are gigabytes; a parity case stores only inputs and outputs and says which seed fills the weights.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

KeysFile = Mapping[str, Sequence]


def synth_tensor(name: str, shape: Sequence[int], dtype: str = "float32", seed: int = 0) -> torch.Tensor:
    """One parameter or buffer of a stand-in checkpoint, scaled by its role so that activations stay moderate.

    Args:
        name: full name in the released file; the part after the last dot decides the scale.
        shape: its shape.
        dtype: name of a torch dtype; anything that is not floating point is filled with zeros.
        seed: of the whole checkpoint.
    """
    shape = tuple(int(n) for n in shape)
    kind = getattr(torch, dtype)
    if not kind.is_floating_point:
        return torch.zeros(shape, dtype=kind)
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    noise = np.random.default_rng(int.from_bytes(digest[:8], "little")).standard_normal(shape, dtype=np.float32)
    return torch.from_numpy(np.asarray(_by_role(name, noise), dtype=np.float32)).reshape(shape).to(kind)


def _by_role(name: str, noise: np.ndarray) -> np.ndarray:
    leaf = name.rpartition(".")[2]
    matrix = noise.ndim >= 2
    match leaf:
        case "running_var":
            return 1.0 + 0.2 * np.abs(noise)
        case "running_mean":
            return 0.05 * noise
        case "gamma":  # layer scale: a small residual
            return 0.2 + 0.02 * noise
    if leaf.startswith("weight") or (matrix and leaf == "in_proj_weight"):
        return noise / np.sqrt(max(math.prod(noise.shape[1:]), 1)) if matrix else 1.0 + 0.1 * noise
    if leaf.endswith("bias"):
        return 0.02 * noise
    return 0.1 * noise if matrix else 1.0 + 0.1 * noise  # embeddings and tokens; other vectors are gains


def synth_state(keys: KeysFile, seed: int = 0) -> dict[str, torch.Tensor]:
    """The state dict named by a keys file ``{name: [shape, dtype]}``, in its order."""
    return {name: synth_tensor(name, shape, dtype, seed) for name, (shape, dtype) in keys.items()}
