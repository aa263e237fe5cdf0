"""Sweeps, consistency, ground, filling: each on a made-up surface whose depth is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from models.geometry.cameras import intrinsics_matrix, look_at, project, unproject
from pipelines.scene.consistency import confirm_all, connected, partners_of
from pipelines.scene.dense import View, facing_planes, plane_homographies, sweep_all
from pipelines.scene.fill import fill_holes
from pipelines.scene.ground import Ground, estimate_up, find_ground, ground_planes, sweep_ground
from pipelines.scene.stereo import match_pair
from pipelines.scene.surface import Layer, grow_empty, join
from pipelines.scene.sweep import PlaneFamily, SweepSettings, box_mean, sweep_view

H, W = 96, 128
K = intrinsics_matrix(110.0, 110.0, (W - 1) / 2, (H - 1) / 2)


def texture(seed: int, h: int = 256, w: int = 256) -> np.ndarray:
    """Grey noise with structure at several sizes, (h, w) float32 0..255."""
    rng = np.random.default_rng(seed)
    parts = [cv2.resize(rng.random((h // s, w // s)).astype(np.float32), (w, h)) for s in (2, 4, 8)]
    return np.clip(sum(parts) * 85, 0, 255).astype(np.float32)


def plane_view(extrinsics: np.ndarray, normal: np.ndarray, offset: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture and depth (H, W) of the textured plane ``normal @ x = offset``; 0 where it is not in front."""
    rays = unproject(np.ones((H, W)), K, extrinsics) - (-extrinsics[:, :3].T @ extrinsics[:, 3])
    centre = -extrinsics[:, :3].T @ extrinsics[:, 3]
    slope = rays @ normal
    with np.errstate(divide="ignore"):
        depth = (offset - normal @ centre) / slope
    depth = np.where((depth > 0) & (depth < 60), depth, 0)
    points = centre + rays * depth[..., None]
    u = np.cross(normal, [0.3, 0.2, 0.9])
    u /= np.linalg.norm(u)
    v = np.cross(normal, u)
    pattern = texture(seed)
    where = (points @ u * 40) % 255, (points @ v * 40) % 255
    grey = cv2.remap(pattern, where[0].astype(np.float32), where[1].astype(np.float32), cv2.INTER_LINEAR)
    return np.where(depth > 0, grey, 128).astype(np.float32), depth.astype(np.float32)


@pytest.fixture(scope="module")
def wall() -> tuple[list[View], np.ndarray, list[list[int]]]:
    """Three views of a slightly slanted wall four units away, its depth, and their source views."""
    normal = np.array([0.15, 0.1, 1.0])
    normal /= np.linalg.norm(normal)
    views, depths = [], []
    for x in (-0.35, 0.0, 0.35):
        E = np.eye(3, 4)
        E[0, 3] = -x
        grey, depth = plane_view(E, normal, 4.0, 3)
        views.append(View(grey, E, K, 2.5, 8.0))
        depths.append(depth)
    return views, np.stack(depths), [[1, 2], [0, 2], [1, 0]]


def test_box_mean_is_opencvs_with_a_replicated_border() -> None:
    image = texture(1, 40, 52)
    np.testing.assert_allclose(
        box_mean(image, 3), cv2.blur(image, (7, 7), borderType=cv2.BORDER_REPLICATE), rtol=1e-4, atol=1e-3
    )


def test_a_wall_is_found_and_confirmed(wall: tuple) -> None:
    views, truth, sources = wall
    depth = np.zeros_like(truth)
    for i, found in sweep_all(views, sources, facing_planes, SweepSettings()):
        depth[i] = 1 / found.inverse
    error = np.abs(depth - truth) / truth
    assert np.median(error) < 0.005 and (error < 0.02).mean() > 0.9
    sizes = np.full((3, 2), (H, W))
    E = np.stack([v.extrinsics for v in views])
    sure = confirm_all(depth, sizes, np.stack([K] * 3), E, partners_of(sources))
    assert sure.strong.mean() > 0.8
    assert np.abs(sure.depth - truth)[sure.strong].max() / 4 < 0.1
    wrong = depth.copy()
    wrong[1] *= 1.3  # a view alone with its opinion is not confirmed, nor are those that only it could confirm
    assert confirm_all(wrong, sizes, np.stack([K] * 3), E, partners_of(sources)).strong[1].mean() < 0.02


def test_homographies_carry_points_of_the_plane(wall: tuple) -> None:
    views, _, _ = wall
    A, b = plane_homographies(views[0], [views[2]])
    pixel, depth = np.array([40.0, 30.0]), 5.0
    point = unproject(np.full((H, W), depth), K, views[0].extrinsics)[30, 40]
    expected, _ = project(point[None], views[2].extrinsics, K)
    moved = A[0] @ np.append(pixel, 1) + b[0] / depth
    np.testing.assert_allclose(moved[:2] / moved[2], expected[0], atol=1e-3)


def test_slanted_families_put_every_pixel_on_its_plane() -> None:
    """One plane, swept exactly at its distance, gives the exact depth of each of its pixels."""
    E = np.eye(3, 4)
    view = View(np.zeros((H, W), np.float32), E, K, 1.0, 10.0)
    ground = Ground(np.array([0.0, -1.0, 0.0]), -1.5)  # y points down, so the floor lies at y = 1.5
    family = ground_planes(view, ground, 1.0, 1.0, 1)
    source = np.zeros((H, W), np.float32)
    found = sweep_view(source, [source], np.eye(3)[None], np.zeros((1, 3)), family, SweepSettings())
    rows = np.arange(H)[:, None] - (H - 1) / 2
    expected = np.where(np.arange(H)[:, None] >= family.first_row, rows / 110 / 1.5, 0)
    np.testing.assert_allclose(found.inverse, np.broadcast_to(expected, (H, W)), atol=1e-5)


def test_the_ground_is_found_from_views_that_graze_it() -> None:
    """A textured floor 1.2 below cameras that look 25 degrees down: plane and depth come out right."""
    up = np.array([0.0, -1.0, 0.0])
    views, truth = [], []
    for x in (-0.4, -0.2, 0.0, 0.2, 0.4):
        E = look_at((x, 0, 0), (0.3 * x, 1.2, 2.6), up)
        grey, depth = plane_view(E, up, -1.2, 5)
        views.append(View(grey, E, K, 1.8, 12.0))
        truth.append(depth)
    sources = [np.argsort(np.abs(np.arange(5) - i))[1:4].tolist() for i in range(5)]
    E = np.stack([v.extrinsics for v in views])
    assert estimate_up(E) @ up > 0.85
    ground = find_ground(views, sources, up)
    assert ground is not None
    assert ground.normal @ up > 0.999 and ground.offset == pytest.approx(-1.2, rel=0.03)
    depths, _ = sweep_ground(views, sources, ground)
    for depth, exact in zip(depths, truth, strict=True):  # every view, not only those that voted
        known = depth > 0
        assert known[H // 2 :].mean() > 0.6
        assert np.median(np.abs(depth - exact)[known] / exact[known]) < 0.03


def test_without_a_floor_there_is_no_ground(wall: tuple) -> None:
    views, _, sources = wall
    assert find_ground(views, sources, np.array([0.0, -1.0, 0.0])) is None


def test_weak_depth_stays_only_where_it_continues_a_sure_surface() -> None:
    depth = np.zeros((20, 30), np.float32)
    depth[2:10, 2:12] = 4.0  # one surface, its left half sure
    depth[2:10, 20:28] = 4.0  # a piece nobody is sure of
    depth[12:18, 2:12] = 9.0  # touches nothing
    strong = np.zeros_like(depth, bool)
    strong[2:10, 2:7] = True
    kept = connected(depth, strong, 10, 0.03)
    assert kept[2:10, 2:12].all() and kept.sum() == 80


def test_sky_grows_under_the_rim_of_a_roof_but_not_over_it() -> None:
    image = np.full((80, 100, 3), 230, np.uint8)
    image[50:] = np.random.default_rng(0).integers(0, 120, (30, 100, 3))
    unknown = np.zeros((80, 100), bool)
    unknown[:40] = True  # ten rows of sky got the roof's depth
    score = np.where(np.arange(80)[:, None] >= 47, 0.9, 0.1).astype(np.float32) * np.ones((1, 100), np.float32)
    empty = grow_empty(unknown, image, score, np.zeros_like(unknown))
    assert empty[:48].all() and not empty[52:].any()


def test_joining_prefers_sure_facing_depth_then_ground() -> None:
    shape = (60, 60)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (*shape, 3), np.uint8)
    ones, none = np.ones(shape, np.float32), np.zeros(shape, np.float32)
    half = np.zeros(shape, bool)
    half[:30] = True
    count = np.where(half, 3, 0).astype(np.int16)
    facing = Layer(np.where(half, 5, 0).astype(np.float32), count, half, none, ones)
    ground = Layer(3 * ones, np.full(shape, 2, np.int16), np.ones(shape, bool), none, ones)
    depth, conf, empty = join(facing, ground, image)
    assert (depth[:30] == 5).all() and (depth[30:] == 3).all()
    assert (conf >= 0.5).all() and not empty.any()
    alone, _, _ = join(facing, None, image)
    assert (alone[30:] == 0).all()


def test_holes_are_filled_only_where_surrounded_and_marked() -> None:
    depth = np.full((60, 80), 2.0, np.float32)
    depth[:, 40:] = 5.0
    exact = depth.copy()
    image = np.where(exact[..., None] > 3, 200, 40).astype(np.uint8).repeat(3, -1)
    depth[20:30, 35:45] = 0  # a hole across the edge
    depth[:8] = 0  # open towards the border
    out, filled = fill_holes(depth, image, 30, 6)
    assert filled[20:30, 35:45].all() and not filled[:4].any()
    assert (out[:4] == 0).all()
    inside = np.abs(out - exact)[20:30, 35:45] < 0.01  # the picture's edge decides which side a pixel belongs to
    assert inside.mean() > 0.9
    assert (out[~filled] == depth[~filled]).all()
    _, none = fill_holes(depth, image, 30, 6, np.zeros_like(filled))
    assert not none.any()


def test_a_rectified_pair_gives_its_disparity() -> None:
    left = np.repeat(texture(7, H, W)[..., None], 3, -1).astype(np.uint8)
    x = np.arange(W, dtype=np.float32)[None] + 6.5 + np.zeros((H, 1), np.float32)
    y = np.repeat(np.arange(H, dtype=np.float32)[:, None], W, 1)
    right = cv2.remap(left, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    first, second = match_pair(left, right, 0.0, 16.0)
    for found, seen in ((first, slice(12, None)), (second, slice(0, -12))):
        assert np.median(np.abs(found.disparity[:, seen] - 6.5)) < 0.2
        assert (found.conf[:, seen] >= 0.5).mean() > 0.9
        assert np.isfinite(found.disparity).all() and (found.conf > 0).all()
    assert first.filled[:, :5].mean() > 0.8  # what the right camera cannot see is never called measured


def test_a_family_is_a_small_value() -> None:
    family = PlaneFamily(np.array([0.0, 0.0, 1.0]), np.array([0.1, 0.2]))
    assert family.first_row == 0
