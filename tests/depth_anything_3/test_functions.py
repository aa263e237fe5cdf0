"""Camera algebra, ray solver, splats, metres and alignment, by their properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.depth_anything_3.alignment import align_cameras, pose_scale, to_given_cameras
from models.depth_anything_3.cameras import decode_pose, encode_pose, invert_rigid, normalize_extrinsics, to_4x4
from models.depth_anything_3.gaussians import make_gaussians, rotate_harmonics
from models.depth_anything_3.metric import fill_sky, metres, quantile, scale_to_metres
from models.depth_anything_3.rays import cameras_from_rays, fit_homography, image_plane, ql
from models.depth_anything_3.reference import choose_reference, reference_first, take_views
from models.geometry.rotations import axis_angle_to_matrix, geodesic_distance
from models.runtime.errors import InputError

seeds = st.integers(0, 2**31)
SIZE = (84, 112)


def poses(count: int, seed: int) -> torch.Tensor:
    """Random camera-to-world (count, 3, 4)."""
    g = torch.Generator().manual_seed(seed)
    R = axis_angle_to_matrix(torch.randn(count, 3, generator=g))
    return torch.cat([R, torch.randn(count, 3, 1, generator=g)], dim=-1)


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_pose_vector_round_trip(seed: int) -> None:
    c2w = poses(4, seed)
    K = torch.tensor([[90.0, 0, 56], [0, 80, 42], [0, 0, 1]]).expand(4, 3, 3)
    R, intrinsics = decode_pose(encode_pose(c2w, K, SIZE), SIZE)
    assert torch.allclose(R, c2w, atol=1e-5) and torch.allclose(intrinsics, K, rtol=1e-4)


def test_a_zero_field_of_view_stays_finite() -> None:
    K = decode_pose(torch.tensor([0, 0, 0, 0, 0, 0, 1.0, 0, 0]), SIZE)[1]
    assert torch.isfinite(K).all() and K[0, 0] == pytest.approx(56e6)


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_normalized_cameras_start_at_the_origin(seed: int) -> None:
    E = to_4x4(invert_rigid(poses(5, seed)))[None]
    N = normalize_extrinsics(E)
    assert torch.allclose(N[0, 0], torch.eye(4), atol=1e-5)
    distance = invert_rigid(N)[0, :, :3, 3].norm(dim=-1)
    assert distance.median() == pytest.approx(1, abs=1e-3) or distance.median() < 1


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_ql_takes_matrices_apart(seed: int) -> None:
    A = torch.randn(6, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    Q, L = ql(A)
    assert torch.allclose(Q @ L, A) and torch.allclose(Q @ Q.mT, torch.eye(3, dtype=torch.float64).expand_as(A))
    assert torch.equal(L.triu(1).abs() < 1e-12, torch.ones_like(L, dtype=torch.bool))
    assert (L.diagonal(dim1=-2, dim2=-1) > 0).all()


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_homography_is_found_again(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    H = torch.eye(3) + 0.2 * torch.randn(3, 3, generator=g)
    H = H / H[2, 2]
    source = torch.rand(30, 2, generator=g) * 2 - 1
    target = torch.nn.functional.pad(source, (0, 1), value=1.0) @ H.T
    if target[:, 2].abs().min() < 0.1:
        return
    found = fit_homography(source, target[:, :2] / target[:, 2:], torch.rand(30, generator=g) + 0.1)
    assert torch.allclose(found.float(), H, atol=1e-3)


@pytest.mark.parametrize("outliers", [0.0, 0.3])
def test_cameras_come_back_from_their_rays(outliers: float) -> None:
    h, w, V = 24, 32, 3
    g = torch.Generator().manual_seed(0)
    c2w = torch.cat([axis_angle_to_matrix(0.4 * torch.randn(V, 3, generator=g)), torch.randn(V, 3, 1, generator=g)], -1)
    focal = torch.tensor([[1.6, 1.9], [1.4, 1.5], [2.0, 2.1]])
    plane = image_plane(h, w) / focal[:, None]  # principal point in the middle
    direction = torch.nn.functional.pad(plane, (0, 1), value=1.0) @ c2w[:, :, :3].mT
    rays = torch.cat([direction, c2w[:, None, :, 3].expand_as(direction)], -1).unflatten(1, (h, w))
    confidence = torch.ones(V, h, w)
    wrong = torch.rand(V, h, w, generator=g) < outliers
    rays[..., :3][wrong] = torch.randn(int(wrong.sum()), 3, generator=g)
    solved = cameras_from_rays(rays, confidence, generator=g)
    assert geodesic_distance(solved.camera_to_world[..., :3], c2w[..., :3]).max() < (0.02 if outliers else 1e-3)
    assert torch.allclose(solved.focal, focal, rtol=0.05 if outliers else 1e-4)
    assert torch.allclose(solved.camera_to_world[..., 3], c2w[..., 3], atol=1e-4)
    assert torch.allclose(solved.principal, torch.ones(V, 2), atol=0.05 if outliers else 1e-4)


def test_a_view_of_many_rays_is_refitted_from_a_draw() -> None:
    plane = torch.nn.functional.pad(image_plane(120, 160), (0, 1), value=1.0).reshape(1, 120, 160, 3)
    solved = cameras_from_rays(torch.cat([plane, torch.zeros_like(plane)], -1), torch.ones(1, 120, 160))
    assert torch.allclose(solved.focal, torch.ones(1, 2), atol=1e-4)


def colour(harmonics: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    """Value of 9 coefficients (..., 9) at unit directions (n, 3): the basis splat renderers use."""
    x, y, z = d.unbind(-1)
    basis = torch.stack(
        [
            0.28209479177387814 * torch.ones_like(x),
            *(0.4886025119029199 * v for v in (-y, z, -x)),
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.31539156525252005 * (2 * z * z - x * x - y * y),
            -1.0925484305920792 * x * z,
            0.5462742152960396 * (x * x - y * y),
        ]
    )
    return harmonics @ basis


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_colours_turn_with_the_camera(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    R = poses(1, seed)[0, :, :3]
    c = torch.randn(1, 1, 4, 3, 9, generator=g)
    d = torch.nn.functional.normalize(torch.randn(20, 3, generator=g), dim=-1)
    turned = rotate_harmonics(c, R[None, None])
    assert torch.allclose(colour(turned, d @ R.T), colour(c, d), atol=1e-4)


def test_splats_of_a_flat_raw_map_lie_on_the_rays() -> None:
    raw = torch.zeros(1, 1, 6, 8, 37)
    raw[..., 8] = 1  # some quaternion
    K = torch.tensor([[8.0, 0, 4], [0, 8, 3], [0, 0, 1]])[None, None]
    depth = torch.full((1, 1, 6, 8), 2.0)
    made = make_gaussians(raw, torch.ones(1, 1, 6, 8), depth, torch.eye(4)[None, None], K)
    assert torch.allclose(made.means.norm(dim=-1), torch.tensor(2.0))
    first = torch.tensor([0.5 - 4, 0.5 - 3, 8.0])
    assert torch.allclose(made.means[0, 0], 2 * first / first.norm(), atol=1e-5)
    half = make_gaussians(raw, torch.ones(1, 1, 6, 8), depth, torch.eye(4)[None, None], K, 0.5)
    assert torch.allclose(half.means, made.means / 2) and torch.allclose(half.scales, made.scales / 2)


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=50), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_quantile_is_the_usual_one(values: list[float], q: float) -> None:
    assert float(quantile(torch.tensor(values), q)) == pytest.approx(np.quantile(values, q), abs=1e-2)


def test_sky_is_moved_to_the_far_end() -> None:
    depth = torch.linspace(1, 2, 400).reshape(1, 1, 20, 20)
    sky = torch.zeros_like(depth)
    assert torch.equal(fill_sky(depth, sky), depth)
    sky[..., :5, :] = 1
    filled = fill_sky(depth, sky)
    assert torch.equal(filled[..., 5:, :], depth[..., 5:, :])
    assert filled[..., :5, :].unique().item() == pytest.approx(float(depth[..., 5:, :].quantile(0.99)))


def test_scale_is_found_from_metric_depth() -> None:
    depth = torch.rand(1, 2, 20, 20) + 1
    E = torch.eye(4)[None, None].repeat(1, 2, 1, 1)
    E[..., 0, 3] = 3
    K = torch.diag(torch.tensor([600.0, 600.0, 1.0])).expand(1, 2, 3, 3)
    metric = metres(depth * 2.5 / 2, K)
    out = scale_to_metres(depth, torch.rand_like(depth) + 1, E, metric, torch.zeros_like(depth))
    assert float(out.factor) == pytest.approx(2.5, rel=1e-5)
    assert torch.allclose(out.extrinsics[..., 0, 3], torch.tensor(7.5)) and torch.equal(
        E[..., 0, 3], torch.full((1, 2), 3.0)
    )
    with pytest.raises(InputError, match="sky"):
        scale_to_metres(depth, depth, E, metric, torch.ones_like(depth))


@pytest.mark.parametrize("count", [1, 2, 3, 12])
@pytest.mark.parametrize("line", [False, True])
def test_given_cameras_are_aligned_also_where_centres_do_not_decide(count: int, line: bool) -> None:
    c2w = poses(count, 3)
    if line:
        c2w[:, :, 3] = torch.linspace(0, 1, count)[:, None] * torch.tensor([1.0, 2.0, 3.0])
    given_ = to_4x4(invert_rigid(c2w)).double().numpy()
    R = axis_angle_to_matrix(torch.tensor([0.3, -0.5, 0.2])).double().numpy()
    predicted = given_.copy()
    scale = 1.0 if count == 1 else 0.4
    predicted[:, :3, :3] = given_[:, :3, :3] @ R.T
    predicted[:, :3, 3] = scale * given_[:, :3, 3] - predicted[:, :3, :3] @ np.array([0.1, 0.2, 0.3])
    similarity = align_cameras(given_, predicted)
    assert similarity.scale == pytest.approx(scale, rel=1e-4)
    np.testing.assert_allclose(similarity.rotation, R, atol=1e-4)
    depth = np.ones((count, 2, 2))
    kept, cameras = to_given_cameras(depth, predicted, given_)
    np.testing.assert_allclose(kept, 1 / scale, rtol=1e-4)
    np.testing.assert_array_equal(cameras, given_[:, :3])
    same, moved = to_given_cameras(depth, predicted, given_, keep_given_scale=False)
    np.testing.assert_allclose(moved, predicted, atol=1e-4)
    np.testing.assert_array_equal(same, depth)
    if count > 1:
        assert pose_scale(given_, predicted) == pytest.approx(2.5, rel=1e-3)


def test_one_odd_camera_among_many_does_not_spoil_the_alignment() -> None:
    given_ = to_4x4(invert_rigid(poses(12, 5))).double().numpy()
    predicted = given_.copy()
    predicted[7, :3, 3] += 5
    assert align_cameras(given_, predicted).scale == pytest.approx(1, abs=1e-3)


def test_reference_order_keeps_the_others() -> None:
    order = reference_first(torch.tensor([2, 0]), 4)
    assert order.tolist() == [[2, 0, 1, 3], [0, 1, 2, 3]]
    x = torch.arange(8).reshape(2, 4)
    assert take_views(x, order).tolist() == [[2, 0, 1, 3], [4, 5, 6, 7]]
    assert choose_reference(torch.randn(3, 5, 8), "middle").tolist() == [2, 2, 2]
