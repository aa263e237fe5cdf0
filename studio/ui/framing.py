"""How far the 3D viewer's camera stands: point clouds have stray points, so their bounding box says too much."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FIELD_OF_VIEW = 0.8  # vertical, radians, as the viewer has it
_ASPECT = 1.25  # a little narrower than the viewer usually is
_SHARE = 97.0  # per cent of the points that have to be in sight
_MARGIN = 1.1
_SAMPLE = 100_000
_POINTS, _FLOAT = 0, 5126


def camera_distance(path: Path) -> float | None:
    """Distance from the model's centre at which a camera on +Z looking along -Z sees nearly all points.

    The centre is that of the bounding box of everything in the file, as the viewer takes it. None for files without
    points (the viewer's own framing suits surfaces) and for what is no GLB.
    """
    if path.suffix.lower() != ".glb":
        return None
    document, binary = _chunks(path)
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    clouds = []
    for mesh in document.get("meshes", ()):
        for primitive in mesh["primitives"]:
            accessor = document["accessors"][primitive["attributes"]["POSITION"]]
            low, high = np.minimum(low, accessor["min"]), np.maximum(high, accessor["max"])
            if primitive.get("mode", 4) == _POINTS and accessor["componentType"] == _FLOAT:
                clouds.append(_positions(document, binary, accessor))
    if not clouds:
        return None
    points = np.concatenate(clouds)
    points = points[:: max(1, len(points) // _SAMPLE)] - (low + high) / 2  # (N, 3)
    up = math.tan(_FIELD_OF_VIEW / 2)
    needed = points[:, 2] + np.maximum(np.abs(points[:, 0]) / (up * _ASPECT), np.abs(points[:, 1]) / up)
    distance = float(np.percentile(needed, _SHARE))
    return _MARGIN * distance if distance > 0 else None


def _chunks(path: Path) -> tuple[dict[str, Any], memoryview]:
    """The JSON and the binary chunk of a GLB file of our own making."""
    content = memoryview(path.read_bytes())
    length = int.from_bytes(content[12:16], "little")
    return json.loads(bytes(content[20 : 20 + length])), content[28 + length :]


def _positions(document: dict[str, Any], binary: memoryview, accessor: dict[str, Any]) -> NDArray[np.float32]:
    """(N, 3) float32, also where positions and colours share a buffer view."""
    view = document["bufferViews"][accessor["bufferView"]]
    start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    strides = (view.get("byteStride", 12), 4)
    return np.ndarray((accessor["count"], 3), "<f4", binary, start, strides)
