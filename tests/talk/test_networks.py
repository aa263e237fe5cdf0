"""The engines with a lip network, on stand-in weights in the released layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.runtime.errors import WeightsInvalid, WeightsMissing
from models.runtime.weights import WeightsStore
from models.talking.wav2lip import Wav2Lip
from pipelines.base import Inputs, RunContext, run
from pipelines.media.image import read_image
from pipelines.media.video import VideoReader, probe
from pipelines.talk.options import TalkOptions
from pipelines.talk.pipeline import TalkPipeline


class WithFiles(WeightsStore):
    """A store that also has some stand-in files."""

    extra: Mapping[str, Path] = {}

    def installed(self, weight: str) -> bool:
        return weight in self.extra or super().installed(weight)

    def path(self, weight: str) -> Path:
        return self.extra[weight] if weight in self.extra else super().path(weight)


def with_files(ctx: RunContext, **files: Path) -> RunContext:
    store = WithFiles(ctx.settings)
    store.extra = {name.replace("_", "-"): path for name, path in files.items()}
    return replace(ctx, weights=store)


@pytest.fixture
def wav2lip(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "wav2lip.pth"
    state = {f"module.{name}": tensor for name, tensor in Wav2Lip().state_dict().items()}
    torch.save({"state_dict": state, "global_step": 1}, path)
    return path


def finished(ctx: RunContext, source: Path, voice: Path, **options: object):
    steps = run(
        TalkPipeline(), Inputs({"source": (source,), "voice": (voice,)}), TalkOptions.model_validate(options), ctx
    )
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_wav2lip_changes_the_lower_face_only(ctx: RunContext, portrait: Path, voice: Path, wav2lip: Path) -> None:
    own = with_files(ctx, wav2lip=wav2lip)
    result = finished(own, portrait, voice, engine="wav2lip", mark=False, preview_seconds=0.5)
    assert result.engine == "wav2lip" and "wav2lip" in result.weights
    video = ctx.out_dir / "talk.mp4"
    assert probe(video, ctx.settings.limits).frames == 12  # of half a second: the last, shorter batch is there
    frame = next(iter(VideoReader(video, ctx.settings.limits))).rgb.astype(float)
    change = np.abs(frame - read_image(portrait, ctx.settings.limits)).mean(axis=-1)
    assert change[150:220, 100:200].max() > 30
    assert change[:60].mean() < 4 and change[250:].mean() < 4


def test_an_engine_without_its_file_says_so(ctx: RunContext, portrait: Path, voice: Path) -> None:
    with pytest.raises(WeightsMissing, match="wav2lip"):
        finished(ctx, portrait, voice, engine="wav2lip")


def test_a_mask_without_its_file_says_so(ctx: RunContext, portrait: Path, voice: Path, wav2lip: Path) -> None:
    own = with_files(ctx, wav2lip=wav2lip)
    with pytest.raises(WeightsMissing, match="bisenet-79999"):
        finished(own, portrait, voice, engine="wav2lip", preview_seconds=0.2, blend={"mask": "parsing"})


def test_a_checkpoint_of_another_layout_is_refused(
    ctx: RunContext, portrait: Path, voice: Path, tmp_path: Path
) -> None:
    path = tmp_path / "other.pth"
    torch.save({"state_dict": {"module.layer.weight": torch.zeros(3)}}, path)
    with pytest.raises(WeightsInvalid):
        finished(with_files(ctx, wav2lip=path), portrait, voice, engine="wav2lip", preview_seconds=0.2)


def test_auto_takes_the_network_once_it_is_there(ctx: RunContext, talk: Callable, wav2lip: Path) -> None:
    from pipelines.base import choose_engine

    assert choose_engine(TalkPipeline(), "auto", ctx.weights).name == "viseme"
    assert choose_engine(TalkPipeline(), "auto", with_files(ctx, wav2lip=wav2lip).weights).name == "wav2lip"
