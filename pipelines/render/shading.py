"""Pictures of meshes and point clouds from a pinhole camera, on the CPU, for posters, turntables and overlays.

Cameras as everywhere: extrinsics world-to-camera with OpenCV axes, intrinsics in pixels with (0, 0) the centre of the
top-left pixel. Colours are uint8 sRGB; light is worked out in linear values.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import cv2
import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from models.geometry.cameras import resize_intrinsics, transform_points
from pipelines.render.raster import interpolate, rasterize_mesh

Array = NDArray[np.floating]

CLAY = (196, 190, 184)
GAMMA = 2.2
_DOME_STEP = 0.05  # logarithmic depth step that darkens fully


@dataclass(frozen=True)
class Camera:
    """Extrinsics (3|4, 4) world-to-camera, intrinsics (3, 3), size in pixels."""

    extrinsics: Array
    intrinsics: Array
    width: int
    height: int


@dataclass(frozen=True)
class Lights:
    """A key light from the viewer's upper left, a weak fill from the other side, soft light from above.

    Directions point towards the light in camera axes (x right, y down, z forward), so lights travel with the camera.
    """

    key: tuple[float, float, float] = (-0.5, -0.6, -0.8)
    fill: tuple[float, float, float] = (0.8, 0.1, -0.6)
    key_power: float = 0.82
    fill_power: float = 0.18
    ambient: float = 0.14


@dataclass(frozen=True)
class Picture:
    """``color`` (H, W, 3) uint8, ``alpha`` (H, W) uint8 coverage, ``depth`` (H, W) float32, inf where nothing is."""

    color: NDArray[np.uint8]
    alpha: NDArray[np.uint8]
    depth: NDArray[np.float32]


def face_normals(vertices: Array, faces: NDArray[np.integer]) -> Array:
    """Cross products of the edges, (F, 3): twice the area long, towards the side seen counter-clockwise."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return np.cross(b - a, c - a)


def vertex_normals(vertices: Array, faces: NDArray[np.integer]) -> Array:
    """Unit normals (V, 3): area-weighted means of the faces around; (0, 0, 0) for vertices without faces."""
    weighted = face_normals(vertices, faces)
    normals = np.zeros(vertices.shape, np.float64)
    for corner in range(3):
        for axis in range(3):
            normals[:, axis] += np.bincount(faces[:, corner], weights=weighted[:, axis], minlength=len(vertices))
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 0, normals / np.where(length > 0, length, 1), 0)


def to_linear(color: ArrayLike) -> NDArray[np.float32]:
    """uint8 sRGB -> light in 0..1."""
    return (np.asarray(color, np.float32) / 255) ** GAMMA


def to_bytes(linear: Array) -> NDArray[np.uint8]:
    """The inverse of ``to_linear``, clipped."""
    return (np.clip(linear, 0, 1) ** (1 / GAMMA) * 255 + 0.5).astype(np.uint8)


def shade(normals: Array, view: Array, lights: Lights) -> Array:
    """Light per pixel: camera-space unit normals (..., 3) seen along unit rays (..., 3) -> (...).

    Both sides of a surface are lit as if they faced the viewer.
    """
    facing = np.where(np.sum(normals * view, axis=-1, keepdims=True) > 0, -normals, normals)
    total = lights.ambient * (0.75 - 0.25 * facing[..., 1])  # a little more from above
    for direction, power in ((lights.key, lights.key_power), (lights.fill, lights.fill_power)):
        towards = np.asarray(direction, facing.dtype) / np.linalg.norm(direction)
        wrapped = (facing @ towards + 0.1) / 1.1  # soft edges of the shadow side, as large lamps give
        total = total + power * np.clip(wrapped, 0, None)
    return total


def sample_texture(texture: NDArray[np.uint8], uv: Array) -> NDArray[np.float32]:
    """Linear colours (H, W, 3) at uv (H, W, 2), origin bottom left, bilinear, repeating the border."""
    height, width = texture.shape[:2]
    x = (uv[..., 0] * width - 0.5).astype(np.float32)
    y = ((1 - uv[..., 1]) * height - 0.5).astype(np.float32)
    return cv2.remap(to_linear(texture[..., :3]), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def render_mesh(
    camera: Camera,
    vertices: Array,
    faces: NDArray[np.integer],
    colors: NDArray[np.uint8] | None = None,
    texture: NDArray[np.uint8] | None = None,
    uv: Array | None = None,
    normals: Array | None = None,
    lights: Lights | None = None,
    background: tuple[int, int, int] = (255, 255, 255),
    supersample: int = 2,
) -> Picture:
    """A lit mesh.

    Args:
        vertices: (V, 3) in the world; faces (F, 3).
        colors: (V, 3) uint8, or one colour (3,); clay without colours and texture.
        texture: (H, W, 3) uint8 with ``uv`` (V, 2) per vertex or (F, 3, 2) per corner, origin bottom left.
        normals: (V, 3), made from the faces when None.
        lights: None draws the bare colours.
        supersample: samples per pixel and axis.
    """
    vertices = np.asarray(vertices, np.float64)
    height, width = camera.height * supersample, camera.width * supersample
    K = resize_intrinsics(camera.intrinsics, supersample, supersample)
    R = np.asarray(camera.extrinsics, np.float64)[:3, :3]
    fragments = rasterize_mesh(vertices, faces, camera.extrinsics, K, height, width)
    if texture is not None and uv is not None:
        uv = np.asarray(uv)
        albedo = sample_texture(texture, interpolate(fragments, uv if uv.ndim == 3 else uv[faces]))
    elif colors is None or np.ndim(colors) == 1:
        albedo = np.broadcast_to(to_linear(CLAY if colors is None else colors), (height, width, 3))
    else:
        albedo = interpolate(fragments, to_linear(colors)[faces])
    if lights is not None:
        unit = vertex_normals(vertices, faces) if normals is None else np.asarray(normals)
        n = interpolate(fragments, (unit @ R.T)[faces])
        n /= np.maximum(np.linalg.norm(n, axis=-1, keepdims=True), 1e-9)
        x, y = np.meshgrid((np.arange(width) - K[0, 2]) / K[0, 0], (np.arange(height) - K[1, 2]) / K[1, 1])
        rays = np.stack([x, y, np.ones_like(x)], axis=-1)
        albedo = albedo * shade(n, rays, lights)[..., None]
    covered = fragments.covered
    linear = np.where(covered[..., None], albedo, to_linear(background)).astype(np.float32)
    return _reduced(linear, covered, fragments.depth, camera, supersample)


def _reduced(linear: Array, covered: NDArray[np.bool_], depth: Array, camera: Camera, samples: int) -> Picture:
    """Averages samples to pixels; depth is the nearest sample's."""
    size = (camera.width, camera.height)
    color = cv2.resize(linear.astype(np.float32, copy=False), size, interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(covered.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    nearest = reduce(np.minimum, (depth[i::samples, j::samples] for i in range(samples) for j in range(samples)))
    return Picture(to_bytes(color), (alpha * 255 + 0.5).astype(np.uint8), nearest.astype(np.float32))


@numba.njit(nogil=True, cache=True)
def _splat(u, v, z, radius, index, depth):  # pragma: no cover - compiled
    """Discs into a z-buffer; the nearest wins, of equal ones the first."""
    height, width = depth.shape
    for i in range(u.shape[0]):
        r, near = radius[i], z[i]
        y0, y1 = max(int(np.ceil(v[i] - r)), 0), min(int(np.floor(v[i] + r)), height - 1)
        for y in range(y0, y1 + 1):
            half = np.sqrt(max(r * r - (y - v[i]) ** 2, 0.0))
            x0, x1 = max(int(np.ceil(u[i] - half)), 0), min(int(np.floor(u[i] + half)), width - 1)
            for x in range(x0, x1 + 1):
                if near < depth[y, x]:
                    depth[y, x] = near
                    index[y, x] = i


def eye_dome(depth: Array, strength: float = 1.0, reach: int = 2) -> Array:
    """Darkening (H, W) in 0..1 where neighbours are nearer: gives shape to clouds without normals.

    Source: Boucheny 2009 (eye-dome lighting), with logarithmic depth so that scale does not matter.
    """
    log = np.where(np.isfinite(depth), np.log(np.where(np.isfinite(depth), depth, 1)), 1e3).astype(np.float32)
    padded = np.pad(log, reach, mode="edge")
    h, w = depth.shape
    fall = np.zeros((h, w), np.float32)
    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
        near = padded[reach + reach * dy :, reach + reach * dx :][:h, :w]
        fall += np.clip(log - near, 0, _DOME_STEP)
    return np.exp(-0.8 * strength * fall / (8 * _DOME_STEP))


def render_points(
    camera: Camera,
    points: Array,
    colors: NDArray[np.uint8],
    radius: float | Array = 0.0,
    background: tuple[int, int, int] = (255, 255, 255),
    shading: float = 1.0,
    supersample: int = 2,
    near: float = 1e-3,
) -> Picture:
    """A coloured point cloud drawn as discs with a z-buffer.

    Args:
        points: (N, 3) in the world; ``colors`` (N, 3) uint8.
        radius: disc radius in world units, a number or (N,); a disc never gets smaller than a pixel nor larger than
            2 % of the picture.
        shading: strength of the eye-dome shading, 0 for none.
    """
    height, width = camera.height * supersample, camera.width * supersample
    K = resize_intrinsics(camera.intrinsics, supersample, supersample)
    local = transform_points(camera.extrinsics, points)
    kept = np.flatnonzero(np.isfinite(local).all(axis=1) & (local[:, 2] > near))
    z = local[kept, 2].astype(np.float64)
    u = local[kept, 0] / z * K[0, 0] + K[0, 2]
    v = local[kept, 1] / z * K[1, 1] + K[1, 2]
    size = np.broadcast_to(np.asarray(radius, np.float64), (len(local),))[kept] * K[0, 0] / z
    size = np.clip(size, 0.71 * supersample, max(0.02 * width, 0.71 * supersample))
    depth, index = np.full((height, width), np.inf), np.full((height, width), -1, np.int64)
    _splat(u.astype(np.float64), v.astype(np.float64), z, size, index, depth)
    covered = index >= 0
    linear = np.broadcast_to(to_linear(background), (height, width, 3)).astype(np.float32)
    linear[covered] = to_linear(np.asarray(colors)[kept[index[covered]], :3])
    if shading > 0:
        linear *= np.where(covered, eye_dome(depth, shading), 1)[..., None]
    return _reduced(linear, covered, depth, camera, supersample)


def point_spacing(points: Array, samples: int = 2000, seed: int = 0) -> float:
    """Median distance of a point to its nearest neighbour, from a seeded sample; 0 for fewer than two points."""
    points = np.asarray(points, np.float64)
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) < 2:
        return 0.0
    chosen = np.random.default_rng(seed).choice(len(points), size=min(samples, len(points)), replace=False)
    distance, _ = cKDTree(points).query(points[chosen], k=2)
    return float(np.median(distance[:, 1]))
