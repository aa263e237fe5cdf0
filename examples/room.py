"""The example room: made by code, lit by baked light, seen by known cameras. Ground truth for tests and examples.

World axes: x right, y up, z towards the viewer, metres. Cameras are OpenCV world-to-camera.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from examples import room_textures as paint
from models.geometry.cameras import intrinsics_from_fov, look_at, resize_intrinsics
from pipelines.render.raster import rasterize_mesh

Array = NDArray[np.floating]

HALF_X, HALF_Z, HEIGHT = 2.6, 2.2, 2.6
TEXELS = 230.0  # per metre
LIGHT_CELL = 0.03  # metres per lightmap texel
MIPS = 4


@dataclass(frozen=True)
class View:
    """One camera: extrinsics (3, 4) world-to-camera, intrinsics (3, 3) in pixels, size in pixels."""

    extrinsics: Array
    intrinsics: Array
    width: int
    height: int


@dataclass(frozen=True)
class Surface:
    """A grid of points (R, C, 3) with outward normals (R, C, 3) that carries a texture, v downwards."""

    points: Array
    normals: Array
    texture: NDArray[np.uint8]
    emits: float = 0.0


@dataclass
class _Builder:
    surfaces: list[Surface] = field(default_factory=list)
    boxes: list[tuple[float, ...]] = field(default_factory=list)  # centre, half sizes, cos and sin of the yaw

    def quad(
        self,
        origin: Array,
        right: Array,
        down: Array,
        painter: paint.Painter,
        emits: float = 0.0,
        density: float = TEXELS,
    ) -> None:
        """A rectangle from its top-left corner and its two edges as seen from outside."""
        origin, right, down = (np.asarray(v, np.float64) for v in (origin, right, down))
        w, h = (max(8, int(np.linalg.norm(e) * density)) for e in (right, down))
        rng = np.random.default_rng(zlib.crc32(f"{len(self.surfaces)}".encode()))
        normal = np.cross(down, right)
        normal /= np.linalg.norm(normal)
        corners = np.array([[origin, origin + right], [origin + down, origin + down + right]])
        self.surfaces.append(Surface(corners, np.broadcast_to(normal, (2, 2, 3)), painter(h, w, rng), emits))

    def box(
        self,
        centre: tuple[float, float, float],
        size: tuple[float, float, float],
        painter: paint.Painter,
        yaw: float = 0.0,
        front: paint.Painter | None = None,
        density: float = TEXELS,
    ) -> None:
        """A box turned about y by ``yaw`` degrees; ``front`` paints its +z face. Faces on the floor are left out."""
        c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
        turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        half = np.asarray(size) / 2
        self.boxes.append((*centre, *half, c, s))
        for axis, side in ((0, 1), (0, -1), (1, 1), (1, -1), (2, 1), (2, -1)):
            if axis == 1 and side == -1 and centre[1] - half[1] < 0.05:
                continue
            normal = np.zeros(3)
            normal[axis] = side
            down = np.array([0, -1.0, 0]) if axis != 1 else np.array([0, 0, float(side)])
            right = np.cross(normal, down)
            corner = normal * half - right * half - down * half
            face = front if front is not None and axis == 2 and side == 1 else painter
            self.quad(
                turn @ corner + centre,
                turn @ right * 2 * abs(right @ half),
                turn @ down * 2 * abs(down @ half),
                face,
                density=density,
            )

    def patch(self, points: Array, normals: Array, painter: paint.Painter, size: tuple[float, float]) -> None:
        """A curved grid; ``size`` is its height and width in metres, for the texture's resolution."""
        rng = np.random.default_rng(zlib.crc32(f"{len(self.surfaces)}".encode()))
        h, w = (max(8, int(s * TEXELS)) for s in size)
        self.surfaces.append(Surface(points, normals, painter(h, w, rng)))

    def sphere(self, centre: tuple[float, float, float], radius: float, painter: paint.Painter) -> None:
        v, u = np.mgrid[0 : np.pi : 17j, 0 : 2 * np.pi : 33j]
        normals = np.stack([np.sin(v) * np.sin(u), np.cos(v), np.sin(v) * np.cos(u)], -1)
        self.patch(np.asarray(centre) + radius * normals, normals, painter, (np.pi * radius, 2 * np.pi * radius))
        self.boxes.append((*centre, *[0.75 * radius] * 3, 1.0, 0.0))

    def cylinder(
        self, base: tuple[float, float, float], radius: float, height: float, painter: paint.Painter, top: float = 1.0
    ) -> None:
        """An upright (or tapering: ``top`` times the radius) tube with a lid."""
        v, u = np.mgrid[0:1:2j, 0 : 2 * np.pi : 25j]
        r = radius * (top + (1 - top) * v)
        points = np.asarray(base) + np.stack([r * np.sin(u), height * (1 - v), r * np.cos(u)], -1)
        normals = np.stack([np.sin(u), np.zeros_like(u), np.cos(u)], -1)
        self.patch(points, normals, painter, (height, 2 * np.pi * radius))
        rim = points[0]
        lid = np.stack([np.broadcast_to(rim.mean(axis=0), rim.shape), rim])
        self.patch(lid, np.broadcast_to(np.array([0, 1.0, 0]), lid.shape), painter, (radius, 2 * np.pi * radius))
        middle = (base[0], base[1] + height / 2, base[2])
        self.boxes.append((*middle, 0.7 * radius * min(top, 1), 0.4 * height, 0.7 * radius * min(top, 1), 1.0, 0.0))


def _shell(b: _Builder) -> None:
    x, z, y = HALF_X, HALF_Z, HEIGHT
    wallpaper = paint.leaves(
        (0.78, 0.74, 0.62), [(0.35, 0.45, 0.32), (0.52, 0.58, 0.4), (0.7, 0.5, 0.35), (0.3, 0.38, 0.45)]
    )
    b.quad([-x, y, -z], [2 * x, 0, 0], [0, -y, 0], wallpaper)
    b.quad([-x, y, z], [0, 0, -2 * z], [0, -y, 0], paint.plain((0.62, 0.7, 0.72), 0.09))
    b.quad([x, y, -z], [0, 0, 2 * z], [0, -y, 0], paint.bricks)
    b.quad([x, y, z], [-2 * x, 0, 0], [0, -y, 0], wallpaper)
    b.quad([-x, 0, -z], [2 * x, 0, 0], [0, 0, 2 * z], paint.wood((0.55, 0.36, 0.2), planks=26))
    b.quad([-x, y, z], [2 * x, 0, 0], [0, 0, -2 * z], paint.plain((0.86, 0.85, 0.82), 0.05))


def _wall_things(b: _Builder) -> None:
    x, z = HALF_X, HALF_Z

    def back(left: float, top: float, w: float, h: float, painter: paint.Painter) -> None:
        b.box((left + w / 2, top - h / 2, -z + 0.012), (w + 0.04, h + 0.04, 0.024), paint.wood((0.2, 0.14, 0.1)))
        b.quad([left, top, -z + 0.027], [w, 0, 0], [0, -h, 0], painter, density=340)

    back(-2.2, 2.35, 0.62, 0.85, paint.sheet)
    back(-1.4, 2.3, 0.95, 0.62, paint.landscape)
    back(-1.35, 1.55, 0.55, 0.55, paint.mosaic)
    back(-0.28, 2.35, 0.7, 1.0, paint.chart)
    back(0.6, 2.2, 0.5, 0.7, paint.shapes)
    b.quad([-x + 0.01, 2.15, 0.9], [0, 0, -1.5], [0, -1.15, 0], paint.outdoors, emits=1.5, density=300)
    for top, zz, w, h, painter in ((2.2, -0.9, 0.7, 0.5, paint.shapes), (1.6, -0.95, 0.6, 0.42, paint.landscape)):
        b.quad([-x + 0.02, top, zz], [0, 0, -w], [0, -h, 0], painter, density=340)
    for top, zz, w, h, painter in (
        (2.25, -1.3, 0.9, 0.65, paint.chart),
        (2.2, -0.1, 0.55, 0.8, paint.sheet),
        (1.45, -1.1, 0.6, 0.45, paint.mosaic),
    ):
        b.quad([x - 0.02, top, zz], [0, 0, w], [0, -h, 0], painter, density=340)


def _bookshelf(b: _Builder) -> None:
    left, right, back, depth, top = 1.25, 2.35, -HALF_Z, 0.34, 2.1
    board = paint.wood((0.5, 0.33, 0.2))
    middle_z = back + depth / 2
    for x in (left, right):
        b.box((x, top / 2, middle_z), (0.03, top, depth), board)
    b.box(((left + right) / 2, top / 2, back + 0.01), (right - left, top, 0.02), paint.plain((0.34, 0.24, 0.17), 0.1))
    rng = np.random.default_rng(11)
    for shelf in range(6):
        y = 0.06 + shelf * (top - 0.09) / 5
        b.box(((left + right) / 2, y, middle_z), (right - left - 0.03, 0.03, depth), board)
        x = left + 0.03
        while shelf < 5 and x < right - 0.1:
            thick, tall = rng.uniform(0.022, 0.06), rng.uniform(0.2, 0.32)
            deep = rng.uniform(0.18, 0.27)
            if rng.uniform() < 0.86:
                b.box(
                    (x + thick / 2, y + 0.015 + tall / 2, back + 0.03 + deep / 2),
                    (thick, tall, deep),
                    paint.spine,
                    density=300,
                )
            x += thick + rng.uniform(0.001, 0.012)


def _furniture(b: _Builder) -> None:
    cloth = paint.fabric((0.25, 0.36, 0.5), (0.6, 0.62, 0.55))
    b.box((-2.08, 0.23, -0.05), (0.85, 0.36, 1.9), cloth)
    b.box((-2.42, 0.55, -0.05), (0.25, 0.55, 1.9), cloth)
    for zz in (-1.08, 0.98):
        b.box((-2.08, 0.33, zz), (0.85, 0.56, 0.18), cloth)
    b.box((-2.16, 0.56, -0.62), (0.16, 0.36, 0.42), paint.fabric((0.7, 0.3, 0.2), (0.9, 0.75, 0.4)), yaw=14)
    b.box((-2.14, 0.55, 0.45), (0.16, 0.34, 0.4), paint.shapes, yaw=-18)
    b.quad([-1.25, 0.008, -1.3], [2.5, 0, 0], [0, 0, 1.9], paint.rug)

    board = paint.wood((0.58, 0.4, 0.24))
    b.box((0.0, 0.42, -0.4), (1.15, 0.045, 0.62), board, yaw=8)
    for dx, dz in ((-0.5, -0.24), (0.5, -0.24), (-0.5, 0.24), (0.5, 0.24)):
        c, s = np.cos(np.radians(8)), np.sin(np.radians(8))
        b.box((c * dx + s * dz, 0.2, -0.4 - s * dx + c * dz), (0.05, 0.4, 0.05), board, yaw=8)
    b.box((-0.28, 0.46, -0.38), (0.3, 0.035, 0.22), paint.sheet, yaw=25, density=340)
    b.box((-0.27, 0.495, -0.39), (0.26, 0.03, 0.19), paint.spine, yaw=5, density=340)
    b.box((-0.28, 0.523, -0.38), (0.22, 0.025, 0.16), paint.landscape, yaw=-20, density=340)
    b.cylinder((0.3, 0.443, -0.5), 0.05, 0.03, paint.wood((0.3, 0.2, 0.12)))
    b.sphere((0.3, 0.6, -0.5), 0.13, paint.chart)
    b.cylinder((0.12, 0.443, -0.22), 0.042, 0.1, paint.shapes, top=1.1)

    b.box((-0.85, 0.38, -1.93), (1.5, 0.72, 0.45), paint.wood((0.42, 0.28, 0.18)))
    for i in range(3):
        b.quad(
            [-1.56 + 0.48 * i, 0.68, -1.7],
            [0.44, 0, 0],
            [0, -0.56, 0],
            paint.leaves((0.5, 0.36, 0.24), [(0.7, 0.55, 0.35), (0.3, 0.2, 0.12)], 1 / 500),
        )
        b.sphere((-1.34 + 0.48 * i, 0.55, -1.69), 0.022, paint.plain((0.8, 0.7, 0.4)))
    b.cylinder((-1.4, 0.74, -1.95), 0.11, 0.2, paint.mosaic, top=1.3)
    bush = paint.leaves((0.1, 0.2, 0.08), [(0.25, 0.45, 0.15), (0.35, 0.55, 0.2), (0.15, 0.3, 0.12)], 1 / 90)
    for dx, dy, r in ((0, 0.16, 0.17), (0.13, 0.08, 0.11), (-0.12, 0.1, 0.12)):
        b.sphere((-1.4 + dx, 0.95 + dy, -1.93), r, bush)
    b.box((-0.75, 0.87, -1.98), (0.5, 0.26, 0.2), paint.wood((0.5, 0.3, 0.16)), yaw=-6, front=paint.mosaic)
    b.box((-0.3, 0.84, -1.92), (0.12, 0.2, 0.12), paint.shapes, yaw=30)

    seat = paint.fabric((0.65, 0.45, 0.2), (0.4, 0.2, 0.15))
    turn = np.radians(-40)
    for dx, dy, dz, w, h, d, painter in (
        (0, 0.44, 0, 0.46, 0.06, 0.46, seat),
        (0, 0.72, -0.21, 0.46, 0.42, 0.04, seat),
        *((sx * 0.2, 0.205, sz * 0.2, 0.04, 0.41, 0.04, board) for sx in (-1, 1) for sz in (-1, 1)),
    ):
        centre = (1.45 + np.cos(turn) * dx + np.sin(turn) * dz, dy, -0.35 - np.sin(turn) * dx + np.cos(turn) * dz)
        b.box(centre, (w, h, d), painter, yaw=-40)
    crate = paint.wood((0.62, 0.48, 0.3), planks=4)
    b.box((2.2, 0.2, 0.35), (0.5, 0.4, 0.5), crate, yaw=12, front=paint.sheet)
    b.box(
        (2.22, 0.54, 0.33),
        (0.36, 0.28, 0.36),
        paint.leaves((0.6, 0.5, 0.35), [(0.3, 0.3, 0.3), (0.8, 0.7, 0.5)]),
        yaw=-15,
    )
    b.cylinder((0.98, 0.0, -1.98), 0.13, 0.03, paint.plain((0.2, 0.2, 0.2)))
    b.cylinder((0.98, 0.03, -1.98), 0.015, 1.3, paint.plain((0.25, 0.25, 0.25)))
    b.cylinder(
        (0.98, 1.3, -1.98),
        0.17,
        0.26,
        paint.leaves((0.85, 0.78, 0.6), [(0.6, 0.4, 0.25), (0.5, 0.5, 0.3)], 1 / 300),
        top=0.7,
    )


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
    b = _Builder()
    for part in (_shell, _wall_things, _bookshelf, _furniture):
        part(b)
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
    image = paint.finish((bright * (1 + bright / 6) / (1 + bright)) ** (1 / 2.2))
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
