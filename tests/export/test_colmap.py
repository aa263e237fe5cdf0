"""COLMAP models: both encodings return what was written, COLMAP itself agrees, damaged files are refused."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from models.geometry.cameras import project, rigid
from models.runtime.errors import InputError
from pipelines.export.colmap import Camera, Points, PosedImage, SparseModel, find_model, read_model, write_model


@pytest.fixture
def model() -> SparseModel:
    rng = np.random.default_rng(0)
    K = np.array([[500.5, 0, 319.5], [0, 498.25, 239.5], [0, 0, 1]])
    cameras = {
        1: Camera.from_matrix(1, K, 640, 480),
        2: Camera.from_matrix(2, K, 640, 480, distortion=[0.1, -0.05, 0.001, 0.002]),
        7: Camera(7, "SIMPLE_RADIAL", 640, 480, (500.0, 320.0, 240.0, 0.03)),
    }
    xyz = rng.normal(size=(9, 3))
    images = {}
    for i, camera in ((1, 1), (2, 2), (5, 7)):
        E = rigid(Rotation.random(rng=rng).as_matrix(), rng.normal(size=3))
        name = "with blank.jpg" if i == 5 else f"photo_{i}.jpg"
        ids = np.array([*range(1, 10), -1]) if i != 5 else None
        images[i] = PosedImage.from_extrinsics(
            i, E, camera, name, rng.uniform(0, 400, (10, 2)) if i != 5 else None, ids
        )
    tracks = [np.array([[1, k], [2, k]]) for k in range(8)] + [np.zeros((0, 2), int)]
    return SparseModel(cameras, images, Points.make(xyz, rng.integers(0, 256, (9, 3)), rng.uniform(size=9), tracks))


def assert_same(a: SparseModel, b: SparseModel) -> None:
    assert a.cameras == b.cameras
    assert list(a.images) == list(b.images)
    for key, image in a.images.items():
        other = b.images[key]
        assert (image.name, image.camera_id) == (other.name, other.camera_id)
        np.testing.assert_allclose(image.extrinsics, other.extrinsics, atol=1e-12)
        np.testing.assert_array_equal(image.xys, other.xys)
        np.testing.assert_array_equal(image.point_ids, other.point_ids)
    for field in ("ids", "xyz", "rgb", "errors", "tracks", "starts"):
        np.testing.assert_array_equal(getattr(a.points, field), getattr(b.points, field))


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("inside", ["", "sparse", "sparse/0"])
def test_round_trip(tmp_path: Path, model: SparseModel, binary: bool, inside: str) -> None:
    write_model(tmp_path / inside, model, binary)
    assert_same(read_model(tmp_path), model)


def test_pixel_centres_and_distortion(model: SparseModel) -> None:
    pinhole, opencv, radial = (model.cameras[i] for i in (1, 2, 7))
    assert pinhole.params[2:] == (320.0, 240.0)
    assert pinhole.matrix()[0, 2] == 319.5 and pinhole.matrix(centre=0.5)[0, 2] == 320
    assert opencv.model == "OPENCV"
    np.testing.assert_allclose(opencv.distortion, [0.1, -0.05, 0.001, 0.002])
    np.testing.assert_allclose(radial.distortion, [0.03, 0, 0, 0])
    assert radial.matrix()[1, 1] == 500
    with pytest.raises(InputError, match="undistort"):
        Camera(1, "OPENCV_FISHEYE", 10, 10, (1.0,) * 8).matrix()


def test_without_points_file(tmp_path: Path, model: SparseModel) -> None:
    write_model(tmp_path, model)
    (tmp_path / "points3D.bin").unlink()
    assert len(read_model(tmp_path).points) == 0


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("part", ["cameras", "images", "points3D"])
def test_damaged_models_are_refused(tmp_path: Path, model: SparseModel, binary: bool, part: str) -> None:
    write_model(tmp_path, model, binary)
    path = tmp_path / f"{part}{'.bin' if binary else '.txt'}"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3] if binary else b"1 what\nis this\n")
    with pytest.raises(InputError):
        read_model(tmp_path)


def test_absurd_counts_do_not_allocate(tmp_path: Path, model: SparseModel) -> None:
    write_model(tmp_path, model)
    path = tmp_path / "points3D.bin"
    path.write_bytes(b"\xff" * 7 + b"\x0f" + path.read_bytes()[8:])
    with pytest.raises(InputError):
        read_model(tmp_path)


def test_missing_models_and_cameras_are_named(tmp_path: Path, model: SparseModel) -> None:
    with pytest.raises(InputError, match="cameras"):
        find_model(tmp_path)
    write_model(tmp_path, SparseModel({1: model.cameras[1]}, model.images, model.points))
    with pytest.raises(InputError, match="no camera for photo_2"):
        read_model(tmp_path)
    (tmp_path / "images.bin").unlink()
    with pytest.raises(InputError, match="lacks images"):
        read_model(tmp_path)


# pycolmap and Pillow may not meet in one process, so COLMAP's word is taken from another one.
_REWRITE = """
import sys, pycolmap
model = pycolmap.Reconstruction(sys.argv[1])
assert model.num_reg_images() == 3 and model.num_points3D() == int(sys.argv[3])
model.write_binary(sys.argv[2])
"""


@pytest.mark.skipif(find_spec("pycolmap") is None, reason="pycolmap is not installed")
@pytest.mark.parametrize("binary", [True, False])
def test_colmap_reads_it_and_we_read_what_colmap_writes(tmp_path: Path, model: SparseModel, binary: bool) -> None:
    rng = np.random.default_rng(1)
    xyz = rng.normal((0, 0, 6), 1, size=(6, 3))
    images = {}
    for i in (1, 2, 5):
        E = rigid(Rotation.from_rotvec(rng.normal(0, 0.1, 3)).as_matrix(), rng.normal(0, 0.1, 3))
        pixels, _ = project(xyz, E, model.cameras[1].matrix())
        images[i] = PosedImage.from_extrinsics(i, E, 1, f"{i}.jpg", pixels + 0.5, np.arange(1, 7))
    tracks = [np.array([[i, k] for i in (1, 2, 5)]) for k in range(6)]
    sound = SparseModel({1: model.cameras[1]}, images, Points.make(xyz, np.full((6, 3), 99), tracks=tracks))
    (tmp_path / "out").mkdir()
    write_model(tmp_path / "in", sound, binary)
    command = [sys.executable, "-c", _REWRITE, str(tmp_path / "in"), str(tmp_path / "out"), "6"]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    back = read_model(tmp_path / "out")
    assert back.cameras == sound.cameras
    for key, image in sound.images.items():
        np.testing.assert_allclose(back.images[key].extrinsics, image.extrinsics, atol=1e-12)
        np.testing.assert_allclose(back.images[key].xys, image.xys)
    order = np.argsort(back.points.ids)
    np.testing.assert_allclose(back.points.xyz[order], xyz)
