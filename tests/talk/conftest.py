"""A run context, a voice and faces for the tests of the Talk pipeline."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from skimage.data import astronaut

from models.runtime.cache import ModelCache
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from pipelines.base import Inputs, Result, RunContext, run
from pipelines.media.audio import write_wav
from pipelines.media.image import write_image
from pipelines.talk.options import TalkOptions
from pipelines.talk.pipeline import FACE_FILES, TalkPipeline

RATE = 16000


@pytest.fixture
def ctx(tmp_path: Path) -> RunContext:
    """A context whose face networks are there; skips where they have not been fetched."""
    settings = Settings.from_env(os.environ, workspace_dir=tmp_path / "workspace", device="cpu")
    weights = WeightsStore(settings)
    if not all(weights.installed(name) for name in FACE_FILES):
        pytest.skip("the embedded face networks are not installed")
    out = tmp_path / "run"
    out.mkdir()
    return RunContext(out, settings, ModelCache.from_settings(settings), weights)


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    """A real face (NASA, public domain), cut so that it fills the picture."""
    return write_image(tmp_path / "portrait.png", astronaut()[:300, 90:390]) or tmp_path / "portrait.png"


def babble(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Sound with the rhythm and pitch of speech: voiced syllables of changing colour, with pauses."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    pitch = 120 + 25 * np.sin(2 * np.pi * 0.7 * time) + 12 * np.sin(2 * np.pi * 2.3 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    colour = 0.5 + 0.5 * np.sin(2 * np.pi * 3.1 * time)
    voice = sum(np.sin(k * phase) / k ** (1.0 + colour) for k in range(1, 16))
    syllables = np.clip(np.sin(2 * np.pi * 3.7 * time), 0, 1) ** 0.8 * (np.sin(2 * np.pi * 0.45 * time) > -0.6)
    return (0.12 * voice * syllables + rng.normal(0, 2e-4, len(time))).astype(np.float32)


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "voice.wav", babble(2.0), RATE)


@pytest.fixture
def talk(ctx: RunContext) -> Callable[..., Result]:
    """Runs the pipeline: ``talk(source, voice, **options)``."""

    def call(source: Path, sound: Path | None, **options: object) -> Result:
        files = {"source": (source,), **({"voice": (sound,)} if sound else {})}
        steps = run(TalkPipeline(), Inputs(files), TalkOptions.model_validate(options), ctx)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value

    return call
