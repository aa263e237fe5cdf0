"""Limits of the One-Euro filter and of the smoother built on it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.tracking.one_euro import OneEuro, OneEuroConfig, smoothing_factor
from pipelines.tracking.smoothing import ShapeSmoother, SmoothingConfig, frame_of

STEP = 1 / 25


@given(st.floats(0, 1e6), st.floats(1e-4, 10))
def test_the_factor_is_a_share(cutoff, step):
    assert 0 <= smoothing_factor(cutoff, step) < 1


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30))
def test_output_stays_within_what_came_in(values):
    one_euro = OneEuro(OneEuroConfig(1.0, 5.0))
    for k, value in enumerate(values):
        out = one_euro(np.array([[value]]), k * STEP)
        assert min(values[: k + 1]) - 1e-6 <= out[0, 0] <= max(values[: k + 1]) + 1e-6


def test_a_constant_passes_unchanged():
    one_euro = OneEuro()
    for k in range(10):
        np.testing.assert_allclose(one_euro(np.array([[3.0, 4.0]]), k * STEP), [[3, 4]])


def test_a_huge_cutoff_passes_everything():
    one_euro = OneEuro(OneEuroConfig(min_cutoff=1e9))
    for k, value in enumerate([0.0, 5.0, -3.0]):
        np.testing.assert_allclose(one_euro(np.array([value]), k * STEP), [value], atol=1e-6)


def test_without_beta_it_is_a_first_order_low_pass():
    one_euro, share = OneEuro(OneEuroConfig(2.0, 0.0)), smoothing_factor(2.0, STEP)
    one_euro(np.zeros(1), 0.0)
    expected = 0.0
    for k in range(1, 20):
        expected += share * (1 - expected)
        assert one_euro(np.ones(1), k * STEP)[0] == pytest.approx(expected)


def test_fast_motion_is_followed_more_closely():
    def lag(speed: float) -> float:
        one_euro = OneEuro(OneEuroConfig(0.5, 20.0))
        for k in range(50):
            out = one_euro(np.array([[speed * k * STEP]]), k * STEP)[0, 0]
        return (speed * 49 * STEP - out) / speed

    assert lag(10.0) < 0.2 * lag(0.1)


def test_the_scale_makes_units_irrelevant():
    random = np.random.default_rng(0).normal(size=(20, 3, 2))
    small, large = OneEuro(), OneEuro()
    for k, value in enumerate(random):
        np.testing.assert_allclose(large(value * 100, k * STEP, 100.0), 100 * small(value, k * STEP, 1.0), rtol=1e-9)


def test_time_that_stands_still_changes_nothing():
    one_euro = OneEuro()
    first = one_euro(np.array([1.0]), 1.0)
    np.testing.assert_array_equal(one_euro(np.array([9.0]), 1.0), first)
    np.testing.assert_array_equal(one_euro(np.array([9.0]), 0.5), first)


def test_uneven_steps_reach_the_same_place():
    target = np.array([1.0])
    even, uneven = OneEuro(OneEuroConfig(1.0, 0.0)), OneEuro(OneEuroConfig(1.0, 0.0))
    for one_euro, times in (
        (even, np.linspace(0.01, 2, 200)),
        (uneven, np.sort(np.r_[np.random.default_rng(0).uniform(0.01, 2, 199), 2])),
    ):
        one_euro(np.zeros(1), 0.0)
        for moment in times:
            out = one_euro(target, float(moment))
        assert out[0] == pytest.approx(1 - np.exp(-2 * np.pi * 2), abs=1e-3)


shapes = st.integers(0, 2**31).map(lambda seed: np.random.default_rng(seed).normal(size=(12, 3)) * 40)


@given(shapes, st.floats(-3, 3), st.floats(0.2, 5), st.floats(-500, 500))
def test_frames_take_place_size_and_turn_out(points, angle, factor, shift):
    reference = frame_of(points, None, np.ones(12)).to_shape(points)
    c, s = np.cos(angle), np.sin(angle)
    moved = np.concatenate([points[:, :2] @ np.array([[c, s], [-s, c]]) + shift, points[:, 2:]], axis=1) * factor
    frame = frame_of(moved, reference, np.ones(12))
    np.testing.assert_allclose(frame.to_shape(moved), reference, atol=1e-6)
    np.testing.assert_allclose(frame.to_image(frame.to_shape(moved)), moved, atol=1e-6)


def test_noise_is_damped_and_a_jump_is_followed_at_once():
    random = np.random.default_rng(0)
    shape = random.normal(size=(468, 3)) * 60 + (300, 200, 0)
    smoother = ShapeSmoother(SmoothingConfig())
    rough, smooth = [], []
    for k in range(60):
        noisy = shape + random.normal(size=shape.shape) * 0.3
        rough.append(noisy)
        smooth.append(smoother(noisy, k * STEP))
    tremble = lambda x: np.abs(np.diff(np.array(x[20:]), axis=0)).mean()  # noqa: E731
    assert tremble(smooth) < 0.5 * tremble(rough)
    jumped = shape + np.array([80, -30, 0])
    out = smoother(jumped, 60 * STEP)
    assert np.abs(out - jumped)[:, :2].mean() < 1.5


def test_a_lone_point_is_smoothed_too():
    smoother = ShapeSmoother(SmoothingConfig())
    for k in range(3):
        assert np.isfinite(smoother(np.array([[4.0, 5.0]]), k * STEP)).all()
