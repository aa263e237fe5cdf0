"""ONNX files that answer any picture with stored arrays, written by the format's own schema."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

FLOAT = 1


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _whole(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def _typed(name: str, shape: Sequence[int]) -> bytes:
    dims = b"".join(field(1, _whole(1, n)) for n in shape)
    return field(1, name.encode()) + field(2, field(1, _whole(1, FLOAT) + field(2, dims)))


def write_onnx(path: Path, input_shape: Sequence[int], outputs: Sequence[np.ndarray]) -> Path:
    """A network with one input ``x`` and constant float32 outputs ``y0``, ``y1`` and so on."""
    graph = field(2, b"stand-in")
    for index, array in enumerate(outputs):
        node = field(1, f"c{index}".encode()) + field(2, f"y{index}".encode()) + field(4, b"Identity")
        dims = b"".join(_whole(1, n) for n in array.shape)
        raw = field(9, np.ascontiguousarray(array, "<f4").tobytes())
        graph += field(1, node) + field(5, dims + _whole(2, FLOAT) + field(8, f"c{index}".encode()) + raw)
        graph += field(12, _typed(f"y{index}", array.shape))
    graph += field(11, _typed("x", input_shape))
    path.write_bytes(_whole(1, 8) + field(7, graph) + field(8, field(1, b"") + _whole(2, 13)))
    return path


def scrfd_heads(size: int, box: Sequence[float]) -> list[np.ndarray]:
    """The nine head outputs of SCRFD for one face ``box`` x0, y0, x1, y1 in a square input of ``size`` pixels."""
    arrays: list[list[np.ndarray]] = [[], [], []]
    for stride in (8, 16, 32):
        side = size // stride
        scores, boxes, points = (np.zeros((2 * side * side, n), np.float32) for n in (1, 4, 10))
        if stride == 16:
            x, y = int((box[0] + box[2]) / 2 / stride), int((box[1] + box[3]) / 2 / stride)
            place = 2 * (y * side + x)
            scores[place] = 0.9
            edges = [x * stride - box[0], y * stride - box[1], box[2] - x * stride, box[3] - y * stride]
            boxes[place] = np.array(edges) / stride
        for kept, array in zip(arrays, (scores, boxes, points), strict=True):
            kept.append(array)
    return [array for kind in arrays for array in kind]
