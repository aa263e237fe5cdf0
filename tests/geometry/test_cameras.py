"""Pinhole cameras: inverses, round trips and the agreement of independent routes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from models.geometry import cameras as cam

seeds = st.integers(0, 2**32 - 1)


def random_extrinsics(rng: np.random.Generator, *shape: int) -> np.ndarray:
    count = int(np.prod(shape))
    R = Rotation.random(count, rng=rng).as_matrix().reshape(*shape, 3, 3)
    return cam.rigid(R, rng.normal(size=(*shape, 3)) * 3)


@given(seeds)
def test_inverse_and_composition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    A, B, C = (random_extrinsics(rng, 4) for _ in range(3))
    np.testing.assert_allclose(cam.invert_rigid(cam.invert_rigid(A)), A, atol=1e-12)
    np.testing.assert_allclose(cam.compose(A, cam.invert_rigid(A)), np.broadcast_to(np.eye(4)[:3], A.shape), atol=1e-12)
    np.testing.assert_allclose(cam.compose(cam.compose(A, B), C), cam.compose(A, cam.compose(B, C)), atol=1e-11)
    np.testing.assert_allclose(cam.invert_rigid(cam.homogeneous(A)), np.linalg.inv(cam.homogeneous(A)), atol=1e-11)
    centers = cam.camera_centers(A)
    np.testing.assert_allclose(cam.transform_points(A, centers[:, None])[:, 0], 0, atol=1e-11)


@given(seeds, st.sampled_from([0.0, 0.5]))
def test_unproject_then_project_returns_pixels_and_depth(seed: int, centre: float) -> None:
    rng = np.random.default_rng(seed)
    E, K = random_extrinsics(rng), cam.intrinsics_matrix(50 + 9 * rng.random(), 60, 8.2, 5.1)
    depth = rng.uniform(0.5, 9, size=(11, 17))
    points = cam.unproject(depth, K, E, centre=centre)
    pixels, z = cam.project(points.reshape(-1, 3), E, K)
    np.testing.assert_allclose(pixels.reshape(11, 17, 2), cam.pixel_grid(11, 17, centre), atol=1e-8)
    np.testing.assert_allclose(z.reshape(11, 17), depth, atol=1e-10)
    np.testing.assert_allclose(cam.unproject(depth, K)[..., 2], depth, atol=1e-12)


def test_batched_unprojection_keeps_float32() -> None:
    rng = np.random.default_rng(0)
    E = random_extrinsics(rng, 3).astype(np.float32)
    K = np.stack([cam.intrinsics_matrix(40, 40, 7.5, 4.5)] * 3).astype(np.float32)
    depth = rng.uniform(1, 2, (3, 10, 16)).astype(np.float32)
    points = cam.unproject(depth, K, E)
    assert points.dtype == np.float32 and points.shape == (3, 10, 16, 3)
    for i in range(3):
        np.testing.assert_allclose(points[i], cam.unproject(depth[i], K[i], E[i]), atol=1e-5)


@given(st.floats(0.1, 3.0), st.integers(16, 4000))
def test_focal_and_field_of_view(fov: float, size: int) -> None:
    assert cam.fov_from_focal(cam.focal_from_fov(fov, size), size) == pytest.approx(fov)
    K = cam.intrinsics_from_fov(fov, size, size)
    left = cam.unproject_pixels([[-0.5, size / 2 - 0.5]], [1.0], K)[0]
    assert np.arctan(-left[0]) == pytest.approx(fov / 2)


@given(seeds, st.floats(0.2, 5), st.floats(0.2, 5), st.sampled_from([0.0, 0.5]))
def test_resize_keeps_corners_and_crop_shifts(seed: int, sx: float, sy: float, centre: float) -> None:
    rng = np.random.default_rng(seed)
    K = cam.intrinsics_matrix(500, 480, 300 + rng.normal(), 200)
    point = rng.normal((0, 0, 6), 1, size=(1, 3))
    eye = np.eye(4)[:3]
    (before,), _ = cam.project(point, eye, K)
    (after,), _ = cam.project(point, eye, cam.resize_intrinsics(K, sx, sy, centre))
    shift = 0.5 - centre
    np.testing.assert_allclose(after + shift, (before + shift) * [sx, sy], atol=1e-9)
    (cropped,), _ = cam.project(point, eye, cam.crop_intrinsics(K, 31, 12))
    np.testing.assert_allclose(cropped, before - [31, 12], atol=1e-9)


@given(seeds)
def test_flips_are_their_own_inverses_and_agree(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pose = cam.invert_rigid(random_extrinsics(rng))
    np.testing.assert_allclose(cam.flip_camera_axes(cam.flip_camera_axes(pose)), pose)
    points = rng.normal(size=(5, 3))
    local = cam.transform_points(cam.invert_rigid(pose), points)
    flipped = cam.transform_points(cam.invert_rigid(cam.flip_camera_axes(pose)), points)
    np.testing.assert_allclose(flipped, cam.flip_world_axes(local), atol=1e-12)


@given(seeds)
def test_relative_pose_and_angle_errors(seed: int) -> None:
    rng = np.random.default_rng(seed)
    A, B = random_extrinsics(rng), random_extrinsics(rng)
    point = rng.normal(size=(1, 3))
    through = cam.transform_points(cam.relative_pose(A, B), cam.transform_points(A, point))
    np.testing.assert_allclose(through, cam.transform_points(B, point), atol=1e-10)
    angle = rng.uniform(0, 179)
    turned = Rotation.from_rotvec(np.radians(angle) * np.array([0, 0.6, 0.8])).as_matrix() @ A[:, :3]
    assert cam.rotation_angle_error(turned, A) == pytest.approx(angle, abs=1e-6)
    assert cam.translation_angle_error(A, 2 * A) == pytest.approx(0, abs=1e-6)
    assert cam.translation_angle_error([1, 0, 0], [0, 0, 3]) == pytest.approx(90)
    assert cam.translation_angle_error([0, 0, 0], [0, 0, 3]) == 90
    assert cam.translation_angle_error([0, 0, 0], [0, 0, 0]) == 0


def test_look_at_faces_the_target_with_up_upwards() -> None:
    E = cam.look_at([3, 2, 5], [0, 1, 0])
    assert np.linalg.det(E[:, :3]) == pytest.approx(1)
    ahead, above = cam.transform_points(E, [[0, 1, 0], [0, 2, 0]])
    np.testing.assert_allclose(ahead[:2], 0, atol=1e-12)
    assert ahead[2] > 0 and above[1] < 0
    np.testing.assert_allclose(cam.camera_centers(E), [3, 2, 5])
    with pytest.raises(ValueError, match="look_at"):
        cam.look_at([0, 1, 0], [0, 5, 0])


def test_points_behind_have_negative_depth_and_wrong_shapes_are_named() -> None:
    _, depth = cam.project([[0, 0, -2.0]], np.eye(4), np.eye(3))
    assert depth[0] == -2
    with pytest.raises(ValueError, match="transform"):
        cam.homogeneous(np.eye(3))
