"""GLB files, pictures and numbers of installed heads, in head axes with the origin between the eyes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.deca.network import DecaCode
from models.geometry.rotations import axis_angle_to_matrix
from pipelines.export.glb import GlbBuilder, Material, split_seams
from pipelines.export.glb_rig import Clip, add_morphs
from pipelines.export.obj_read import ObjMesh
from pipelines.face.blendshapes import NAMES
from pipelines.face.flame_shapes import EYES, FlameShapes
from pipelines.face.repose import FACING, PosableHead
from pipelines.render.shading import CLAY, vertex_normals

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
SKIN_SHINE = 0.8


@dataclass(frozen=True)
class Motion:
    """How a head moves: times (T,) seconds, morph weights (T, K), rotations (T, 3, 3) from rest."""

    times: Array
    weights: Array
    rotations: Array


def origin_of(shapes: FlameShapes) -> Array:
    """The middle between the eyes (3,) of a head at rest."""
    return shapes.still[list(EYES)].mean(axis=0)


def write_head(path: Path, vertices: NDArray[np.floating], mesh: ObjMesh, texture: Image,
               names: Sequence[str] = (), morphs: NDArray[np.floating] | None = None,
               motion: Motion | None = None) -> Path:  # fmt: skip
    """A textured head, with morph targets and an animation where they are given."""
    faces, corner, uv_corner = split_seams(mesh.faces, mesh.uv_faces)
    builder = GlbBuilder()
    group = builder.add_group("head")
    material = Material(texture=texture, roughness=SKIN_SHINE, jpeg_quality=92)
    normals = vertex_normals(np.asarray(vertices, np.float64), mesh.faces)[corner]
    node = builder.add_mesh(
        np.asarray(vertices)[corner], faces, normals, mesh.uv[uv_corner], material=material, name="face", parent=group
    )
    if morphs is not None:
        add_morphs(builder, node, names, morphs[:, corner])
    if motion is not None:
        clip = Clip(builder, "expression")
        clip.morph(node, motion.times, motion.weights)
        clip.rotate(group, motion.times, motion.rotations)
    return builder.save(path)


def write_clay(path: Path, vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> Path:
    """A head of clay, on which wrinkles show."""
    builder = GlbBuilder()
    normals = vertex_normals(np.asarray(vertices, np.float64), faces)
    colour = (*((np.array(CLAY) / 255) ** 2.2).tolist(), 1.0)
    builder.add_mesh(vertices, faces, normals, material=Material(color=colour, roughness=0.75), name="head")
    return builder.save(path)


def posable(number: int, shapes: FlameShapes, frontal: NDArray[np.floating], weights: Array, mesh: ObjMesh,
            texture: Image) -> PosableHead:  # fmt: skip
    """What is saved of a head for posing it again; ``frontal`` (V, 3) is the photo's face looking straight ahead."""
    own = frontal - shapes.rest - np.tensordot(weights, shapes.morphs, axes=1)
    rest = shapes.rest - origin_of(shapes)
    uv = mesh.uv[mesh.uv_faces]
    return PosableHead("deca", number, rest, mesh.faces, uv, texture, NAMES, shapes.morphs, weights, own)


def rotation_of(code: DecaCode) -> Array:
    """Global rotations (N, 3, 3) of heads, y up."""
    return axis_angle_to_matrix(code.pose[:, :3].double()).numpy()


def angles_of(rotation: Array) -> tuple[float, float, float]:
    """Yaw (to the picture's right), pitch (up) and roll (clockwise) in degrees of a head's rotation (3, 3), y up."""
    forward, side = FACING @ rotation[:, 2], FACING @ rotation[:, 0]
    yaw = np.degrees(np.arctan2(forward[0], -forward[2]))
    pitch = np.degrees(np.arctan2(-forward[1], np.hypot(forward[0], forward[2])))
    return float(yaw), float(pitch), float(np.degrees(np.arctan2(side[1], side[0])))


def camera_matrix(cam: NDArray[np.floating], tform: NDArray[np.floating]) -> Array:
    """(3, 4) from metres of ``verts`` to photo pixels of DECA's scaled orthographic camera; the last row is 0 0 0 1."""
    scale, x, y = (float(v) for v in cam)
    crop = np.array([[scale, 0, 0, scale * x], [0, -scale, 0, -scale * y]]) * 112
    crop[:, 3] += 112
    back = np.linalg.inv(np.asarray(tform, np.float64))
    matrix = np.zeros((3, 4))
    matrix[:2] = back[:2, :2] @ crop
    matrix[:2, 3] += back[:2, 2]
    matrix[2, 3] = 1
    return matrix


def told(number: int, name: str, code: DecaCode, tform: NDArray[np.floating], weights: Array) -> Mapping[str, object]:
    """What a head's numbers are, for JSON; ``code`` holds this head alone."""
    yaw, pitch, roll = (round(a, 2) for a in angles_of(rotation_of(code)[0]))
    parts = {
        part: np.round(getattr(code, part)[0].numpy().astype(np.float64), 6).tolist()
        for part in ("shape", "tex", "exp", "pose", "cam", "light", "detail")
    }
    return {
        "number": number,
        "name": name,
        "yaw": yaw,
        "pitch": pitch,
        "roll": roll,
        "photo_to_crop": np.round(np.asarray(tform, np.float64), 6).tolist(),
        "world_to_photo": camera_matrix(code.cam[0].numpy(), tform).round(6).tolist(),
        "codes": parts,
        "expression": {n: round(float(w), 4) for n, w in zip(NAMES, weights, strict=True)},
    }
