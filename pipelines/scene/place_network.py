"""Descriptions of photos by SALAD, where its checkpoint is installed."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.runtime.cache import ModelCache, ModelSpec
from models.runtime.gpu import gpu
from models.runtime.settings import Settings
from models.salad.network import SIDE, Salad, load
from pipelines.scene.da3_preprocess import Processed

WEIGHTS = "salad"
ALIKE = 0.85  # cosine of descriptions from which two photos may show one place
AT_ONCE = 8  # photos in one pass
_BYTES = 120 * 2**20  # activations of one photo


def squeezed(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A photo (H, W, 3) as the square (336, 336, 3) that the network sees."""
    return np.asarray(Image.fromarray(rgb).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


@gpu(duration=60)
def describe_photos(pictures: NDArray[np.uint8], path: Path, runtime: Settings) -> NDArray[np.float32]:
    """Unit vectors (N, 8448) of ``squeezed`` photos (N, 336, 336, 3), alike for photos of one place.

    Args:
        path: the checkpoint.
    Raises:
        OutOfMemory: the device does not hold even one photo's pass.
    """
    cache = ModelCache.shared(runtime)
    images = Processed(pictures, None, np.zeros((0, 2), np.int64)).tensor()[0]

    def call(network: Salad, at_once: int) -> NDArray[np.float32]:
        return np.concatenate([network(part.to(cache.device)).cpu().numpy() for part in images.split(at_once)])

    spec = ModelSpec(f"{WEIGHTS}@{path}", partial(load, path))
    return cache.run_chunked(spec, call, AT_ONCE, AT_ONCE * _BYTES)
