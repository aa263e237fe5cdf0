"""Reading Wavefront OBJ in file order, for templates whose vertex numbers mean something."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.runtime.errors import InputError


@dataclass(frozen=True)
class ObjMesh:
    """Vertices (V, 3), triangles (F, 3); texture coordinates (T, 2), origin bottom left, and their triangles (F, 3).

    The last two are empty when the file has none. Larger polygons are cut into fans.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    uv: NDArray[np.float64]
    uv_faces: NDArray[np.int64]


def read_obj(path: Path) -> ObjMesh:
    """Reads positions, texture coordinates and faces. Raises InputError for anything that is no OBJ mesh."""
    rows: dict[str, list[list[str]]] = {"v": [], "vt": [], "f": []}
    try:
        for line in path.read_text(encoding="utf-8", errors="strict").splitlines():
            keyword, *values = line.split() or [""]
            if keyword in rows:
                rows[keyword].append(values)
        vertices = np.array([row[:3] for row in rows["v"]], np.float64).reshape(-1, 3)
        uv = np.array([row[:2] for row in rows["vt"]], np.float64).reshape(-1, 2)
        corners = [[corner.split("/") for corner in row] for row in rows["f"]]
        fans = [(face[0], face[i], face[i + 1]) for face in corners for i in range(1, len(face) - 1)]
        faces = np.array([[corner[0] for corner in face] for face in fans], np.int64).reshape(-1, 3) - 1
        textured = bool(len(uv)) and all(len(corner) > 1 and corner[1] for face in fans for corner in face)
        uv_faces = np.array([[c[1] for c in face] for face in fans], np.int64) - 1 if textured else faces[:0]
    except (ValueError, OSError) as error:
        raise InputError(f"{path.name} is not a readable OBJ file") from error
    if not len(vertices) or not len(faces) or faces.min() < 0 or faces.max() >= len(vertices):
        raise InputError(f"{path.name} holds no usable mesh")
    return ObjMesh(vertices, faces, uv if textured else uv[:0], uv_faces)
