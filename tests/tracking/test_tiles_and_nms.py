"""Tile pyramids cover the picture; suppression keeps one of each."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.blaze.decode import box_iou
from pipelines.tracking.nms import containment, join, shape_distance, suppress_boxes
from pipelines.tracking.tiles import tile_pyramid, tile_row, tiles


@given(st.floats(10, 5000), st.floats(10, 5000), st.floats(0, 0.9))
def test_rows_of_tiles_cover_and_overlap(length, side, overlap):
    centres = np.array(tile_row(length, side, overlap))
    if side >= length:
        assert centres.tolist() == [length / 2]
        return
    assert abs(centres[0] - side / 2) < 1e-6 and abs(centres[-1] + side / 2 - length) < 1e-6
    assert (np.diff(centres) <= side * (1 - overlap) + 1e-6).all()


def test_tiles_cover_every_pixel():
    seen = np.zeros((70, 110), bool)
    for tile in tiles(110, 70, 32):
        x0, y0, x1, y1 = (round(v) for v in tile.box)
        assert x0 >= 0 and y0 >= 0 and x1 <= 110 and y1 <= 70
        seen[y0:y1, x0:x1] = True
    assert seen.all()


def test_pyramids_start_with_the_whole_and_skip_what_gains_nothing():
    levels = tile_pyramid(np.zeros((300, 400, 3), np.uint8), (1.0, 0.97, 0.5, 0.25), smallest=140)
    assert [round(level[0].side) for level in levels] == [400, 300, 150]


boxes = st.lists(st.tuples(*[st.floats(0, 100)] * 2, *[st.floats(1, 60)] * 2), min_size=1, max_size=15).map(
    lambda rows: np.array([(x, y, x + w, y + h) for x, y, w, h in rows])
)


@given(boxes, st.integers(0, 2**31))
def test_box_suppression_is_idempotent_and_leaves_no_overlap(found, seed):
    scores = np.random.default_rng(seed).uniform(size=len(found))
    kept = suppress_boxes(found, scores, 0.4, 0.8)
    assert scores.argmax() == kept[0]
    overlap = box_iou(found[kept], found[kept]) - np.eye(len(kept))
    assert overlap.max() <= 0.4 + 1e-9
    again = suppress_boxes(found[kept], scores[kept], 0.4, 0.8)
    assert again.tolist() == list(range(len(kept)))


def test_containment_sees_a_small_box_in_a_large_one():
    inside = containment(np.array([[0, 0, 100, 100.0]]), np.array([[10, 10, 20, 20.0], [90, 90, 110, 110.0]]))
    np.testing.assert_allclose(inside, [[1.0, 0.25]])


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(0.5, 20))
def test_shifted_shapes_are_as_far_apart_as_the_shift(x, y, scale):
    shape = np.random.default_rng(0).normal(size=(9, 3))
    np.testing.assert_allclose(
        shape_distance(shape, shape + np.array([x, y, 7]), scale), np.hypot(x, y) / scale, atol=1e-9
    )


def test_points_that_do_not_count_are_ignored():
    a, b = np.zeros((3, 2)), np.array([[0, 0], [0, 0], [50, 0.0]])
    assert shape_distance(a, b, 10.0, np.array([1, 1, 0.0])) == 0
    assert shape_distance(a, b, 10.0, np.zeros(3)) == float("inf")


def test_joining_nothing_is_none():
    assert join([]) is None
