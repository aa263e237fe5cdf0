"""People stood into a scene: a body on a known floor, seen by a moving camera, comes back where it was, in metres."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from models.bodies.joints import INDEX, JOINTS
from models.bodies.mannequin import load
from models.geometry.cameras import invert_rigid, look_at, unproject_pixels
from models.runtime.errors import InputError
from pipelines.export.motion import Motion, read_motion, write_motion
from pipelines.scene.frames import frame_time
from pipelines.scene.fusion import fuse
from pipelines.scene.options import FilterOptions
from pipelines.scene.people import VIEWER, stand, write_people
from pipelines.scene.prediction import Prediction
from pipelines.scene.refilter import upright

METRES = 2.5  # per unit of the prediction
FPS, FRAMES = 10.0, 21
SIZE = (96, 160)  # rows, columns of the prediction
LENS = 1.4  # focal length in widths, against the 1.1 that the motion assumed


def joints_in_world() -> tuple[Motion, np.ndarray]:
    """Somebody who walks over the floor (world y down, floor at 0), and their joints (T, J, 3) in metres."""
    rest = (load().data.J_regressor @ load().data.v_template).astype(np.float64)
    rng = np.random.default_rng(3)
    rotations = rng.normal(0, 0.05, (1, JOINTS, 3)) + np.zeros((FRAMES, 1, 1))
    rotations[:, 0] = [0, 0.3, 0]
    motion = Motion(rotations, np.zeros((FRAMES, 3)), np.zeros(10), FPS, rest, np.arange(FRAMES) / FPS,
                    np.ones(FRAMES, bool))  # fmt: skip
    low = motion.joints()[..., 1].min(axis=1)
    steps = np.linspace(0, 1, FRAMES)
    motion = replace(motion, transl=np.stack([steps - 0.5, 0.04 - low, steps * 0.4], axis=1))
    return motion, motion.joints() * VIEWER


def cameras() -> np.ndarray:
    """World-to-camera (T, 3, 4) in metres, on an arc and turning."""
    angles = np.linspace(-0.3, 0.3, FRAMES)
    eyes = np.stack([5 * np.sin(angles), np.full(FRAMES, -1.6), -5 * np.cos(angles)], axis=1)
    return np.stack([look_at(eye, (0, -0.8, 0), up=(0, -1, 0))[:3] for eye in eyes])


def seen_by(motion: Motion, extrinsics: np.ndarray) -> Motion:
    """The motion as the Body tab gives it: in the camera of each frame, with the distance of the lens it assumed."""
    turn = np.diag(VIEWER) @ extrinsics[:, :, :3] @ np.diag(VIEWER)
    root = motion.rest_joints[0] + motion.transl
    moved = np.einsum("tij,tj->ti", turn, root) + extrinsics[:, :, 3] * VIEWER
    rotations = motion.rotations.copy()
    rotations[:, 0] = (Rotation.from_matrix(turn) * Rotation.from_rotvec(rotations[:, 0])).as_rotvec()
    moved[:, 2] *= 1.1 / LENS
    camera = np.tile([1.1 * 1280, 1.1 * 1280, 640, 360], (FRAMES, 1))
    return replace(motion, rotations=rotations, transl=moved - motion.rest_joints[0], camera=camera)


def prediction(extrinsics: np.ndarray, every: int = 4, metric: bool = False) -> Prediction:
    """The floor seen from every fourth camera, in units of its own."""
    unit = 1.0 if metric else METRES
    chosen = np.arange(0, FRAMES, every)
    rows, columns = SIZE
    K = np.array([[LENS * columns, 0, (columns - 1) / 2], [0, LENS * columns, (rows - 1) / 2], [0, 0, 1.0]])
    pixels = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2).astype(float)
    depth = []
    for E in extrinsics[chosen]:
        rays = unproject_pixels(pixels, np.ones(len(pixels)), K) @ E[:, :3]  # in the world
        centre = invert_rigid(E)[:3, 3]
        down = rays[:, 1] > 1e-3
        depth.append(np.where(down, -centre[1] / np.where(down, rays[:, 1], 1), 0).reshape(SIZE) / unit)
    shrunk = extrinsics[chosen].copy()
    shrunk[:, :, 3] /= unit
    count = len(chosen)
    return Prediction(
        depth=np.array(depth, np.float32),
        conf=(np.array(depth) > 0).astype(np.float32),
        filled=np.zeros((count, *SIZE), bool),
        extrinsics=shrunk,
        intrinsics=np.tile(K, (count, 1, 1)),
        images=np.full((count, *SIZE, 3), 120, np.uint8),
        names=tuple(f"frame at {i / FPS:.2f} s" for i in chosen),
        sizes=np.tile(SIZE, (count, 1)),
        metric=metric,
    )


@pytest.mark.parametrize("metric", [False, True])
def test_walker_comes_back_in_metres(metric: bool) -> None:
    motion, truth = joints_in_world()
    views = cameras()
    scene = prediction(views, metric=metric)
    T = upright(scene.extrinsics, fuse(scene, FilterOptions()).points)
    standing = stand(scene, [seen_by(motion, views)], T)
    assert standing.scale == pytest.approx(1.0 if metric else METRES, rel=0.02)
    assert standing.spread < 0.1
    scale = standing.scale
    expected = (truth / scale) @ T[:3, :3].T * scale + T[:3, 3] * scale
    got = standing.motions[0].joints()
    used = np.arange(0, FRAMES, 4)
    assert np.linalg.norm(got[used] - expected[used], axis=-1).max() < 0.06
    # Between the used frames the camera's place is interpolated.
    assert np.linalg.norm(got - expected, axis=-1).mean() < 0.06
    feet = (got[:, [INDEX["left_foot"], INDEX["right_foot"]]] @ (T[:3, :3] @ [0, -1, 0])).min(axis=1)
    assert np.ptp(feet) < 0.05, "who walks on a level floor stays on it"


def test_written_scene_opens_with_cloud_and_body(tmp_path: Path) -> None:
    motion, _ = joints_in_world()
    views = cameras()
    scene = prediction(views)
    options = FilterOptions()
    file = write_motion(tmp_path / "person_01.npz", seen_by(motion, views))
    outputs, standing = write_people(scene, fuse(scene, options), [read_motion(file)], tmp_path, options)
    opened = trimesh.load(tmp_path / "people.glb")
    body = next(g for name, g in opened.geometry.items() if "person_01" in name)
    assert 1.5 < np.ptp(body.vertices[:, 1]) < 2.0
    assert {o.role for o in outputs} == {"people", "world_motion", "world_bvh"}
    assert all((tmp_path / o.path).is_file() for o in outputs)
    again = read_motion(tmp_path / "people" / "person_01.npz")
    assert np.allclose(again.joints(), standing.motions[0].joints(), atol=1e-4)
    assert len(again.camera) == 0


def test_what_does_not_belong_together_is_refused() -> None:
    motion, _ = joints_in_world()
    views = cameras()
    scene = prediction(views)
    with pytest.raises(InputError, match="not seen by a camera"):
        stand(scene, [motion], np.eye(4))
    late = replace(seen_by(motion, views), times=motion.times + 60)
    with pytest.raises(InputError, match="from this video"):
        stand(scene, [late], np.eye(4))
    with pytest.raises(InputError, match="of a video only"):
        stand(replace(scene, names=tuple(f"{i}.jpg" for i in range(len(scene)))), [seen_by(motion, views)], np.eye(4))


def test_frame_names_tell_their_time() -> None:
    assert frame_time("frame at 12.50 s") == 12.5
    assert frame_time("IMG_0012.jpg") is None
    assert frame_time("frame at noon s") is None
