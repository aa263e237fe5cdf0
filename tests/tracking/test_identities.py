"""Identities: kept through motion, crossings and absence; never swapped, never used twice."""

import numpy as np
import pytest

from pipelines.tracking.appearance import Appearance, look
from pipelines.tracking.identities import Identities, IdentityConfig, Sighting
from pipelines.tracking.motion import Motion
from pipelines.tracking.regions import Region

STEP = 1 / 25
RED, BLUE, PINK = (np.array(c, np.float32) for c in ((50, 60, 40), (40, 10, -50), (60, 50, 30)))


def seen(x: float, colour: np.ndarray, y: float = 100, size: float = 60, **more) -> Sighting:
    half = size / 2
    colours = np.tile(colour, (6, 1)) + np.random.default_rng(int(abs(x) * 7)).normal(size=(6, 3)).astype(np.float32)
    return Sighting(np.array([x - half, y - half, x + half, y + half]), Appearance(colours, np.ones(6)), **more)


def test_numbers_count_up_and_stay():
    identities = Identities()
    for k in range(20):
        numbers = identities.update([seen(100 + 3 * k, RED), seen(400 - 2 * k, BLUE)], k * STEP)
        assert numbers == [1, 2]


@pytest.mark.parametrize("swapped", [False, True])
def test_a_crossing_with_one_hidden_swaps_nobody(swapped):
    identities = Identities()
    identities.update([seen(100, RED), seen(500, BLUE)], 0.0)
    for k in range(1, 80):
        red, blue = 100 + 5 * k, 500 - 5 * k
        sightings, expected = [seen(red, RED), seen(blue, BLUE)], [1, 2]
        if abs(red - blue) < 50:
            sightings, expected = sightings[:1], expected[:1]
        if swapped:
            sightings, expected = sightings[::-1], expected[::-1]
        assert identities.update(sightings, k * STEP) == expected


def test_motion_alone_carries_twins_through_a_crossing():
    identities = Identities()
    first = identities.update([seen(100, RED, y=100), seen(400, RED, y=140)], 0.0)
    for k in range(1, 60):
        numbers = identities.update([seen(100 + 5 * k, RED, y=100), seen(400 - 5 * k, RED, y=140)], k * STEP)
    assert numbers == first


def test_somebody_who_comes_back_keeps_the_number_until_forgotten():
    identities = Identities(IdentityConfig(memory=1.0))
    assert identities.update([seen(100, RED)], 0.0) == [1]
    assert identities.update([], 0.5) == [] and identities.known == (1,)
    assert identities.update([seen(110, RED)], 0.9) == [1]
    assert identities.update([seen(110, RED)], 2.5) == [2]


def test_a_stranger_in_the_same_place_gets_a_new_number():
    identities = Identities()
    identities.update([seen(100, RED)], 0.0)
    assert identities.update([seen(100, BLUE)], STEP) == [2]


def test_nobody_jumps_across_the_picture():
    identities = Identities()
    identities.update([seen(100, RED)], 0.0)
    assert identities.update([seen(900, RED)], STEP) == [2]


def test_traits_break_ties():
    identities = Identities()
    identities.update([seen(100, PINK, trait="left"), seen(130, PINK, trait="right")], 0.0)
    assert identities.update([seen(114, PINK, trait="right"), seen(116, PINK, trait="left")], STEP) == [2, 1]


def test_prediction_follows_constant_velocity():
    motion = Motion(0, 0, 50, 0.0)
    for k in range(1, 40):
        motion.update(4.0 * k, -2.0 * k, 50, k * STEP)
    place, size, spread = motion.predict(44 * STEP)
    np.testing.assert_allclose(place, [176, -88], atol=2)
    assert size == pytest.approx(50, rel=0.02)
    assert motion.predict(60 * STEP)[2] > spread


def test_colours_are_told_apart_and_learnt():
    image = np.zeros((100, 100, 3), np.uint8)
    image[:, :50] = (200, 30, 30)
    image[:, 50:] = (30, 30, 200)
    region = Region(50, 50, 100)
    left = look(image, region, np.array([[20, 50.0], [-5, 50.0]]), np.ones(2))
    right = look(image, region, np.array([[80, 50.0], [150, 50.0]]), np.ones(2))
    assert left.weights.tolist() == [1, 0]
    assert left.distance(left) == 0
    assert left.distance(right) == 1
    learnt = left
    for _ in range(60):
        learnt = learnt.blended(right, 0.1)
    assert learnt.distance(right) < 0.05


def test_nothing_in_common_is_neither_near_nor_far():
    a = Appearance(np.zeros((2, 3)), np.array([1.0, 0]))
    b = Appearance(np.zeros((2, 3)), np.array([0, 1.0]))
    assert a.distance(b) == 0.5
