"""Measurements of a clip on an even grid of frames."""

import numpy as np

from pipelines.body.clip import VIEWER, HandSample, Sample, TrackBuilder
from pipelines.body.recover import bridged


def test_hands_are_carried_over_frames_in_which_nobody_looked() -> None:
    def hand(value: float) -> HandSample:
        return HandSample(np.full((21, 3), value))

    unread, unseen = HandSample(read=False), HandSample()
    left = [hand(0), unread, hand(2), unread, unseen, unread, hand(6), unread]
    still = np.zeros((33, 3))
    samples = [Sample(10 + k, k / 30, still, still, np.ones(33), (h, unseen)) for k, h in enumerate(left)]
    track = TrackBuilder(1, samples).build(30.0, (640, 480))
    assert track.hand_seen[:, 0].tolist() == [True, True, True, False, False, False, True, True]
    assert not track.hand_seen[:, 1].any()
    wanted = np.array([0, 1, 2, 0, 0, 0, 6, 6])[:, None] * VIEWER
    np.testing.assert_allclose(track.hands[:, 0, 7], wanted)


def test_blinks_are_bridged_and_absences_kept() -> None:
    seen = np.array([1, 0, 1, 1, 0, 0, 0, 1, 0, 0], bool)
    assert bridged(seen, 2).astype(int).tolist() == [1, 1, 1, 1, 0, 0, 0, 1, 0, 0]
    assert bridged(seen, 0).tolist() == seen.tolist()
