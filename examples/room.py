"""The example room: made by code, lit by baked light, seen by known cameras. Ground truth for tests and examples.

World axes: x right, y up, z towards the viewer, metres. Cameras are OpenCV world-to-camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from examples.room_parts import HALF_X, HEIGHT, furnish
from examples.room_textures import finish
from models.geometry.cameras import intrinsics_from_fov, look_at, resize_intrinsics
from pipelines.render.raster import rasterize_mesh

Array = NDArray[np.floating]

LIGHT_CELL = 0.03  # metres per lightmap texel
MIPS = 4


@dataclass(frozen=True)
class View:
    """One camera: extrinsics (3, 4) world-to-camera, intrinsics (3, 3) in pixels, size in pixels."""

    extrinsics: Array
    intrinsics: Array
    width: int
    height: int


@numba.njit(nogil=True, cache=True)
def _blocked(x, y, z, dx, dy, dz, reach, boxes):  # pragma: no cover - compiled
    """Whether a ray meets a box before ``reach``."""
    for k in range(boxes.shape[0]):
        c, s = boxes[k, 6], boxes[k, 7]
        px, pz = x - boxes[k, 0], z - boxes[k, 2]
        ox, oy, oz = c * px - s * pz, y - boxes[k, 1], s * px + c * pz
        rx, ry, rz = c * dx - s * dz, dy, s * dx + c * dz
        near, far = 1e-4, reach
        for o, r, half in ((ox, rx, boxes[k, 3]), (oy, ry, boxes[k, 4]), (oz, rz, boxes[k, 5])):
            if abs(r) < 1e-9:
                if abs(o) > half:
                    far = -1.0
            else:
                a, b = (-half - o) / r, (half - o) / r
                near, far = max(near, min(a, b)), min(far, max(a, b))
        if near < far:
            return True
    return False


@numba.njit(nogil=True, cache=True)
def _light(points, normals, boxes, lamps, lamp_normals, lamp_colours, sky, out):  # pragma: no cover - compiled
    """Direct light of sampled lamps plus ambient light dimmed by what is near (0.9 m)."""
    for i in range(points.shape[0]):
        nx, ny, nz = normals[i, 0], normals[i, 1], normals[i, 2]
        x, y, z = points[i, 0] + 4e-3 * nx, points[i, 1] + 4e-3 * ny, points[i, 2] + 4e-3 * nz
        for j in range(lamps.shape[0]):
            dx, dy, dz = lamps[j, 0] - x, lamps[j, 1] - y, lamps[j, 2] - z
            distance = np.sqrt(dx * dx + dy * dy + dz * dz) + 1e-6
            dx, dy, dz = dx / distance, dy / distance, dz / distance
            cosine = nx * dx + ny * dy + nz * dz
            facing = -(lamp_normals[j, 0] * dx + lamp_normals[j, 1] * dy + lamp_normals[j, 2] * dz)
            if cosine <= 0 or facing <= 0 or _blocked(x, y, z, dx, dy, dz, distance - 0.02, boxes):
                continue
            power = cosine * facing / (distance * distance + 0.1)
            for c in range(3):
                out[i, c] += power * lamp_colours[j, c]
        free, total = 0.0, 0.0
        for j in range(sky.shape[0]):
            cosine = nx * sky[j, 0] + ny * sky[j, 1] + nz * sky[j, 2]
            if cosine <= 0.05:
                continue
            total += cosine
            if not _blocked(x, y, z, sky[j, 0], sky[j, 1], sky[j, 2], 0.9, boxes):
                free += cosine
        for c in range(3):
            out[i, c] += 0.24 * free / max(total, 1e-6)


def _lamps() -> tuple[Array, Array, Array]:
    """Samples of the ceiling lamp (warm) and the window (cool): positions, normals, colours."""
    a, b = np.meshgrid(np.linspace(-0.5, 0.5, 5), np.linspace(-0.5, 0.5, 5))
    ceiling = np.stack([0.5 + 0.9 * a, np.full_like(a, HEIGHT - 0.05), 0.4 + 0.9 * b], -1).reshape(-1, 3)
    window = np.stack([np.full_like(a, -HALF_X + 0.05), 1.57 + 1.1 * a, 0.15 + 1.4 * b], -1).reshape(-1, 3)
    normals = np.repeat([[0, -1.0, 0], [1, 0, 0]], 25, axis=0)
    colours = np.repeat([[4.2, 3.6, 2.9], [3.6, 4.1, 4.9]], 25, axis=0) / 25
    return np.concatenate([ceiling, window]), normals, colours


def _sphere_directions(count: int) -> Array:
    k = np.arange(count) + 0.5
    height, turn = 1 - 2 * k / count, np.pi * (1 + 5**0.5) * k
    flat = np.sqrt(1 - height**2)
    return np.stack([flat * np.cos(turn), height, flat * np.sin(turn)], -1)


def _resample(grid: Array, rows: int, columns: int) -> Array:
    """A grid (R, C, 3) evaluated bilinearly at (rows, columns) cell centres."""
    r = (np.arange(rows) + 0.5) / rows * (grid.shape[0] - 1)
    c = (np.arange(columns) + 0.5) / columns * (grid.shape[1] - 1)
    r0, c0 = np.minimum(r.astype(int), grid.shape[0] - 2), np.minimum(c.astype(int), grid.shape[1] - 2)
    fr, fc = (r - r0)[:, None, None], (c - c0)[None, :, None]
    top = (1 - fc) * grid[r0][:, c0] + fc * grid[r0][:, c0 + 1]
    low = (1 - fc) * grid[r0 + 1][:, c0] + fc * grid[r0 + 1][:, c0 + 1]
    return (1 - fr) * top + fr * low


@dataclass(frozen=True)
class Room:
    """The room as triangles and packed images.

    ``vertices`` (V, 3), ``faces`` (F, 3), ``uv`` (F, 3, 2) in 0..1 with v down, ``surface`` (F,), ``face_normals``
    (F, 3); ``images`` (T, 3) holds every texture level and lightmap, ``table`` (S, MIPS + 1, 3) their offset, height,
    width (the lightmap last), ``density`` (S,) texels per metre.
    """

    vertices: Array
    faces: NDArray[np.int64]
    uv: Array
    surface: NDArray[np.int64]
    face_normals: Array
    images: NDArray[np.float32]
    table: NDArray[np.int64]
    density: Array


@lru_cache(maxsize=1)
def room() -> Room:
    """Builds and lights the room once per process (some seconds)."""
    b = furnish()
    boxes, lamps, sky = np.array(b.boxes), _lamps(), _sphere_directions(48)
    vertices, faces, uv, owner, images, table, density = [], [], [], [], [], [], []
    start = offset = 0
    for index, s in enumerate(b.surfaces):
        rows, columns = s.points.shape[:2]
        ids = start + np.arange(rows * columns).reshape(rows, columns)
        start += rows * columns
        v, u = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
        coordinates = np.stack([u, v], -1)
        vertices.append(s.points.reshape(-1, 3))
        for picks in (
            (np.s_[:-1, :-1], np.s_[1:, :-1], np.s_[:-1, 1:]),
            (np.s_[1:, 1:], np.s_[:-1, 1:], np.s_[1:, :-1]),
        ):
            faces.append(np.stack([ids[p].ravel() for p in picks], 1))
            uv.append(np.stack([coordinates[p].reshape(-1, 2) for p in picks], 1))
            owner.append(np.full((rows - 1) * (columns - 1), index))
        span = (
            np.linalg.norm(np.diff(s.points, axis=0), axis=-1).sum(0).max(),
            np.linalg.norm(np.diff(s.points, axis=1), axis=-1).sum(1).max(),
        )
        cells = [int(np.clip(length / LIGHT_CELL, 4, 200)) for length in span]
        spots, normals = (np.ascontiguousarray(_resample(g, *cells).reshape(-1, 3)) for g in (s.points, s.normals))
        light = np.zeros((len(spots), 3))
        if s.emits:
            light += s.emits
        else:
            _light(spots, normals, boxes, *lamps, sky, light)
        level = (s.texture.astype(np.float32) / 255) ** 2.2
        entries = []
        for image in (*_pyramid(level), light.reshape(*cells, 3).astype(np.float32)):
            entries.append((offset, *image.shape[:2]))
            images.append(image.reshape(-1, 3))
            offset += image.shape[0] * image.shape[1]
        table.append(entries)
        density.append(s.texture.shape[1] / span[1])
    corners, points = np.concatenate(faces), np.concatenate(vertices)
    a, c, d = (points[corners[:, i]] for i in range(3))
    n = np.cross(c - a, d - a)
    n /= np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-12)
    return Room(
        points,
        corners,
        np.concatenate(uv),
        np.concatenate(owner),
        n,
        np.concatenate(images),
        np.array(table),
        np.array(density),
    )


def _pyramid(level: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    levels = [level]
    for _ in range(MIPS - 1):
        h, w = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], (max(1, w // 2), max(1, h // 2)), interpolation=cv2.INTER_AREA))
    return levels


@numba.njit(nogil=True, cache=True)
def _sample(images, entry, u, v, out):  # pragma: no cover - compiled
    """Bilinear, clamped."""
    offset, h, w = entry
    x, y = min(max(u * w - 0.5, 0.0), w - 1.0), min(max(v * h - 0.5, 0.0), h - 1.0)
    x0, y0 = min(int(x), max(w - 2, 0)), min(int(y), max(h - 2, 0))
    x1, y1 = min(x0 + 1, w - 1), min(y0 + 1, h - 1)
    fx, fy = x - x0, y - y0
    for c in range(3):
        top = (1 - fx) * images[offset + y0 * w + x0, c] + fx * images[offset + y0 * w + x1, c]
        low = (1 - fx) * images[offset + y1 * w + x0, c] + fx * images[offset + y1 * w + x1, c]
        out[c] = (1 - fy) * top + fy * low


@numba.njit(nogil=True, cache=True)
def _shade(triangle, bary, footprint, uv, surface, images, table, density, out):  # pragma: no cover - compiled
    colour, light = np.zeros(3), np.zeros(3)
    for y in range(triangle.shape[0]):
        for x in range(triangle.shape[1]):
            f = triangle[y, x]
            if f < 0:
                continue
            u = v = 0.0
            for k in range(3):
                u += bary[y, x, k] * uv[f, k, 0]
                v += bary[y, x, k] * uv[f, k, 1]
            s = surface[f]
            level = int(min(max(np.log2(max(footprint[y, x] * density[s], 1e-6)) + 0.5, 0.0), table.shape[1] - 2.0))
            _sample(images, table[s, level], u, v, colour)
            _sample(images, table[s, table.shape[1] - 1], u, v, light)
            for c in range(3):
                out[y, x, c] = colour[c] * light[c]


def render_room(view: View, supersample: int = 2) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The picture (H, W, 3) uint8 RGB and the exact depth (H, W) float32 in metres (inf where nothing is) of a view."""
    r = room()
    K = resize_intrinsics(view.intrinsics, supersample, supersample)
    h, w = view.height * supersample, view.width * supersample
    f = rasterize_mesh(r.vertices, r.faces, view.extrinsics, K, h, w, near=0.05)
    R = view.extrinsics[:3, :3]
    grid = np.stack(np.meshgrid(np.arange(w), np.arange(h)), -1)
    rays = np.concatenate([(grid - K[:2, 2]) / [K[0, 0], K[1, 1]], np.ones((h, w, 1))], -1)
    slant = np.abs(np.einsum("hwc,hwc->hw", rays @ R, r.face_normals[f.triangle])) / np.linalg.norm(rays, axis=-1)
    footprint = np.where(f.covered, f.depth, 0) / K[0, 0] / np.sqrt(np.maximum(slant, 0.02))
    linear = np.zeros((h, w, 3), np.float32)
    _shade(f.triangle, f.barycentric, footprint, r.uv, r.surface, r.images, r.table, r.density, linear)
    linear = cv2.resize(linear, (view.width, view.height), interpolation=cv2.INTER_AREA)
    bright = 1.5 * linear
    image = finish((bright * (1 + bright / 6) / (1 + bright)) ** (1 / 2.2))
    exact = rasterize_mesh(r.vertices, r.faces, view.extrinsics, view.intrinsics, view.height, view.width, near=0.05)
    return image, exact.depth.astype(np.float32)


def _view(eye: Array, target: Array, width: int, height: int, focal: float) -> View:
    fov = 2 * np.arctan(width / (2 * focal))
    return View(look_at(eye, target), intrinsics_from_fov(fov, width, height), width, height)


def photo_views(count: int = 12, width: int = 800, height: int = 600) -> list[View]:
    """Photos along an arc through the room, a 28 mm lens before a sensor 36 mm wide."""
    views = []
    for i in range(count):
        t = i / max(count - 1, 1)
        eye = np.array(
            [-1.15 + 2.2 * t, 1.42 + 0.22 * np.sin(5.1 * i + 0.4), 1.45 + 0.4 * np.sin(np.pi * t) - 0.12 * (i % 2)]
        )
        target = np.array([0.25 - 0.35 * t + 0.12 * np.sin(2.3 * i), 1.0 + 0.1 * np.cos(3.7 * i), -1.55])
        views.append(_view(eye, target, width, height, width * 28 / 36))
    return views


def video_views(seconds: float = 5.0, fps: float = 24.0, width: int = 640, height: int = 480) -> list[View]:
    """A hand-held sweep from left to right with parallax; the same lens."""
    count = round(seconds * fps)
    views = []
    for t in np.linspace(0, 1, count):
        ease = t * t * (3 - 2 * t) * 0.6 + 0.4 * t
        eye = np.array(
            [-1.0 + 1.9 * ease, 1.35 + 0.12 * np.sin(4 * t) + 0.008 * np.sin(31 * t), 1.75 - 0.5 * np.sin(np.pi * t)]
        )
        target = np.array([0.1 + 0.15 * np.sin(3 * t), 1.0 + 0.01 * np.sin(23 * t), -1.6])
        views.append(_view(eye, target, width, height, width * 28 / 36))
    return views
