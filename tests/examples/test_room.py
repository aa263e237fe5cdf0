"""The rendered room: pictures and exact depth agree with the cameras, and the shipped files are what the code makes."""

from __future__ import annotations

import json
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from examples.make_examples import ROOM, VIDEO_FPS, motorcycle, write_motorcycle
from examples.room import View, photo_views, render_room, video_views
from models.geometry.cameras import (
    camera_centers,
    project,
    relative_pose,
    resize_intrinsics,
    rotation_angle_error,
    unproject,
)
from models.runtime.settings import Limits
from pipelines.media.image import exif_focal_px, read_image
from pipelines.media.video import VideoReader, probe


def small(view: View, factor: float = 0.4) -> View:
    width, height = round(view.width * factor), round(view.height * factor)
    return View(view.extrinsics, resize_intrinsics(view.intrinsics, factor, factor), width, height)


@lru_cache(maxsize=4)
def rendered(index: int) -> tuple[View, np.ndarray, np.ndarray]:
    view = small(photo_views()[index])
    return view, *render_room(view)


def test_every_pixel_shows_something_at_room_distance() -> None:
    for index in (4, 5):
        view, image, depth = rendered(index)
        assert image.shape == (view.height, view.width, 3) and depth.shape == image.shape[:2]
        assert depth.min() > 0.5 and depth.max() < 7
        assert 60 < image.mean() < 150 and image.std() > 30


def test_the_same_view_is_the_same_picture() -> None:
    view, image, depth = rendered(4)
    again, depth_again = render_room(view)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(depth, depth_again)


def test_two_views_agree_about_the_world() -> None:
    """A pixel carried by depth and cameras into the next photo lands on the same depth and the same colour."""
    view, image, depth = rendered(4)
    other, other_image, other_depth = rendered(5)
    points = unproject(depth.astype(float), view.intrinsics, view.extrinsics).reshape(-1, 3)
    pixels, z = project(points, other.extrinsics, other.intrinsics)
    u, v = pixels.astype(np.float32).reshape(*depth.shape, 2).transpose(2, 0, 1)
    inside = (u >= 0) & (u <= other.width - 1) & (v >= 0) & (v <= other.height - 1)
    seen = cv2.remap(other_depth, u, v, cv2.INTER_LINEAR)
    same = inside & (np.abs(seen - z.reshape(depth.shape)) < 0.01 * seen)
    assert same.sum() > 0.75 * inside.sum()
    blurred, carried = (cv2.GaussianBlur(i, (0, 0), 1.2).astype(float) for i in (image, other_image))
    carried = cv2.remap(carried, u, v, cv2.INTER_LINEAR)
    assert np.abs(carried - blurred)[same].mean() < 6


def test_paths_have_parallax_and_overlap() -> None:
    views = photo_views()
    E = np.stack([v.extrinsics for v in views])
    steps = np.linalg.norm(np.diff(camera_centers(E), axis=0), axis=1)
    assert steps.min() > 0.1 and steps.max() < 0.6
    turns = [rotation_angle_error(np.eye(3), relative_pose(a, b)) for a, b in pairwise(E)]
    assert max(turns) < 16
    walk = np.stack([v.extrinsics for v in video_views()])
    assert len(walk) == 120 and np.linalg.norm(np.diff(camera_centers(walk), axis=0), axis=1).max() < 0.08


def test_shipped_photos_match_their_cameras() -> None:
    truth = json.loads((ROOM / "cameras.json").read_text())
    views = photo_views()
    assert len(truth["names"]) == len(views)
    np.testing.assert_allclose(truth["extrinsics"], [v.extrinsics for v in views], atol=1e-8)
    name = ROOM / "photos" / truth["names"][4]
    photo = read_image(name, Limits())
    assert photo.shape == (truth["height"], truth["width"], 3)
    view, image, _ = rendered(4)
    reduced = cv2.resize(photo, (view.width, view.height), interpolation=cv2.INTER_AREA)
    assert np.abs(reduced.astype(float) - image).mean() < 6
    assert exif_focal_px(name) == pytest.approx(truth["intrinsics"][0][0], rel=0.01)


def test_shipped_video_matches_its_cameras() -> None:
    truth = json.loads((ROOM / "walk.json").read_text())
    info = probe(ROOM / "walk.mp4", Limits())
    assert (info.width, info.height, info.frames) == (truth["width"], truth["height"], len(truth["extrinsics"]))
    assert float(info.fps) == VIDEO_FPS
    first = next(iter(VideoReader(ROOM / "walk.mp4", Limits()))).rgb
    view = small(video_views()[0], 0.5)
    reduced = cv2.resize(first, (view.width, view.height), interpolation=cv2.INTER_AREA)
    assert np.abs(reduced.astype(float) - render_room(view)[0]).mean() < 8


def test_everything_shipped_stays_small() -> None:
    total = sum(p.stat().st_size for p in Path(ROOM).rglob("*") if p.is_file())
    assert total < 2_000_000


def test_motorcycle_pair_has_its_calibration(tmp_path: Path) -> None:
    try:
        pair = motorcycle()
    except (OSError, ModuleNotFoundError, ValueError) as error:
        pytest.skip(f"scikit-image's data is not at hand: {error}")
    assert pair.left.shape == pair.right.shape == (*pair.disparity.shape, 3)
    depth = pair.baseline * pair.focal / (pair.disparity + pair.offset) / 1000
    assert np.nanmin(depth) > 1.5 and np.nanmax(depth) < 7
    left, right = write_motorcycle(tmp_path / "pair")
    np.testing.assert_array_equal(read_image(left, Limits()), pair.left)
    np.testing.assert_array_equal(read_image(right, Limits()), pair.right)
    assert json.loads((tmp_path / "pair" / "calibration.json").read_text())["offset"] == 31.086
