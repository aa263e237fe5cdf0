"""The hand landmark network: 21 landmarks in the crop and in metres, presence and handedness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.blaze.config import HAND_LANDMARK
from models.blaze.runtime import LiteSession, scale_pixels

LANDMARKS = 21
WRIST, INDEX_KNUCKLE, MIDDLE_KNUCKLE, RING_KNUCKLE, PINKY_KNUCKLE = 0, 5, 9, 13, 17
EDGES = (*((0 if k % 4 == 1 else k - 1, k) for k in range(1, 21)), (5, 9), (9, 13), (13, 17))
DEPTH_SCALE = 0.4  # the network's z is this much of the crop's x


@dataclass(frozen=True)
class HandLandmarks:
    """One crop's hand.

    ``points`` (21, 3) in units of the crop's side, z relative to the wrist; ``world`` (21, 3) in metres about the
    hand's centre in the crop's axes. ``presence`` in 0..1. ``right`` in 0..1 is the probability of a right hand, if
    the photo is not mirrored (the network was made for mirrored selfies and calls it "left").
    """

    points: np.ndarray
    world: np.ndarray
    presence: float
    right: float


class HandLandmarker:
    """MediaPipe Hands (arXiv 2006.10214), the full variant: one crop, fingers up, in."""

    def __init__(self, session: LiteSession) -> None:
        self.session = session

    def __call__(self, crop: np.ndarray) -> HandLandmarks:
        """Hand of ``crop`` (224, 224, 3) uint8 RGB."""
        landmarks, flag, handedness, metres = (spec.name for spec in HAND_LANDMARK.outputs)
        out = self.session(scale_pixels(crop))
        points = out[landmarks].reshape(LANDMARKS, 3) / self.session.input_shape[1]
        points[:, 2] /= DEPTH_SCALE
        return HandLandmarks(
            points=points,
            world=out[metres].reshape(LANDMARKS, 3),
            presence=float(out[flag].reshape(())),
            right=float(out[handedness].reshape(())),
        )
