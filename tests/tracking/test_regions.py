"""Square regions: mapping, cutting, and the rules that place them."""

from math import pi

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.tracking.regions import (
    Border,
    Region,
    eye_region,
    face_region,
    hand_region,
    palm_region,
    pose_region,
    whole_picture,
)

regions = st.builds(
    Region,
    x=st.floats(-500, 2000),
    y=st.floats(-500, 2000),
    side=st.floats(2, 3000),
    angle=st.floats(-pi, pi),
    mirror=st.booleans(),
)
points = st.lists(st.tuples(*[st.floats(-3, 3)] * 3), min_size=1, max_size=20).map(np.array)


@given(regions, points)
def test_points_return_from_the_picture(region, unit):
    np.testing.assert_allclose(region.to_unit(region.to_image(unit)), unit, atol=1e-7)
    np.testing.assert_allclose(region.to_unit(region.to_image(unit[:, :2])), unit[:, :2], atol=1e-7)


@given(regions, points)
def test_turning_keeps_lengths(region, vectors):
    turned = region.turn_to_image(vectors)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), np.linalg.norm(vectors, axis=1), atol=1e-9)


@given(regions)
def test_the_box_holds_the_corners(region):
    corners = region.to_image(np.array([[0, 0], [1, 0], [1, 1], [0, 1]]))
    x0, y0, x1, y1 = region.box
    np.testing.assert_allclose([x0, y0, x1, y1], [*corners.min(axis=0), *corners.max(axis=0)], atol=1e-6)


def test_an_unscaled_cut_is_a_copy():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    cut = Region(30, 20, 16).cut(image, 16, Border.ZERO)
    np.testing.assert_array_equal(cut, image[12:28, 22:38])


def test_borders_are_black_or_carried_on():
    image = np.full((20, 20, 3), 200, np.uint8)
    region = Region(0, 10, 20)
    assert region.cut(image, 20, Border.ZERO)[10, 2].max() == 0
    assert region.cut(image, 20, Border.REPLICATE).min() == 200


def test_a_turned_cut_shows_what_its_mapping_says():
    rows, columns = np.mgrid[:200, :300]
    image = np.stack([columns * 0.8, rows, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    region = Region(150, 100, 80, angle=0.6)
    cut = region.cut(image, 40, Border.REPLICATE).astype(float)
    j, i = np.mgrid[:40, :40]
    expected = region.to_image(np.stack([i, j], axis=-1) / 40)
    np.testing.assert_allclose(cut[..., 0] / 0.8, expected[..., 0], atol=2.0)
    np.testing.assert_allclose(cut[..., 1], expected[..., 1], atol=1.0)


def test_mirrored_regions_flip_the_picture():
    image = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    plain = Region(16, 16, 16).cut(image, 16, Border.ZERO)
    mirrored = Region(16, 16, 16, mirror=True).cut(image, 16, Border.ZERO)
    np.testing.assert_array_equal(mirrored[:, 1:], plain[:, :0:-1])


def test_a_region_far_outside_is_harmless():
    image = np.full((20, 20, 3), 7, np.uint8)
    assert Region(1e7, -1e7, 50).cut(image, 8, Border.ZERO).max() == 0


def test_the_whole_picture_is_a_square_about_its_middle():
    assert whole_picture(np.zeros((30, 50, 3), np.uint8)) == Region(25, 15, 50)


angles = st.floats(-3.0, 3.0)


@given(angles)
def test_the_body_points_up_in_its_region(angle):
    centre, end = np.array([100.0, 80.0]), np.array([100 + 50 * np.sin(angle), 80 - 50 * np.cos(angle)])
    region = pose_region(centre, end)
    assert region.side == pytest.approx(125)
    np.testing.assert_allclose(region.to_unit(end), [0.5, 0.5 - 50 / 125], atol=1e-9)


@given(angles)
def test_the_eyes_are_level_in_the_faces_region(angle):
    right, left = np.array([50.0, 50.0]), np.array([50 + 20 * np.cos(angle), 50 + 20 * np.sin(angle)])
    region = face_region(np.array([20, 10, 100, 70]), right, left)
    assert (region.x, region.y, region.side) == (60, 40, 120)
    unit = region.to_unit(np.stack([right, left]))
    assert unit[0, 1] == pytest.approx(unit[1, 1]) and unit[1, 0] > unit[0, 0]


@given(angles, st.floats(20, 200))
def test_hand_regions_turn_and_grow_with_the_hand(angle, size):
    hand = np.random.default_rng(3).normal(size=(21, 2)) * 0.2
    hand[0], hand[[5, 9, 13]] = (0, 1), [(-0.2, 0), (0, 0), (0.2, 0)]
    region = hand_region(hand)
    c, s = np.cos(angle), np.sin(angle)
    moved = hand_region(hand @ np.array([[c, s], [-s, c]]) * size + (300, 200))
    assert moved.side == pytest.approx(region.side * size)
    assert np.cos(moved.angle - region.angle - angle) == pytest.approx(1)


def test_palm_regions_move_towards_the_fingers():
    upright = palm_region(np.array([40, 40, 60, 60]), np.array([50, 60]), np.array([50, 40]))
    assert (upright.x, upright.y, upright.side) == (50, 40, pytest.approx(52))
    lying = palm_region(np.array([40, 40, 60, 60]), np.array([40, 50]), np.array([60, 50]))
    assert (lying.x, lying.y) == (pytest.approx(60), pytest.approx(50))


@pytest.mark.parametrize("mirror", [False, True])
def test_eye_regions_put_the_outer_corner_on_one_side(mirror):
    outer, inner = (
        (np.array([80.0, 41.0]), np.array([60.0, 40.0])) if mirror else (np.array([20.0, 41.0]), np.array([40.0, 40.0]))
    )
    region = eye_region(outer, inner, mirror)
    unit = region.to_unit(np.stack([outer, inner]))
    assert unit[0, 0] < 0.5 < unit[1, 0]
    np.testing.assert_allclose(unit[:, 1], 0.5, atol=1e-9)
