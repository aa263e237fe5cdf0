"""Weights out of a frozen TensorFlow graph without TensorFlow: only constants are read, nothing is executed.

The file is a protocol buffer ``GraphDef``; the field numbers used are those of its published schema (graph.proto,
node_def.proto, attr_value.proto, tensor.proto).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from models.runtime.errors import WeightsInvalid

_NODE, _NAME, _OP, _ATTRIBUTE = 1, 1, 2, 5
_KEY, _VALUE, _TENSOR = 1, 2, 8
_DTYPE, _SHAPE, _CONTENT, _FLOATS = 1, 2, 4, 5
_DIMENSION, _SIZE = 2, 1
_FLOAT32 = 1
LARGEST = 2 * 1024**3


def float_constants(path: Path) -> dict[str, np.ndarray]:
    """Every float32 constant of a graph by its node's name.

    Raises:
        WeightsInvalid: not such a file, or cut short.
    """
    if path.stat().st_size > LARGEST:
        raise WeightsInvalid(f"{path.name} is too large for a frozen graph")
    data = memoryview(path.read_bytes())
    found: dict[str, np.ndarray] = {}
    try:
        for number, node in _fields(data):
            if number == _NODE and isinstance(node, memoryview):
                _read_node(node, found)
    except (IndexError, struct.error, ValueError, UnicodeDecodeError) as error:
        raise WeightsInvalid(f"{path.name} is no frozen graph that can be read, or is cut short") from error
    if not found:
        raise WeightsInvalid(f"{path.name} holds no weights; a frozen graph (output_graph.pb) is needed")
    return found


def _read_node(node: memoryview, found: dict[str, np.ndarray]) -> None:
    name, operation, tensor = "", "", None
    for number, value in _fields(node):
        if number == _NAME:
            name = bytes(value).decode()
        elif number == _OP:
            operation = bytes(value).decode()
        elif number == _ATTRIBUTE:
            entry = dict(_fields(value))
            if bytes(entry.get(_KEY, b"")) == b"value":
                tensor = dict(_fields(entry[_VALUE])).get(_TENSOR)
    if operation == "Const" and tensor is not None:
        array = _array(tensor)
        if array is not None:
            found[name] = array


def _array(tensor: memoryview) -> np.ndarray | None:
    """A TensorProto of floats; None for other types."""
    kind, shape, content, floats = 0, [], b"", []
    for number, value in _fields(tensor):
        if number == _DTYPE:
            kind = value
        elif number == _SHAPE:
            shape = [dict(_fields(v)).get(_SIZE, 0) for n, v in _fields(value) if n == _DIMENSION]
        elif number == _CONTENT:
            content = value
        elif number == _FLOATS:
            floats.append(value if isinstance(value, memoryview) else struct.pack("<I", value))
    if kind != _FLOAT32:
        return None
    values = np.frombuffer(content or b"".join(floats), dtype="<f4")
    count = int(np.prod(shape)) if shape else 1
    if len(values) == 1 and count > 1:
        values = np.repeat(values, count)
    return values.reshape(shape).astype(np.float32)


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Field numbers and raw values of one message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
        elif wire == 1:
            yield number, struct.unpack_from("<Q", data, at)[0]
            at += 8
        elif wire == 2:
            length, at = _varint(data, at)
            if at + length > len(data):
                raise ValueError("cut short")
            yield number, data[at : at + length]
            at += length
        elif wire == 5:
            yield number, struct.unpack_from("<I", data, at)[0]
            at += 4
        else:
            raise ValueError(f"wire type {wire}")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("number too long")
