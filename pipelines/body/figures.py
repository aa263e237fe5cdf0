"""Bodies over time as vertices: one shaped mesh per person, posed frame by frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from models.bodies.joints import PARENTS
from models.bodies.mannequin import Mannequin
from models.bodies.smplx import Smplx, SmplxData
from models.geometry.rotations import axis_angle_to_matrix
from models.geometry.skinning import chain_transforms, pose_offsets
from pipelines.export.motion import Motion

Array = np.ndarray
INFLUENCES = 4
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
    """The body to pose: its arrays, the layer, its own colours (V, 3) or None, and its name."""

    name: str
    data: SmplxData
    layer: Smplx
    colors: Array | None

    @classmethod
    def of(cls, data: SmplxData, name: str) -> BodyModel:
        return cls(name, data, Smplx(data), None)

    @classmethod
    def mannequin(cls, mannequin: Mannequin) -> BodyModel:
        return cls("mannequin", mannequin.data, Smplx(mannequin.data), mannequin.colors)


class Figurine:
    """One person's body: shaped once, posed for any frame of their motion."""

    def __init__(self, model: BodyModel, motion: Motion, expression: Array | None = None) -> None:
        self.model, self.motion = model, motion
        layer = model.layer
        betas = torch.from_numpy(np.asarray(motion.betas, np.float32))[None, : layer.n_betas]
        with torch.inference_mode():
            self.shaped = layer.shaped(betas, None, 1)[0]
            joints = torch.from_numpy(np.asarray(motion.rest_joints, np.float32))
            turned = axis_angle_to_matrix(torch.from_numpy(np.asarray(motion.rotations, np.float32)))
            _, relative = chain_transforms(turned, joints.expand(len(turned), -1, -1), PARENTS)
        self.relative = relative[:, :, :3].numpy()  # (T, 55, 3, 4)
        self.rotations = turned
        weights = model.data.weights
        self._ids = np.argsort(-weights, axis=1)[:, :INFLUENCES]
        share = np.take_along_axis(weights, self._ids, axis=1)
        self._share = (share / share.sum(axis=1, keepdims=True)).astype(np.float32)
        self.expression = expression

    @cached_property
    def faces(self) -> Array:
        return self.model.data.faces

    def vertices(self, frame: int) -> Array:
        """(V, 3) float32 in viewer axes."""
        points = self.shaped
        if self.expression is not None:
            row = torch.from_numpy(np.asarray(self.expression[frame : frame + 1], np.float32))
            layer = self.model.layer
            points = points + (row @ layer.shapedirs[layer.n_betas :]).view(-1, 3)
        if len(self.model.layer.posedirs):
            with torch.inference_mode():
                points = points + pose_offsets(self.rotations[frame : frame + 1], self.model.layer.posedirs)[0]
        rest = points.numpy()
        transforms = self.relative[frame]
        moved = np.zeros_like(rest)
        for k in range(INFLUENCES):
            own = transforms[self._ids[:, k]]  # (V, 3, 4)
            moved += self._share[:, k, None] * ((own[:, :, :3] @ rest[:, :, None])[:, :, 0] + own[:, :, 3])
        return moved + self.motion.transl[frame].astype(np.float32)
