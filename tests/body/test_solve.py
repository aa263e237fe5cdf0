"""Landmarks to rotations: exact on exact landmarks, within limits on anything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import people
from models.bodies.joints import INDEX, JOINTS
from models.bodies.mannequin import load
from models.geometry.rotations import axis_angle_to_matrix
from pipelines.body.limits import clamp, excess, split
from pipelines.body.recover import recover
from pipelines.body.shape import Figure, fit_betas
from pipelines.body.smooth import jitter, smooth, stiffness
from pipelines.body.solve import Solver
from tests.body.known import track_of

MOTIONS = {"walk": people.walking().people[0], "cross": people.crossing().people[1]}


@pytest.fixture(scope="module")
def figure() -> Figure:
    return Figure.of(load().data)


@pytest.mark.parametrize("name", MOTIONS)
def test_exact_landmarks_give_the_joints_back(name: str, figure: Figure) -> None:
    motion = MOTIONS[name]
    solution = Solver(track_of(motion), motion.rest_joints, 0.0).run()
    true = motion.joints()
    gap = np.linalg.norm(solution.joints - solution.joints[:, :1] - true + true[:, :1], axis=-1)
    assert gap[:, : INDEX["jaw"]].mean() < 0.003
    assert float(excess(torch.from_numpy(solution.rotations)).max()) < 1e-6


def test_place_follows_the_picture(figure: Figure) -> None:
    motion = MOTIONS["walk"]
    found = recover(track_of(motion), figure, 0.0, lock_feet=False)
    gap = np.linalg.norm(found.motion.joints()[:, 0] - motion.joints()[:, 0], axis=-1)
    assert gap.mean() < 0.05
    assert found.error_mm < 10


def test_noise_is_smoothed_and_limits_hold(figure: Figure) -> None:
    motion = MOTIONS["walk"]
    track = track_of(motion)
    noise = np.random.default_rng(0).normal(0, 0.02, track.world.shape)
    rough = replace(track, world=track.world + noise)
    calm = recover(rough, figure, 0.5).motion
    assert jitter(calm.joints()[:, :22], 30) < 1.3 * jitter(motion.joints()[:, :22], 30)
    assert float(excess(torch.from_numpy(calm.matrices())).max()) < 1e-5


def test_unseen_legs_stand(figure: Figure) -> None:
    track = track_of(MOTIONS["walk"])
    visibility = track.visibility.copy()
    visibility[:, 25:] = 0.02
    wild = track.world.copy()
    wild[:, 25:] += np.random.default_rng(1).normal(0, 0.3, wild[:, 25:].shape)
    found = recover(replace(track, world=wild, visibility=visibility), figure, 0.5).motion.joints()
    below = found[:, INDEX["left_hip"], 1] - found[:, INDEX["left_ankle"], 1]
    assert (below > 0.5).all()


def test_one_frame_is_enough(figure: Figure) -> None:
    motion = MOTIONS["walk"]
    one = replace(
        motion, rotations=motion.rotations[:1], transl=motion.transl[:1], times=motion.times[:1], seen=motion.seen[:1]
    )
    assert np.isfinite(recover(track_of(one), figure, 0.5).motion.rotations).all()


def test_betas_follow_long_limbs(figure: Figure) -> None:
    motion = replace(MOTIONS["walk"], rest_joints=figure.joints(np.array([0, 1.5, -1.0, 0, 0, 0, 0, 0, 0, 0.0])))
    betas = fit_betas(figure, track_of(motion))
    legs = figure.joints(betas) - figure.base
    want = motion.rest_joints - figure.base
    np.testing.assert_allclose(legs[INDEX["left_ankle"]], want[INDEX["left_ankle"]], atol=0.02)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_clamping_is_a_projection(seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(0, 1.2, (1, JOINTS, 3))
    turned = axis_angle_to_matrix(torch.from_numpy(vectors))
    joints = list(range(1, JOINTS))
    once = clamp(turned[:, 1:], joints)
    whole = torch.cat([turned[:, :1], once], dim=1)
    assert float(excess(whole).max()) < 1e-6
    inside = (split(turned[:, 1:], joints) - split(once, joints)).abs().amax(-1) < 1e-9
    torch.testing.assert_close(once[inside], turned[:, 1:][inside])


def test_smoothing_bridges_gaps() -> None:
    line = np.linspace(0, 1, 30)[:, None]
    weights = np.ones(30)
    weights[10:20] = 0
    broken = line.copy()
    broken[10:20] = 5
    np.testing.assert_allclose(smooth(broken, weights, stiffness(0.5, 30)), line, atol=1e-3)
