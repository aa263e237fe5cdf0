"""A studio with the fake pipeline, on a workspace of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from models.runtime.settings import Settings
from pipelines import registry
from pipelines.base import Inputs
from studio.services import Studio


class NoWeights:
    """A weights store with nothing in it."""

    def installed(self, weight_id: str) -> bool:
        return False


@pytest.fixture
def fake_pipeline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(registry.PIPELINES, "fake", "tests.studio.fake:FakePipeline")
    yield
    registry.get.cache_clear()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        weights_dir=tmp_path / "weights",
        workspace_dir=tmp_path / "workspace",
        tabs=("scene", "fake"),
        device="cpu",
        offline=True,
    )


def make_studio(settings: Settings) -> Studio:
    studio = Studio.build(settings)
    studio.__dict__ |= {"cache": None, "weights": NoWeights()}
    return studio


@pytest.fixture
def studio(settings: Settings, fake_pipeline: None) -> Iterator[Studio]:
    with make_studio(settings) as made:
        yield made


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "my photo.png"
    Image.new("RGB", (8, 8), (200, 30, 30)).save(path)
    return path


@pytest.fixture
def inputs(photo: Path) -> Inputs:
    return Inputs({"photos": (photo,)})
