"""Colouring surface points from drawings whose UDPs are known: the nearest points of the drawn surface give the colour.

A drawing's pixel counts by how near its surface point is and how squarely the drawing looks at it; one drawing is
preferred for each point, so that drawings are not mixed into a blur. Surface that no drawing shows is taken from the
other side of the body, or else from what is nearest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numba
import numpy as np
from scipy.spatial import cKDTree

from models.runtime.errors import InputError

Array = np.ndarray
SURE = 0.98  # alpha and visibility from which a pixel belongs wholly to the figure
REACH = 0.6  # standard deviation of the blend, in drawing pixels
OTHERS = 0.15  # what the drawings beside the preferred one count
FAR = 4.0  # drawing pixels from the nearest seen point beyond which the other side is asked
CELLS = 0.55  # edge of a cache cell, in pixels of the finest drawing
_BLOCK = 8
_FEWEST = 50


class SurfaceLookup:
    """Known surface points and their colours.

    Args:
        drawings: pairs of straight RGBA (H, W, 4) uint8 and UDP (H, W, 4).
        lengths: (3,) of the UDP's axes in common units, so that distances mean the same along each.
        neighbours: pixels that are blended into a colour.

    Raises:
        InputError: no drawing and its UDP show the same figure.
    """

    def __init__(self, drawings: Sequence[tuple[Array, Array]], lengths: Array, neighbours: int = 6) -> None:
        self.lengths = np.asarray(lengths, np.float64)
        self.neighbours = neighbours
        points, colors, facing, source, pixels = [], [], [], [], []
        for index, (rgba, udp) in enumerate(drawings):
            sure = (rgba[..., 3] >= SURE * 255) & (udp[..., 3] >= SURE)
            place = udp[..., :3].astype(np.float64) * self.lengths
            step = _steps(place, sure)
            known = sure & np.isfinite(step)
            if known.sum() < _FEWEST:
                continue
            pixel = float(np.percentile(step[known], 25))
            points.append(place[known])
            colors.append(rgba[..., :3][known])
            facing.append(np.clip(pixel / np.maximum(step[known], 1e-9), 0.05, 1) ** 2)
            source.append(np.full(int(known.sum()), index, np.int32))
            pixels.append(pixel)
        if not points:
            raise InputError("The drawings and their UDPs do not show the same figure: no pixel belongs to both")
        self._tree = cKDTree(np.concatenate(points))
        self._colors = np.concatenate(colors).astype(np.float32)
        self._facing = np.concatenate(facing).astype(np.float32)
        self._source = np.concatenate(source)
        self.pixel = min(pixels)
        self._lock = threading.Lock()
        self._cache = _Cells(CELLS * self.pixel, self.lengths)

    def colors(self, points: Array) -> Array:
        """Colours (N, 3) uint8 of UDP points (N, 3)."""
        places = points.astype(np.float64) * self.lengths
        distance, blended = self._ask(places)
        lost = np.flatnonzero(distance > FAR * self.pixel)
        if len(lost):
            mirrored = places[lost].copy()
            mirrored[:, 0] = self.lengths[0] - mirrored[:, 0]
            other, instead = self._ask(mirrored)
            better = other < 0.5 * distance[lost]
            blended[lost[better]] = instead[better]
        return np.rint(blended).clip(0, 255).astype(np.uint8)

    def _ask(self, places: Array) -> tuple[Array, Array]:
        """The distance (N,) to the nearest known point and the blended colours (N, 3)."""
        k = min(self.neighbours, self._tree.n)
        distance, ids = self._tree.query(places, k=k, workers=-1)
        distance, ids = distance.reshape(len(places), k), ids.reshape(len(places), k)
        out = np.empty((len(places), 3), np.float32)
        _blend(distance, ids, self._colors, self._facing, self._source, REACH * self.pixel, OTHERS, out)
        return distance[:, 0], out

    def paint(self, xyz: Array, covered: Array) -> Array:
        """Colours (H, W, 3) uint8 for a map of points (H, W, 3) where ``covered`` (H, W), remembered by place.

        Points are rounded to cells half a drawing pixel wide; only cells never met before are looked up.
        """
        out = np.zeros(xyz.shape, np.uint8)
        with self._lock:
            out[covered] = self._cache.colors(xyz[covered], self.colors)
        return out


def _steps(place: Array, sure: Array) -> Array:
    """How far apart (H, W) neighbouring pixels lie on the surface: the larger of both directions, inf where unknown."""
    largest = np.zeros(sure.shape)
    for axis in (0, 1):
        gap = np.linalg.norm(np.diff(place, axis=axis), axis=-1)
        both = np.logical_and(*(np.take(sure, range(s, sure.shape[axis] - 1 + s), axis=axis) for s in (0, 1)))
        gap = np.where(both, gap, np.inf)
        before, after = [(0, 0), (0, 0)], [(0, 0), (0, 0)]
        before[axis], after[axis] = (1, 0), (0, 1)
        nearest = np.minimum(np.pad(gap, before, constant_values=np.inf), np.pad(gap, after, constant_values=np.inf))
        largest = np.maximum(largest, nearest)
    return largest


@numba.njit(nogil=True, cache=True)
def _blend(distance, ids, colors, facing, source, sigma, others, out):  # pragma: no cover - compiled
    """Weighted means of the neighbours; weights fall with distance beyond that of the nearest one's ring."""
    weights = np.empty(distance.shape[1])
    for i in range(len(out)):
        reach = 2 * max(sigma, 0.6 * distance[i, 0]) ** 2
        best, preferred = -1.0, -1
        for k in range(distance.shape[1]):
            weights[k] = np.exp(-(distance[i, k] ** 2 - distance[i, 0] ** 2) / reach) * facing[ids[i, k]]
        for k in range(distance.shape[1]):
            total = 0.0
            for m in range(distance.shape[1]):
                if source[ids[i, m]] == source[ids[i, k]]:
                    total += weights[m]
            if total > best:
                best, preferred = total, source[ids[i, k]]
        r, g, b, total = 0.0, 0.0, 0.0, 0.0
        for k in range(distance.shape[1]):
            w = weights[k] if source[ids[i, k]] == preferred else others * weights[k]
            c = colors[ids[i, k]]
            r += w * c[0]
            g += w * c[1]
            b += w * c[2]
            total += w
        out[i, 0], out[i, 1], out[i, 2] = r / total, g / total, b / total


class _Cells:
    """Colours by place: blocks of cells, made where the surface is first met."""

    def __init__(self, edge: float, lengths: Array) -> None:
        self._scale = (lengths / edge).astype(np.float64)  # UDP value -> cell
        shape = np.ceil(self._scale).astype(np.int64) // _BLOCK + 2
        self._blocks = np.full(tuple(shape.tolist()), -1, np.int32)
        self._pool = np.zeros((256, _BLOCK**3), np.uint32)
        self._used = 0

    def colors(self, points: Array, make: Callable[[Array], Array]) -> Array:
        """Colours (N, 3) uint8; ``make`` gives those of new cells' middles."""
        points = np.ascontiguousarray(points, np.float32)
        at = np.empty(len(points), np.int64)
        self._used = _locate(points, self._scale, self._blocks, self._used, at)
        if self._used > len(self._pool):
            grown = np.zeros((max(self._used, 2 * len(self._pool)), _BLOCK**3), np.uint32)
            grown[: len(self._pool)] = self._pool
            self._pool = grown
        flat = self._pool.reshape(-1)
        packed = flat[at]
        empty = packed == 0
        if empty.any():
            cells, first = np.unique(at[empty], return_index=True)
            middles = (np.floor(points[empty][first] * self._scale) + 0.5) / self._scale
            rgb = make(middles).astype(np.uint32)
            flat[cells] = rgb[:, 0] | rgb[:, 1] << 8 | rgb[:, 2] << 16 | np.uint32(0xFF000000)
            packed = flat[at]
        return packed.view(np.uint8).reshape(-1, 4)[:, :3]


@numba.njit(nogil=True, cache=True)
def _locate(points, scale, blocks, used, at):  # pragma: no cover - compiled
    """The place in the pool of every point's cell; blocks met first get the next number."""
    for i in range(len(points)):
        x = np.int64(points[i, 0] * scale[0])
        y = np.int64(points[i, 1] * scale[1])
        z = np.int64(points[i, 2] * scale[2])
        block = blocks[x // 8, y // 8, z // 8]
        if block < 0:
            block = used
            blocks[x // 8, y // 8, z // 8] = used
            used += 1
        at[i] = np.int64(block) * 512 + (x % 8) * 64 + (y % 8) * 8 + z % 8
    return used
