"""Anchors, decoding and suppression of the detectors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.blaze.anchors import anchor_centres
from models.blaze.config import FACE_FULL_RANGE, FACE_SHORT_RANGE, PALM_DETECTION, POSE_DETECTION
from models.blaze.decode import Detections, box_iou, decode, weighted_nms

CONFIGS = (FACE_SHORT_RANGE, FACE_FULL_RANGE, POSE_DETECTION, PALM_DETECTION)


@pytest.mark.parametrize(
    ("config", "count"), zip(CONFIGS, (896, 2304, 2254, 2016), strict=True), ids=lambda c: getattr(c, "weights", c)
)
def test_anchors_fill_the_networks_outputs(config, count):
    centres = anchor_centres(config)
    assert centres.shape == (count, 2) == (config.anchors, 2)
    assert centres.min() > 0 and centres.max() < 1
    np.testing.assert_allclose(centres.mean(axis=0), 0.5, atol=1e-6)


def test_anchors_of_a_cell_follow_each_other_row_by_row():
    centres = anchor_centres(FACE_SHORT_RANGE) * 16
    np.testing.assert_allclose(centres[:4], [[0.5, 0.5], [0.5, 0.5], [1.5, 0.5], [1.5, 0.5]])
    # The coarse grid of 8 x 8 cells carries six anchors each.
    np.testing.assert_allclose(centres[512:518] / 2, [[0.5, 0.5]] * 6)


def test_decoding_adds_offsets_to_the_anchor():
    config = POSE_DETECTION
    boxes, scores = np.zeros((config.anchors, 12), np.float32), np.full((config.anchors, 1), -50.0, np.float32)
    boxes[7, :4] = 22.4, -11.2, 44.8, 89.6
    boxes[7, 4:6] = 11.2, 22.4
    scores[7] = 2.0
    found = decode(boxes, scores, config)
    x, y = anchor_centres(config)[7]
    np.testing.assert_allclose(found.boxes, [[x + 0.1 - 0.1, y - 0.05 - 0.2, x + 0.1 + 0.1, y - 0.05 + 0.2]], atol=1e-6)
    np.testing.assert_allclose(found.keypoints[0, 0], [x + 0.05, y + 0.1], atol=1e-6)
    np.testing.assert_allclose(found.scores, [1 / (1 + np.exp(-2.0))], atol=1e-6)


def test_extreme_logits_do_not_overflow():
    config = FACE_FULL_RANGE
    scores = np.full((config.anchors, 1), -1e9, np.float32)
    scores[0] = 1e9
    with np.errstate(over="raise"):
        found = decode(np.zeros((config.anchors, 16), np.float32), scores, config)
    assert len(found) == 1 and found.scores[0] == pytest.approx(1.0)


boxes_strategy = st.lists(
    st.tuples(*[st.floats(0, 1)] * 2, *[st.floats(0.01, 0.5)] * 2, st.floats(0.5, 1)),
    min_size=1,
    max_size=12,
)


def detections(rows) -> Detections:
    values = np.array(rows)
    boxes = np.concatenate([values[:, :2], values[:, :2] + values[:, 2:4]], axis=1)
    return Detections(boxes, np.repeat(boxes[:, None, :2], 6, axis=1), values[:, 4])


@given(boxes_strategy)
def test_overlap_is_symmetric_and_one_with_itself(rows):
    boxes = detections(rows).boxes
    overlap = box_iou(boxes, boxes)
    np.testing.assert_allclose(overlap, overlap.T, atol=1e-12)
    np.testing.assert_allclose(np.diag(overlap), 1.0)
    assert overlap.min() >= 0 and overlap.max() <= 1 + 1e-9


@given(boxes_strategy)
def test_weighted_suppression_stays_within_its_inputs(rows):
    found = detections(rows)
    kept = weighted_nms(found, 0.3)
    assert 1 <= len(kept) <= len(found)
    assert kept.scores[0] == found.scores.max()
    assert (np.diff(kept.scores) <= 0).all()
    assert (kept.boxes.min(axis=0) >= found.boxes.min(axis=0) - 1e-9).all()
    assert (kept.boxes.max(axis=0) <= found.boxes.max(axis=0) + 1e-9).all()


def test_weighted_suppression_leaves_what_does_not_overlap_alone():
    found = detections([(0.0, 0.0, 0.1, 0.1, 0.9), (0.5, 0.5, 0.1, 0.1, 0.8)])
    kept = weighted_nms(found, 0.3)
    np.testing.assert_allclose(kept.boxes, found.boxes)
    np.testing.assert_allclose(kept.keypoints, found.keypoints)


def test_weighted_suppression_blends_by_score():
    found = detections([(0.0, 0.0, 0.4, 0.4, 0.9), (0.04, 0.0, 0.4, 0.4, 0.6)])
    kept = weighted_nms(found, 0.3)
    assert len(kept) == 1
    assert kept.boxes[0, 0] == pytest.approx(0.04 * 0.6 / 1.5)


def test_suppression_of_nothing_is_nothing():
    empty = Detections(np.zeros((0, 4)), np.zeros((0, 6, 2)), np.zeros(0))
    assert len(weighted_nms(empty, 0.3)) == 0
