"""The puppet's mesh: one grid of triangles per layer, joined where layers are welded, with handles along the bones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.character.puppet_parts import HEAD, LAYERS, Bone, Parts

_FINEST, _COARSEST = 80, 34  # cells along the figure's height
_ALONG = 6  # cells along the shortest bone, so that a joint can bend sharply
_ENDS_FREE = 0.1  # of a bone at either end that has no handle, as two bones meet there
_SOLID = 1 / 255  # opacity from which a pixel must be covered


@dataclass(frozen=True)
class Mesh:
    """Vertices, triangles and handles.

    rest (V,) complex x + iy in pixels; triangles (F, 3) int32 sorted by layer, along each layer from its root to its
    end; layer_of (F,) int8; edges (E, 2) int32 with edge_weights (E,). Handle k lies at the weighted sum
    ``handle_weights[k]`` (3) of the vertices ``handle_vertices[k]`` and belongs to bone ``handle_bone[k]``, at
    ``handle_place[k]`` (complex).
    vertex_bones (V, B) float32 are smooth shares, rows summing to one; vertex_layer (V,) int8.
    """

    rest: NDArray[np.complex128]
    triangles: NDArray[np.int32]
    layer_of: NDArray[np.int8]
    edges: NDArray[np.int32]
    edge_weights: NDArray[np.float64]
    handle_vertices: NDArray[np.int32]
    handle_weights: NDArray[np.float64]
    handle_bone: NDArray[np.int32]
    handle_place: NDArray[np.complex128]
    vertex_bones: NDArray[np.float32]
    vertex_layer: NDArray[np.int8]
    cell: float

    def bone_distances(self, bones: Sequence[Bone]) -> NDArray[np.float64]:
        """Distance (V, B) of the vertices from bones."""
        return _distances(bones, self.rest)


def build_mesh(parts: Parts, height: float) -> Mesh:
    """The mesh of a figure that is ``height`` pixels high."""
    limbs = [r for b, r in zip(parts.bones, parts.radii, strict=True) if b.layer > HEAD]
    bones = [b.length for b in parts.bones if b.layer > HEAD and not b.name.endswith(("palm", "sole"))]
    cell = float(np.clip(min(0.8 * min(limbs), min(bones) / _ALONG), height / _FINEST, height / _COARSEST))
    grid = _Grid(parts.pages.shape[1:3], cell)
    welded = [_grown(weld.zone, parts.labels >= 0, 1.6 * cell) for weld in parts.welds]
    number: dict[tuple[int, int], int] = {}
    rest, layer_of_vertex, triangles, layers = [], [], [], []
    for layer in range(len(LAYERS)):
        own = grid.covering(parts.pages[layer][..., 3] > _SOLID)
        for corner in np.unique(own):
            place = grid.points[corner]
            owner = layer
            for weld, zone in zip(parts.welds, welded, strict=True):
                if weld.layer == layer and (weld.other, int(corner)) in number and _there(zone, place):
                    owner = weld.other  # the body's meshes come first, so limbs take over its vertices
            if (owner, int(corner)) not in number:
                number[owner, int(corner)] = len(rest)
                rest.append(complex(*place))
                layer_of_vertex.append(layer)
            number[layer, int(corner)] = number[owner, int(corner)]
        triangles.append(
            np.array([[number[layer, int(c)] for c in corners] for corners in own], np.int32).reshape(-1, 3)
        )
        layers.append(np.full(len(own), layer, np.int8))
    points = np.array(rest)
    shares = _shares(parts, points, np.array(layer_of_vertex))
    triangles = [_root_to_end(parts, layer, faces, points) for layer, faces in enumerate(triangles)]
    faces, face_layers = np.concatenate(triangles), np.concatenate(layers)
    edges, weights = _edges(faces, points, cell)
    handles = _handles(parts, grid, number, cell)
    return Mesh(points, faces, face_layers, edges, weights, *handles, shares, np.array(layer_of_vertex, np.int8), cell)


class _Grid:
    """Squares of ``cell`` pixels over a picture and beyond its border, each cut along alternating diagonals."""

    def __init__(self, shape: tuple[int, int], cell: float) -> None:
        self.cell = cell
        self.rows, self.columns = (int(np.ceil(side / cell)) + 2 for side in shape)
        y, x = np.mgrid[: self.rows + 1, : self.columns + 1]
        self.points = np.stack([(x.ravel() - 1) * cell - 0.5, (y.ravel() - 1) * cell - 0.5], 1)

    def locate(self, points: NDArray) -> NDArray[np.int64]:
        """Corners (N, 3) of the triangle round each point (x, y)."""
        at = (np.asarray(points) + 0.5) / self.cell + 1
        column = np.clip(at[:, 0].astype(int), 0, self.columns - 1)
        row = np.clip(at[:, 1].astype(int), 0, self.rows - 1)
        u, v = at[:, 0] - column, at[:, 1] - row
        first = row * (self.columns + 1) + column
        a, b, c, d = first, first + 1, first + self.columns + 1, first + self.columns + 2
        falling = (row + column) % 2 == 0  # the diagonal runs from a to d
        upper = np.where(falling, u > v, u + v < 1)
        corners = np.where(
            falling[:, None],
            np.where(upper[:, None], np.stack([a, b, d], 1), np.stack([a, d, c], 1)),
            np.where(upper[:, None], np.stack([a, b, c], 1), np.stack([b, d, c], 1)),
        )
        return corners

    def covering(self, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """All triangles (F, 3) that hold a pixel of the mask or of its rim."""
        grown = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
        y, x = np.nonzero(grown)
        return np.unique(self.locate(np.stack([x, y], 1)), axis=0) if len(x) else np.zeros((0, 3), np.int64)


def _grown(zone: NDArray[np.bool_], inside: NDArray[np.bool_], by: float) -> NDArray[np.bool_]:
    """The zone made wider by ``by`` pixels, also over what lies outside the outline."""
    far = cv2.distanceTransform((~(zone & inside)).astype(np.uint8), cv2.DIST_L2, 5)
    return far < by


def _there(zone: NDArray[np.bool_], place: NDArray) -> bool:
    y, x = (int(np.clip(round(v), 0, side - 1)) for v, side in zip(place[::-1], zone.shape, strict=True))
    return bool(zone[y, x])


def _distances(bones: Sequence[Bone], points: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Distance (V, B) from points to bones."""
    columns = []
    for bone in bones:
        start = complex(*bone.start)
        off = (points - start) * np.conj(bone.direction)
        along = np.clip(off.real, 0, bone.length)
        columns.append(np.abs(off - along))
    return np.stack(columns, 1)


def _shares(parts: Parts, points: NDArray, layers: NDArray) -> NDArray[np.float32]:
    """How much each bone of a vertex's own layer turns it, falling with the fourth power of the distance."""
    far = _distances(parts.bones, points)
    own = np.array([b.layer for b in parts.bones])[None] == layers[:, None]
    near = np.where(own, 1 / (far + 1.0) ** 4, 0.0)
    return (near / near.sum(1, keepdims=True)).astype(np.float32)


def _root_to_end(parts: Parts, layer: int, faces: NDArray, points: NDArray) -> NDArray[np.int32]:
    """A layer's triangles in the order of the bones they lie at."""
    bones = [i for i, b in enumerate(parts.bones) if b.layer == layer]
    if not len(faces):
        return faces
    nearest = np.argmin(_distances(parts.bones, points[faces].mean(1))[:, bones], axis=1)
    return faces[np.argsort(nearest, kind="stable")]


def _edges(faces: NDArray, points: NDArray, cell: float) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Edges once each, with weights: diagonals count half."""
    pairs = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    edges = np.unique(pairs, axis=0)
    length = np.abs(points[edges[:, 0]] - points[edges[:, 1]])
    return edges.astype(np.int32), np.where(length > 1.2 * cell, 0.5, 1.0)


def _handles(parts: Parts, grid: _Grid, number: dict, cell: float) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    vertices, weights, owners, places = [], [], [], []
    for index, bone in enumerate(parts.bones):
        count = max(2, round(bone.length / (0.5 * cell)))
        shares = _ENDS_FREE + (1 - 2 * _ENDS_FREE) * np.arange(count) / (count - 1)
        line = bone.start + (bone.end - bone.start) * shares[:, None]
        for place, corners in zip(line, grid.locate(line), strict=True):
            keys = [(bone.layer, int(c)) for c in corners]
            if any(key not in number for key in keys):
                continue  # this piece of the bone crosses a gap of the drawing
            matrix = np.vstack([grid.points[corners].T, np.ones(3)])
            vertices.append([number[key] for key in keys])
            weights.append(np.linalg.solve(matrix, [*place, 1.0]))
            owners.append(index)
            places.append(complex(*place))
    return np.array(vertices, np.int32), np.array(weights), np.array(owners, np.int32), np.array(places)
