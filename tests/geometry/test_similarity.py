"""Similarity alignment: exact recovery, robustness, degenerate inputs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from models.geometry import cameras as cam
from models.geometry.similarity import Similarity, align_extrinsics, ransac_umeyama, umeyama
from models.runtime.errors import InputError

seeds = st.integers(0, 2**32 - 1)


def random_similarity(rng: np.random.Generator, scale: float | None = None) -> Similarity:
    s = float(np.exp(rng.normal())) if scale is None else scale
    return Similarity(s, Rotation.random(rng=rng).as_matrix(), rng.normal(size=3) * 4)


def assert_close(a: Similarity, b: Similarity, tolerance: float = 1e-8) -> None:
    np.testing.assert_allclose(a.matrix, b.matrix, atol=tolerance * max(1, np.abs(b.matrix).max()))


@given(seeds, st.integers(4, 20))
def test_recovers_the_transform(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    truth, x = random_similarity(rng), rng.normal(size=(count, 3))
    assert_close(umeyama(x, truth.apply(x)), truth)
    assert_close(umeyama(x, truth.apply(x), weights=rng.uniform(0.1, 1, count)), truth)
    rigid = random_similarity(rng, scale=1.0)
    assert_close(umeyama(x, rigid.apply(x), with_scale=False), rigid)


@given(seeds)
def test_planar_points_give_a_proper_rotation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = random_similarity(rng)
    x = rng.normal(size=(6, 3)) * [1, 1, 0]
    fit = umeyama(x, truth.apply(x))
    assert np.linalg.det(fit.rotation) == pytest.approx(1)
    assert_close(fit, truth, 1e-7)


@given(seeds)
def test_inverse_and_composition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = random_similarity(rng), random_similarity(rng)
    x = rng.normal(size=(5, 3))
    np.testing.assert_allclose(a.inverse().apply(a.apply(x)), x, atol=1e-9)
    np.testing.assert_allclose(a.compose(b).apply(x), a.apply(b.apply(x)), atol=1e-9 * max(1, a.scale * b.scale * 10))


@given(seeds)
def test_extrinsics_move_with_the_world(seed: int) -> None:
    rng = np.random.default_rng(seed)
    move, K = random_similarity(rng), cam.intrinsics_matrix(300, 300, 100, 80)
    E = cam.rigid(Rotation.random(rng=rng).as_matrix(), rng.normal(size=3))
    camera_points = rng.normal((0, 0, 5), 1, size=(6, 3))
    world = cam.transform_points(cam.invert_rigid(E), camera_points)
    before, depth = cam.project(world, E, K)
    after, scaled = cam.project(move.apply(world), move.apply_extrinsics(E), K)
    np.testing.assert_allclose(after, before, atol=1e-6)
    np.testing.assert_allclose(scaled, depth * move.scale, rtol=1e-9)


def test_weights_of_zero_leave_points_out() -> None:
    rng = np.random.default_rng(3)
    truth, x = random_similarity(rng), rng.normal(size=(8, 3))
    y = truth.apply(x)
    y[0] += 50
    assert_close(umeyama(x, y, weights=[0] + [1] * 7), truth)


@given(seeds)
def test_ransac_ignores_outliers_and_repeats_with_its_seed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, x = random_similarity(rng), rng.normal(size=(20, 3))
    y = truth.apply(x)
    y[:6] += rng.normal(size=(6, 3)) * 20 * truth.scale + 30 * truth.scale
    threshold = 1e-3 * truth.scale
    fit, inliers = ransac_umeyama(x, y, threshold, np.random.default_rng(1))
    again, _ = ransac_umeyama(x, y, threshold, np.random.default_rng(1))
    assert_close(fit, truth, 1e-6)
    assert inliers[6:].all() and not inliers[:6].any()
    np.testing.assert_array_equal(fit.matrix, again.matrix)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_points_are_refused(count: int) -> None:
    x = np.random.default_rng(0).normal(size=(count, 3))
    with pytest.raises(InputError, match="three"):
        umeyama(x, x)
    with pytest.raises(InputError, match="at least"):
        ransac_umeyama(x, x, 1.0, np.random.default_rng(0))


@given(seeds)
def test_points_on_a_line_are_refused(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=3) + rng.normal(size=(7, 1)) * rng.normal(size=3)
    y = rng.normal(size=(7, 3))
    for a, b in ((x, y), (y, x), (x, x)):
        with pytest.raises(InputError, match="line"):
            umeyama(a, b)
    with pytest.raises(InputError):
        ransac_umeyama(x, x, 1.0, np.random.default_rng(0), draws=5)


@pytest.mark.parametrize("kind", ["free", "line", "two", "one", "same place"])
@given(seed=seeds)
def test_cameras_align_also_where_centres_do_not_decide(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = random_similarity(rng, scale=1.0 if kind in {"one", "same place"} else None)
    count = {"two": 2, "one": 1}.get(kind, 6)
    R = Rotation.random(count, rng=rng).as_matrix()
    centers = rng.normal(size=(count, 3))
    if kind == "line":
        centers = np.linspace(0, 3, count)[:, None] * np.array([1.0, 0.2, -0.3])
    if kind == "same place":
        centers[:] = centers[0]
    E = cam.rigid(R, -np.einsum("nij,nj->ni", R, centers))
    assert_close(align_extrinsics(E, truth.apply_extrinsics(E)), truth, 1e-7)


def test_no_cameras_are_refused() -> None:
    with pytest.raises(InputError, match="cameras"):
        align_extrinsics(np.zeros((0, 3, 4)), np.zeros((0, 3, 4)))
