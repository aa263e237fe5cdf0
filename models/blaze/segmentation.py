"""Selfie segmentation: which pixels belong to people."""

from __future__ import annotations

import numpy as np

from models.blaze.config import NetworkConfig
from models.blaze.runtime import LiteSession, scale_pixels


class PersonSegmenter:
    """Selfie segmentation network: a picture squeezed to the network's size in, probabilities of the same size out."""

    def __init__(self, session: LiteSession, config: NetworkConfig) -> None:
        self.session = session
        self.output = config.outputs[0].name

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Probability (H, W) float32 of ``picture`` (H, W, 3) uint8 RGB, H and W as in ``session.input_shape``."""
        return self.session(scale_pixels(picture))[self.output][..., 0]
