"""The 52 expression shapes on an installed FLAME head, and the curves of its own expressions; both are estimates.

Each shape is the jaw turn and expression code whose 68 landmarks move most like those of the studio's own shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.deca.data import DecaFiles
from models.deca.network import DecaCode
from models.runtime.settings import Settings
from pipelines.face.blendshapes import NAMES, shapes, weights_of
from pipelines.face.canonical import canonical_face
from pipelines.face.deca_network import code_map, posed
from pipelines.tracking.face_points import MESH_68

Array = NDArray[np.float64]
EYES = (36, 39, 42, 45)  # outer and inner corners among the 68 landmarks
JAW_PROBE = 0.1  # radians
RIDGE = 3e-6  # square metres: a coefficient of 1 that moves the landmarks less than this is not worth using
LARGEST = 4.0  # of an expression coefficient


@dataclass(frozen=True)
class FlameShapes:
    """One person's head at rest with the shapes on it.

    rest (V, 3) and morphs (52, V, 3) in metres; still (68, 3) its landmarks at rest; scale: metres of this face per
    metre of the canonical one.
    """

    rest: Array
    morphs: Array
    still: Array
    scale: float

    def curves(self, landmarks: NDArray[np.floating]) -> Array:
        """Weights (T, 52) of landmarks (T, 68, 3) of the head that looks straight ahead."""
        return weights_of((np.asarray(landmarks, np.float64) - self.still) / self.scale, points=MESH_68)


def ahead(code: DecaCode) -> DecaCode:
    """The same heads looking straight ahead."""
    pose = torch.cat([torch.zeros_like(code.pose[:, :3]), code.pose[:, 3:]], dim=1)
    return DecaCode(code.shape, code.tex, code.exp, pose, code.cam, code.light, code.detail)


def with_face(code: DecaCode, exp: torch.Tensor, jaw: torch.Tensor) -> DecaCode:
    """One person (batch 1) with many expressions (N, 50) and jaw turns (N, 3), looking straight ahead."""
    many = code_map(code, lambda part: part.expand(len(exp), *part.shape[1:]))
    pose = torch.cat([torch.zeros_like(jaw), jaw], dim=1)
    return DecaCode(many.shape, many.tex, exp, pose, many.cam, many.light, many.detail)


def shapes_of(files: DecaFiles, settings: Settings, code: DecaCode) -> FlameShapes:
    """The shapes on the head of a code (batch 1)."""
    count = code.exp.shape[1]
    probes = torch.cat([torch.zeros(1, count + 3), torch.eye(count + 3)])
    probes[count + 1 :] *= JAW_PROBE
    _, marks = posed(files, settings, with_face(code, probes[:, :count], probes[:, count:]))
    still = marks[0].astype(np.float64)
    basis = (marks[1:] - marks[0]).reshape(count + 3, -1).astype(np.float64)
    basis[count:] /= JAW_PROBE
    own, canonical = still[list(EYES)], canonical_face().positions[np.array(MESH_68)[list(EYES)]]
    scale = float(np.linalg.norm(own[3] - own[0]) / np.linalg.norm(canonical[3] - canonical[0]))
    wanted = scale * shapes()[:, list(MESH_68)].reshape(len(NAMES), -1)
    gram = basis @ basis.T + RIDGE * np.eye(len(basis))
    found = np.linalg.solve(gram, basis @ wanted.T).T  # (52, count + 3)
    found[:, :count] = np.clip(found[:, :count], -LARGEST, LARGEST)
    chosen = torch.from_numpy(np.concatenate([np.zeros((1, count + 3)), found]).astype(np.float32))
    vertices, _ = posed(files, settings, with_face(code, chosen[:, :count], chosen[:, count:]))
    rest = vertices[0].astype(np.float64)
    return FlameShapes(rest, vertices[1:] - rest, still, scale)
