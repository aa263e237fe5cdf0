"""Lit meshes fast enough for every frame of a video: light per vertex, one pass over the triangles, no back faces.

For closed meshes of small triangles the picture is that of ``shading.render_mesh`` but for rounding.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from pipelines.render.shading import Camera, Lights, shade, to_bytes, to_linear

Array = NDArray[np.floating]
NEAR = 1e-2  # metres; triangles nearer than this are left out


def quick_mesh(
    camera: Camera,
    vertices: Array,
    faces: NDArray[np.integer],
    colors: NDArray[np.uint8],
    normals: Array,
    lights: Lights,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Colour (H, W, 3), 0 where nothing is, and coverage (H, W), 0 or 255.

    vertices, unit normals (V, 3) in the world; faces (F, 3) seen counter-clockwise from outside; colors (V, 3) or (3,).
    """
    E, K = np.asarray(camera.extrinsics, np.float32), np.asarray(camera.intrinsics, np.float32)
    local = np.asarray(vertices, np.float32) @ E[:3, :3].T + E[:3, 3]
    rays = local / np.maximum(np.linalg.norm(local, axis=1, keepdims=True), 1e-9)
    light = shade(np.asarray(normals, np.float32) @ E[:3, :3].T, rays, lights)
    lit = to_bytes(to_linear(colors) * light[:, None]).astype(np.float32)
    inverse = 1 / np.maximum(local[:, 2], 1e-9)
    points = np.stack(
        [
            local[:, 0] * inverse * K[0, 0] + K[0, 2],
            local[:, 1] * inverse * K[1, 1] + K[1, 2],
            np.where(local[:, 2] > NEAR, inverse, -1.0),
        ],
        axis=1,
    ).astype(np.float32)
    color = np.zeros((camera.height, camera.width, 3), np.uint8)
    nearness = np.zeros((camera.height, camera.width), np.float32)
    _fill(points, np.ascontiguousarray(faces), lit, color, nearness)
    return color, (nearness > 0).astype(np.uint8) * np.uint8(255)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _fill(points, faces, lit, color, nearness):  # pragma: no cover - compiled
    """Triangles into a buffer of inverse depths; points (V, 3): pixel x, y and inverse depth, negative to leave out."""
    height, width = nearness.shape
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, az = points[a, 0], points[a, 1], points[a, 2]
        bx, by, bz = points[b, 0], points[b, 1], points[b, 2]
        cx, cy, cz = points[c, 0], points[c, 1], points[c, 2]
        # Pixel rows grow downwards, so what is counter-clockwise in the world turns the other way here.
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if not area < 0 or az <= 0 or bz <= 0 or cz <= 0:
            continue
        x0, x1 = max(np.int64(np.ceil(min(ax, bx, cx))), 0), min(np.int64(np.floor(max(ax, bx, cx))), width - 1)
        y0, y1 = max(np.int64(np.ceil(min(ay, by, cy))), 0), min(np.int64(np.floor(max(ay, by, cy))), height - 1)
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                wa = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
                wb = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
                wc = np.float32(1.0) - wa - wb
                if wa < 0 or wb < 0 or wc < 0:
                    continue
                near = wa * az + wb * bz + wc * cz
                if near > nearness[y, x]:
                    nearness[y, x] = near
                    for k in range(3):
                        color[y, x, k] = np.uint8(wa * lit[a, k] + wb * lit[b, k] + wc * lit[c, k] + 0.5)
