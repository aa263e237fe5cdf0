"""Networks without the outputs nobody reads."""

from __future__ import annotations

import os

import numpy as np
import pytest

from models.blaze.config import POSE_LANDMARK, TensorSpec
from models.blaze.prune import without_outputs
from models.blaze.runtime import LiteSession
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore

MASK = TensorSpec("Identity_2", (1, 256, 256, 1))


def test_the_outputs_left_are_the_same_bits() -> None:
    weights = WeightsStore(Settings.from_env(os.environ))
    if not weights.installed(POSE_LANDMARK.weights):
        pytest.skip("needs the embedded models: python -m studio weights get embedded")
    path = weights.path(POSE_LANDMARK.weights)
    whole = LiteSession(path, POSE_LANDMARK.input_shape, (*POSE_LANDMARK.outputs, MASK), 1)
    part = LiteSession(path, POSE_LANDMARK.input_shape, POSE_LANDMARK.outputs, 1, POSE_LANDMARK.unused)
    picture = np.random.default_rng(0).random((*POSE_LANDMARK.input_shape, 3), np.float32)
    want, found = whole(picture), part(picture)
    assert found.keys() == want.keys() - {MASK.name}
    for name, values in found.items():
        np.testing.assert_array_equal(values, want[name])
    with pytest.raises(ValueError, match="no output is called nothing"):
        without_outputs(path.read_bytes(), {"nothing"})


def test_other_files_are_refused() -> None:
    with pytest.raises(ValueError, match="LiteRT"):
        without_outputs(b"something else", {"Identity"})
