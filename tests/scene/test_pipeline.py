"""From files to a finished scene: what is written, what is told, what is refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh

from models.geometry.cameras import camera_centers, relative_pose, rotation_angle_error
from models.runtime.errors import Cancelled, InputError, WeightsMissing
from models.runtime.settings import Settings
from pipelines.base import Inputs, RunContext, run
from pipelines.export.colmap import read_model
from pipelines.media.video import VideoWriter, probe
from pipelines.scene.options import FilterOptions, SceneOptions
from pipelines.scene.pipeline import ScenePipeline
from pipelines.scene.prediction import VERIFIED, Prediction
from pipelines.scene.refilter import refilter
from tests.scene.conftest import ROOM, Job, NothingInstalled, reconstruct


def test_everything_promised_is_there(room_job: Job) -> None:
    roles = {output.role for output in room_job.result.outputs}
    assert {
        "scene", "points", "prediction", "photo", "depth", "confidence", "camera_plot", "colmap", "poster"
    } <= roles  # fmt: skip
    for output in room_job.result.outputs:
        assert (room_job.folder / output.path).stat().st_size > 100, output.path
    assert not (room_job.folder / "work").exists()
    assert {"prepare", "photos", "features", "matching", "mapping", "depth", "consistency", "finish"} <= set(
        room_job.stages
    )
    figure = json.loads((room_job.folder / "cameras.json").read_text())
    assert {"data", "layout"} <= set(figure)


def test_the_text_file_is_named_in_a_warning(room_job: Job) -> None:
    assert any("note.jpg" in warning and "left out" in warning for warning in room_job.result.warnings)
    assert room_job.result.summary["registered"] == 5


def test_cameras_and_depth_are_right(room_job: Job) -> None:
    from examples.room import photo_views, render_room

    p = Prediction.load(room_job.folder / "prediction.npz")
    exact = np.array(json.loads((ROOM / "cameras.json").read_text())["extrinsics"])[3:8]
    turns = [
        float(rotation_angle_error(relative_pose(p.extrinsics[0], e), relative_pose(exact[0], x)))
        for e, x in zip(p.extrinsics[1:], exact[1:], strict=True)
    ]
    assert np.mean(turns) < 0.5
    here, there = camera_centers(p.extrinsics), camera_centers(exact)
    scale = np.linalg.norm(there[-1] - there[0]) / np.linalg.norm(here[-1] - here[0])
    depth, conf, _ = p.view(2)
    _, truth = render_room(photo_views()[5], supersample=1)
    truth = cv2.resize(truth, depth.shape[::-1], interpolation=cv2.INTER_NEAREST)
    sure = conf >= VERIFIED
    assert sure.mean() > 0.6
    assert np.mean(np.abs(depth[sure] * scale - truth[sure]) / truth[sure]) < 0.03
    assert not (p.filled & (p.conf >= VERIFIED)).any() and (p.depth[p.filled] > 0).all()
    assert (p.depth[p.conf == 0] == 0).all()


def test_the_cloud_opens_upright_in_a_viewer(room_job: Job) -> None:
    scene = trimesh.load(room_job.folder / "scene.glb")
    cloud = max(scene.geometry.values(), key=lambda g: len(getattr(g, "vertices", ())))
    assert len(cloud.vertices) == room_job.result.summary["points"] > 20_000
    # the floor of the room lies below, so a level slab near the lowest points is well filled
    height = np.asarray(cloud.vertices)[:, 1]
    low, high = np.percentile(height, [1, 99])
    assert (height < low + 0.1 * (high - low)).mean() > 0.04


def test_the_colmap_folder_gives_the_same_scene(room_job: Job, tmp_path: Path) -> None:
    with zipfile.ZipFile(room_job.folder / "colmap.zip") as archive:
        archive.extractall(tmp_path / "model")
    model = read_model(tmp_path / "model")
    p = Prediction.load(room_job.folder / "prediction.npz")
    assert len(model.images) == len(p)
    (tmp_path / "model" / "sparse" / "0" / "points3D.bin").write_bytes((0).to_bytes(8, "little"))
    again = reconstruct([tmp_path / "model"], tmp_path / "run", sfm={"depth_side": 320})
    q = Prediction.load(again.folder / "prediction.npz")
    np.testing.assert_allclose(q.extrinsics, p.extrinsics, atol=1e-6)
    np.testing.assert_allclose(q.intrinsics, p.intrinsics, atol=1e-3)
    both = (p.conf >= VERIFIED) & (q.conf >= VERIFIED)
    assert both.mean() > 0.5
    assert np.median(np.abs(p.depth - q.depth)[both] / p.depth[both]) < 0.01


def test_refiltering_needs_the_saved_prediction_only(room_job: Job, tmp_path: Path) -> None:
    options = FilterOptions(confidence_percentile=50, point_budget=5000, show_cameras=False)
    outputs = refilter(room_job.folder / "prediction.npz", tmp_path, options)
    assert {o.role for o in outputs} == {"scene", "points"}
    assert len(trimesh.load(tmp_path / "points.ply").vertices) == 5000
    assert len(trimesh.load(tmp_path / "scene.glb").geometry) == 1
    with pytest.raises(InputError, match="prediction"):
        refilter(room_job.folder / "colmap.zip", tmp_path, options)


def test_a_video_gives_frames_and_a_depth_video(tmp_path: Path) -> None:
    walk = ROOM / "walk.mp4"
    if not walk.is_file():
        pytest.skip("the example walk is not made yet")
    options = {"video": {"fps": 2, "max_frames": 6, "end": 3}, "sfm": {"depth_side": 192, "photo_side": 480}}
    job = reconstruct([walk], tmp_path, **options)
    assert "frames" in job.stages and job.result.summary["registered"] >= 4
    info = probe(tmp_path / "depth.mp4", Settings().limits)
    assert info.width == 2 * info.height * 4 // 3
    assert job.result.first("depth_video") is not None


def test_one_photo_is_refused_with_the_way_out(room_photos: list[Path], tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"at least two photos.*Depth Anything 3"):
        reconstruct(room_photos[:1], tmp_path)


def test_the_same_photo_twice_is_refused(room_photos: list[Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(room_photos[0].read_bytes())
    with pytest.raises(InputError, match="same picture"):
        reconstruct([room_photos[0], copy], tmp_path / "run")


def test_a_camera_that_stands_still_is_refused(room_photos: list[Path], tmp_path: Path) -> None:
    image = cv2.imread(str(room_photos[0])).astype(float)
    rng = np.random.default_rng(0)
    files = []
    for i in range(3):
        files.append(tmp_path / f"{i}.png")
        cv2.imwrite(str(files[-1]), np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8))
    with pytest.raises(InputError, match="does not move"):
        reconstruct(files, tmp_path / "run")


def test_a_camera_that_only_turns_is_refused(tmp_path: Path) -> None:
    photo = cv2.imread(str(ROOM / "photos" / "room_05.jpg"))
    h, w = photo.shape[:2]
    K = np.array([[622.0, 0, w / 2], [0, 622, h / 2], [0, 0, 1]])
    small = np.array([[520.0, 0, 200], [0, 520, 150], [0, 0, 1]])
    files = []
    for degrees in (-10, -5, 0, 5, 10):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turned = small @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) @ np.linalg.inv(K)
        files.append(tmp_path / f"{degrees + 10:02d}.png")
        cv2.imwrite(str(files[-1]), cv2.warpPerspective(photo, turned, (400, 300), flags=cv2.INTER_AREA))
    with pytest.raises(InputError, match="on the spot"):
        reconstruct(files, tmp_path / "run")


def test_a_video_from_a_tripod_is_refused(room_photos: list[Path], tmp_path: Path) -> None:
    image = cv2.cvtColor(cv2.imread(str(room_photos[0])), cv2.COLOR_BGR2RGB)
    rng = np.random.default_rng(0)
    with VideoWriter(tmp_path / "still.mp4", 10, (400, 300)) as video:
        for _ in range(20):
            video.write(np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8))
    with pytest.raises(InputError, match="does not move"):
        reconstruct([tmp_path / "still.mp4"], tmp_path / "run")


def test_blurred_photos_are_refused(room_photos: list[Path], tmp_path: Path) -> None:
    files = []
    for i, path in enumerate(room_photos[:3]):
        files.append(tmp_path / f"{i}.jpg")
        cv2.imwrite(str(files[-1]), cv2.GaussianBlur(cv2.imread(str(path)), (0, 0), 9))
    with pytest.raises(InputError, match="blurred"):
        reconstruct(files, tmp_path / "run")


def test_photos_of_different_places_are_refused(room_photos: list[Path], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    other = tmp_path / "noise.png"
    cv2.imwrite(str(other), cv2.resize(rng.integers(0, 255, (75, 100, 3), np.uint8), (400, 300)))
    with pytest.raises(InputError, match="overlap"):
        reconstruct([room_photos[0], other], tmp_path / "run")


def test_stopping_ends_the_worker_process(room_photos: list[Path], tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    context = RunContext(tmp_path, Settings(), None, NothingInstalled(), cancel_file=stop)
    events = run(ScenePipeline(), Inputs({"photos": tuple(room_photos)}), SceneOptions(engine="sfm"), context)
    with pytest.raises(Cancelled):
        for event in events:
            if getattr(event, "stage", "") == "features":
                stop.touch()
    children = [
        p for p in Path("/proc").glob("[0-9]*/cmdline") if str(tmp_path) in p.read_bytes().decode(errors="replace")
    ]
    assert children == []
