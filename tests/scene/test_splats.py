"""Splats of a scene: the file for the viewer, and the video along a path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.depth_anything_3.gaussians import make_gaussians
from models.runtime.settings import Limits
from pipelines.export.glb import robust_extent
from pipelines.export.splat import Gaussians
from pipelines.media.video import probe
from pipelines.scene.da3_files import (
    VIEWER_EXTENT,
    load_views,
    moved,
    save_views,
    write_splat_video,
    write_viewer_splats,
)
from pipelines.scene.da3_inference import Da3Views
from pipelines.scene.options import Da3Options
from pipelines.scene.splat_render import render
from pipelines.scene.splat_trajectory import trajectory

N, H, W = 2, 42, 56


@pytest.fixture
def views() -> Da3Views:
    torch.manual_seed(0)
    E = np.tile(np.eye(4, dtype=np.float32), (N, 1, 1))
    E[1, 0, 3] = -0.3
    K = np.tile(np.array([[50, 0, W / 2], [0, 50, H / 2], [0, 0, 1]], np.float32), (N, 1, 1))
    depth = np.full((N, H, W), 2.0, np.float32) + np.linspace(0, 1, W, dtype=np.float32)
    raw = torch.randn(1, N, H, W, 37) * 0.1
    raw[..., 2:5] = -4
    opacity = torch.full((1, N, H, W), 0.8)
    splats = make_gaussians(raw, opacity, *(torch.from_numpy(v)[None] for v in (depth, E, K)))
    images = np.zeros((N, H, W, 3), np.uint8)
    return Da3Views(depth, depth * 0 + 2, E, K, images, np.full((N, 2), (H, W)), gaussians=splats, scale_factor=2.0)


def test_stored_views_come_back(views: Da3Views, tmp_path: Path) -> None:
    found = load_views(save_views(tmp_path / "da3.npz", views))
    for name in ("depth", "conf", "extrinsics", "intrinsics"):
        np.testing.assert_array_equal(getattr(found, name), getattr(views, name))
    assert torch.equal(found.gaussians.rotations, views.gaussians.rotations) and found.scale_factor == 2.0


def test_the_files(views: Da3Views, tmp_path: Path) -> None:
    video = write_splat_video(views, Da3Options(gs_trajectory="interpolate", gs_video_quality="low"), tmp_path)
    found = probe(Path(video.path), Limits())
    assert (found.width, found.height) == (2 * W + 8, H) and found.frames == 48
    path = tmp_path / "splats.ply"
    assert write_viewer_splats(views, path).kind == "splat"
    head, _, body = path.read_bytes().partition(b"end_header\n")
    columns = head.count(b"property float")
    places = np.frombuffer(body, "<f4").reshape(-1, columns)[:, :3]
    assert robust_extent(places) == pytest.approx(VIEWER_EXTENT, rel=1e-3)
    # the viewer looks along +z with y down: what is far away lies at larger z, what is to the right at larger x
    means = views.gaussians.means[0].numpy()
    assert np.corrcoef(places[:, 0], places[:, 2])[0, 1] * np.corrcoef(means[:, 0], means[:, 2])[0, 1] > 0
    np.testing.assert_allclose(np.median(places, axis=0), 0, atol=0.1)


def test_pictures_do_not_change_when_world_and_camera_move_together(views: Da3Views) -> None:
    g = views.gaussians
    parts = (g.means, g.scales, g.rotations, g.opacities, g.harmonics.transpose(2, 3)[..., :1, :])
    splats = Gaussians(*(p[0].numpy() for p in parts))
    T = np.eye(4)
    T[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    T[:3, 3] = [0.4, -0.2, 1.0]
    here = render(splats, views.extrinsics[0], views.intrinsics[0], (W, H))
    there = render(moved(splats, T), views.extrinsics[0] @ np.linalg.inv(T), views.intrinsics[0], (W, H))
    np.testing.assert_allclose(here.color, there.color, atol=2e-3)
    assert here.alpha.max() > 0.5


@pytest.mark.parametrize("mode", ["original", "smooth", "interpolate_smooth", "wander", "dolly_zoom", "extend"])
def test_paths_through_two_views_stay_finite(views: Da3Views, mode: str) -> None:
    path = trajectory(mode, views.extrinsics, views.intrinsics)
    assert np.isfinite(path.extrinsics()).all() and np.isfinite(path.intrinsics).all()
