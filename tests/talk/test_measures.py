"""The measures of speaking videos, on stand-in weights and made-up curves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.talk_quality import drift, offset
from benchmarks.talk_sync import sync_of
from models.talking.wav2lip import SyncNet
from tests.talk.conftest import RATE, babble


def test_the_sync_expert_gives_finite_scores() -> None:
    torch.manual_seed(0)
    faces = np.random.default_rng(0).integers(0, 255, (24, 48, 96, 3), np.uint8)
    found = sync_of(SyncNet().eval(), faces, babble(1.0, RATE))
    assert 0 <= found.lse_d <= 2 and 0 <= found.lse_c <= 2 and abs(found.offset_frames) <= 15


@pytest.mark.parametrize("late", [-3, 0, 2])
def test_a_late_mouth_is_noticed(late: int) -> None:
    heights = np.random.default_rng(0).random(120)
    assert offset(np.roll(heights, late), heights) == late


def test_the_same_face_does_not_drift_however_it_is_placed() -> None:
    points = np.random.default_rng(0).random((5, 36, 2)) * 100
    turned = points @ np.array([[0.0, 1.2], [-1.2, 0.0]]) + 30
    assert drift(points, turned, np.full(5, 50.0)) < 1e-9
    assert drift(points, turned + np.random.default_rng(1).normal(0, 2, turned.shape), np.full(5, 50.0)) > 0.01
