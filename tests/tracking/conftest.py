"""The embedded networks, and what the reference implementation gave for the sample media."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.blaze.config import POSE_LANDMARK
from models.runtime.cache import ModelCache
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from pipelines.tracking.networks import BlazeNetworks

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def networks() -> BlazeNetworks:
    settings = Settings(weights_dir=Path(os.environ.get("STUDIO_WEIGHTS", ROOT / "weights")))
    weights = WeightsStore(settings)
    if not weights.installed(POSE_LANDMARK.weights):
        pytest.skip("the embedded networks are not installed: python -m studio weights get embedded")
    return BlazeNetworks(ModelCache.from_settings(settings), weights)


@pytest.fixture(scope="session")
def photo(testdata: Path) -> Callable[[str], np.ndarray]:
    """A sample picture by its path, (H, W, 3) uint8 RGB as stored: the reference knew no colour profiles."""

    def load(name: str) -> np.ndarray:
        with Image.open(testdata / name) as image:
            return np.array(image.convert("RGB"))

    return load


@pytest.fixture(scope="session")
def reference(parity_dir: Path) -> Callable[[str], dict[str, np.ndarray]]:
    """Measurements of the reference implementation by the media's name."""
    folder = parity_dir.parent / "embedded" / "reference"
    if not folder.is_dir():
        pytest.skip("the reference measurements are not beside STUDIO_PARITY_DIR")

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(folder / f"{name}.npz") as archive:
            return {key: archive[key] for key in archive.files}

    return load
