"""Bodies over time as vertices: one shaped mesh per person, posed frame by frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import fast_simplification
import numpy as np
import torch
from scipy.spatial import cKDTree

from models.bodies.joints import PARENTS
from models.bodies.mannequin import Mannequin
from models.bodies.smplx import Smplx, SmplxData
from models.geometry.rotations import axis_angle_to_matrix
from models.geometry.skinning import chain_transforms, pose_offsets
from models.runtime.threads import one_thread
from pipelines.export.motion import Motion
from pipelines.render.shading import vertex_normals
from pipelines.render.skinned import skin_points

Array = np.ndarray
INFLUENCES = 4
DRAWN_TRIANGLES = 14_000
# Colours told apart by people with any colour vision (after Okabe and Ito).
COLORS = (
    (112, 172, 214), (230, 159, 60), (90, 178, 140), (204, 121, 167), (240, 220, 110), (64, 114, 178), (213, 110, 60),
    (150, 140, 200), (130, 190, 90), (190, 150, 120), (120, 200, 200), (200, 100, 110),
)  # fmt: skip


def color_of(person: int) -> tuple[int, int, int]:
    """The colour of a person, by number."""
    return COLORS[(person - 1) % len(COLORS)]


@dataclass(frozen=True)
class BodyModel:
    """The body to pose: its arrays, the layer, its own colours (V, 3) or None, and its name.

    For drawing into pictures there are fewer triangles: ``drawn_faces`` (F', 3) count in ``drawn`` (V',), the vertices
    they need. They are chosen at first need, which takes longer than drawing some frames.
    """

    name: str
    data: SmplxData
    layer: Smplx
    colors: Array | None

    @classmethod
    def of(cls, data: SmplxData, name: str, colors: Array | None = None) -> BodyModel:
        return cls(name, data, Smplx(data), colors)

    @classmethod
    def mannequin(cls, mannequin: Mannequin) -> BodyModel:
        return cls.of(mannequin.data, "mannequin", mannequin.colors)

    @cached_property
    def _thinned(self) -> tuple[Array, Array]:
        drawn, faces = np.unique(thinned(self.data), return_inverse=True)
        return drawn, faces.reshape(-1, 3).astype(np.int32)

    @property
    def drawn(self) -> Array:
        return self._thinned[0]

    @property
    def drawn_faces(self) -> Array:
        return self._thinned[1]

    @cached_property
    def influences(self) -> tuple[Array, Array]:
        """The joints that move each vertex most (V, INFLUENCES) and their shares, which sum to 1."""
        weights = self.data.weights
        ids = np.argsort(-weights, axis=1)[:, :INFLUENCES]
        share = np.take_along_axis(weights, ids, axis=1)
        return ids, (share / share.sum(axis=1, keepdims=True)).astype(np.float32)

    @cached_property
    def drawn_influences(self) -> tuple[Array, Array]:
        """``influences`` of the vertices drawn."""
        ids, share = self.influences
        return ids[self.drawn], share[self.drawn]

    @property
    def drawn_colors(self) -> Array | None:
        """Its own colours (V', 3) at the vertices drawn."""
        return None if self.colors is None else self.colors[self.drawn]


def thinned(data: SmplxData) -> Array:
    """About ``DRAWN_TRIANGLES`` triangles (F', 3) over vertices of the body, by quadric simplification."""
    share = 1 - DRAWN_TRIANGLES / len(data.faces)
    if share <= 0:
        return data.faces
    points, faces = fast_simplification.simplify(data.v_template, data.faces.astype(np.int32), share)
    _, nearest = cKDTree(data.v_template).query(points)
    kept = nearest[faces]
    whole = (kept[:, 0] != kept[:, 1]) & (kept[:, 1] != kept[:, 2]) & (kept[:, 2] != kept[:, 0])
    return np.ascontiguousarray(kept[whole])


class Figurine:
    """One person's body: shaped once, posed for any frame of their motion."""

    def __init__(self, model: BodyModel, motion: Motion, expression: Array | None = None) -> None:
        self.model, self.motion = model, motion
        layer = model.layer
        betas = torch.from_numpy(np.asarray(motion.betas, np.float32))[None, : layer.n_betas]
        with torch.inference_mode(), one_thread():
            self.shaped = layer.shaped(betas, None, 1)[0]
            joints = torch.from_numpy(np.asarray(motion.rest_joints, np.float32))
            turned = axis_angle_to_matrix(torch.from_numpy(np.asarray(motion.rotations, np.float32)))
            _, relative = chain_transforms(turned, joints.expand(len(turned), -1, -1), PARENTS)
        self.relative = relative[:, :, :3].contiguous().numpy()  # (T, 55, 3, 4)
        self.rotations = turned
        self.expression = expression

    @cached_property
    def faces(self) -> Array:
        return self.model.data.faces

    @cached_property
    def _normals(self) -> Array:
        """Unit normals (V', 3) of the vertices drawn, at rest."""
        normals = vertex_normals(self.shaped.numpy(), self.model.data.faces)
        return normals[self.model.drawn].astype(np.float32)

    def vertices(self, frame: int) -> Array:
        """(V, 3) float32 in viewer axes."""
        rest = self._rest(frame)
        moved, _ = skin_points(rest, rest, *self.model.influences, self.relative[frame])
        return moved + self.motion.transl[frame].astype(np.float32)

    def drawn(self, frame: int) -> tuple[Array, Array]:
        """The vertices drawn (V', 3) float32 in viewer axes, and their unit normals, carried along by the bones."""
        model = self.model
        rest = self._rest(frame)[model.drawn]
        moved, normals = skin_points(rest, self._normals, *model.drawn_influences, self.relative[frame])
        return moved + self.motion.transl[frame].astype(np.float32), normals

    def _rest(self, frame: int) -> Array:
        """The vertices before the bones move them, (V, 3) float32."""
        points = self.shaped
        if self.expression is not None:
            row = torch.from_numpy(np.asarray(self.expression[frame : frame + 1], np.float32))
            layer = self.model.layer
            points = points + (row @ layer.shapedirs[layer.n_betas :]).view(-1, 3)
        if len(self.model.layer.posedirs):
            with torch.inference_mode():
                points = points + pose_offsets(self.rotations[frame : frame + 1], self.model.layer.posedirs)[0]
        return np.ascontiguousarray(points.numpy())
