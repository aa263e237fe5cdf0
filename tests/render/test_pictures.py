"""Depth colouring, shading, point splatting, turntables: what must be seen is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from models.geometry.cameras import camera_centers, intrinsics_from_fov, look_at, project
from models.runtime.errors import InputError
from models.runtime.settings import Limits
from pipelines.media.video import probe
from pipelines.render import depth_color, shading, turntable
from pipelines.render.shading import Camera, Lights

SPHERE = trimesh.creation.icosphere(subdivisions=3)
VERTICES, FACES = np.asarray(SPHERE.vertices), np.asarray(SPHERE.faces)


def camera(width: int = 96, height: int = 72, eye: tuple[float, float, float] = (0, 0, 4)) -> Camera:
    return Camera(look_at(eye, (0, 0, 0)), intrinsics_from_fov(0.8, width, height), width, height)


def test_near_is_bright_far_is_dark_and_holes_are_grey() -> None:
    depth = np.tile(np.linspace(1, 10, 50, dtype=np.float32), (40, 1))
    depth[:5], depth[5:8], depth[8:9] = 0, np.nan, np.inf
    image = depth_color.depth_image(depth)
    assert (image[:9] == depth_color.HOLE).all()
    light = image[9:].astype(int).sum(-1)
    assert (np.diff(light, axis=1) <= 0).all() and light[0, 0] > light[0, -1] + 300
    assert depth_color.HOLE not in {tuple(c) for c in depth_color.color_table("inferno").tolist()}


def test_outliers_do_not_move_the_range_and_views_can_share_one() -> None:
    depth = np.random.default_rng(0).uniform(2, 3, (2, 60, 80))
    clean = depth_color.depth_limits(depth)
    depth[0, :3, :10], depth[1, :2, :10] = 1e-4, 1e6
    assert depth_color.depth_limits(depth) == pytest.approx(clean, rel=0.05)
    both = depth_color.depth_image(depth, clean)
    np.testing.assert_array_equal(both[1], depth_color.depth_image(depth[1], clean))


@pytest.mark.parametrize("depth", [np.zeros((4, 5)), np.full((4, 5), 2.0), np.full((4, 5), np.nan)])
def test_flat_and_empty_depth_have_pictures(depth: np.ndarray) -> None:
    image = depth_color.depth_image(depth)
    assert image.shape == (4, 5, 3) and len(np.unique(image.reshape(-1, 3), axis=0)) == 1
    assert depth_color.confidence_image(depth).shape == (4, 5, 3)


def test_vertex_normals_of_a_sphere_point_outwards() -> None:
    normals = shading.vertex_normals(VERTICES, FACES)
    assert (np.sum(normals * VERTICES, axis=1) > 0.99).all()
    lonely = shading.vertex_normals(np.vstack([VERTICES, [9, 9, 9]]), FACES)
    assert (lonely[-1] == 0).all()


def test_a_lit_sphere_is_round_and_brighter_towards_the_key_light() -> None:
    picture = shading.render_mesh(camera(), VERTICES, FACES, colors=np.array([200, 100, 50], np.uint8), lights=Lights())
    inside = picture.alpha == 255
    radius = 96 / (2 * np.tan(0.4)) * np.tan(np.arcsin(1 / 4))
    assert inside.sum() == pytest.approx(np.pi * radius**2, rel=0.06)
    assert (picture.color[picture.alpha == 0] == 255).all()
    light = picture.color.astype(int).sum(-1)
    assert light[28:34, 40:46].mean() > light[40:46, 52:58].mean() + 25
    assert picture.depth[36, 48] == pytest.approx(3, abs=0.02) and np.isinf(picture.depth[0, 0])
    assert (picture.color[inside][:, 0] >= picture.color[inside][:, 2]).all()


def test_textures_and_vertex_colours_land_where_they_belong() -> None:
    vertices = np.array([[-1, 1, 0], [1, 1, 0], [1, -1, 0], [-1, -1, 0]], float)
    faces = np.array([[0, 2, 1], [0, 3, 2]])
    uv = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], float)
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[:32, :32], texture[32:, 32:] = (255, 0, 0), (0, 0, 255)  # red top left, blue bottom right
    for coordinates in (uv, uv[faces]):
        picture = shading.render_mesh(camera(), vertices, faces, texture=texture, uv=coordinates).color
        assert picture[26, 38].tolist() == [255, 0, 0]
        assert picture[46, 58].tolist() == [0, 0, 255]
        assert picture[26, 58].tolist() == [0, 0, 0]
    corner = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]], np.uint8)
    picture = shading.render_mesh(camera(), vertices, faces, colors=corner).color
    assert picture[18, 30].argmax() == 0 and picture[18, 66].argmax() == 1 and picture[54, 66].argmax() == 2


def test_points_are_drawn_where_they_project_and_the_nearest_wins() -> None:
    view = camera()
    points = np.array([[0, 0, 0], [0, 0, -1], [0.5, 0.4, 0], [0, 0, 9], [np.nan, 0, 0]])
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9], [9, 9, 9]], np.uint8)
    picture = shading.render_points(view, points, colors, radius=0.06, shading=0)
    pixels, _ = project(points[:3], view.extrinsics, view.intrinsics)
    x, y = np.round(pixels).astype(int).T
    assert picture.color[y[0], x[0]].tolist() == [255, 0, 0]
    assert picture.color[y[2], x[2]].tolist() == [0, 0, 255]
    assert picture.depth[y[0], x[0]] == pytest.approx(4)
    assert (picture.alpha > 0).sum() < 60
    again = shading.render_points(view, points, colors, radius=0.06, shading=0)
    np.testing.assert_array_equal(picture.color, again.color)


def test_eye_dome_darkens_only_behind_steps() -> None:
    depth = np.full((20, 20), 5.0)
    depth[:, 10:] = 4.0
    factor = shading.eye_dome(depth)
    assert (factor[:, :7] == 1).all() and (factor[:, 12:] == 1).all()
    assert (factor[:, 8:10] < 0.9).all() and factor.min() > 0.4


def test_spacing_of_a_grid() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(12) * 0.25] * 3), -1).reshape(-1, 3)
    assert shading.point_spacing(grid) == pytest.approx(0.25)
    assert shading.point_spacing(grid[:1]) == 0


@pytest.mark.parametrize("up", [(0, 1, 0), (0, -1, 0), (0, 0, 1)])
def test_an_orbit_keeps_the_object_whole_and_in_the_middle(up: tuple[float, float, float]) -> None:
    moved = VERTICES * [2, 1, 1] + [5, -3, 2]
    cameras = turntable.orbit(moved, 8, (80, 60), up=up)
    centres = np.stack([camera_centers(c.extrinsics) for c in cameras])
    np.testing.assert_allclose(np.linalg.norm(centres - [5, -3, 2], axis=1), np.linalg.norm(centres[0] - [5, -3, 2]))
    for c in cameras:
        pixels, depth = project(moved, c.extrinsics, c.intrinsics)
        assert (depth > 0).all() and (pixels > -1).all() and (pixels < [80, 60]).all()
        assert (c.extrinsics[1, :3] @ up) < 0


def test_strays_do_not_blow_up_the_orbit_and_nothing_is_refused() -> None:
    cloud = np.concatenate([VERTICES, [[1e5, 0, 0], [np.nan, 0, 0]]])
    _, radius = turntable.bounding_sphere(cloud)
    assert radius < 1.5
    with pytest.raises(InputError, match="nothing"):
        turntable.orbit(np.full((3, 3), np.nan), 4, (8, 8))


def test_a_sway_returns_to_its_start_and_keeps_the_target() -> None:
    view = camera(eye=(1, 0.5, 4))
    cameras = turntable.sway(view, (0, 0, 0), 12)
    np.testing.assert_allclose(cameras[0].extrinsics, view.extrinsics, atol=1e-9)
    for c in cameras:
        (pixel,), _ = project(np.zeros((1, 3)), c.extrinsics, c.intrinsics)
        np.testing.assert_allclose(pixel, [47.5, 35.5], atol=1e-6)
    assert np.ptp([camera_centers(c.extrinsics)[0] for c in cameras]) > 1


def test_turntable_video_has_its_frames(tmp_path: Path) -> None:
    cameras = turntable.orbit(VERTICES, 6, (64, 48))
    path = turntable.write_video(tmp_path / "t.mp4", turntable.mesh_frames(cameras, VERTICES, FACES, supersample=1), 12)
    info = probe(path, Limits())
    assert (info.width, info.height, info.frames) == (64, 48, 6)
    colors = np.full((len(VERTICES), 3), 99, np.uint8)
    frames = list(turntable.cloud_frames(cameras[:2], VERTICES, colors, supersample=1))
    assert len(frames) == 2 and frames[0].alpha.any()
    with pytest.raises(InputError, match="frames"):
        turntable.write_video(tmp_path / "n.mp4", [])
    assert not (tmp_path / "n.mp4").exists()
