"""Wavefront OBJ with MTL and texture files beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from pipelines.media.atomic import replacing


def _rows(prefix: str, table: NDArray[np.floating], digits: int) -> str:
    line = prefix + f" %.{digits}f" * table.shape[1] + "\n"
    return (line * len(table)) % tuple(table.ravel().tolist())


def _face_rows(parts: list[NDArray[np.integer] | None]) -> str:
    """Rows "f a/b/c ..." from 0-based ids of vertices, texture coordinates and normals, any of the last two None."""
    present = [p for p in parts if p is not None]
    only_normals = parts[2] is not None and parts[1] is None
    corner = " %d//%d" if only_normals else " " + "/".join(["%d"] * len(present))
    table = np.stack(present, axis=-1) + 1  # (F, 3, K)
    return (("f" + corner * 3 + "\n") * len(table)) % tuple(table.ravel().tolist())


def write_obj(
    path: Path,
    vertices: ArrayLike,
    faces: ArrayLike,
    uv: ArrayLike | None = None,
    uv_faces: ArrayLike | None = None,
    normals: ArrayLike | None = None,
    colors: ArrayLike | None = None,
    textures: Mapping[str, NDArray[np.uint8]] | None = None,
    digits: int = 6,
) -> list[Path]:
    """Writes ``NAME.obj``, and with textures ``NAME.mtl`` and one PNG per texture; returns all files.

    Args:
        vertices: (V, 3).
        faces: (F, 3) 0-based.
        uv: (T, 2), origin bottom left, addressed by ``uv_faces`` (F, 3), or by ``faces`` when that is None.
        normals: (V, 3) per vertex.
        colors: (V, 3) uint8, written behind the positions as 0..1.
        textures: MTL statement (``map_Kd``, ``map_Bump``, ``disp``, ...) -> image (H, W, 3|4) uint8. ``map_Kd`` becomes
            NAME.png, another statement ``map_X`` or ``X`` NAME_x.png.
    """
    path = Path(path)
    vertices, faces = np.asarray(vertices, dtype=np.float64), np.asarray(faces).reshape(-1, 3)
    written = [path]
    lines = []
    if textures:
        lines.append(f"mtllib {path.with_suffix('.mtl').name}\n")
    table = vertices if colors is None else np.concatenate([vertices, np.asarray(colors)[:, :3] / 255], axis=1)
    lines.append(_rows("v", table, digits))
    texture_ids = None
    if uv is not None:
        lines.append(_rows("vt", np.asarray(uv, dtype=np.float64), digits))
        texture_ids = faces if uv_faces is None else np.asarray(uv_faces).reshape(-1, 3)
    if normals is not None:
        lines.append(_rows("vn", np.asarray(normals, dtype=np.float64), digits))
    if textures:
        lines.append("usemtl surface\n")
    lines.append(_face_rows([faces, texture_ids, None if normals is None else faces]))
    if textures:
        written += _write_material(path, textures)
    with replacing(path) as temporary:
        temporary.write_text("".join(lines), encoding="ascii")
    return written


def _write_material(path: Path, textures: Mapping[str, NDArray[np.uint8]]) -> list[Path]:
    statements, files = ["newmtl surface", "Ka 1 1 1", "Kd 1 1 1", "Ks 0 0 0", "illum 1"], []
    for statement, image in textures.items():
        label = "" if statement == "map_Kd" else "_" + statement.removeprefix("map_").lower()
        files.append(path.with_name(f"{path.stem}{label}.png"))
        with replacing(files[-1]) as temporary:
            Image.fromarray(image).save(temporary)
        statements.append(f"{statement} {files[-1].name}")
    material = path.with_suffix(".mtl")
    with replacing(material) as temporary:
        temporary.write_text("\n".join(statements) + "\n", encoding="utf-8")
    return [material, *files]
