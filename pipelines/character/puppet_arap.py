"""As-rigid-as-possible deformation in the plane, many frames at once.

After Sorkine and Alexa (2007): the energy sum of w_ij |(z_i - z_j) - R_i e_ij|^2 is lowered by turns. In the plane a
rotation is a unit complex number, R_i = normalised sum of w_ij conj(e_ij) (z_i - z_j), and the positions follow from
one sparse system whose matrix never changes, so it is factorised once per figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix, identity
from scipy.sparse.linalg import splu

from pipelines.character.puppet_mesh import Mesh
from pipelines.character.puppet_parts import Bone

_HANDLE = 400.0  # pull of the handles along the bones, as against 1 for an edge
_REST = 1e-3  # pull towards plain skinning; holds what hangs on no handle


@dataclass(frozen=True)
class Pose:
    """Where the bones are, per frame and bone (T, B).

    ``turn`` unit complex numbers relative to the drawing, ``start`` where each begins (x + iy, pixels of the drawing),
    ``stretch`` its length as a part of the drawn one.
    """

    turn: NDArray[np.complex128]
    start: NDArray[np.complex128]
    stretch: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.turn)

    def __getitem__(self, frames: slice) -> Pose:
        return Pose(self.turn[frames], self.start[frames], self.stretch[frames])


class Deformer:
    """A mesh ready to be posed by its bones."""

    def __init__(self, mesh: Mesh, bones: Sequence[Bone], iterations: int = 5) -> None:
        self.mesh, self.iterations = mesh, iterations
        self._start = np.array([complex(*b.start) for b in bones])
        self._along = np.array([b.direction for b in bones])
        i, j = mesh.edges.T
        w, count = mesh.edge_weights, len(mesh.rest)
        laplacian = coo_matrix((np.r_[w, w, -w, -w], (np.r_[i, j, i, j], np.r_[i, j, j, i])), (count, count))
        number = len(mesh.handle_vertices)
        rows = np.repeat(np.arange(number), 3)
        handles = csr_matrix((mesh.handle_weights.ravel(), (rows, mesh.handle_vertices.ravel())), (number, count))
        self._pull = (_HANDLE * handles.T).tocsr()
        self._solver = splu((laplacian + self._pull @ handles + _REST * identity(count)).tocsc())
        self._shares = mesh.vertex_bones.astype(np.float64)

    def __call__(self, pose: Pose) -> NDArray[np.complex128]:
        """Vertices (T, V) complex, pixels of the drawing."""
        mesh, frames = self.mesh, len(pose)
        owner = mesh.handle_bone
        target = self._carry(pose, owner, mesh.handle_place)
        rotation = pose.turn @ self._shares.T
        rotation /= np.maximum(np.abs(rotation), 1e-9)
        pull = (self._pull @ target.T).T + _REST * self._skinned(pose)
        edges = self._rest_edges(pose.stretch)
        placed = np.zeros_like(pull)
        for step in range(self.iterations):
            right = pull.copy()
            _global_side(mesh.edges, mesh.edge_weights, edges, rotation, right)
            both = self._solver.solve(np.ascontiguousarray(np.concatenate([right.real, right.imag]).T))
            placed = np.ascontiguousarray((both[:, :frames] + 1j * both[:, frames:]).T)
            if step + 1 < self.iterations:
                _local_turns(mesh.edges, mesh.edge_weights, edges, placed, rotation)
        return placed

    def _carry(self, pose: Pose, owner: NDArray, places: NDArray) -> NDArray[np.complex128]:
        """Places (N,) moved rigidly with the bones ``owner`` (N,), stretched along them."""
        off = (places - self._start[owner]) * np.conj(self._along[owner])
        stretched = off.real * pose.stretch[:, owner] + 1j * off.imag
        return pose.start[:, owner] + pose.turn[:, owner] * self._along[owner] * stretched

    def _skinned(self, pose: Pose) -> NDArray[np.complex128]:
        count, bones = self._shares.shape
        total = np.zeros((len(pose), count), np.complex128)
        for bone in range(bones):
            used = np.flatnonzero(self._shares[:, bone] > 1e-3)
            total[:, used] += self._shares[used, bone] * self._carry(
                pose, np.full(len(used), bone), self.mesh.rest[used]
            )
        return total

    def _rest_edges(self, stretch: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Edges (T or 1, E) of the drawing, shortened along the bone they lie at."""
        i, j = self.mesh.edges.T
        edges = self.mesh.rest[i] - self.mesh.rest[j]
        if np.abs(stretch - 1).max(initial=0) < 1e-6:
            return edges[None]
        shares = self._shares[i] + self._shares[j]
        along = self._along[np.argmax(shares, axis=1)]
        factor = (stretch @ shares.T) / 2
        lengthwise = (edges * np.conj(along)).real
        return edges[None] + (factor - 1) * lengthwise * along


@numba.njit(cache=True, fastmath=True)
def _global_side(edges, weights, lengths, rotation, right):  # pragma: no cover - compiled
    """Adds sum of w_ij (R_i + R_j) e_ij / 2 to ``right`` (T, V)."""
    moving = lengths.shape[0] > 1
    for t in range(rotation.shape[0]):
        for e in range(edges.shape[0]):
            i, j = edges[e, 0], edges[e, 1]
            part = 0.5 * weights[e] * (rotation[t, i] + rotation[t, j]) * lengths[t if moving else 0, e]
            right[t, i] += part
            right[t, j] -= part


@numba.njit(cache=True, fastmath=True)
def _local_turns(edges, weights, lengths, placed, rotation):  # pragma: no cover - compiled
    """Each vertex's best rotation (T, V) for the present positions."""
    moving = lengths.shape[0] > 1
    for t in range(rotation.shape[0]):
        rotation[t] = 0
        for e in range(edges.shape[0]):
            i, j = edges[e, 0], edges[e, 1]
            part = weights[e] * np.conj(lengths[t if moving else 0, e]) * (placed[t, i] - placed[t, j])
            rotation[t, i] += part
            rotation[t, j] += part
        for v in range(rotation.shape[1]):
            size = abs(rotation[t, v])
            rotation[t, v] = rotation[t, v] / size if size > 1e-12 else 1.0
