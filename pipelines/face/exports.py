"""Files and pictures of measured heads."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from models.geometry.cameras import resize_intrinsics
from pipelines.export.expression import ExpressionClip, write_expression
from pipelines.export.glb import GlbBuilder, Material
from pipelines.export.glb_rig import Clip, add_morphs
from pipelines.export.motion import write_motion
from pipelines.export.obj import write_obj
from pipelines.face.blendshapes import NAMES
from pipelines.face.canonical import canonical_face
from pipelines.face.expression import Performance, RestingFace
from pipelines.face.facemesh import FaceLens, HeadFit
from pipelines.face.head_motion import head_motion
from pipelines.face.repose import FACING, PosableHead, portrait
from pipelines.media.atomic import replacing
from pipelines.render.depth_color import colorize, inverse_depth, valid_depth, value_range
from pipelines.render.raster import rasterize_mesh
from pipelines.render.shading import Camera, Picture, render_mesh, vertex_normals
from pipelines.tracking.face_points import LINES_68

Image = NDArray[np.uint8]
SHOWN_SIDE, LEAST_SIDE = 1280, 640  # pixels of the pictures that are shown, at most and at least
MESHED = 110  # pixels: the height from which a face has room for its mesh
VIEW = 480  # pixels of the pictures that show a head by itself
FRAME = (np.array([0.0, -0.025, -0.07]), 0.33)  # middle and size of a face in those, metres
NOTE = "estimated from landmarks; gaze and tongue are not estimated and stay 0"
PLOTTED = 8  # curves that move most


def shown_copy(photo: Image, lens: FaceLens) -> tuple[Image, FaceLens, float]:
    """The photo at the size in which it is shown, its lens, and the factor between the two."""
    longer = max(photo.shape[:2])
    factor = min(max(LEAST_SIDE, longer), SHOWN_SIDE) / longer
    if factor == 1.0:
        return photo, lens, 1.0
    size = (round(photo.shape[1] * factor), round(photo.shape[0] * factor))
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    return small, FaceLens(resize_intrinsics(lens.intrinsics, factor, factor), size), factor


def write_head(path: Path, rest: RestingFace | None, vertices: NDArray[np.floating], texture: Image,
               clip: Performance | None = None, head_motion: bool = True) -> Path:  # fmt: skip
    """A textured GLB; with ``rest`` it has the 52 expressions as morph targets, with ``clip`` it plays them."""
    face = canonical_face()
    builder = GlbBuilder()
    group = builder.add_group("head")
    material = Material(texture=texture, roughness=0.8, jpeg_quality=92)
    normals = vertex_normals(vertices, face.faces)
    mesh = builder.add_mesh(vertices, face.faces, normals, face.uv, material=material, name="face", parent=group)
    if rest is not None:
        add_morphs(builder, mesh, NAMES, rest.morphs())
    if clip is not None:
        motion = Clip(builder, "expression")
        motion.morph(mesh, clip.times, clip.weights)
        if head_motion:
            motion.rotate(group, clip.times, FACING @ clip.rotations)
    return builder.save(path)


def write_head_obj(path: Path, vertices: NDArray[np.floating], texture: Image) -> list[Path]:
    face = canonical_face()
    return write_obj(path, vertices, face.faces, uv=face.uv, textures={"map_Kd": texture})


def head_picture(vertices: NDArray[np.floating], texture: Image, turn: NDArray[np.floating] | None = None,
                 size: int = VIEW, samples: int = 2, shared: bool = True) -> Image:  # fmt: skip
    """A head by itself, from the front or with the rotation (3, 3) from head to camera axes."""
    face = canonical_face()
    rotation = FACING if turn is None else np.asarray(turn, np.float64)
    return portrait(vertices, face.faces, face.uv, texture, FRAME, rotation, size, samples, shared)


def posable(number: int, fit: HeadFit, rest: RestingFace, weights: NDArray[np.floating], texture: Image) -> PosableHead:
    """What is saved of a head for posing it again."""
    face = canonical_face()
    vertices, morphs = rest.vertices(np.zeros(len(NAMES))), rest.morphs()
    own = fit.vertices(face) - vertices - np.tensordot(weights, morphs, axes=1)
    uv = face.uv[face.faces]
    return PosableHead("facemesh", number, vertices, face.faces, uv, texture, NAMES, morphs, weights, own)


def over_photo(photo: Image, lens: FaceLens, fit: HeadFit, texture: Image) -> Image:
    """The photo with the textured head drawn over it."""
    face = canonical_face()
    camera = Camera(fit.extrinsics, lens.intrinsics, photo.shape[1], photo.shape[0])
    drawn: Picture = render_mesh(
        camera, fit.vertices(face), face.faces, texture=texture, uv=face.uv, supersample=1, background=(0, 0, 0)
    )
    alpha = drawn.alpha[..., None].astype(np.float32) / 255
    return (drawn.color * alpha + photo * (1 - alpha) + 0.5).astype(np.uint8)


def depth_picture(photo: Image, lens: FaceLens, fits: Sequence[HeadFit]) -> Image:
    """Nearness of all heads of a photo in colours."""
    face = canonical_face()
    depth = np.full(photo.shape[:2], np.inf)
    for fit in fits:
        found = rasterize_mesh(
            fit.vertices(face), face.faces, fit.extrinsics, lens.intrinsics, photo.shape[0], photo.shape[1]
        )
        depth = np.minimum(depth, found.depth)
    valid = valid_depth(depth)
    near = inverse_depth(depth)
    return colorize(near, valid, value_range(near, valid))


def landmark_picture(photo: Image, landmarks: Sequence[NDArray[np.floating]], numbers: Sequence[int]) -> Image:
    """The photo with the mesh and the number of every face drawn on it."""
    face = canonical_face()
    canvas = np.ascontiguousarray(photo).copy()
    skin = face.faces[face.skin_faces]
    edges = np.unique(np.sort(np.concatenate([skin[:, [0, 1]], skin[:, [1, 2]], skin[:, [2, 0]]]), axis=1), axis=0)
    for points, number in zip(landmarks, numbers, strict=True):
        at = np.rint(points[:, :2] * 8).astype(np.int32)
        if np.ptp(points[:, 1]) < MESHED:
            lines = [at[list(line)] for line in LINES_68]
            cv2.polylines(canvas, lines, False, (90, 220, 190), 1, cv2.LINE_AA, 3)
            _numbered(canvas, points, number)
            continue
        wires = canvas.copy()
        cv2.polylines(wires, list(at[edges]), False, (90, 220, 190), 1, cv2.LINE_AA, 3)
        canvas = cv2.addWeighted(wires, 0.55, canvas, 0.45, 0)
        radius = max(1, round(np.ptp(points[:, 1]) / 260))
        for x, y in at:
            cv2.circle(canvas, (int(x), int(y)), radius * 8, (255, 255, 255), -1, cv2.LINE_AA, 3)
        _numbered(canvas, points, number)
    return canvas


def _numbered(canvas: Image, points: NDArray[np.floating], number: int) -> None:
    """Writes a face's number above it."""
    size = max(0.5, float(np.ptp(points[:, 1])) / 300)
    corner = (int(points[:, 0].min()), max(int(points[:, 1].min()) - 6, int(24 * size)))
    for colour, width in (((0, 0, 0), 4), ((255, 255, 255), 2)):
        cv2.putText(canvas, str(number), corner, cv2.FONT_HERSHEY_SIMPLEX, size, colour, width, cv2.LINE_AA)


def parameters(fit: HeadFit, lens: FaceLens, weights: NDArray[np.floating] | None) -> dict[str, object]:
    """What a head's numbers are, for JSON."""
    yaw, pitch, roll = (round(a, 2) for a in fit.angles)
    told: dict[str, object] = {
        "yaw": yaw,
        "pitch": pitch,
        "roll": roll,
        "extrinsics": fit.extrinsics.round(6).tolist(),
        "intrinsics": lens.intrinsics.round(4).tolist(),
        "scale": round(fit.scale, 5),
    }
    if weights is not None:
        told["expression"] = {n: round(float(w), 4) for n, w in zip(NAMES, weights, strict=True)}
    return told


def write_curves(
    folder: Path,
    stem: str,
    times: NDArray[np.floating],
    seen: NDArray[np.bool_],
    weights: NDArray[np.floating],
    rotations: NDArray[np.floating],
    fps: Fraction,
) -> None:
    """``STEM.csv`` (one row per frame), ``STEM.json``, the plot ``STEM_plot.json``, and the head's motion
    ``STEM_motion.npz`` on a standing body. ``rotations`` (T, 3, 3) from the head to camera axes."""
    with replacing(folder / f"{stem}.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["frame", "time", "seen", *NAMES])
        for i in range(len(times)):
            values = [f"{w:.4f}" for w in weights[i]]
            rows.writerow([i, f"{times[i]:.4f}", int(seen[i]), *values])
    head = Rotation.from_matrix(FACING @ rotations).as_rotvec()
    clip = ExpressionClip(NAMES, np.asarray(times), np.asarray(seen, bool), np.asarray(weights), head)
    write_expression(folder / f"{stem}.json", clip, float(fps), NOTE)
    write_motion(folder / f"{stem}_motion.npz", head_motion(clip, float(fps)))
    most = np.argsort(-np.ptp(weights, axis=0), kind="stable")[:PLOTTED]
    traces = [
        {"type": "scatter", "mode": "lines", "name": NAMES[k], "x": times.round(3).tolist(),
         "y": weights[:, k].round(3).tolist()}
        for k in most
    ]  # fmt: skip
    layout = {
        "title": {"text": "Expression, the curves that move most (estimated)"},
        "xaxis": {"title": {"text": "seconds"}},
        "yaxis": {"range": [0, 1.02]},
    }
    (folder / f"{stem}_plot.json").write_text(json.dumps({"data": traces, "layout": layout}), encoding="utf-8")
