"""Moving bodies in a GLB: skeleton, skinned mesh and animation of one person."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.bodies.smplx import SmplxData
from pipelines.export.glb import GlbBuilder, Material
from pipelines.export.glb_rig import Clip, add_skeleton, bind
from pipelines.export.motion import Motion
from pipelines.render.shading import vertex_normals

_ROUGHNESS = 0.75


def add_person(
    builder: GlbBuilder,
    clip: Clip,
    motion: Motion,
    shaped: ArrayLike,
    body: SmplxData,
    name: str,
    *,
    times: ArrayLike | None = None,
    colors: NDArray[np.uint8] | None = None,
    tint: tuple[int, int, int] = (200, 200, 200),
    prefix: str = "",
    parent: int | None = None,
) -> int:
    """Adds one person and plays their motion in ``clip``; returns the node of the mesh.

    Args:
        motion: its ``rest_joints`` are those of ``shaped``.
        shaped: (V, 3) rest vertices of this person; ``body`` gives faces and weights.
        times: (T,) seconds of the frames; by default those of the motion.
        colors: (V, 3) sRGB of the vertices, or None for the plain ``tint``.
        prefix: of the joints' names, to keep several people apart.
    """
    group = builder.add_group(name, parent=parent)
    names = [prefix + joint for joint in motion.names]
    skeleton = add_skeleton(builder, names, motion.parents, motion.rest_joints, group)
    linear = (*(float(v) for v in (np.array(tint) / 255) ** 2.2), 1.0)
    mesh = builder.add_mesh(
        shaped,
        body.faces,
        vertex_normals(np.asarray(shaped), body.faces),
        colors=colors,
        material=Material(roughness=_ROUGHNESS) if colors is not None else Material(linear, roughness=_ROUGHNESS),
        name=f"{name}_body",
        parent=parent,
    )
    bind(builder, mesh, skeleton, body.weights)
    clip.pose(skeleton, motion.times if times is None else times, motion.matrices(), motion.transl)
    return mesh
