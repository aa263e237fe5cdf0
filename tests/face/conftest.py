"""The embedded networks in a context to run the pipeline in."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from models.runtime.cache import ModelCache
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from pipelines.base import RunContext
from tests.face import made_up

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


@pytest.fixture(scope="session")
def deca_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Weights folder with the embedded networks and the made-up files, installed as a user would."""
    folder = tmp_path_factory.mktemp("deca")
    embedded = Path(os.environ.get("STUDIO_WEIGHTS", ROOT / "weights"))
    weights = folder / "weights"
    weights.mkdir()
    for path in embedded.glob("*"):
        (weights / path.name).symlink_to(path.resolve())
    settings = Settings(weights_dir=weights, workspace_dir=folder / "workspace", device="cpu")
    if not WeightsStore(settings).installed("mediapipe-face-landmark"):
        pytest.skip("the embedded networks are not installed: python -m studio weights get embedded")
    made_up.install(settings, folder)
    return settings


@pytest.fixture(scope="session")
def deca_cache(deca_settings: Settings) -> ModelCache:
    return ModelCache.from_settings(deca_settings)


@pytest.fixture
def astronaut() -> Path:
    spec = find_spec("skimage")
    if spec is None or not spec.origin:
        pytest.skip("scikit-image is not installed")
    return Path(spec.origin).parent / "data" / "astronaut.png"
