"""Reading checkpoints and data files without running anything that is in them."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from models.runtime.errors import WeightsInvalid
from models.runtime.narrow_pickle import read_pickle

if TYPE_CHECKING:
    import torch


def load_torch(path: Path, device: str = "cpu") -> Any:
    """A torch checkpoint through the weights-only reader, memory-mapped where the format allows.

    Raises:
        WeightsInvalid: unreadable, truncated, or holding anything but tensors, numbers and plain containers.
    """
    import torch

    path = Path(path)
    mapped = device == "cpu" and _starts_with(path, b"PK\x03\x04")
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            return torch.load(path, map_location=device, weights_only=True, mmap=mapped)
    except FileNotFoundError:
        raise
    except (
        Exception
    ) as error:  # torch has no family of reading errors: struct, zip, pickle and runtime errors all occur
        found = re.search(r"GLOBAL (\S+)", str(error))
        why = (
            f"it asks for {found[1]}, which no checkpoint needs; it was not run"
            if found
            else f"truncated, damaged or of another kind ({type(error).__name__})"
        )
        raise WeightsInvalid(f"{path.name} is not a readable checkpoint: {why}") from error


def load_npz(path: Path, only: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz``; object arrays are refused.

    ``only`` names the arrays to read (absent ones are left out); SMPL-X files need it, as they carry pickled tables
    beside the numbers.

    Raises:
        WeightsInvalid: unreadable, truncated, or holding pickled objects.
    """
    import zipfile
    import zlib

    path = Path(path)
    if not _starts_with(path, b"PK"):
        raise WeightsInvalid(f"{path.name} is not an .npz archive")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files if only is None or name in only}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsInvalid(f"{path.name} is not a readable .npz: {_first_line(error)}") from error


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


def load_body_pickle(path: Path) -> dict[str, Any]:
    """The fields of a FLAME, SMPL or SMPL-X model pickle: dense numpy arrays, text and numbers.

    chumpy variables become their values and sparse matrices dense arrays; neither package is needed. A chumpy
    expression without a stored value is left out.

    Raises:
        WeightsInvalid: truncated, damaged, no dict, or naming any other class (which is never executed).
    """
    path = Path(path)
    with path.open("rb") as file:
        fields = read_pickle(file, path.name)
    if not isinstance(fields, dict):
        raise WeightsInvalid(f"{path.name} holds a {type(fields).__name__}, not the fields of a body model")
    return {str(name): value for name, value in fields.items() if value is not None}


def load_pickled_npy(path: Path) -> Any:
    """The content of an ``.npy`` that holds one pickled dict (torch tensors inside become arrays), or a plain array.

    Raises:
        WeightsInvalid: truncated, damaged, or naming any class that is not plain data (which is never executed).
    """
    path = Path(path)
    with path.open("rb") as file:
        return read_npy(file, path.name)


def read_npy(file: BinaryIO, name: str) -> Any:
    """As ``load_pickled_npy``, from an open file such as a member of an archive; ``name`` is for messages."""
    try:
        version = np.lib.format.read_magic(file)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        _, _, dtype = reader(file)
        if not dtype.hasobject:
            file.seek(0)
            return np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError, OSError, SyntaxError) as error:
        raise WeightsInvalid(f"{name} is not a readable .npy: {_first_line(error)}") from error
    return read_pickle(file, name)


def convert_once(source: Path, read: Callable[[Path], Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """The arrays of ``read(source)``, kept as ``<source>.npz`` beside it so that the pickle is parsed only once.

    Everything that is not a plain array is left out. Where the folder cannot be written the arrays are just returned.
    """
    source = Path(source)
    target = source.with_name(source.name + ".npz")
    if target.exists() and target.stat().st_mtime_ns >= source.stat().st_mtime_ns:
        try:
            return load_npz(target)
        except WeightsInvalid:
            target.unlink(missing_ok=True)
    arrays = {name: np.asarray(value) for name, value in read(source).items() if isinstance(value, np.ndarray)}
    try:
        handle, name = tempfile.mkstemp(dir=source.parent, prefix=f".{source.name}.", suffix=".npz")
    except OSError:
        return arrays
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)
        part.replace(target)
    except OSError:
        part.unlink(missing_ok=True)
    return arrays


def _numpy_scalars() -> list[Any]:
    """Trainers leave numpy numbers (step counts, losses) beside the tensors; they are plain data."""
    scalar = np._core.multiarray.scalar
    kinds = {type(np.dtype(code)) for code in ("f8", "f4", "i8", "i4", "?")}
    return [(scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar"), np.dtype, *kinds]


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
