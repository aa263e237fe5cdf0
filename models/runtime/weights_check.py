"""Is a file what the registry says? Sizes, hashes and tensor layouts; nothing in the file is executed."""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from models.runtime.errors import WeightsInvalid
from models.runtime.safe_load import load_torch
from models.runtime.weights_entry import Member, TensorLayout, WeightEntry

BLOCK = 1 << 20
MAX_HEADER = 100 << 20
Shapes = dict[str, tuple[int, ...]]


def sha256(path: Path, advance: Callable[[int], None] | None = None) -> str:
    """The file's SHA-256 in hexadecimal; ``advance`` is told the bytes of each block read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            if advance:
                advance(len(block))
    return digest.hexdigest()


def check_bytes(path: Path, size: int, expected: str, name: str) -> None:
    """Raises WeightsInvalid unless size and hash fit; 0 and "" mean unknown. A hash may be its leading digits."""
    actual = path.stat().st_size
    if size and actual != size:
        raise WeightsInvalid(f"{name} has {actual} bytes instead of {size}: incomplete or another version")
    if not actual:
        raise WeightsInvalid(f"{name} is empty")
    if expected and not (found := sha256(path)).startswith(expected):
        raise WeightsInvalid(f"{name} is not the published file: SHA-256 {found[:16]}... instead of {expected[:16]}...")


def check_entry(entry: WeightEntry, path: Path, published: bool = True) -> None:
    """Everything known about an entry, checked on a file or folder that may lie anywhere.

    With ``published`` it must be the very file its owner published; without, a file of the same structure will do
    (a fine-tuned checkpoint, another release) as long as the registry can tell the structure.

    Raises:
        WeightsInvalid: saying what does not fit.
    """
    described = bool(entry.validator or entry.layout or entry.arrays)
    by_hash = published or not described
    if entry.kind == "folder":
        for member in entry.members:
            check_member(member, path / member.file, by_hash)
    else:
        check_bytes(path, entry.size, entry.sha256 if by_hash else "", entry.title)
    if entry.validator:
        module, _, function = entry.validator.partition(":")
        getattr(import_module(module), function)(path)
    elif entry.layout:
        check_layout(entry.layout, tensor_shapes(path), entry.title)
    elif entry.arrays:
        check_arrays(entry.arrays, npz_shapes(path), entry.title)
    elif entry.kind == "file" and len(entry.sha256) < 64:
        check_format(path, entry.file)


def check_member(member: Member, path: Path, by_hash: bool = True) -> None:
    """As ``check_bytes`` for one file of a folder; ``by_hash`` as long as only the published file will do."""
    if not path.is_file():
        raise WeightsInvalid(f"{member.file} is missing")
    check_bytes(path, member.size, member.sha256 if by_hash else "", member.file)
    if member.contains:
        if path.stat().st_size > BLOCK or member.contains not in path.read_text(encoding="utf-8", errors="replace"):
            raise WeightsInvalid(
                f"{member.file} does not say {member.contains.strip(chr(34))}: it belongs to another model"
            )
    elif not member.sha256:
        check_format(path, member.file)


def check_format(path: Path, name: str) -> None:
    """That a file of a known kind is one, as far as its format can tell: enough to refuse a saved web page."""
    with path.open("rb") as file:
        head = file.read(16)
    if head.lstrip()[:1] == b"<":
        raise WeightsInvalid(f"{Path(name).name} is a web page, not the file itself: download it in a browser first")
    if name.endswith(".safetensors"):
        safetensors_shapes(path)
    elif name.endswith((".pt", ".pth", ".ckpt", ".tar")):
        load_torch(path)
    elif name.endswith(".tflite") and head[4:8] != b"TFL3":
        raise WeightsInvalid(f"{Path(name).name} is not a LiteRT network")
    elif name.endswith(".onnx") and head[:1] != b"\x08":  # field 1 of a ModelProto: its format version
        raise WeightsInvalid(f"{Path(name).name} is not an ONNX network")
    elif name.endswith(".npz") and head[:2] != b"PK":
        raise WeightsInvalid(f"{Path(name).name} is not an .npz archive")


def digest(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Sixteen hexadecimal digits that stand for all names and shapes."""
    lines = sorted(f"{name} {','.join(map(str, shape))}" for name, shape in shapes.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def check_layout(layout: TensorLayout, shapes: Shapes, name: str) -> None:
    """Compares a checkpoint's tensors with the registry's figures.

    Raises:
        WeightsInvalid: saying whether the number, the size or the names and shapes of the tensors differ.
    """
    chosen = {
        key: shape
        for key, shape in shapes.items()
        if (not layout.only or key.startswith(layout.only)) and not (layout.ignore and key.startswith(layout.ignore))
    }
    if layout.only and (absent := [p for p in layout.only if not any(k.startswith(p) for k in chosen)]):
        raise WeightsInvalid(f"{name}: no tensors named {absent[0]}* inside")
    if len(chosen) != layout.tensors:
        raise WeightsInvalid(f"{name}: {len(chosen)} tensors instead of {layout.tensors}")
    parameters = sum(math.prod(shape) for shape in chosen.values())
    if parameters != layout.parameters:
        raise WeightsInvalid(f"{name}: {parameters} parameters instead of {layout.parameters}")
    if layout.digest and digest(chosen) != layout.digest:
        raise WeightsInvalid(f"{name}: tensors of other names or shapes than the released file")


def check_arrays(wanted: Mapping[str, tuple[int, ...]], found: Shapes, name: str) -> None:
    """Compares names and shapes of an .npz with ``wanted``, where -1 fits any length; more arrays may be there.

    Raises:
        WeightsInvalid: naming the first array that is missing or misshapen.
    """
    for array, shape in wanted.items():
        if array not in found:
            raise WeightsInvalid(f"{name}: no {array} inside")
        actual = found[array]
        if len(actual) != len(shape) or any(n not in (-1, m) for n, m in zip(shape, actual, strict=True)):
            raise WeightsInvalid(f"{name}: {array} is {actual} instead of {tuple(shape)}")


def npz_shapes(path: Path) -> Shapes:
    """Names and shapes in an .npz, from the headers alone.

    Raises:
        WeightsInvalid: not an .npz, damaged or truncated.
    """
    shapes: Shapes = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                with archive.open(info) as file:
                    version = np.lib.format.read_magic(file)
                    header = (
                        np.lib.format.read_array_header_1_0
                        if version == (1, 0)
                        else np.lib.format.read_array_header_2_0
                    )
                    shapes[info.filename.removesuffix(".npy")] = header(file)[0]
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, zlib.error, SyntaxError) as error:
        raise WeightsInvalid(f"{path.name} is not a readable .npz archive") from error
    return shapes


def tensor_shapes(path: Path) -> Shapes:
    """Dotted names and shapes of all tensors of a safetensors file or a torch checkpoint.

    Raises:
        WeightsInvalid: unreadable, or holding anything but tensors and plain data.
    """
    with path.open("rb") as file:
        head = file.read(9)
    if len(head) == 9 and head[8:9] == b"{":
        return safetensors_shapes(path)
    return dict(_flatten(load_torch(path), ""))


def safetensors_shapes(path: Path) -> Shapes:
    """Names and shapes from a safetensors header, whose offsets must cover the file exactly."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(MAX_HEADER, size):
                raise WeightsInvalid(f"{path.name} is not a safetensors file")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        shapes = {name: tuple(int(n) for n in entry["shape"]) for name, entry in header.items()}
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise WeightsInvalid(f"{path.name} is not a readable safetensors file") from error
    if 8 + length + end != size:
        raise WeightsInvalid(f"{path.name} is incomplete: {size} of {8 + length + end} bytes")
    return shapes


def _flatten(value: Any, prefix: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    elif hasattr(value, "shape") and hasattr(value, "dtype"):
        yield prefix, tuple(value.shape)
