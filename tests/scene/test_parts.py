"""Inputs, pairs, words for failures, predictions and the cloud."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.geometry.cameras import intrinsics_matrix, look_at
from models.runtime.errors import InputError, LimitExceeded
from models.runtime.settings import Limits
from pipelines.base import Inputs
from pipelines.scene.frames import fit, measure_sharpness
from pipelines.scene.fusion import fuse, thin
from pipelines.scene.inputs import sort_out
from pipelines.scene.options import FilterOptions, SceneOptions
from pipelines.scene.pairs import choose_pairs, views_that_help
from pipelines.scene.prediction import Prediction
from pipelines.scene.refilter import upright
from pipelines.scene.sfm import explain_failure, undistort
from pipelines.scene.sparse import triangulate, visible_points


def picture(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 255, (24, 32, 3), np.uint8))
    return path


def given_files(*paths: Path) -> Inputs:
    return Inputs({"photos": tuple(paths)})


# ---- inputs ----


def test_photos_in_a_folder_and_in_a_zip(tmp_path: Path) -> None:
    files = [picture(tmp_path / "in" / "sub" / f"{i}.png", i) for i in range(3)]
    (tmp_path / "in" / "fake.jpg").write_text("no picture")
    (tmp_path / "in" / "readme.txt").write_text("ignored without a word")
    source = sort_out(given_files(tmp_path / "in"), False, tmp_path / "un", Limits())
    assert source.kind == "photos" and source.names == ("sub/0.png", "sub/1.png", "sub/2.png")
    assert len(source.warnings) == 1 and "fake.jpg" in source.warnings[0]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in files:
            archive.write(path, f"photos/{path.name}")
    packed = sort_out(given_files(tmp_path / "a.zip"), False, tmp_path / "un", Limits())
    assert packed.names == ("photos/0.png", "photos/1.png", "photos/2.png")


def test_a_zip_that_climbs_out_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("../evil.png", b"x")
    with pytest.raises(InputError):
        sort_out(given_files(tmp_path / "a.zip"), False, tmp_path / "un", Limits())
    assert not (tmp_path / "evil.png").exists()


def test_a_colmap_folder_is_recognised(tmp_path: Path) -> None:
    picture(tmp_path / "scene" / "images" / "left" / "a.png", 1)
    picture(tmp_path / "scene" / "images" / "b.png", 2)
    model = tmp_path / "scene" / "sparse" / "0"
    model.mkdir(parents=True)
    for name in ("cameras", "images", "points3D"):
        (model / f"{name}.txt").write_text("# nothing\n")
    source = sort_out(given_files(tmp_path / "scene"), False, tmp_path / "un", Limits())
    assert source.kind == "colmap" and source.model == model
    assert set(source.names) == {"left/a.png", "b.png"}


def test_what_cannot_work_is_refused(tmp_path: Path) -> None:
    a, b, c = (picture(tmp_path / f"{i}.png", i) for i in range(3))
    with pytest.raises(InputError, match="Nothing"):
        sort_out(Inputs({}), False, tmp_path, Limits())
    with pytest.raises(InputError, match="exactly two"):
        sort_out(given_files(a, b, c), True, tmp_path, Limits())
    with pytest.raises(LimitExceeded, match="3 photos"):
        sort_out(given_files(a, b, c), False, tmp_path, Limits(max_photos=2))
    fake = tmp_path / "fake.jpg"
    fake.write_text("text")
    with pytest.raises(InputError, match="no photos"):
        sort_out(given_files(fake), False, tmp_path, Limits())
    same = tmp_path / "same.png"
    same.write_bytes(a.read_bytes())
    source = sort_out(given_files(a, same, b), False, tmp_path, Limits())
    assert len(source.photos) == 2 and "same.png" in source.warnings[0]


def test_unknown_options_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="depthside"):
        SceneOptions(sfm={"depthside": 3})


# ---- pairs ----


@given(st.sampled_from(["exhaustive", "sequential"]), st.integers(2, 90))
def test_pairs_are_ordered_unique_and_connect_everything(kind: str, count: int) -> None:
    pairs = choose_pairs(kind, count, None)
    assert len(set(pairs)) == len(pairs)
    assert all(0 <= a < b < count for a, b in pairs)
    assert {(a, a + 1) for a in range(count - 1)} <= set(pairs)


def test_similar_photos_are_paired() -> None:
    rng = np.random.default_rng(0)
    places = [cv2.resize(rng.integers(0, 255, (9, 12, 3), np.uint8), (64, 48)) for _ in range(5)]
    shots = [np.clip(places[i % 5] + rng.normal(0, 6, (48, 64, 3)), 0, 255).astype(np.uint8) for i in range(120)]
    pairs = set(choose_pairs("similar", 120, shots))
    assert len(pairs) < 120 * 119 / 4
    together = [(a, b) for a in range(0, 30) for b in range(a + 1, 30) if a % 5 == b % 5]
    assert np.mean([pair in pairs for pair in together]) > 0.7


def test_neighbours_help_more_than_far_views() -> None:
    eyes = [(x, 0.0, 0.0) for x in (0.0, 0.5, 1.0, 6.0)]
    E = np.stack([look_at(e, (e[0] * 0.5, 0, 6), (0, -1, 0)) for e in eyes])
    points = np.random.default_rng(0).uniform((-2, -1, 5), (3, 1, 7), (200, 3))
    everything = (np.ones(200, bool),) * 4
    assert views_that_help(E, everything, points, 2)[0] == [1, 2]
    assert 1 in views_that_help(E, (np.zeros(0, bool),) * 4, np.zeros((0, 3)), 2)[0]


# ---- structure from motion ----


def test_every_failure_has_its_words() -> None:
    good = {"a": 0, "b": 1, "inliers": 400, "shift_px": 90.0, "config": "CALIBRATED"}
    names = ("a.jpg", "b.jpg")
    assert "blurred" in explain_failure([20, 30], [], 1000, names)
    assert "overlap" in explain_failure([4000, 4000], [good | {"inliers": 16}], 1000, names)
    assert "does not move" in explain_failure([4000, 4000], [good | {"shift_px": 0.4}], 1000, names)
    assert "on the spot" in explain_failure([4000, 4000], [good | {"config": "PANORAMIC"}], 1000, names)
    assert "more places" in explain_failure([4000, 4000], [good], 1000, names)


def test_the_worker_loads_neither_pillow_nor_the_rest() -> None:
    """pycolmap and Pillow in one process corrupt the heap; the worker's imports are what keeps them apart."""
    code = (
        "import sys; import pipelines.scene.sfm_worker; "
        "print([m for m in ('PIL', 'trimesh', 'cv2', 'torch', 'matplotlib', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (0, -signal.SIGSEGV, -signal.SIGABRT)
    assert done.stdout.strip() == "[]"


def test_the_parent_never_loads_pycolmap() -> None:
    code = "import sys; import pipelines.scene.pipeline; print('pycolmap' in sys.modules)"
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True, env=env
    )
    assert done.stdout.strip() == "False"


def test_an_identity_grid_leaves_the_photo_alone() -> None:
    photo = np.random.default_rng(0).integers(0, 255, (41, 57, 3), np.uint8)
    xs, ys = np.arange(-8, 57 + 16, 8.0), np.arange(-8, 41 + 16, 8.0)
    grid = np.stack(np.meshgrid(xs, ys), -1).astype(np.float32)
    np.testing.assert_array_equal(undistort(photo, grid), photo)
    assert undistort(photo, None) is photo


def test_points_without_a_record_are_seen_where_they_project() -> None:
    K = intrinsics_matrix(100.0, 100.0, 50, 40)[None]
    E = np.eye(3, 4)[None]
    points = np.array([[0, 0, 5.0], [0, 0, -5.0], [9, 0, 5.0]])
    none = np.zeros(0, np.int64)
    (mask,) = visible_points(points, none, none, E, K, np.array([(80, 100)]))
    assert mask.tolist() == [True, False, False]


def test_matches_of_known_cameras_become_points() -> None:
    rng = np.random.default_rng(0)
    wall = cv2.GaussianBlur(cv2.resize(rng.integers(0, 255, (100, 150, 3), np.uint8), (600, 400)), (0, 0), 1.0)
    K = intrinsics_matrix(300.0, 300.0, 149.5, 119.5)
    E = np.tile(np.eye(3, 4), (2, 1, 1))
    E[1, 0, 3] = -0.5
    shift = 0.5 * 300 / 4  # the wall is four units away
    images = [np.ascontiguousarray(wall[60:300, x : x + 300]) for x in (100, 100 + round(shift))]
    points, colors = triangulate(images, E, np.stack([K, K]))
    assert len(points) > 50 and colors.shape == points.shape
    assert np.median(points[:, 2]) == pytest.approx(0.5 * 300 / round(shift), rel=0.02)


# ---- prediction and cloud ----


def flat(n: int = 2, h: int = 30, w: int = 40) -> Prediction:
    """Views of a wall at depth 4; the second is narrower than the canvas."""
    depth = np.full((n, h, w), 4.0, np.float32)
    conf = np.linspace(0.5, 1, n * h * w, dtype=np.float32).reshape(n, h, w)
    sizes = np.array([(h, w)] * (n - 1) + [(h, w - 10)])
    depth[-1, :, w - 10 :] = conf[-1, :, w - 10 :] = 0
    images = np.full((n, h, w, 3), 100, np.uint8)
    images[0, :5] = 255
    K = np.tile(intrinsics_matrix(40.0, 40.0, w / 2, h / 2), (n, 1, 1))
    return Prediction(
        depth, conf, np.zeros((n, h, w), bool), np.tile(np.eye(3, 4), (n, 1, 1)), K, images, ("a", "b é"), sizes, True
    )


def test_a_prediction_survives_the_file(tmp_path: Path) -> None:
    p = flat()
    q = Prediction.load(p.save(tmp_path / "p.npz"))
    for name in ("depth", "conf", "filled", "extrinsics", "intrinsics", "images", "sizes"):
        np.testing.assert_array_equal(getattr(p, name), getattr(q, name))
    assert q.names == p.names and q.metric
    assert q.view(1)[0].shape == (30, 30)
    np.savez(tmp_path / "bad.npz", depth=p.depth, conf=p.conf[:1])
    with pytest.raises(InputError, match="no scene prediction"):
        Prediction.load(tmp_path / "bad.npz")


def test_filters_do_what_they_say() -> None:
    p = flat()
    everything = fuse(p, FilterOptions(voxel=0, confidence_percentile=0))
    assert len(everything) == 30 * 40 + 30 * 30
    assert np.allclose(everything.points[:, 2], 4)
    assert len(fuse(p, FilterOptions(voxel=0, confidence_percentile=50))) == pytest.approx(len(everything) / 2, abs=2)
    assert len(fuse(p, FilterOptions(voxel=0, confidence_percentile=0, background="drop_white"))) == 2100 - 200
    assert len(fuse(p, FilterOptions(voxel=0, confidence_percentile=0, point_budget=1000))) == 1000
    assert len(fuse(p, FilterOptions(voxel=4, confidence_percentile=0))) < 300
    with pytest.raises(InputError, match="No point"):
        fuse(Prediction(**{**vars(p), "conf": 0 * p.conf}), FilterOptions())
    guessed = Prediction(**{**vars(p), "conf": 0 * p.conf + np.float32(0.2), "filled": p.conf > 0})
    assert len(fuse(guessed, FilterOptions(include_filled=True, voxel=0))) > 0


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 2))
def test_thinning_keeps_one_point_in_each_cell(seed: int, cell: float) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(200, 3))
    colors = rng.integers(0, 255, (200, 3), np.uint8)
    conf = rng.random(200).astype(np.float32)
    thinned, shades, sure = thin(points, colors, conf, cell)
    cells = np.floor((points - points.min(0)) / cell).astype(int)
    assert len(thinned) == len(np.unique(cells, axis=0)) == len(shades) == len(sure)
    mine = np.floor((thinned - points.min(0)) / cell + 1e-9).astype(int)
    assert {tuple(c) for c in mine} <= {tuple(c) for c in cells} or cell < 1e-6
    assert sure.max() == conf.max()


def test_upright_puts_up_where_the_pictures_have_it() -> None:
    E = np.stack([look_at((x, 1.0, 5.0), (0, 1.0, 0), (0, 1, 0)) for x in (-1.0, 0.0, 1.0)])
    tilt = np.array([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]])
    turned = np.concatenate([E[:, :, :3] @ tilt.T, E[:, :, 3:]], -1)  # the same cameras in a tilted world
    points = np.random.default_rng(0).normal(size=(500, 3)) @ tilt.T
    T = upright(turned, points)
    np.testing.assert_allclose(T[:3, :3] @ tilt @ [0, 1, 0], [0, 1, 0], atol=1e-6)
    assert np.linalg.det(T[:3, :3]) == pytest.approx(1)
    assert np.abs(np.median(points @ T[:3, :3].T + T[:3, 3], axis=0)).max() < 1e-9


def test_sharpness_falls_with_blur_and_pictures_only_shrink() -> None:
    image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    assert measure_sharpness(cv2.GaussianBlur(image, (0, 0), 4)) < 0.1 * measure_sharpness(image)
    assert fit(image, 80).shape == (60, 80, 3) and fit(image, 800) is image
