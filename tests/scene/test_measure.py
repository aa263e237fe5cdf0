"""Distances between clicked points, and the benchmark's figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.da3_eval import Truth, evaluate, room
from models.runtime.errors import InputError
from pipelines.scene.fusion import fuse
from pipelines.scene.measure import distance, marked, place_at
from pipelines.scene.metrics import cloud_errors, depth_errors, pose_errors, voxel_means
from pipelines.scene.options import FilterOptions
from pipelines.scene.prediction import Prediction
from tests.scene.conftest import Job


def wall(depth: float = 2.0) -> Prediction:
    """One view of a wall at a known depth, a hole in its corner."""
    maps = np.full((1, 60, 80), depth, np.float32)
    maps[0, :20, :20] = 0
    K = np.array([[[100.0, 0, 39.5], [0, 100.0, 29.5], [0, 0, 1]]])
    images = np.zeros((1, 60, 80, 3), np.uint8)
    E = np.eye(4)[None, :3]
    return Prediction(maps, np.ones_like(maps), maps == 0, E, K, images, ("a",), np.array([[60, 80]]))


def test_a_distance_on_a_wall() -> None:
    a, b = (place_at(wall(), 0, x, 40) for x in (30, 60))
    assert distance(a, b) == pytest.approx(30 / 100 * 2)
    assert marked(wall().images[0], (a, b)).any()


def test_where_nothing_is_known() -> None:
    assert place_at(wall(), 0, 19, 40).depth == 2.0
    assert place_at(wall(), 0, 18, 18).pixel == (20, 18) or place_at(wall(), 0, 18, 18).pixel == (18, 20)
    for column, row in ((5, 5), (200, 5)):
        with pytest.raises(InputError):
            place_at(wall(), 0, column, row)


def test_perfect_predictions_have_no_errors() -> None:
    E = np.tile(np.eye(4), (4, 1, 1))
    E[:, :3, 3] = np.random.default_rng(0).normal(size=(4, 3))
    assert pose_errors(E, E).auc(3) == 1.0
    moved = E.copy()
    moved[:, :3, 3] *= 3  # another unit is no error
    assert pose_errors(moved, E).auc(3) == 1.0
    points = np.random.default_rng(1).normal(size=(200, 3))
    found = cloud_errors(points, points, 0.01)
    assert (found.overall, found.f_score) == (0.0, 1.0)
    depth = np.abs(points[:, 0]).reshape(1, 10, 20) + 1
    assert depth_errors(depth * 7, depth).abs_rel == pytest.approx(0, abs=1e-12)
    assert len(voxel_means(points, 100.0)) <= 8


def test_points_of_chosen_views_only() -> None:
    one = wall()
    both = replace(
        one, **{n: np.concatenate([getattr(one, n)] * 2) for n in ("depth", "conf", "filled", "intrinsics", "images")}
    )
    E = np.tile(np.eye(4)[None, :3], (2, 1, 1))
    E[1, 0, 3] = -50
    both = replace(both, extrinsics=E, names=("a", "b"), sizes=np.tile(one.sizes, (2, 1)))
    assert fuse(both, FilterOptions(views=(2,))).points[:, 0].min() > 40
    assert len(fuse(both, FilterOptions(voxel=0))) == 2 * len(fuse(both, FilterOptions(voxel=0, views=(1,))))
    with pytest.raises(InputError, match="view 3"):
        fuse(both, FilterOptions(views=(3,)))


def test_a_perfect_scene_scores_full_marks() -> None:
    E = np.tile(np.eye(4)[None, :3], (3, 1, 1))
    E[:, :, 3] = [[0, 0, 0], [-0.4, 0.1, 0], [0.1, -0.3, 0.2]]
    one = wall()
    fields = {n: np.concatenate([getattr(one, n)] * 3) for n in ("depth", "conf", "filled", "intrinsics", "images")}
    scene = replace(one, **fields, extrinsics=E, names=("a", "b", "c"), sizes=np.tile(one.sizes, (3, 1)))
    truth = Truth((), scene.names, E, one.intrinsics[0], lambda i: scene.depth[i])
    report = evaluate("made up", scene, truth)
    assert report.auc["auc3"] == 1.0 and report.cloud.f_score == 1.0
    assert report.depth.abs_rel == pytest.approx(0, abs=1e-6)


def test_the_rendered_room_scored_against_its_truth(room_job: Job) -> None:
    report = evaluate("sfm", Prediction.load(room_job.folder / "prediction.npz"), room())
    assert report.views == 5 and report.auc["auc30"] > 0.9 and report.auc["auc5"] > 0.7
    assert report.cloud.f_score > 0.7 and report.depth.abs_rel < 0.05
