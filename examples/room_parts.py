"""What stands in the example room: walls, pictures, furniture, as textured surfaces and the boxes that cast shadows.

World axes: x right, y up, z towards the viewer, metres.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from examples import room_textures as paint

Array = NDArray[np.floating]

HALF_X, HALF_Z, HEIGHT = 2.6, 2.2, 2.6
TEXELS = 230.0  # per metre


@dataclass(frozen=True)
class Surface:
    """A grid of points (R, C, 3) with outward normals (R, C, 3) that carries a texture, v downwards."""

    points: Array
    normals: Array
    texture: NDArray[np.uint8]
    emits: float = 0.0


@dataclass
class Builder:
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


def _shell(b: Builder) -> None:
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


def _wall_things(b: Builder) -> None:
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


def _bookshelf(b: Builder) -> None:
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


def _furniture(b: Builder) -> None:
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


def furnish() -> Builder:
    """The whole room."""
    builder = Builder()
    for part in (_shell, _wall_things, _bookshelf, _furniture):
        part(builder)
    return builder
