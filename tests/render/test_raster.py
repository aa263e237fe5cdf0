"""The rasteriser: both implementations agree to the bit, no cracks, perspective, clipping, recorded buffers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.geometry.cameras import intrinsics_from_fov, look_at, project
from pipelines.render import raster
from pipelines.render.raster import Fragments, Rule

seeds = st.integers(0, 2**32 - 1)


def random_triangles(seed: int, count: int = 60) -> np.ndarray:
    """Small, large, outside, pixel-aligned, flat and repeated triangles."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform(-20, 60, (count, 1, 2)) + rng.normal(size=(count, 3, 2)) * rng.choice([2, 10, 60], (count, 1, 1))
    triangles = np.concatenate([xy, rng.uniform(1, 9, (count, 3, 1))], axis=-1)
    triangles[: count // 4] = np.round(triangles[: count // 4])
    triangles[0, 2] = triangles[0, 1]
    triangles[-1] = triangles[-2]
    return triangles


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", list(Rule))
@settings(max_examples=25)
@given(seed=seeds)
def test_numba_and_torch_agree_to_the_bit(rule: Rule, dtype: type, seed: int) -> None:
    pair = np.stack([random_triangles(seed), random_triangles(seed + 1)]).astype(dtype)
    t = raster.rasterize_scatter(torch.from_numpy(pair), 37, 41, rule, far=1e6)
    for i, triangles in enumerate(pair):
        f = raster.rasterize(triangles, 37, 41, rule, far=1e6)
        np.testing.assert_array_equal(f.triangle, t.triangle[i].numpy())
        np.testing.assert_array_equal(f.depth, t.depth[i].numpy())
        np.testing.assert_array_equal(f.barycentric, t.barycentric[i].numpy())
        assert f.depth.dtype == dtype


def test_torch_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    triangles = torch.from_numpy(random_triangles(5))[None]
    whole = raster.rasterize_scatter(triangles, 37, 41)
    monkeypatch.setattr(raster, "_PAIRS", 50)
    parts = raster.rasterize_scatter(triangles, 37, 41)
    assert torch.equal(whole.triangle, parts.triangle) and torch.equal(whole.depth, parts.depth)


@settings(max_examples=25)
@given(seed=seeds)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_triangulated_square_has_no_cracks(dtype: type, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:6, 0:6].astype(float) * 8
    grid = np.stack([x, y, np.full_like(x, 2.0)], -1)
    grid[1:-1, 1:-1, :2] += rng.choice([0, 1], (4, 4, 1)) * rng.uniform(-2, 2, (4, 4, 2))
    a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]
    triangles = np.concatenate([np.stack([a, b, c], -2).reshape(-1, 3, 3), np.stack([d, c, b], -2).reshape(-1, 3, 3)])
    f = raster.rasterize(triangles.astype(dtype), 41, 41)
    assert f.covered.all()
    np.testing.assert_allclose(f.depth, 2, rtol=1e-6)
    corners = triangles[..., :2]
    position = raster.interpolate(f, corners)
    np.testing.assert_allclose(position[..., 0], np.broadcast_to(np.arange(41), (41, 41)), atol=1e-3)


def test_nearer_wins_and_the_last_of_equals() -> None:
    near, far = ([[0, 0, z], [9, 0, z], [0, 9, z]] for z in (1.0, 2.0))
    assert raster.rasterize(np.array([near, far]), 4, 4).triangle[1, 1] == 0
    assert raster.rasterize(np.array([far, near]), 4, 4).triangle[1, 1] == 1
    assert raster.rasterize(np.array([near, near]), 4, 4).triangle[1, 1] == 1


def test_depths_that_are_not_positive_are_never_in_front() -> None:
    behind = np.array([[[0, 0, -1.0], [9, 0, -1], [0, 9, -1]], [[0, 0, 0.0], [9, 0, 0], [0, 9, 0]]])
    ahead = np.array([[[0, 0, 2.0], [9, 0, 2], [0, 9, 2]]])
    for triangles in (behind, np.concatenate([ahead, behind])):
        f = raster.rasterize(triangles, 6, 6)
        t = raster.rasterize_scatter(torch.from_numpy(triangles)[None], 6, 6)
        assert f.triangle.max() == len(triangles) - 3
        np.testing.assert_array_equal(f.triangle, t.triangle[0].numpy())


def test_nothing_to_draw() -> None:
    f = raster.rasterize(np.zeros((0, 3, 3)), 3, 5)
    assert f.triangle.shape == (3, 5) and not f.covered.any() and np.isinf(f.depth).all()
    broken = np.full((1, 3, 3), np.nan)
    assert not raster.rasterize(broken, 3, 5).covered.any()
    t = raster.rasterize_scatter(torch.from_numpy(broken)[None], 3, 5)
    assert (t.triangle == -1).all() and t.barycentric.abs().sum() == 0
    assert raster.rasterize_scatter(torch.zeros(2, 0, 3, 3), 3, 5).triangle.shape == (2, 3, 5)


def quad(depth: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    vertices = np.array([[-1, -1, depth], [1, -1, depth], [1, 1, depth], [-1, 1, depth]], float)
    return vertices, np.array([[0, 1, 2], [0, 2, 3]])


@settings(max_examples=30)
@given(seed=seeds)
def test_perspective_weights_give_back_the_surface_point(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vertices, faces = quad()
    eye = rng.normal(size=3) * 0.5 + [0.1, 0.2, 2.5]
    E, K = look_at(eye, [0, 0, 0]), intrinsics_from_fov(1.0, 48, 40)
    f = raster.rasterize_mesh(vertices, faces, E, K, 40, 48)
    points = raster.interpolate(f, vertices[faces])[f.covered]
    pixels, depth = project(points, E, K)
    rows, columns = np.nonzero(f.covered)
    np.testing.assert_allclose(pixels, np.stack([columns, rows], 1), atol=1e-6)
    np.testing.assert_allclose(depth, f.depth[f.covered], rtol=1e-9)
    np.testing.assert_allclose(f.barycentric[f.covered].sum(-1), 1, atol=1e-9)


def test_a_floor_under_the_camera_is_cut_at_the_near_plane() -> None:
    vertices = np.array([[-50, 0, -50], [50, 0, -50], [50, 0, 50], [-50, 0, 50.0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    E, K = look_at([0, 1.5, 0], [0, 1.5, -1]), intrinsics_from_fov(1.2, 64, 48)
    f = raster.rasterize_mesh(vertices, faces, E, K, 48, 64)
    assert f.covered[30:].all() and not f.covered[:23].any()
    points = raster.interpolate(f, vertices[faces])[f.covered]
    pixels, _ = project(points, E, K)
    rows, columns = np.nonzero(f.covered)
    np.testing.assert_allclose(pixels, np.stack([columns, rows], 1), atol=1e-5)
    np.testing.assert_allclose(points[:, 1], 0, atol=1e-9)
    behind = raster.rasterize_mesh(vertices - [0, 0, -200], faces, look_at([0, 1.5, 0], [0, 1.5, -1]), K, 48, 64)
    assert not behind.covered.any()


def test_tensors_on_the_cpu_take_the_compiled_way() -> None:
    pair = torch.from_numpy(np.stack([random_triangles(1), random_triangles(2)]))
    for a, b in zip(
        vars(raster.rasterize_tensor(pair, 31, 33)).values(),
        vars(raster.rasterize_scatter(pair, 31, 33)).values(),
        strict=True,
    ):
        assert torch.equal(a, b) and a.dtype == b.dtype


def test_tensor_interpolation_agrees_and_has_gradients() -> None:
    triangles = random_triangles(8)
    corners = np.random.default_rng(0).normal(size=(60, 3, 4))
    expected = raster.interpolate(raster.rasterize(triangles, 30, 30), corners)
    values = torch.from_numpy(corners)[None].requires_grad_()
    image = raster.interpolate_tensor(raster.rasterize_scatter(torch.from_numpy(triangles)[None], 30, 30), values)
    np.testing.assert_allclose(image[0].detach().numpy(), expected, atol=1e-12)
    image.sum().backward()
    assert values.grad is not None and values.grad.abs().sum() > 0


def recorded(parity_dir: Path) -> dict[str, np.ndarray]:
    with np.load(parity_dir / "deca/golden/raster_small.npz", allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


def test_strict_rule_matches_recorded_buffers(parity_dir: Path) -> None:
    data = recorded(parity_dir)
    height, width = map(int, data["hw"])
    for i, triangles in enumerate(data["face_vertices"]):
        f: Fragments = raster.rasterize(triangles, height, width, Rule.STRICT, far=1e6)
        stable = data["stable"][i]
        np.testing.assert_array_equal(f.triangle[stable], data["tri"][i][stable])
        np.testing.assert_allclose(f.barycentric[stable], data["bary"][i][stable], atol=1e-5)
        np.testing.assert_allclose(f.depth[stable], data["depth"][i][stable], rtol=1e-6)


@pytest.mark.parametrize(("name", "height", "width"), [("mesh_out_24", 24, 24), ("mesh_out_hw", 24, 32)])
def test_strict_rule_matches_recorded_mesh_attributes(parity_dir: Path, name: str, height: int, width: int) -> None:
    data = {k: torch.from_numpy(v) for k, v in recorded(parity_dir).items() if v.dtype.kind in "fi"}
    corners = raster.ndc_to_pixels(data["mesh_verts"], height, width)[:, data["mesh_faces"][0]]
    fragments = raster.rasterize_scatter(corners, height, width, Rule.STRICT, far=1e6)
    image = raster.interpolate_tensor(fragments, data["mesh_attr"])
    image = torch.cat([image, (fragments.triangle >= 0)[..., None].float()], -1).permute(0, 3, 1, 2)
    torch.testing.assert_close(image, data[name], atol=1e-5, rtol=0)
