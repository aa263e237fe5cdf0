"""Reading checkpoints and data files without running anything that is in them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.runtime.errors import WeightsInvalid

if TYPE_CHECKING:
    import numpy as np
    import torch


def load_torch(path: Path, device: str = "cpu") -> Any:
    """A torch checkpoint through the weights-only reader, memory-mapped where the format allows.

    Raises:
        WeightsInvalid: unreadable, truncated, or holding anything but tensors and plain containers.
    """
    import torch

    try:
        return torch.load(path, map_location=device, weights_only=True, mmap=_is_zip(path))
    except OSError:
        raise
    except Exception as error:  # the reader has no error family of its own
        raise WeightsInvalid(f"{Path(path).name} is not a readable checkpoint: {_first_line(error)}") from error


def load_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an ``.npz``, object arrays refused.

    Raises:
        WeightsInvalid: unreadable, truncated, or holding pickled objects.
    """
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise WeightsInvalid(f"{Path(path).name} is a single array, not an .npz archive")
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise WeightsInvalid(f"{Path(path).name} is not a readable .npz: {_first_line(error)}") from error


def load_safetensors(path: Path, device: str = "cpu") -> dict[str, torch.Tensor]:
    """All tensors of a ``.safetensors`` file.

    Raises:
        WeightsInvalid: unreadable or truncated.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device=device)
    except SafetensorError as error:
        raise WeightsInvalid(f"{Path(path).name} is not a readable safetensors file: {_first_line(error)}") from error


def _is_zip(path: Path) -> bool:
    with Path(path).open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
