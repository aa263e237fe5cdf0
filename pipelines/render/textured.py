"""Many pictures of one textured mesh, quickly: z-buffer, perspective-correct sampling and antialiasing in one pass.

For clips and live views, where ``shading.render_mesh`` is too slow: no lights, no alpha, no cutting at the near plane
(triangles that reach behind the camera are left out), colours averaged in the square of their values.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import numba
import numpy as np
from numpy.typing import NDArray

from models.geometry.cameras import resize_intrinsics, transform_points
from pipelines.render.shading import Camera

Array = NDArray[np.floating]
Image = NDArray[np.uint8]
_BANDS = 4  # per thread, so that a band full of mesh does not leave the others idle
_NEAR = 1e-3
_WORKERS = min(4, os.cpu_count() or 1)


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=_WORKERS, thread_name_prefix="textured")


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _cover(corners, cull, first, last, triangle, depth):  # pragma: no cover - compiled
    """Nearest triangle of every sample in rows ``first .. last - 1``; corners (F, 3, 3) pixels and 1 / depth."""
    width = triangle.shape[1]
    for f in range(corners.shape[0]):
        x0, y0, x1, y1 = corners[f, 0, 0], corners[f, 0, 1], corners[f, 1, 0], corners[f, 1, 1]
        x2, y2 = corners[f, 2, 0], corners[f, 2, 1]
        low, high = max(min(y0, y1, y2), np.float32(first)), min(max(y0, y1, y2), np.float32(last - 1))
        if not low <= high or corners[f, 0, 2] <= 0:
            continue
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0 or (cull and area > 0):
            continue
        left, right = max(min(x0, x1, x2), np.float32(0)), min(max(x0, x1, x2), np.float32(width - 1))
        inverse = np.float32(1) / area
        z0, z1, z2 = corners[f, 0, 2], corners[f, 1, 2], corners[f, 2, 2]
        step1, step2 = (y2 - y0) * inverse, (y0 - y1) * inverse
        start, stop = int(np.ceil(left)), int(np.floor(right))
        for y in range(int(np.ceil(low)), int(np.floor(high)) + 1):
            dx, dy = np.float32(start) - x0, np.float32(y) - y0
            w1 = (dx * (y2 - y0) - dy * (x2 - x0)) * inverse
            w2 = (dy * (x1 - x0) - dx * (y1 - y0)) * inverse
            for x in range(start, stop + 1):
                w0 = np.float32(1) - w1 - w2
                if w0 >= -1e-5 and w1 >= -1e-5 and w2 >= -1e-5:
                    near = w0 * z0 + w1 * z1 + w2 * z2
                    if near > depth[y - first, x]:
                        depth[y - first, x] = near
                        triangle[y - first, x] = f
                w1 += step1
                w2 += step2


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _sample(corners, uv, texture, f, x, y):  # pragma: no cover - compiled
    """Squared colour that triangle f shows at a place, bilinear. Plain indices: views would cost more than the rest."""
    x0, y0 = corners[f, 0, 0], corners[f, 0, 1]
    dx, dy = x - x0, y - y0
    x1, y1, x2, y2 = corners[f, 1, 0] - x0, corners[f, 1, 1] - y0, corners[f, 2, 0] - x0, corners[f, 2, 1] - y0
    inverse = np.float32(1) / (x1 * y2 - x2 * y1)
    w1 = (dx * y2 - dy * x2) * inverse
    w2 = (dy * x1 - dx * y1) * inverse
    w0, w1, w2 = (np.float32(1) - w1 - w2) * corners[f, 0, 2], w1 * corners[f, 1, 2], w2 * corners[f, 2, 2]
    inverse = np.float32(1) / (w0 + w1 + w2)
    u = (w0 * uv[f, 0, 0] + w1 * uv[f, 1, 0] + w2 * uv[f, 2, 0]) * inverse
    v = (w0 * uv[f, 0, 1] + w1 * uv[f, 1, 1] + w2 * uv[f, 2, 1]) * inverse
    u = min(max(u, np.float32(0)), np.float32(texture.shape[1] - 1))
    v = min(max(v, np.float32(0)), np.float32(texture.shape[0] - 1))
    left, top = int(u), int(v)
    right, below = min(left + 1, texture.shape[1] - 1), min(top + 1, texture.shape[0] - 1)
    a, b = u - np.float32(left), v - np.float32(top)
    c, d = np.float32(1) - a, np.float32(1) - b
    k00, k01, k10, k11 = c * d, a * d, c * b, a * b
    red = texture[top, left, 0] * k00 + texture[top, right, 0] * k01
    red += texture[below, left, 0] * k10 + texture[below, right, 0] * k11
    green = texture[top, left, 1] * k00 + texture[top, right, 1] * k01
    green += texture[below, left, 1] * k10 + texture[below, right, 1] * k11
    blue = texture[top, left, 2] * k00 + texture[top, right, 2] * k01
    blue += texture[below, left, 2] * k10 + texture[below, right, 2] * k11
    return red * red, green * green, blue * blue


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _paint(corners, uv, texture, background, samples, first, triangle, out):  # pragma: no cover - compiled
    """Colours of the pixels whose samples ``triangle`` holds, into the rows ``first ..`` of ``out``.

    Where all samples of a pixel lie in one triangle its colour is taken once, at the pixel's centre.
    """
    share = np.float32(1.0 / (samples * samples))
    half = np.float32((samples - 1) / 2)
    ground = np.sqrt(background)
    for row in range(triangle.shape[0] // samples):
        top = row * samples
        for column in range(out.shape[1]):
            left = column * samples
            f = triangle[top, left]
            alike = True
            for j in range(samples):
                for i in range(samples):
                    alike &= triangle[top + j, left + i] == f
            if alike and f < 0:
                for c in range(3):
                    out[first + row, column, c] = np.uint8(ground[c])
                continue
            red, green, blue = np.float32(0), np.float32(0), np.float32(0)
            y0, x0 = np.float32(top + first * samples), np.float32(left)
            if alike:
                red, green, blue = _sample(corners, uv, texture, f, x0 + half, y0 + half)
            else:
                for j in range(samples):
                    for i in range(samples):
                        f = triangle[top + j, left + i]
                        r, g, b = background[0], background[1], background[2]
                        if f >= 0:
                            r, g, b = _sample(corners, uv, texture, f, x0 + np.float32(i), y0 + np.float32(j))
                        red, green, blue = red + r * share, green + g * share, blue + b * share
            out[first + row, column, 0] = np.uint8(np.sqrt(red) + np.float32(0.5))
            out[first + row, column, 1] = np.uint8(np.sqrt(green) + np.float32(0.5))
            out[first + row, column, 2] = np.uint8(np.sqrt(blue) + np.float32(0.5))


@dataclass(frozen=True)
class TexturedMesh:
    """What stays the same from picture to picture.

    faces (F, 3), seen counter-clockwise; uv (V, 2) per vertex or (F, 3, 2) per corner, origin bottom left; texture
    (S, T, 3) uint8. Of a ``closed`` mesh only the outside is drawn, in half the time.
    """

    faces: NDArray[np.integer]
    uv: Array
    texture: Image
    closed: bool = False

    @cached_property
    def _texels(self) -> NDArray[np.float32]:
        """Corners (F, 3, 2) in texels."""
        corners = np.asarray(self.uv)
        corners = corners[self.faces] if corners.ndim == 2 else corners
        height, width = self.texture.shape[:2]
        place = np.stack([corners[..., 0] * width - 0.5, (1 - corners[..., 1]) * height - 0.5], axis=-1)
        return np.ascontiguousarray(place, np.float32)

    def draw(
        self,
        vertices: Array,
        camera: Camera,
        background: tuple[int, int, int] = (255, 255, 255),
        samples: int = 2,
    ) -> Image:
        """The mesh with vertices (V, 3) in the world, (H, W, 3) uint8; ``samples`` per pixel and axis."""
        height, width = camera.height, camera.width
        K = resize_intrinsics(camera.intrinsics, samples, samples)
        seen = transform_points(camera.extrinsics, np.asarray(vertices, np.float64)) @ K.T
        near = seen[:, 2] > _NEAR
        depth = np.where(near, seen[:, 2], 1.0)[:, None]
        pixels = np.concatenate([seen[:, :2] / depth, np.where(near, 1.0, -1.0)[:, None] / depth], axis=1)
        corners = pixels.astype(np.float32)[self.faces]
        corners[(corners[..., 2] <= 0).any(axis=1), :, 2] = -1
        out = np.empty((height, width, 3), np.uint8)
        ground = np.asarray(background, np.float32) ** 2
        texture = np.ascontiguousarray(self.texture[..., :3])
        pool = _threads()
        edges = np.linspace(0, height, min(_BANDS * _WORKERS, height) + 1).astype(int).tolist()

        def band(rows: tuple[int, int]) -> None:
            first, stop = rows
            triangle = np.full(((stop - first) * samples, width * samples), -1, np.int32)
            nearness = np.zeros(triangle.shape, np.float32)
            _cover(corners, self.closed, first * samples, stop * samples, triangle, nearness)
            _paint(corners, self._texels, texture, ground, samples, first, triangle, out)

        list(pool.map(band, pairwise(edges)))
        return out
