"""The embedded networks in a context to run the pipeline in."""

import os
from pathlib import Path

import pytest

from models.runtime.cache import ModelCache
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from pipelines.base import RunContext

ROOT = Path(__file__).parents[2]


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    settings = Settings(
        weights_dir=Path(os.environ.get("STUDIO_WEIGHTS", ROOT / "weights")), workspace_dir=tmp_path / "workspace"
    )
    weights = WeightsStore(settings)
    if not weights.installed("mediapipe-face-landmark"):
        pytest.skip("the embedded networks are not installed: python -m studio weights get embedded")
    out = tmp_path / "run"
    out.mkdir()
    return RunContext(out, settings, ModelCache.from_settings(settings), weights)
