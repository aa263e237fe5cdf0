"""Point clouds and meshes as binary little-endian PLY."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.media.atomic import replacing

_TYPES = {"<f4": "float", "<f8": "double", "|u1": "uchar", "<i4": "int", "<u2": "ushort"}


def vertex_table(points: ArrayLike, colors: ArrayLike | None, normals: ArrayLike | None) -> NDArray[np.void]:
    """One structured row per vertex: x y z, nx ny nz if given, red green blue (alpha) if given."""
    points = np.asarray(points, dtype="<f4").reshape(-1, 3)
    fields: list[tuple[str, NDArray]] = [(n, points[:, i]) for i, n in enumerate("xyz")]
    if normals is not None:
        columns = np.asarray(normals, dtype="<f4").reshape(len(points), 3)
        fields += [(n, columns[:, i]) for i, n in enumerate(("nx", "ny", "nz"))]
    if colors is not None:
        shades = np.asarray(colors)
        if shades.dtype != np.uint8:
            raise ValueError(f"PLY colours are uint8, not {shades.dtype}")
        shades = shades.reshape(len(points), -1)
        names = ("red", "green", "blue", "alpha")[: shades.shape[1]]
        fields += list(zip(names, shades.T, strict=True))
    table = np.empty(len(points), dtype=[(name, column.dtype.str) for name, column in fields])
    for name, column in fields:
        table[name] = column
    return table


def write_table(
    path: Path, table: NDArray[np.void], faces: NDArray[np.integer] | None = None, comment: str = ""
) -> Path:
    """A vertex table with any scalar fields, and triangles if given, as PLY."""
    lines = ["ply", "format binary_little_endian 1.0"]
    if comment:
        lines.append(f"comment {comment}")
    lines.append(f"element vertex {len(table)}")
    lines += [f"property {_TYPES[table.dtype[name].str]} {name}" for name in table.dtype.names or ()]
    if faces is not None:
        lines += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    lines.append("end_header\n")
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write("\n".join(lines).encode("ascii"))
        table.tofile(file)
        if faces is not None:
            rows = np.empty(len(faces), dtype=[("count", "u1"), ("ids", "<i4", (3,))])
            rows["count"], rows["ids"] = 3, faces
            rows.tofile(file)
    return Path(path)


def write_points_ply(
    path: Path, points: ArrayLike, colors: ArrayLike | None = None, normals: ArrayLike | None = None
) -> Path:
    """A point cloud: points (N, 3), colours (N, 3|4) uint8, normals (N, 3)."""
    return write_table(path, vertex_table(points, colors, normals))


def write_mesh_ply(
    path: Path,
    vertices: ArrayLike,
    faces: ArrayLike,
    colors: ArrayLike | None = None,
    normals: ArrayLike | None = None,
) -> Path:
    """A triangle mesh: vertices (V, 3), faces (F, 3), per-vertex colours uint8 and normals."""
    return write_table(path, vertex_table(vertices, colors, normals), np.asarray(faces).reshape(-1, 3))
