"""Sample calls for every ``@gpu`` function of the product, by its registered name.

A function without a case fails ``test_gpu.test_every_gpu_function_survives_a_worker``. A case returns the arguments
for a small, quick call; it may use the weights and media that tests make up.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from models.runtime.settings import Settings
from tests.scene.da3_folder import write_folder

Case = Callable[[Path], tuple[tuple[Any, ...], dict[str, Any]]]


def da3_views(folder: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Two small noise pictures through a made-up small network."""
    from pipelines.scene.da3_inference import Da3Settings
    from pipelines.scene.da3_network import Checkpoint
    from pipelines.scene.da3_preprocess import process

    noise = np.random.default_rng(0).integers(0, 255, (2, 42, 56, 3), np.uint8)
    checkpoint = Checkpoint("da3-small", write_folder(folder / "DA3-SMALL"))
    return (process(list(noise), resolution=56), checkpoint, Da3Settings(56), Settings(device="cpu")), {}


CASES: dict[str, Case] = {"pipelines.scene.da3_network.compute_views": da3_views}
