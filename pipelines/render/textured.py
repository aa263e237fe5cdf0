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
_EDGE = np.float32(1e-3)  # of a sample: how far triangles reach over their edges, so that rounding leaves no crack
_GOES_ON = np.float32(4)  # texels: samples of one pixel no farther apart than this show one piece of surface
_WORKERS = min(4, os.cpu_count() or 1)


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=_WORKERS, thread_name_prefix="textured")


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _planes(corners, uv):  # pragma: no cover - compiled
    """What the triangles before the camera need per sample: (N, 17) float32.

    corners (F, 3, 3) pixels and 1 / depth. Columns: the first corner's place; its 1 / depth, u / depth and v / depth,
    each with its steps along x and y; the steps of the weights of corners 1 and 2; the least and greatest y.
    """
    planes = np.empty((corners.shape[0], 17), np.float32)
    count = 0
    for f in range(corners.shape[0]):
        x0, y0, z0 = corners[f, 0, 0], corners[f, 0, 1], corners[f, 0, 2]
        x1, y1, x2, y2 = corners[f, 1, 0] - x0, corners[f, 1, 1] - y0, corners[f, 2, 0] - x0, corners[f, 2, 1] - y0
        area = x1 * y2 - x2 * y1
        if z0 <= 0 or area == 0:
            continue
        inverse = np.float32(1) / area
        ax, ay, bx, by = y2 * inverse, -x2 * inverse, -y1 * inverse, x1 * inverse
        row = planes[count]
        row[0], row[1] = x0, y0
        z1, z2 = corners[f, 1, 2], corners[f, 2, 2]
        row[2], row[3], row[4] = z0, ax * (z1 - z0) + bx * (z2 - z0), ay * (z1 - z0) + by * (z2 - z0)
        for c in range(2):
            t0, t1, t2 = uv[f, 0, c] * z0, uv[f, 1, c] * z1 - uv[f, 0, c] * z0, uv[f, 2, c] * z2 - uv[f, 0, c] * z0
            row[5 + 3 * c], row[6 + 3 * c], row[7 + 3 * c] = t0, ax * t1 + bx * t2, ay * t1 + by * t2
        row[11], row[12], row[13], row[14] = ax, ay, bx, by
        row[15], row[16] = y0 + min(np.float32(0), y1, y2), y0 + max(np.float32(0), y1, y2)
        count += 1
    return planes[:count]


@numba.njit(nogil=True, error_model="numpy", fastmath=True, inline="always")
def _narrowed(start, step, low, high):  # pragma: no cover - compiled
    """The part of ``low .. high`` where a weight that is ``start`` at 0 and grows by ``step`` is not negative."""
    if step > 0:
        low = max(low, -start / step)
    elif step < 0:
        high = min(high, -start / step)
    elif start < np.float32(-1e-5):
        high = low - np.float32(1)
    return low, high


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _cover(planes, first, last, triangle, depth, spans):  # pragma: no cover - compiled
    """Nearest triangle of every sample in rows ``first .. last - 1``; ``spans`` (., 2): the columns that have any."""
    width = triangle.shape[1]
    for f in range(planes.shape[0]):
        low, high = max(planes[f, 15], np.float32(first)), min(planes[f, 16], np.float32(last - 1))
        if not low <= high:
            continue
        x0, y0, z0, zx, zy = planes[f, 0], planes[f, 1], planes[f, 2], planes[f, 3], planes[f, 4]
        ax, ay, bx, by = planes[f, 11], planes[f, 12], planes[f, 13], planes[f, 14]
        for y in range(int(np.ceil(low)), int(np.floor(high)) + 1):
            dy = np.float32(y) - y0
            left, right = -x0, np.float32(width - 1) - x0
            left, right = _narrowed(dy * ay, ax, left, right)
            left, right = _narrowed(dy * by, bx, left, right)
            left, right = _narrowed(np.float32(1) - dy * (ay + by), -(ax + bx), left, right)
            if not left - _EDGE <= right + _EDGE:
                continue
            start = max(int(np.ceil(left + x0 - _EDGE)), 0)
            stop = min(int(np.floor(right + x0 + _EDGE)), width - 1)
            if start > stop:
                continue
            row, near, number = np.uint64(y - first), z0 + zy * dy + zx * (np.float32(start) - x0), np.int32(f)
            spans[row, 0], spans[row, 1] = min(spans[row, 0], start), max(spans[row, 1], stop + 1)
            for x in range(np.uint64(start), np.uint64(stop + 1)):
                if near > depth[row, x]:
                    depth[row, x] = near
                    triangle[row, x] = number
                near += zx


@numba.njit(nogil=True, error_model="numpy", fastmath=True, inline="always")
def _place(planes, f, x, y):  # pragma: no cover - compiled
    """Texels right and down that triangle f shows at a place."""
    f = np.uint64(f)
    dx, dy = x - planes[f, 0], y - planes[f, 1]
    far = np.float32(1) / (planes[f, 2] + planes[f, 3] * dx + planes[f, 4] * dy)
    u = (planes[f, 5] + planes[f, 6] * dx + planes[f, 7] * dy) * far
    v = (planes[f, 8] + planes[f, 9] * dx + planes[f, 10] * dy) * far
    return u, v


@numba.njit(nogil=True, error_model="numpy", fastmath=True, inline="always")
def _colour(texture, u, v):  # pragma: no cover - compiled
    """Colour of a place in the texture, bilinear. Unsigned indices, which are not looked at for their sign."""
    u = min(max(u, np.float32(0)), np.float32(texture.shape[1] - 1))
    v = min(max(v, np.float32(0)), np.float32(texture.shape[0] - 1))
    left, top = int(u), int(v)
    a, b = u - np.float32(left), v - np.float32(top)
    right, below = np.uint64(min(left + 1, texture.shape[1] - 1)), np.uint64(min(top + 1, texture.shape[0] - 1))
    left, top = np.uint64(left), np.uint64(top)
    c, d = np.float32(1) - a, np.float32(1) - b
    k00, k01, k10, k11 = c * d, a * d, c * b, a * b
    red = texture[top, left, 0] * k00 + texture[top, right, 0] * k01
    red += texture[below, left, 0] * k10 + texture[below, right, 0] * k11
    green = texture[top, left, 1] * k00 + texture[top, right, 1] * k01
    green += texture[below, left, 1] * k10 + texture[below, right, 1] * k11
    blue = texture[top, left, 2] * k00 + texture[top, right, 2] * k01
    blue += texture[below, left, 2] * k10 + texture[below, right, 2] * k11
    return red, green, blue


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _paint(planes, texture, samples, first, triangle, spans, out):  # pragma: no cover - compiled
    """Colours of the pixels whose samples ``triangle`` holds, over the background in rows ``first ..`` of ``out``.

    Where all samples of a pixel lie in one triangle, or in neighbours whose texture goes on from one to the next, its
    colour is taken once, in their middle.
    """
    share = np.float32(1.0 / (samples * samples))
    half = np.float32((samples - 1) / 2)
    for row in range(triangle.shape[0] // samples):
        top = row * samples
        start, stop = triangle.shape[1], 0
        for j in range(samples):
            start, stop = min(start, spans[top + j, 0]), max(stop, spans[top + j, 1])
        for column in range(start // samples, (stop + samples - 1) // samples):
            left = column * samples
            right, low = left + samples - 1, top + samples - 1
            f = triangle[top, left]
            alike = (f == triangle[top, right]) & (f == triangle[low, left]) & (f == triangle[low, right])
            bare = f < 0
            if samples > 2 or not alike:  # up to two samples a side these corners are all there are
                for j in range(samples):
                    for i in range(samples):
                        g = triangle[top + j, left + i]
                        alike &= g == f
                        bare |= g < 0
            if alike and bare:
                continue
            red, green, blue = np.float32(0), np.float32(0), np.float32(0)
            pixel = out[first + row, column]
            behind = np.float32(pixel[0]), np.float32(pixel[1]), np.float32(pixel[2])
            y0, x0 = np.float32(top + first * samples), np.float32(left)
            u, v = np.float32(0), np.float32(0)
            if alike:
                u, v = _place(planes, f, x0 + half, y0 + half)
            elif not bare:
                low_u, high_u, low_v, high_v = np.float32(1e9), np.float32(-1e9), np.float32(1e9), np.float32(-1e9)
                for j in range(samples):
                    for i in range(samples):
                        a, b = _place(planes, triangle[top + j, left + i], x0 + np.float32(i), y0 + np.float32(j))
                        low_u, high_u, low_v, high_v = min(low_u, a), max(high_u, a), min(low_v, b), max(high_v, b)
                        u += a * share
                        v += b * share
                alike = high_u - low_u < _GOES_ON and high_v - low_v < _GOES_ON
            if alike:
                red, green, blue = _colour(texture, u, v)
            else:
                for j in range(samples):
                    for i in range(samples):
                        f = triangle[top + j, left + i]
                        r, g, b = behind
                        if f >= 0:
                            u, v = _place(planes, f, x0 + np.float32(i), y0 + np.float32(j))
                            r, g, b = _colour(texture, u, v)
                        red, green, blue = red + r * r * share, green + g * g * share, blue + b * b * share
                red, green, blue = np.sqrt(red), np.sqrt(green), np.sqrt(blue)
            out[first + row, column, 0] = np.uint8(red + np.float32(0.5))
            out[first + row, column, 1] = np.uint8(green + np.float32(0.5))
            out[first + row, column, 2] = np.uint8(blue + np.float32(0.5))


@dataclass(frozen=True)
class TexturedMesh:
    """What stays the same from picture to picture.

    faces (F, 3); uv (V, 2) per vertex or (F, 3, 2) per corner, origin bottom left; texture
    (S, T, 3) uint8. Triangles are drawn from both sides: through an open mouth one sees the lips from behind.
    """

    faces: NDArray[np.integer]
    uv: Array
    texture: Image

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
        shared: bool = True,
    ) -> Image:
        """The mesh with vertices (V, 3) in the world, (H, W, 3) uint8; ``samples`` per pixel and axis.

        ``shared`` gives every processor a part of the picture; without it the calling thread draws all of it, which is
        better where several pictures are drawn at once.
        """
        height, width = camera.height, camera.width
        K = resize_intrinsics(camera.intrinsics, samples, samples)
        seen = transform_points(camera.extrinsics, np.asarray(vertices, np.float64)) @ K.T
        near = seen[:, 2] > _NEAR
        depth = np.where(near, seen[:, 2], 1.0)[:, None]
        pixels = np.concatenate([seen[:, :2] / depth, np.where(near, 1.0, -1.0)[:, None] / depth], axis=1)
        corners = pixels.astype(np.float32)[self.faces]
        corners[(corners[..., 2] <= 0).any(axis=1), :, 2] = -1
        out = np.empty((height, width, 3), np.uint8)
        out[:] = np.broadcast_to(np.asarray(background, np.uint8), (width, 3)).copy()  # whole rows: 50 times as quick
        texture = np.ascontiguousarray(self.texture[..., :3])
        planes = _planes(corners, self._texels)
        edges = np.linspace(0, height, min(_BANDS * _WORKERS, height) + 1).astype(int).tolist()

        def band(rows: tuple[int, int]) -> None:
            first, stop = rows
            triangle = np.full(((stop - first) * samples, width * samples), -1, np.int32)
            nearness = np.zeros(triangle.shape, np.float32)
            spans = np.full((len(triangle), 2), (width * samples, 0), np.int64)
            _cover(planes, first * samples, stop * samples, triangle, nearness, spans)
            _paint(planes, texture, samples, first, triangle, spans, out)

        if shared:
            list(_threads().map(band, pairwise(edges)))
        else:
            band((0, height))
        return out
