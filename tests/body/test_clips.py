"""The whole way from rendered clips with known motion: everybody found, nobody swapped, poses near the truth."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from examples import people
from models.bodies.joints import INDEX
from models.bodies.mannequin import load
from models.geometry.similarity import umeyama
from models.runtime.cache import ModelCache
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from pipelines.body.limits import excess
from pipelines.body.measure import PeopleMeter
from pipelines.body.recover import recover
from pipelines.body.shape import Figure
from pipelines.body.smooth import jitter
from pipelines.export.motion import Motion
from pipelines.media.video import VideoReader
from pipelines.tracking.networks import BlazeNetworks

CLIPS = Path(people.__file__).resolve().parent / "body"
BODY = slice(0, INDEX["jaw"])


@pytest.mark.parametrize("name", ["walking", "crossing"])
def test_known_motion(name: str) -> None:
    settings = Settings.from_env(os.environ)
    store = WeightsStore(settings)
    if not store.installed("mediapipe-pose-landmark-full"):
        pytest.skip("needs the embedded models: python -m studio weights get embedded")
    clip = getattr(people, name)()
    meter = PeopleMeter(BlazeNetworks(ModelCache.from_settings(settings), store))
    for _ in meter.stream(VideoReader(CLIPS / f"{name}.mp4", settings.limits)):
        pass
    figure = Figure.of(load().data)
    tracks = [b.build(30.0, clip.size) for b in meter.people.values()]
    assert len(tracks) == len(clip.people)
    taken = set()
    for track in tracks:
        found = recover(track, figure, 0.5)
        truths = [_cut(m, track.first, len(track)) for m in clip.people]
        ways = np.stack([_gap(found.motion, t) for t in truths])  # (people, T) in the picture
        owner = int(ways.mean(axis=1).argmin())
        assert (ways[:, track.seen].argmin(axis=0) == owner).mean() > 0.75, "identities swapped"
        assert (ways[owner][track.seen] < 0.12).all(), "identities swapped"
        taken.add(owner)
        true, joints = truths[owner], found.motion.joints()[:, BODY]
        errors = []
        for a, b in zip(joints, true, strict=True):
            fit = umeyama(a, b[BODY])
            errors.append(np.linalg.norm(fit.scale * a @ fit.rotation.T + fit.translation - b[BODY], axis=1).mean())
        assert np.mean(errors) <= 0.060
        assert found.error_mm <= 25
        assert jitter(joints, 30) <= 1.3 * jitter(true[:, BODY], 30)
        assert float(excess(torch.from_numpy(found.motion.matrices())).max()) < 1e-5
    assert len(taken) == len(clip.people)


def _cut(motion: Motion, first: int, count: int) -> np.ndarray:
    return motion.joints()[first : first + count]


def _gap(found: Motion, true: np.ndarray) -> np.ndarray:
    """Distance of the pelvises as seen from the camera, in tangents of the angle."""
    a, b = found.joints()[:, 0], true[:, 0]
    return np.linalg.norm(a[:, :2] / -a[:, 2:] - b[:, :2] / -b[:, 2:], axis=1)
