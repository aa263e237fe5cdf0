"""The detailed head: one vertex per valid UV pixel, moved along the normal by the displacement map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.runtime.errors import WeightsInvalid
from models.runtime.safe_load import load_npz, load_pickled_npy
from pipelines.export.obj_read import ObjMesh
from pipelines.render.raster import rasterize


@dataclass(frozen=True)
class DenseTemplate:
    """Which UV pixels carry the surface: dense triangles (F, 3), pixel rows and columns (N,), the head triangle each
    pixel lies in (N, 3 vertex ids) and its barycentric weights (N, 3)."""

    faces: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    corners: NDArray[np.int64]
    bary: NDArray[np.float64]

    @classmethod
    def load(cls, path: Path) -> DenseTemplate:
        """Reads DECA's ``texture_data_256.npy`` (or an npz of the same names). Raises WeightsInvalid."""
        fields = load_npz(path) if path.suffix == ".npz" else load_pickled_npy(path)
        names = ("f", "x_coords", "y_coords", "valid_pixel_ids", "valid_pixel_3d_faces", "valid_pixel_b_coords")
        missing = [name for name in names if name not in fields]
        if missing:
            raise WeightsInvalid(f"{path.name}: no {', '.join(missing)} inside")
        return cls.of_fields(*(np.asarray(fields[name]) for name in names))

    @classmethod
    def of_fields(
        cls, f: NDArray, x: NDArray, y: NDArray, valid: NDArray, corners: NDArray, bary: NDArray
    ) -> DenseTemplate:
        """From the arrays of the released file; pixel ids index the flat coordinate lists."""
        valid = valid.astype(np.int64)
        return cls(
            faces=f.astype(np.int64),
            rows=y.astype(np.int64)[valid],
            columns=x.astype(np.int64)[valid],
            corners=corners.astype(np.int64),
            bary=bary.astype(np.float64),
        )

    @classmethod
    def of_template(cls, template: ObjMesh, size: int = 256) -> DenseTemplate:
        """A close stand-in made by drawing the UV triangles at pixel centres, for users without the released file."""
        uv = np.stack([template.uv[:, 0] * size - 0.5, (1 - template.uv[:, 1]) * size - 0.5], axis=1)
        flat = np.concatenate([uv, np.ones((len(uv), 1))], axis=1)[template.uv_faces]
        drawn = rasterize(flat, size, size)
        rows, columns = np.nonzero(drawn.covered)
        index = np.full((size, size), -1, np.int64)
        index[rows, columns] = np.arange(len(rows))
        a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
        whole = (a >= 0) & (b >= 0) & (c >= 0) & (d >= 0)
        cells = [np.stack([a, c, b], -1)[whole], np.stack([b, c, d], -1)[whole]]
        triangle = drawn.triangle[rows, columns]
        faces = np.stack(cells, axis=1).reshape(-1, 3)
        return cls(faces, rows, columns, template.faces[triangle], drawn.barycentric[rows, columns])


def upsample(
    template: DenseTemplate,
    vertices: NDArray[np.floating],
    normals: NDArray[np.floating],
    displacement: NDArray[np.floating],
    texture: NDArray[np.uint8],
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Dense vertices (N, 3) and their colours (N, 3).

    vertices, normals (V, 3); displacement (S, S) in metres; texture (S, S, 3).
    """
    weights = template.bary[..., None]
    at = (np.asarray(vertices)[template.corners] * weights).sum(1)
    along = (np.asarray(normals)[template.corners] * weights).sum(1)
    along = along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-12)
    moved = at + np.asarray(displacement)[template.rows, template.columns][:, None] * along
    return moved, texture[template.rows, template.columns]
