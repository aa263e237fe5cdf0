"""Lit meshes fast enough for every frame of a video: light per vertex, one pass over the triangles, no back faces.

For closed meshes of small triangles the picture is that of ``shading.render_mesh`` but for rounding.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from pipelines.render.shading import GAMMA, Camera, Lights

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
    directions = np.array([lights.key, lights.fill], np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    powers = np.array([lights.key_power, lights.fill_power, lights.ambient], np.float32)
    points, lit = _project(
        np.asarray(vertices, np.float32), np.asarray(normals, np.float32),
        np.ascontiguousarray(np.broadcast_to(colors, vertices.shape)), np.asarray(camera.extrinsics, np.float32),
        np.asarray(camera.intrinsics, np.float32), directions, powers,
    )  # fmt: skip
    color = np.zeros((camera.height, camera.width, 3), np.uint8)
    nearness = np.zeros((camera.height, camera.width), np.float32)
    _fill(points, np.ascontiguousarray(faces), lit, color, nearness)
    return color, (nearness > 0).astype(np.uint8) * np.uint8(255)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _project(vertices, normals, colors, E, K, directions, powers):  # pragma: no cover - compiled
    """Pixel x, y and inverse depth, negative to leave out, of each vertex (V, 3), and its lit colour (V, 3) in bytes,
    as ``shading.shade`` has it."""
    points, lit = np.empty((len(vertices), 3), np.float32), np.empty((len(vertices), 3), np.float32)
    at, normal = np.empty(3, np.float32), np.empty(3, np.float32)
    for v in range(len(vertices)):
        facing = np.float32(0)
        for r in range(3):
            at[r] = E[r, 0] * vertices[v, 0] + E[r, 1] * vertices[v, 1] + E[r, 2] * vertices[v, 2] + E[r, 3]
            normal[r] = E[r, 0] * normals[v, 0] + E[r, 1] * normals[v, 1] + E[r, 2] * normals[v, 2]
            facing += at[r] * normal[r]
        side = np.float32(-1 if facing > 0 else 1)  # both sides are lit as if they faced the viewer
        light = powers[2] * (np.float32(0.75) - np.float32(0.25) * side * normal[1])
        for k in range(2):
            towards = normal[0] * directions[k, 0] + normal[1] * directions[k, 1] + normal[2] * directions[k, 2]
            light += powers[k] * max((side * towards + np.float32(0.1)) / np.float32(1.1), np.float32(0))
        # The power of a product is the product of the powers: bytes need not be made linear and back.
        gain = light ** np.float32(1 / GAMMA)
        for c in range(3):
            lit[v, c] = np.floor(min(colors[v, c] * gain, np.float32(255)) + np.float32(0.5))
        inverse = np.float32(1) / max(at[2], np.float32(1e-9))
        points[v, 0] = at[0] * inverse * K[0, 0] + K[0, 2]
        points[v, 1] = at[1] * inverse * K[1, 1] + K[1, 2]
        points[v, 2] = inverse if at[2] > NEAR else np.float32(-1)
    return points, lit


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
        scale = np.float32(1.0) / area
        x0, x1 = max(np.int64(np.ceil(min(ax, bx, cx))), 0), min(np.int64(np.floor(max(ax, bx, cx))), width - 1)
        y0, y1 = max(np.int64(np.ceil(min(ay, by, cy))), 0), min(np.int64(np.floor(max(ay, by, cy))), height - 1)
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                wa = ((bx - x) * (cy - y) - (by - y) * (cx - x)) * scale
                wb = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) * scale
                wc = np.float32(1.0) - wa - wb
                if wa < 0 or wb < 0 or wc < 0:
                    continue
                near = wa * az + wb * bz + wc * cz
                if near > nearness[y, x]:
                    nearness[y, x] = near
                    for k in range(3):
                        color[y, x, k] = np.uint8(wa * lit[a, k] + wb * lit[b, k] + wc * lit[c, k] + 0.5)


@numba.njit(nogil=True, cache=True)
def blend(picture, color, alpha, opacity):  # pragma: no cover - compiled
    """Colours (H, W, 3) into ``picture`` (H, W, 3), both uint8, by alpha (H, W) uint8 times ``opacity`` 0..1."""
    for y in range(alpha.shape[0]):
        for x in range(alpha.shape[1]):
            if alpha[y, x]:
                share = np.float32(alpha[y, x]) * opacity
                for c in range(3):
                    below = np.float32(picture[y, x, c])
                    picture[y, x, c] = np.uint8(below + share * (np.float32(color[y, x, c]) - below) + np.float32(0.5))
