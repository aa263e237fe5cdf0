"""The SMPL-X body (Pavlakos et al., CVPR 2019) from the official files, or any body in the same format.

Vertices in metres. The pose has 55 joints: global, 21 body, jaw, two eyes, 15 + 15 fingers, all axis-angle in radians.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.bodies.joints import (
    BODY_JOINTS,
    CONTOUR_CHAIN,
    HAND_JOINTS,
    JOINTS,
    PICKED_VERTICES,
)
from models.bodies.landmarks import contour_row, on_surface
from models.geometry.rotations import axis_angle_to_matrix
from models.geometry.skinning import chain_transforms, joints_from_vertices, pose_offsets, skin
from models.runtime.errors import WeightsInvalid
from models.runtime.safe_load import load_body_pickle, load_npz

LICENCE_PAGE = "https://smpl-x.is.tue.mpg.de"
REQUIRED = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")
HANDS = ("hands_meanl", "hands_meanr")
LANDMARKS = ("lmk_faces_idx", "lmk_bary_coords", "dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords")


@dataclass(frozen=True)
class SmplxData:
    """Arrays of a body model file.

    v_template (V, 3), faces (F, 3), shapedirs (V, 3, identity + expression), posedirs (486, 3 V), J_regressor (55, V),
    weights (V, 55), parents (55,), hand_means (2, 45); landmarks by field name, empty where the file has none.
    ``identity`` tells at which column of shapedirs the expressions begin. posedirs (0, 3 V) is a body without
    pose corrections.
    """

    v_template: np.ndarray
    faces: np.ndarray
    shapedirs: np.ndarray
    identity: int
    posedirs: np.ndarray
    J_regressor: np.ndarray
    weights: np.ndarray
    parents: tuple[int, ...]
    hand_means: np.ndarray
    landmarks: Mapping[str, np.ndarray]

    @classmethod
    def from_fields(cls, fields: Mapping[str, np.ndarray], name: str = "SMPL-X model") -> SmplxData:
        """Checks and converts the fields of the official layout.

        Raises:
            WeightsInvalid: a field is missing or misshapen; the message names it.
        """
        missing = [field for field in REQUIRED if field not in fields]
        if missing:
            raise WeightsInvalid(f"{name}: no {', '.join(missing)} inside; SMPL-X files come from {LICENCE_PAGE}")
        arrays = {field: _dense(fields[field]) for field in REQUIRED}
        vertices = len(arrays["v_template"])
        shapes = {
            "v_template": (vertices, 3),
            "posedirs": (vertices, 3, 9 * (JOINTS - 1)),
            "J_regressor": (JOINTS, vertices),
            "weights": (vertices, JOINTS),
            "kintree_table": (2, JOINTS),
        }
        for field, shape in shapes.items():
            if arrays[field].shape != shape:
                raise WeightsInvalid(f"{name}: {field} is {arrays[field].shape} instead of {shape}")
        directions = arrays["shapedirs"]
        if directions.ndim != 3 or directions.shape[:2] != (vertices, 3) or directions.shape[2] < 20:
            raise WeightsInvalid(f"{name}: shapedirs is {directions.shape}, expected ({vertices}, 3, 400) or 20 wide")
        means = np.stack([np.asarray(fields[h]).reshape(45) if h in fields else np.zeros(45) for h in HANDS])
        return cls(
            v_template=arrays["v_template"].astype(np.float32),
            faces=arrays["f"].astype(np.int64),
            shapedirs=directions.astype(np.float32),
            identity=300 if directions.shape[2] >= 400 else directions.shape[2] // 2,
            posedirs=arrays["posedirs"].astype(np.float32).reshape(3 * vertices, -1).T.copy(),
            J_regressor=arrays["J_regressor"].astype(np.float32),
            weights=arrays["weights"].astype(np.float32),
            parents=(-1, *(int(p) for p in arrays["kintree_table"][0, 1:].astype(np.int64))),
            hand_means=means.astype(np.float32),
            landmarks={k: np.asarray(fields[k]) for k in LANDMARKS} if all(k in fields for k in LANDMARKS) else {},
        )

    @classmethod
    def load(cls, path: Path) -> SmplxData:
        """Reads ``SMPLX_*.npz`` or the pickled form through the narrow unpickler."""
        wanted = (*REQUIRED, *HANDS, *LANDMARKS)
        fields = load_npz(path, only=wanted) if path.suffix == ".npz" else load_body_pickle(path)
        return cls.from_fields(fields, path.name)


@dataclass(frozen=True)
class BodyPose:
    """Parameters of a batch of bodies; absent parts are zero.

    betas (B, 10), expression (B, 10), global_orient (B, 3), body_pose (B, 63), jaw_pose, leye_pose, reye_pose (B, 3),
    left_hand_pose, right_hand_pose (B, 45), all axis-angle; transl (B, 3) in metres.
    """

    global_orient: Tensor
    body_pose: Tensor
    betas: Tensor | None = None
    expression: Tensor | None = None
    left_hand_pose: Tensor | None = None
    right_hand_pose: Tensor | None = None
    jaw_pose: Tensor | None = None
    leye_pose: Tensor | None = None
    reye_pose: Tensor | None = None
    transl: Tensor | None = None


@dataclass(frozen=True)
class BodyOutput:
    """Posed bodies: vertices (B, V, 3), joints (B, 55 or 144, 3), full_pose (B, 165) with the hand means added."""

    vertices: Tensor
    joints: Tensor
    full_pose: Tensor


class Smplx(nn.Module):
    """The SMPL-X layer. ``joints`` are the 55 of the skeleton, and on the official mesh 21 picked vertices, 51 face
    landmarks and 17 contour points more."""

    def __init__(
        self, data: SmplxData, n_betas: int = 10, n_expression: int = 10, flat_hand_mean: bool = False
    ) -> None:
        super().__init__()
        self.parents = data.parents
        self.n_betas, self.n_expression = n_betas, n_expression
        identity = data.shapedirs[:, :, :n_betas]
        expression = data.shapedirs[:, :, data.identity : data.identity + n_expression]
        directions = np.concatenate([identity, expression], axis=2)
        self._buffer("v_template", data.v_template)
        self._buffer("faces", data.faces)
        self._buffer("shapedirs", directions.reshape(-1, directions.shape[2]).T)  # (K, 3 V)
        self._buffer("posedirs", data.posedirs)
        self._buffer("J_regressor", data.J_regressor)
        self._buffer("weights", data.weights)
        self._buffer("hand_means", np.zeros_like(data.hand_means) if flat_hand_mean else data.hand_means)
        self.has_landmarks = bool(data.landmarks) and len(data.v_template) > max(PICKED_VERTICES)
        if self.has_landmarks:
            marks = data.landmarks
            self._buffer("picked", np.array(PICKED_VERTICES))
            self._buffer("static_corners", data.faces[marks["lmk_faces_idx"].astype(np.int64)])
            self._buffer("static_bary", marks["lmk_bary_coords"].astype(np.float32))
            self._buffer("dynamic_corners", data.faces[marks["dynamic_lmk_faces_idx"].astype(np.int64)])
            self._buffer("dynamic_bary", marks["dynamic_lmk_bary_coords"].astype(np.float32))

    def _buffer(self, name: str, array: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array)), persistent=False)

    def full_pose(self, pose: BodyPose) -> Tensor:
        """All 55 rotations as one vector (B, 165), the mean hand poses added."""
        batch = len(pose.global_orient)

        def part(value: Tensor | None, joints: int) -> Tensor:
            return pose.global_orient.new_zeros(batch, 3 * joints) if value is None else value.reshape(batch, -1)

        return torch.cat(
            [
                part(pose.global_orient, 1),
                part(pose.body_pose, BODY_JOINTS),
                part(pose.jaw_pose, 1),
                part(pose.leye_pose, 1),
                part(pose.reye_pose, 1),
                part(pose.left_hand_pose, HAND_JOINTS) + self.hand_means[0],
                part(pose.right_hand_pose, HAND_JOINTS) + self.hand_means[1],
            ],
            dim=1,
        )

    def shaped(self, betas: Tensor | None, expression: Tensor | None, batch: int) -> Tensor:
        """Rest-pose vertices (B, V, 3)."""
        wanted = ((betas, self.n_betas), (expression, self.n_expression))
        parts = [self.v_template.new_zeros(batch, n) if value is None else value for value, n in wanted]
        return self.v_template + (torch.cat(parts, dim=1) @ self.shapedirs).unflatten(1, (-1, 3))

    def forward(self, pose: BodyPose) -> BodyOutput:
        full = self.full_pose(pose)
        batch = len(full)
        rotations = axis_angle_to_matrix(full.view(batch, JOINTS, 3))
        shaped = self.shaped(pose.betas, pose.expression, batch)
        world, relative = chain_transforms(rotations, joints_from_vertices(self.J_regressor, shaped), self.parents)
        corrected = shaped + pose_offsets(rotations, self.posedirs) if len(self.posedirs) else shaped
        vertices = skin(corrected, self.weights, relative)
        joints = world[..., :3, 3]
        if self.has_landmarks:
            joints = torch.cat([joints, vertices[:, self.picked], *self._face_points(vertices, rotations)], dim=1)
        if pose.transl is not None:
            vertices, joints = vertices + pose.transl[:, None], joints + pose.transl[:, None]
        return BodyOutput(vertices, joints, full)

    def _face_points(self, vertices: Tensor, rotations: Tensor) -> tuple[Tensor, Tensor]:
        """51 inner landmarks and 17 contour points of the current head yaw."""
        turned = rotations[:, CONTOUR_CHAIN[0]]
        for joint in CONTOUR_CHAIN[1:]:
            turned = rotations[:, joint] @ turned
        rows = contour_row(turned, mirrored=True)
        inner = on_surface(vertices, self.static_corners.expand(len(vertices), -1, -1), self.static_bary)
        return inner, on_surface(vertices, self.dynamic_corners[rows], self.dynamic_bary[rows])


def validate(path: Path) -> None:
    """Raises WeightsInvalid unless ``path`` is a complete SMPL-X model file."""
    SmplxData.load(path)


def _dense(array: object) -> np.ndarray:
    return np.asarray(array.todense() if hasattr(array, "todense") else array)
