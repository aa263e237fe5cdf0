"""People and hands on real media: all of them, once each, none where there is nobody."""

import numpy as np
import pytest

from models.runtime.settings import Limits
from pipelines.media.video import Frame, VideoReader
from pipelines.tracking.body_search import same
from pipelines.tracking.body_tracker import PoseTracker
from pipelines.tracking.hand_tracker import HandTracker
from pipelines.tracking.options import PoseOptions

pytestmark = pytest.mark.media


@pytest.fixture(scope="module")
def tracker(networks) -> PoseTracker:
    return PoseTracker(networks)


@pytest.mark.parametrize(
    "name", ["body/coco_000000000785", "face/expression_a", "face/portrait_s5", "face/portrait_s9"]
)
def test_a_person_alone_is_found_as_the_reference_does(tracker, photo, reference, name):
    people = tracker.find_people(photo(f"{name}.jpg"))
    assert len(people) == 1
    wanted = reference(name.split("/")[1])
    seen = wanted["pose_world"][:, 3] > 0.5
    shoulders = np.linalg.norm(wanted["pose"][11, :2] - wanted["pose"][12, :2])
    gaps = np.linalg.norm(people[0].landmarks[:, :2] - wanted["pose"][:, :2], axis=1)[seen]
    assert 100 * gaps.mean() / shoulders < 1


@pytest.mark.slow
def test_a_crowd_is_found_once_each(tracker, photo):
    people = tracker.find_people(photo("body/skater_montage.jpg"))
    assert 10 <= len(people) <= 13
    assert all(p.score >= tracker.options.min_presence for p in people)
    for k, person in enumerate(people):
        others = [*people[:k], *people[k + 1 :]]
        assert not any(same(person, other) for other in others)
    hips = np.array([p.hips for p in people])
    gaps = np.linalg.norm(hips[:, None] - hips, axis=-1) + 1e3 * np.eye(len(people))
    assert gaps.min() > 15


def test_five_skiers_one_half_hidden(tracker, photo):
    people = tracker.find_people(photo("body/coco_000000197388.jpg"))
    hips = sorted(round(float(p.hips[0])) for p in people)
    np.testing.assert_allclose(hips, [19, 278, 330, 519, 572], atol=15)


@pytest.mark.parametrize(
    "name", ["character/drawing_texture.png", "scene/castle/100_7101.jpg", "scene/castle/100_7103.jpg"]
)
def test_nobody_where_there_is_nobody(tracker, photo, name):
    assert tracker.find_people(photo(name)) == ()


@pytest.mark.slow
def test_a_street_keeps_its_people(tracker, testdata):
    frames = list(tracker.stream(VideoReader(testdata / "body/street_5frames.mp4", Limits())))
    assert len(frames) == 5
    assert all({p.track for p in f.people} >= {1, 2, 3, 4} for f in frames)
    for number in (1, 2, 3, 4):
        places = np.array([next(p.pose.hips for p in f.people if p.track == number) for f in frames])
        assert np.linalg.norm(np.diff(places, axis=0), axis=1).max() < 40


def test_a_speaker_is_followed_steadily(networks, testdata, reference):
    wanted = reference("driving_expressions")["tracked_pose"]
    frames = VideoReader(testdata / "face/driving_expressions.mp4", Limits(), end=24.5 / 25)
    for frame in PoseTracker(networks, PoseOptions(smoothing=None)).stream(frames):
        assert [p.track for p in frame.people] == [1]
        if frame.index % 4 == 0:
            pose, other = frame.people[0].pose, wanted[frame.index // 4]
            shoulders = np.linalg.norm(other[11, :2] - other[12, :2])
            upper = slice(0, 13)
            gaps = np.linalg.norm(pose.landmarks[upper, :2] - other[upper, :2], axis=1)
            assert 100 * gaps.mean() / shoulders < 3  # the reference smooths


@pytest.mark.parametrize(("name", "side"), [("portrait_s5", "left"), ("portrait_s9", "right")])
def test_hands_agree_with_the_reference(networks, photo, reference, name, side):
    wanted = reference(name)
    hands = HandTracker(networks).find_hands(photo(f"face/{name}.jpg"))
    assert [h.side for h in hands] == [side]
    gaps = np.linalg.norm(hands[0].landmarks[:, :2] - wanted["hands"][0][:, :2], axis=1)
    assert 100 * gaps.mean() / hands[0].palm < 0.1
    assert 1000 * np.linalg.norm(hands[0].world - wanted["hands_world"][0], axis=1).mean() < 1


def test_hands_are_found_at_the_end_of_forearms(networks, photo):
    image = photo("face/portrait_s9.jpg")
    pose = PoseTracker(networks).find_people(image)[0]
    tracker = HandTracker(networks)
    right = tracker.find_near(image, pose.landmarks[16, :2], pose.landmarks[14, :2])
    assert right is not None and right.side == "right"
    wanted = tracker.find_hands(image)[0]
    assert np.linalg.norm(right.landmarks[:, :2] - wanted.landmarks[:, :2], axis=1).mean() < 0.15 * wanted.palm


def test_hands_are_followed_from_frame_to_frame(networks, photo):
    image = photo("face/portrait_s9.jpg")
    frames = [Frame(k, k / 25, np.roll(image, 2 * k, axis=1)) for k in range(12)]
    out = list(HandTracker(networks).stream(frames))
    assert all([h.track for h in f.hands] == [1] for f in out)
    assert out[-1].hands[0].status == "followed"
    moved = out[-1].hands[0].hand.landmarks[:, :2] - out[0].hands[0].hand.landmarks[:, :2]
    np.testing.assert_allclose(moved.mean(axis=0), [22, 0], atol=4)
