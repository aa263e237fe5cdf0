"""People in a scene: motions that the Body tab measured in the same video, stood into the cloud, all in metres.

A motion holds places in the camera of its frame, in metres, from an assumed lens. The scene knows where each camera
stood and how deep the picture is, but usually not how long a metre is. Where somebody stands, the two must agree: that
gives the scene's scale, and every frame's camera carries the person into the one world that does not move.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from models.bodies.joints import INDEX
from models.bodies.mannequin import load as load_mannequin
from models.bodies.smplx import SmplxData
from models.geometry.cameras import camera_centers, transform_points
from models.runtime.errors import InputError
from pipelines.base import Output
from pipelines.export.bvh import write_bvh
from pipelines.export.glb import GlbBuilder, camera_frustums, rainbow, robust_extent
from pipelines.export.glb_people import add_person
from pipelines.export.glb_rig import Clip
from pipelines.export.motion import Motion, write_motion
from pipelines.scene.frames import frame_time
from pipelines.scene.fusion import Cloud
from pipelines.scene.options import FilterOptions
from pipelines.scene.prediction import VERIFIED, Prediction
from pipelines.scene.refilter import upright

Array = np.ndarray
VIEWER = np.array([1.0, -1.0, -1.0])  # axes of a motion (y up, z to the viewer) <-> of a camera (y down, z forward)
FEET = tuple(INDEX[name] for name in ("left_foot", "right_foot"))
TRUNK = tuple(INDEX[name] for name in ("pelvis", "spine2", "left_shoulder", "right_shoulder"))
# Metres, in camera axes: from a joint of the trunk to the surface in front of it, from one of the foot to the ground.
SKIN, SOLE = np.array([0, 0, -0.12]), np.array([0, 0.04, 0])
_FEWEST = 3  # estimates from feet that are believed without asking the trunk
_ROUGH = 0.25  # spread of the single estimates, as a share, above which the scale is called rough
_COLORS = ((112, 172, 214), (230, 159, 60), (90, 178, 140), (204, 121, 167), (240, 220, 110), (213, 110, 60))


@dataclass(frozen=True)
class Standing:
    """People in the scene's upright world. ``scale``: metres per unit of the prediction; ``spread``: how far the single
    estimates of it lie apart (half their 16-84 % range, as a share); ``motions``: places in metres, y up, no camera."""

    motions: tuple[Motion, ...]
    scale: float
    spread: float


def stand(prediction: Prediction, motions: Iterable[Motion], T_up_world: Array) -> Standing:
    """Carries motions (in their cameras) into the world ``T_up_world`` (4, 4) turns the prediction into, in metres.

    Raises:
        InputError: the prediction is not of a video, a motion has no camera, or nobody is seen in any used frame.
    """
    times = [frame_time(name) for name in prediction.names]
    if any(t is None for t in times) or len(times) < 2:
        raise InputError("People can be put into the scene of a video only: the one their motion was measured in")
    when = np.array(times, float)
    fitted = [_with_lens_of(prediction, motion) for motion in motions]
    estimates = np.concatenate([_scales(prediction, when, motion, FEET, SOLE) for motion in fitted])
    if len(estimates) < _FEWEST:  # feet out of the picture; a scene that left out what moves shows no trunk, though
        estimates = np.concatenate([_scales(prediction, when, motion, TRUNK, SKIN) for motion in fitted])
    if len(estimates) == 0:
        raise InputError("Nobody of the motion file is seen in the used frames; is it from this video?")
    low, scale, high = np.percentile(estimates, [16, 50, 84])
    spread = float((high - low) / 2 / scale)
    if prediction.metric:  # the scene is in metres already: the bodies' assumed size gives way
        grown = [_grown(motion, 1 / scale) for motion in fitted]
        return Standing(tuple(_carried(prediction, when, m, T_up_world, 1.0) for m in grown), 1.0, spread)
    return Standing(
        tuple(_carried(prediction, when, m, T_up_world, float(scale)) for m in fitted), float(scale), spread
    )


def _with_lens_of(prediction: Prediction, motion: Motion) -> Motion:
    """The motion under the scene's focal length: whoever looks as large through a longer lens stands farther away."""
    if len(motion.camera) == 0:
        raise InputError("This motion was not seen by a camera; use a motion file of the Body tab")
    width = prediction.sizes[0][1]
    focal = float(np.median(prediction.intrinsics[:, 0, 0])) / width
    farther = focal / (motion.camera[:, 0] / (2 * motion.camera[:, 2]))
    root = motion.rest_joints[0] + motion.transl
    transl = motion.transl.astype(np.float64).copy()
    transl[:, 2] += root[:, 2] * (farther - 1)
    return replace(motion, transl=transl)


def _scales(prediction: Prediction, when: Array, motion: Motion, ids: tuple[int, ...], surface: Array) -> Array:
    """Metres per unit of depth wherever the point at ``surface`` (3,) from one of the joints is on a seen surface."""
    points = motion.joints()[:, list(ids)] * VIEWER + surface  # (T, K, 3) camera axes
    found = []
    for view, time in enumerate(when):
        row = int(np.argmin(np.abs(motion.times - time)))
        if abs(motion.times[row] - time) > 1 / motion.fps or not motion.seen[row]:
            continue
        depth, conf, _ = prediction.view(view)
        solid = np.where(conf >= VERIFIED, depth, 0)
        units = [_depth_at(solid, prediction.intrinsics[view], point) for point in points[row]]
        found += [point[2] / unit for point, unit in zip(points[row], units, strict=True) if unit > 0]
    return np.array(found)


def _depth_at(depth: Array, K: Array, point: Array) -> float:
    """Median depth (units) about the pixel a point (3,) in camera axes falls on; 0 where there is none."""
    u, v, w = K @ point
    if w <= 0:
        return 0.0
    x, y = round(u / w), round(v / w)
    h, w = depth.shape
    if not (0 <= x < w and 0 <= y < h):
        return 0.0
    patch = depth[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
    known = patch[patch > 0]
    return float(np.median(known)) if len(known) else 0.0


def _grown(motion: Motion, factor: float) -> Motion:
    return replace(motion, rest_joints=motion.rest_joints * factor, transl=motion.transl * factor)


def camera_path(prediction: Prediction, when: Array, times: Array) -> tuple[Array, Array]:
    """World-to-camera rotations (T, 3, 3) and centres (T, 3) at ``times``; held beyond the used frames."""
    order = np.argsort(when)
    inside = np.clip(times, when[order[0]], when[order[-1]])
    turns = Slerp(when[order], Rotation.from_matrix(prediction.extrinsics[order, :3, :3]))(inside).as_matrix()
    centres = camera_centers(prediction.extrinsics)[order]
    return turns, np.stack([np.interp(inside, when[order], centres[:, k]) for k in range(3)], axis=1)


def _carried(prediction: Prediction, when: Array, motion: Motion, T_up_world: Array, scale: float) -> Motion:
    """The motion in the upright world: ``x_up = U (s C + R^T x_camera) + s u``."""
    turns, centres = camera_path(prediction, when, motion.times)
    U, u = T_up_world[:3, :3], T_up_world[:3, 3]
    to_up = U @ np.swapaxes(turns, 1, 2) @ np.diag(VIEWER)  # (T, 3, 3) from the motion's axes
    root = motion.rest_joints[0] + motion.transl
    placed = np.einsum("tij,tj->ti", to_up, root) + scale * (centres @ U.T + u)
    rotations = motion.rotations.astype(np.float64).copy()
    rotations[:, 0] = (Rotation.from_matrix(to_up) * Rotation.from_rotvec(rotations[:, 0])).as_rotvec()
    return replace(motion, rotations=rotations, transl=placed - motion.rest_joints[0], camera=np.zeros((0, 4)))


def write_people(
    prediction: Prediction, cloud: Cloud, motions: Iterable[Motion], out_dir: Path, options: FilterOptions
) -> tuple[list[Output], Standing]:
    """Writes ``people.glb`` (cloud, cameras and moving bodies in metres) and every motion in the scene's world.

    Raises:
        InputError: as ``stand``.
    """
    T = upright(prediction.extrinsics, cloud.points)
    standing = stand(prediction, motions, T)
    builder = GlbBuilder()
    builder.add_points(transform_points(T, cloud.points) * standing.scale, cloud.colors)
    if options.show_cameras:
        height, width = prediction.sizes[0]
        size = 0.03 * options.camera_size * robust_extent(cloud.points)
        wires = camera_frustums(prediction.extrinsics, prediction.intrinsics, int(width), int(height), size)
        count, each = wires.shape[:2]
        moved = transform_points(T, wires.reshape(-1, 3)).reshape(-1, 2, 3) * standing.scale
        builder.add_lines(moved, np.repeat(rainbow(count), each, axis=0), name="cameras")
    clip = Clip(builder, "motion")
    body = load_mannequin()
    made = []
    for number, motion in enumerate(standing.motions, 1):
        shaped, worn = _dressed(motion, body.data)
        tint = _COLORS[(number - 1) % len(_COLORS)]
        add_person(builder, clip, worn, shaped, body.data, f"person_{number:02d}", tint=tint, prefix=f"{number:02d}_")
        path = out_dir / "people" / f"person_{number:02d}.npz"
        write_motion(path, motion)
        write_bvh(path.with_suffix(".bvh"), motion)
        made += [
            Output("world_motion", f"people/{path.name}", "data", f"Motion of person {number} in the scene (NPZ)"),
            Output("world_bvh", f"people/{path.stem}.bvh", "data", f"Motion of person {number} in the scene (BVH)"),
        ]
    builder.save(out_dir / "people.glb")
    return [Output("people", "people.glb", "model3d", "People in the scene (metres)"), *made], standing


def _dressed(motion: Motion, body: SmplxData) -> tuple[Array, Motion]:
    """The mannequin in the shape whose joints come nearest to the motion's, (V, 3), and the motion on its skeleton."""
    joints = body.J_regressor @ body.v_template
    basis = np.einsum("jv,vkb->jkb", body.J_regressor, body.shapedirs[..., : body.identity])
    away = (motion.rest_joints - motion.rest_joints[0]) - (joints - joints[0])
    moves = basis - basis[:1]
    betas = np.linalg.lstsq(moves.reshape(-1, moves.shape[-1]), away.ravel(), rcond=None)[0]
    shaped = body.v_template + body.shapedirs[..., : body.identity] @ betas
    rest = body.J_regressor @ shaped
    root = motion.rest_joints[0] + motion.transl
    return shaped, replace(motion, rest_joints=rest, transl=root - rest[0])


def remarks(standing: Standing) -> list[str]:
    """What to tell about the scale."""
    if standing.spread <= _ROUGH:
        return []
    return [
        f"The scene's scale from its people is rough (single estimates lie {standing.spread:.0%} apart); a typed "
        "distance or a metric checkpoint is better where lengths matter"
    ]
