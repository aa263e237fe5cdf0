"""The FLAME head (Li et al., SIGGRAPH Asia 2017) with DECA's landmark sets.

Vertices in metres, y up, z out of the face, x to the subject's left. Joints: root, neck, jaw, left eye, right eye.
Everything (vertex count, topology, bases) comes from the files a user installs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.bodies.landmarks import contour_row, on_surface
from models.geometry.rotations import axis_angle_to_matrix
from models.geometry.skinning import chain_transforms, joints_from_vertices, pose_offsets, skin
from models.runtime.errors import WeightsInvalid
from models.runtime.safe_load import load_body_pickle, load_npz, load_pickled_npy

IDENTITY_COLUMNS = 300  # shapedirs: identity first, expression after
JOINTS = 5
LICENCE_PAGE = "https://flame.is.tue.mpg.de"


@dataclass(frozen=True)
class FlameData:
    """Arrays of a FLAME model file.

    v_template (V, 3), faces (F, 3) int64, shapedirs (V, 3, 400), posedirs (36, 3 V), J_regressor (5, V),
    weights (V, 5), parents (5,).
    """

    v_template: np.ndarray
    faces: np.ndarray
    shapedirs: np.ndarray
    posedirs: np.ndarray
    J_regressor: np.ndarray
    weights: np.ndarray
    parents: tuple[int, ...]

    @classmethod
    def from_fields(cls, fields: Mapping[str, np.ndarray], name: str = "FLAME model") -> FlameData:
        """Checks and converts the fields of the released layout (2020 and 2023).

        Raises:
            WeightsInvalid: a field is missing or misshapen; the message names it.
        """
        wanted = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")
        missing = [field for field in wanted if field not in fields]
        if missing:
            raise WeightsInvalid(f"{name}: no {', '.join(missing)} inside; FLAME model files come from {LICENCE_PAGE}")
        vertices = len(fields["v_template"])
        shapes = {
            "v_template": (vertices, 3),
            "posedirs": (vertices, 3, 9 * (JOINTS - 1)),
            "J_regressor": (JOINTS, vertices),
            "weights": (vertices, JOINTS),
            "kintree_table": (2, JOINTS),
        }
        arrays = {field: _dense(fields[field]) for field in wanted}
        for field, shape in shapes.items():
            if arrays[field].shape != shape:
                raise WeightsInvalid(f"{name}: {field} is {arrays[field].shape} instead of {shape}")
        if arrays["shapedirs"].ndim != 3 or arrays["shapedirs"].shape[2] <= IDENTITY_COLUMNS:
            raise WeightsInvalid(f"{name}: shapedirs is {arrays['shapedirs'].shape}, expected ({vertices}, 3, 400)")
        parents = arrays["kintree_table"][0].astype(np.int64)
        return cls(
            v_template=arrays["v_template"].astype(np.float32),
            faces=arrays["f"].astype(np.int64),
            shapedirs=arrays["shapedirs"].astype(np.float32),
            posedirs=arrays["posedirs"].astype(np.float32).reshape(3 * vertices, -1).T.copy(),
            J_regressor=arrays["J_regressor"].astype(np.float32),
            weights=arrays["weights"].astype(np.float32),
            parents=(-1, *(int(p) for p in parents[1:])),
        )

    @classmethod
    def load(cls, path: Path) -> FlameData:
        """Reads ``generic_model.pkl`` (through the narrow unpickler) or an npz of the same fields."""
        fields = load_npz(path) if path.suffix == ".npz" else load_body_pickle(path)
        return cls.from_fields(fields, path.name)


@dataclass(frozen=True)
class LandmarkEmbedding:
    """Where the 68 landmarks lie on the mesh: triangles and barycentric weights.

    ``static_*`` are the 51 inner points, ``dynamic_*`` one row of 17 contour points per degree of yaw (79 rows),
    ``full_*`` all 68 points fixed to the mesh.
    """

    static_faces: np.ndarray  # (51,)
    static_bary: np.ndarray  # (51, 3)
    dynamic_faces: np.ndarray  # (79, 17)
    dynamic_bary: np.ndarray  # (79, 17, 3)
    full_faces: np.ndarray  # (68,)
    full_bary: np.ndarray  # (68, 3)

    @classmethod
    def load(cls, path: Path) -> LandmarkEmbedding:
        """Reads DECA's ``landmark_embedding.npy`` or an npz of the same names. Raises WeightsInvalid."""
        fields = load_npz(path) if path.suffix == ".npz" else load_pickled_npy(path)
        names = [
            f"{set_}_lmk_{what}" for set_ in ("static", "dynamic", "full") for what in ("faces_idx", "bary_coords")
        ]
        missing = [name for name in names if name not in fields]
        if missing:
            raise WeightsInvalid(f"{path.name}: no {', '.join(missing)} inside")
        arrays = [np.asarray(fields[name]) for name in names]
        arrays[4:] = [a.reshape(a.shape[-1]) if i == 0 else a.reshape(-1, 3) for i, a in enumerate(arrays[4:])]
        faces, barys = (a.astype(np.int64) for a in arrays[::2]), (a.astype(np.float32) for a in arrays[1::2])
        return cls(*(item for pair in zip(faces, barys, strict=True) for item in pair))


@dataclass(frozen=True)
class FlameOutput:
    """Posed head: vertices (B, V, 3), joints (B, 5, 3), landmark sets (B, 68, 3); metres."""

    vertices: Tensor
    joints: Tensor
    landmarks2d: Tensor
    landmarks3d: Tensor


class Flame(nn.Module):
    """FLAME as DECA uses it: 100 identity and 50 expression coefficients, global, neck, jaw and eye rotations."""

    def __init__(
        self, data: FlameData, embedding: LandmarkEmbedding | None = None, n_shape: int = 100, n_exp: int = 50
    ) -> None:
        super().__init__()
        self.parents = data.parents
        identity = data.shapedirs[:, :, :n_shape]
        expression = data.shapedirs[:, :, IDENTITY_COLUMNS : IDENTITY_COLUMNS + n_exp]
        directions = np.concatenate([identity, expression], axis=2)  # (V, 3, n_shape + n_exp)
        self._buffer("v_template", data.v_template)
        self._buffer("faces", data.faces)
        self._buffer("shapedirs", directions.reshape(-1, n_shape + n_exp).T)  # (K, 3 V): one matrix product per batch
        self._buffer("posedirs", data.posedirs)
        self._buffer("J_regressor", data.J_regressor)
        self._buffer("weights", data.weights)
        self.has_landmarks = embedding is not None
        if embedding is not None:
            for name in ("static", "dynamic", "full"):
                corners = data.faces[getattr(embedding, f"{name}_faces")]
                self._buffer(f"{name}_corners", corners)  # (..., 3) vertex ids
                self._buffer(f"{name}_bary", getattr(embedding, f"{name}_bary"))

    def _buffer(self, name: str, array: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array)), persistent=False)

    def shaped(self, shape: Tensor, exp: Tensor) -> Tensor:
        """Rest-pose vertices (B, V, 3) of identity (B, n_shape) and expression (B, n_exp) coefficients."""
        betas = torch.cat([shape, exp], dim=1)
        return self.v_template + (betas @ self.shapedirs).unflatten(1, (-1, 3))

    def forward(
        self, shape: Tensor, exp: Tensor, pose: Tensor, eye_pose: Tensor | None = None, neck_pose: Tensor | None = None
    ) -> FlameOutput:
        """Poses the head.

        Args:
            shape: (B, n_shape).
            exp: (B, n_exp).
            pose: (B, 6) axis-angle of the whole head and of the jaw, radians.
            eye_pose: (B, 6) left then right eye, zero when absent.
            neck_pose: (B, 3), zero when absent.
        """
        batch = len(pose)
        eyes = pose.new_zeros(batch, 6) if eye_pose is None else eye_pose
        neck = pose.new_zeros(batch, 3) if neck_pose is None else neck_pose
        full_pose = torch.cat([pose[:, :3], neck, pose[:, 3:6], eyes], dim=1)  # (B, 15)
        rotations = axis_angle_to_matrix(full_pose.view(batch, JOINTS, 3))
        shaped = self.shaped(shape, exp)
        world, relative = chain_transforms(rotations, joints_from_vertices(self.J_regressor, shaped), self.parents)
        vertices = skin(shaped + pose_offsets(rotations, self.posedirs), self.weights, relative)
        joints = world[..., :3, 3]
        if not self.has_landmarks:
            empty = vertices.new_zeros(batch, 0, 3)
            return FlameOutput(vertices, joints, empty, empty)
        contour_corners, contour_bary = self.contour(rotations)
        inner = on_surface(vertices, self.static_corners.expand(batch, -1, -1), self.static_bary)
        outline = on_surface(vertices, contour_corners, contour_bary)
        full = on_surface(vertices, self.full_corners.expand(batch, -1, -1), self.full_bary)
        return FlameOutput(vertices, joints, torch.cat([outline, inner], dim=1), full)

    def contour(self, rotations: Tensor) -> tuple[Tensor, Tensor]:
        """Contour for the yaw of root and neck: rotations (B, 5, 3, 3) -> corners (B, 17, 3), bary (B, 17, 3)."""
        rows = contour_row(rotations[:, 0] @ rotations[:, 1])
        return self.dynamic_corners[rows], self.dynamic_bary[rows]


def validate(path: Path) -> None:
    """Raises WeightsInvalid unless ``path`` is a complete FLAME model file."""
    FlameData.load(path)


def validate_embedding(path: Path) -> None:
    """Raises WeightsInvalid unless ``path`` is a landmark embedding."""
    LandmarkEmbedding.load(path)


def _dense(array: object) -> np.ndarray:
    return np.asarray(array.todense() if hasattr(array, "todense") else array)
