"""A z-buffer triangle rasteriser: numba on the CPU and torch on any device, one rule, equal results.

The rule, in pixel coordinates whose integers are pixel centres (x right, y down, z > 0 away from the eye):

* every pixel of a triangle's bounding box ``ceil(min) .. floor(max)`` gets barycentric weights from dot products;
* it is covered when all weights are at least minus a rounding margin, so that shared edges never leave a crack;
* its depth is ``1 / (w0 / z0 + w1 / z1 + w2 / z2)``; the smaller depth wins, and of equal ones the higher triangle;
* there is no back-face culling; triangles without area cover nothing, nor do depths that are not positive.

``Rule.STRICT`` is the historical variant of CUDA face renderers: no margin, the weight of the first corner must be
positive, and a triangle whose denominator is exactly zero fills its bounding box. Arithmetic runs in the dtype of the
triangles, without fused multiply-add, in the same order everywhere.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding_bag

Array = NDArray[np.floating]

_BANDS = 16  # rows are shared out to threads in this many bands; every band walks all triangles
_PAIRS = 1 << 22  # (triangle, pixel) pairs tested at once by the torch version


class Rule(Enum):
    """Which pixels a triangle covers; see the module's text."""

    CLOSED = "closed"
    STRICT = "strict"


@dataclass(frozen=True)
class Fragments:
    """What each pixel shows.

    ``triangle`` (H, W) int32, -1 where nothing is; ``barycentric`` (H, W, 3), 0 there; ``depth`` (H, W), the far value
    there.
    """

    triangle: NDArray[np.int32]
    barycentric: Array
    depth: Array

    @property
    def covered(self) -> NDArray[np.bool_]:
        return self.triangle >= 0


@dataclass(frozen=True)
class TensorFragments:
    """``Fragments`` of a batch on a device: triangle (B, H, W) int64, barycentric (B, H, W, 3), depth (B, H, W)."""

    triangle: Tensor
    barycentric: Tensor
    depth: Tensor


def _margin(rule: Rule, double: bool) -> float:
    if rule is Rule.STRICT:
        return 0.0
    return 1e-9 if double else 1e-5


@numba.njit(cache=True)
def _weights(p, x, y, one):  # pragma: no cover - compiled
    """Dot-product barycentrics of a pixel in triangle p (3, 3), and whether the triangle has area."""
    v0x, v0y = p[2, 0] - p[0, 0], p[2, 1] - p[0, 1]
    v1x, v1y = p[1, 0] - p[0, 0], p[1, 1] - p[0, 1]
    v2x, v2y = x - p[0, 0], y - p[0, 1]
    d00 = v0x * v0x + v0y * v0y
    d01 = v0x * v1x + v0y * v1y
    d02 = v0x * v2x + v0y * v2y
    d11 = v1x * v1x + v1y * v1y
    d12 = v1x * v2x + v1y * v2y
    denominator = d00 * d11 - d01 * d01
    flat = denominator == 0
    inverse = denominator if flat else one / denominator
    u = (d11 * d02 - d01 * d12) * inverse
    v = (d00 * d12 - d01 * d02) * inverse
    return one - u - v, v, u, flat


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _raster_rows(triangles, strict, margin, columns, rows, first, last, triangle, bary, depth):  # pragma: no cover
    """Draws rows ``first .. last`` of all triangles, in their order."""
    width = depth.shape[1]
    one = columns[1]  # typed, so that float32 is not widened
    for f in range(triangles.shape[0]):
        p = triangles[f]
        low, high = min(p[0, 1], p[1, 1], p[2, 1]), max(p[0, 1], p[1, 1], p[2, 1])
        left, right = min(p[0, 0], p[1, 0], p[2, 0]), max(p[0, 0], p[1, 0], p[2, 0])
        if not np.isfinite(p.sum()) or high < first or low > last or right < 0 or left > width - 1:
            continue
        y0, y1 = np.int64(np.ceil(max(low, first))), np.int64(np.floor(min(high, last)))
        x0, x1 = np.int64(np.ceil(max(left, 0))), np.int64(np.floor(min(right, width - 1)))
        for yi in range(y0, y1 + 1):
            for xi in range(x0, x1 + 1):
                w0, w1, w2, flat = _weights(p, columns[xi], rows[yi], one)
                if strict:
                    inside = w2 >= 0 and w1 >= 0 and w0 > 0
                else:
                    inside = not flat and w2 >= -margin and w1 >= -margin and w0 >= -margin
                if not inside:
                    continue
                z = one / (w0 / p[0, 2] + w1 / p[1, 2] + w2 / p[2, 2])
                if 0 < z <= depth[yi, xi] and z < np.inf:
                    depth[yi, xi] = z
                    triangle[yi, xi] = f
                    bary[yi, xi, 0], bary[yi, xi, 1], bary[yi, xi, 2] = w0, w1, w2


def rasterize(
    triangles: Array, height: int, width: int, rule: Rule = Rule.CLOSED, far: float = float("inf")
) -> Fragments:
    """Triangles (F, 3, 3), pixel x, y and depth z > 0 per corner -> what each pixel shows; plain (linear) weights.

    Triangles with a corner that is not finite are skipped. ``far`` is the depth of the background; nothing behind it
    is drawn. float32 and float64 are kept.
    """
    dtype = np.float32 if triangles.dtype == np.float32 else np.float64
    triangles = np.ascontiguousarray(triangles, dtype=dtype).reshape(-1, 3, 3)
    triangle = np.full((height, width), -1, np.int32)
    bary = np.zeros((height, width, 3), dtype)
    depth = np.full((height, width), far, dtype)
    margin = dtype(_margin(rule, dtype is np.float64))
    if height and width and len(triangles):
        columns, rows = np.arange(width + 1, dtype=dtype), np.arange(height, dtype=dtype)
        edges = np.linspace(0, height, min(_BANDS, height) + 1).astype(int)

        def draw(band: tuple[int, int]) -> None:
            strict, (first, stop) = rule is Rule.STRICT, band
            _raster_rows(triangles, strict, margin, columns, rows, first, stop - 1, triangle, bary, depth)

        # Plain threads: numba's own may neither be entered by two callers at once nor survive a fork.
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            list(pool.map(draw, pairwise(edges.tolist())))
    return Fragments(triangle, bary, depth)


def _tensor_weights(p: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``_weights`` for pairs: p (N, 3, 3), x and y (N)."""
    v0x, v0y = p[:, 2, 0] - p[:, 0, 0], p[:, 2, 1] - p[:, 0, 1]
    v1x, v1y = p[:, 1, 0] - p[:, 0, 0], p[:, 1, 1] - p[:, 0, 1]
    v2x, v2y = x - p[:, 0, 0], y - p[:, 0, 1]
    d00 = v0x * v0x + v0y * v0y
    d01 = v0x * v1x + v0y * v1y
    d02 = v0x * v2x + v0y * v2y
    d11 = v1x * v1x + v1y * v1y
    d12 = v1x * v2x + v1y * v2y
    denominator = d00 * d11 - d01 * d01
    flat = denominator == 0
    inverse = torch.where(flat, denominator, 1 / torch.where(flat, torch.ones_like(denominator), denominator))
    u = (d11 * d02 - d01 * d12) * inverse
    v = (d00 * d12 - d01 * d02) * inverse
    return 1 - u - v, v, u, flat


def _chunks(areas: Tensor) -> list[tuple[int, int]]:
    """Ranges of triangles whose bounding boxes together hold about ``_PAIRS`` pixels."""
    total = areas.cumsum(0).cpu()
    ranges, start = [], 0
    while start < len(areas):
        base = int(total[start - 1]) if start else 0
        stop = max(int(torch.searchsorted(total, base + _PAIRS, right=True)), start + 1)
        ranges.append((start, stop))
        start = stop
    return ranges


def rasterize_tensor(
    triangles: Tensor, height: int, width: int, rule: Rule = Rule.CLOSED, far: float = float("inf")
) -> TensorFragments:
    """``rasterize`` for a batch on the tensor's device: triangles (B, F, 3, 3). Not differentiable."""
    if triangles.device.type != "cpu":
        return rasterize_scatter(triangles, height, width, rule, far)
    each = [rasterize(t, height, width, rule, far) for t in triangles.detach().numpy()]
    shape, dtype = (len(each), height, width), triangles.dtype
    fragments = TensorFragments(
        torch.empty(shape, dtype=torch.int64), torch.empty(*shape, 3, dtype=dtype), torch.empty(shape, dtype=dtype)
    )
    for i, f in enumerate(each):
        fragments.triangle[i] = torch.from_numpy(f.triangle)
        fragments.barycentric[i] = torch.from_numpy(f.barycentric)
        fragments.depth[i] = torch.from_numpy(f.depth)
    return fragments


def rasterize_scatter(
    triangles: Tensor, height: int, width: int, rule: Rule = Rule.CLOSED, far: float = float("inf")
) -> TensorFragments:
    """``rasterize_tensor`` in torch operations alone, for devices other than the CPU.

    Works in two passes, as parallel writers need: the least depth per pixel first, then the highest triangle that
    reaches it, so that the result does not depend on the order of execution.
    """
    batch, count = triangles.shape[:2]
    device, dtype = triangles.device, triangles.dtype
    pixels = height * width
    depth = torch.full((batch * pixels,), far, dtype=dtype, device=device)
    winner = torch.full((batch * pixels,), -1, dtype=torch.int64, device=device)
    flat = triangles.detach().reshape(-1, 3, 3)  # (B * F, 3, 3)
    low, high = flat[..., :2].amin(1), flat[..., :2].amax(1)  # (B * F, 2)
    size = torch.tensor([width, height], device=device, dtype=dtype)
    seen = (flat.sum((1, 2)).isfinite() & (high >= 0).all(1) & (low <= size - 1).all(1)).nonzero()[:, 0]
    first = low[seen].clamp(min=0).ceil().long()
    last = torch.minimum(high[seen], size - 1).floor().long()
    extent = (last - first + 1).clamp(min=0)  # (N, 2)
    margin = _margin(rule, dtype == torch.float64)

    def covered(start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
        """Covered (pixel, triangle, depth) of a range of ``seen``."""
        areas = extent[start:stop].prod(1)
        which = torch.repeat_interleave(torch.arange(start, stop, device=device), areas)  # (P,)
        offset = torch.arange(len(which), device=device) - torch.repeat_interleave(areas.cumsum(0) - areas, areas)
        x = first[which, 0] + offset % extent[which, 0]
        y = first[which, 1] + offset // extent[which, 0]
        p = flat[seen[which]]
        w0, w1, w2, empty = _tensor_weights(p, x.to(dtype), y.to(dtype))
        if rule is Rule.STRICT:
            inside = (w2 >= 0) & (w1 >= 0) & (w0 > 0)
        else:
            inside = ~empty & (w2 >= -margin) & (w1 >= -margin) & (w0 >= -margin)
        z = 1 / (w0 / p[:, 0, 2] + w1 / p[:, 1, 2] + w2 / p[:, 2, 2])
        inside &= (z > 0) & (z <= far) & (z < float("inf"))
        source = seen[which[inside]]
        pixel = source // count * pixels + y[inside] * width + x[inside]
        return pixel, source, z[inside]

    ranges = _chunks(extent.prod(1)) if len(seen) and pixels else []
    for start, stop in ranges:
        pixel, _, z = covered(start, stop)
        depth.scatter_reduce_(0, pixel, z, "amin")
    for start, stop in ranges:
        pixel, source, z = covered(start, stop)
        front = z == depth[pixel]
        winner.scatter_reduce_(0, pixel[front], source[front], "amax")

    hit = (winner >= 0).nonzero()[:, 0]
    bary = torch.zeros(batch * pixels, 3, dtype=dtype, device=device)
    inside_image = hit % max(pixels, 1)
    x, y = (inside_image % width).to(dtype), (inside_image // width).to(dtype)
    w0, w1, w2, _ = _tensor_weights(flat[winner[hit]], x, y)
    bary[hit] = torch.stack([w0, w1, w2], dim=1)
    triangle = torch.where(winner >= 0, winner % max(count, 1), winner)
    shape = (batch, height, width)
    return TensorFragments(triangle.view(shape), bary.view(*shape, 3), depth.view(shape))


def ndc_to_pixels(vertices: Tensor, height: int, width: int) -> Tensor:
    """(..., 3) with x, y in [-1, 1] edge to edge (y down) -> pixels; z scales along with x.

    The closed form ``x * w / 2 + w / 2 - 0.5`` is taken in the steps of the renderer that ``Rule.STRICT`` stands for:
    their rounding decides pixels that lie exactly on an edge.
    """
    size = vertices.new_tensor([width, height])
    mirrored = size - 1 - (-vertices[..., :2] * size / 2 + size / 2)
    pixels = (-1 + (2 * mirrored + 1) / size) * size / 2 + size / 2
    return torch.cat([pixels, vertices[..., 2:] * width / 2], dim=-1)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _correct(triangle, bary, depths, source, corner_weights):  # pragma: no cover - compiled
    """Makes weights perspective-correct and carries them from pieces to the triangles they were cut from."""
    for y in range(triangle.shape[0]):
        for x in range(triangle.shape[1]):
            f = triangle[y, x]
            if f < 0:
                continue
            a, b, c = bary[y, x, 0] / depths[f, 0], bary[y, x, 1] / depths[f, 1], bary[y, x, 2] / depths[f, 2]
            total = a + b + c
            for k in range(3):
                w = corner_weights[f, 0, k] * a + corner_weights[f, 1, k] * b + corner_weights[f, 2, k] * c
                bary[y, x, k] = w / total
            triangle[y, x] = source[f]


@numba.njit(nogil=True, cache=True)
def _blend(triangle, bary, corners, out):  # pragma: no cover - compiled
    for y in range(triangle.shape[0]):
        for x in range(triangle.shape[1]):
            f = triangle[y, x]
            if f >= 0:
                for c in range(corners.shape[2]):
                    value = bary[y, x, 0] * corners[f, 0, c] + bary[y, x, 1] * corners[f, 1, c]
                    out[y, x, c] = value + bary[y, x, 2] * corners[f, 2, c]


def interpolate(fragments: Fragments, corners: Array) -> Array:
    """Values at the corners (F, 3, C) -> image (H, W, C), 0 where nothing is."""
    image = np.zeros((*fragments.triangle.shape, corners.shape[-1]), np.result_type(corners, fragments.barycentric))
    _blend(fragments.triangle, fragments.barycentric, np.ascontiguousarray(corners), image)
    return image


def interpolate_tensor(fragments: TensorFragments, corners: Tensor) -> Tensor:
    """Values at the corners (B, F, 3, C) -> (B, H, W, C), 0 where nothing is; differentiable in the values."""
    batch = torch.arange(len(corners), device=corners.device)[:, None, None]
    values = corners[batch, fragments.triangle.clamp(min=0)]  # (B, H, W, 3, C)
    weights = fragments.barycentric * (fragments.triangle >= 0)[..., None]
    return (weights[..., None] * values).sum(-2)


def interpolate_vertices(fragments: TensorFragments, faces: Tensor, values: Tensor) -> Tensor:
    """Values at vertices (B, V, C) of triangles (F, 3) -> (B, H, W, C), 0 where nothing is: one fused pass."""
    batch, count, channels = values.shape
    covered = fragments.triangle >= 0
    corners = faces[fragments.triangle.clamp(min=0)].flatten(1, 2)  # (B, H W, 3)
    if batch > 1:
        corners = corners + count * torch.arange(batch, device=corners.device)[:, None, None]
    weights = fragments.barycentric * covered[..., None]
    table, ids = values.reshape(-1, channels), corners.flatten(0, 1)
    blended = embedding_bag(ids, table, mode="sum", per_sample_weights=weights.reshape(-1, 3))
    return blended.view(*fragments.triangle.shape, channels)


def _clip_near(corners: Array, near: float) -> tuple[Array, NDArray[np.int64], Array]:
    """Camera-space triangles (F, 3, 3) cut at ``z = near``.

    Returns the pieces (N, 3, 3), the triangle each is of (N,), and the weights of that triangle's corners at each of
    the piece's corners (N, 3, 3).
    """
    eye = np.broadcast_to(np.eye(3), (len(corners), 3, 3))
    ahead = corners[..., 2] >= near
    whole = ahead.all(axis=1)
    crossing = np.flatnonzero(ahead.any(axis=1) & ~whole)
    pieces, source, weights = [], [], []
    for f in crossing:
        polygon: list[Array] = []
        for a in range(3):
            b = (a + 1) % 3
            if ahead[f, a]:
                polygon.append(eye[f, a])
            if ahead[f, a] != ahead[f, b]:
                t = (near - corners[f, a, 2]) / (corners[f, b, 2] - corners[f, a, 2])
                polygon.append((1 - t) * eye[f, a] + t * eye[f, b])
        for k in range(1, len(polygon) - 1):
            weights.append(np.stack([polygon[0], polygon[k], polygon[k + 1]]))
            pieces.append(weights[-1] @ corners[f])
            source.append(f)
    if not pieces:
        kept = np.flatnonzero(whole)
        return corners[kept], kept, eye[kept]
    kept = np.concatenate([np.flatnonzero(whole), source])
    return (
        np.concatenate([corners[whole], pieces]),
        kept,
        np.concatenate([eye[whole], weights]),
    )


def rasterize_mesh(
    vertices: Array,
    faces: NDArray[np.integer],
    extrinsics: Array,
    intrinsics: Array,
    height: int,
    width: int,
    near: float = 1e-2,
) -> Fragments:
    """A mesh seen by a pinhole camera, triangles across the near plane cut; perspective-correct weights.

    Args:
        vertices: (V, 3) in the world.
        faces: (F, 3) vertex ids.
        extrinsics: (3, 4) or (4, 4) world-to-camera, OpenCV axes.
        intrinsics: (3, 3) in pixels, (0, 0) being the centre of the top-left pixel.
        near: smallest depth that is drawn, in world units.
    """
    E, K = np.asarray(extrinsics, np.float64), np.asarray(intrinsics, np.float64)
    camera = np.asarray(vertices, np.float64) @ E[:3, :3].T + E[:3, 3]
    corners, source, corner_weights = _clip_near(camera[faces], near)
    pixels = corners @ K.T
    pixels[..., :2] /= pixels[..., 2:]
    fragments = rasterize(pixels, height, width)
    _correct(fragments.triangle, fragments.barycentric, pixels[..., 2], source, np.ascontiguousarray(corner_weights))
    return fragments
