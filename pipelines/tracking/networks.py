"""The Blaze networks by way of the model cache: opened once, one user at a time, always on the processor."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import cv2
import numpy as np

from models.blaze.config import (
    FACE_LANDMARK,
    HAND_LANDMARK,
    IRIS_LANDMARK,
    POSE_LANDMARK,
    SELFIE,
    SELFIE_LANDSCAPE,
    DetectorConfig,
    NetworkConfig,
    TensorSpec,
)
from models.blaze.decode import Detections, Detector
from models.blaze.face import FaceLandmarker, FaceLandmarks, IrisLandmarker
from models.blaze.hands import HandLandmarker, HandLandmarks
from models.blaze.pose import PoseLandmarker, PoseLandmarks
from models.blaze.runtime import MAX_THREADS, LiteSession
from models.blaze.segmentation import PersonSegmenter
from models.runtime.cache import ModelCache, ModelSpec
from models.runtime.weights import WeightsStore
from pipelines.tracking.regions import Border, Region, detections_to_image, whole_picture

BUSY_AT_ONCE = 3  # networks that run side by side while people are measured: the body's and one for each hand


class BlazeNetworks:
    """Every Blaze network, applied to regions of a picture (H, W, 3) uint8 RGB.

    Results are in unit coordinates of the region, except those of ``detect``. All methods raise WeightsMissing when the
    network's file is not installed.
    """

    def __init__(self, cache: ModelCache, weights: WeightsStore, threads: int = 0, lane: int = 0) -> None:
        """``threads`` as in ``LiteSession``; networks of different lanes are opened separately and never wait for one
        another."""
        self._cache = cache
        self._weights = weights
        self._threads = threads
        self._lane = lane
        self._specs: dict[str, ModelSpec] = {}

    def lanes(self) -> tuple[BlazeNetworks, BlazeNetworks]:
        """Two sets of the same networks to be used side by side, which fills a processor better than threads within
        one network."""
        threads = min(MAX_THREADS, max(1, (os.cpu_count() or 1) // BUSY_AT_ONCE))
        return BlazeNetworks(self._cache, self._weights, threads, 0), BlazeNetworks(
            self._cache, self._weights, threads, 1
        )

    def detect(self, image: np.ndarray, config: DetectorConfig, region: Region | None = None) -> Detections:
        """Detections in pixels of the picture, searched in ``region``: the whole picture unless given."""
        region = region or whole_picture(image)
        with self._open(config.weights, (config.input_size, config.input_size), config.outputs) as session:
            found = Detector(session, config)(region.cut(image, config.input_size, Border.ZERO))
        return detections_to_image(found, region)

    def detect_all(self, image: np.ndarray, config: DetectorConfig, regions: Sequence[Region]) -> list[Detections]:
        """``detect`` for each of the regions, several at a time."""
        if len(regions) < 2:
            return [self.detect(image, config, region) for region in regions]
        lanes = self.lanes()
        found: list[Detections | None] = [None] * len(regions)

        def search(lane: int) -> None:
            for k in range(lane, len(regions), len(lanes)):
                found[k] = lanes[lane].detect(image, config, regions[k])

        with ThreadPoolExecutor(len(lanes), "search") as pool:
            list(pool.map(search, range(len(lanes))))
        return [detections for detections in found if detections is not None]

    def face(self, image: np.ndarray, region: Region) -> FaceLandmarks:
        """Face landmarks of the face in ``region``."""
        with self._network(FACE_LANDMARK) as session:
            return FaceLandmarker(session)(region.cut(image, session.input_shape[0], Border.REPLICATE))

    def iris(self, image: np.ndarray, region: Region) -> np.ndarray:
        """Iris centre and rim (5, 3) of the eye in ``region``."""
        with self._network(IRIS_LANDMARK) as session:
            return IrisLandmarker(session)(region.cut(image, session.input_shape[0], Border.REPLICATE))

    def pose(self, image: np.ndarray, region: Region) -> PoseLandmarks:
        """Pose of the person in ``region``."""
        with self._network(POSE_LANDMARK) as session:
            return PoseLandmarker(session)(region.cut(image, session.input_shape[0], Border.REPLICATE))

    def hand(self, image: np.ndarray, region: Region) -> HandLandmarks:
        """Landmarks of the hand in ``region``."""
        with self._network(HAND_LANDMARK) as session:
            return HandLandmarker(session)(region.cut(image, session.input_shape[0], Border.REPLICATE))

    def person_mask(self, image: np.ndarray, region: Region) -> np.ndarray:
        """Probability (256, 256) float32 over ``region`` that a pixel shows a person, by the segmentation network."""
        with self._network(SELFIE) as session:
            return PersonSegmenter(session, SELFIE)(region.cut(image, session.input_shape[0], Border.REPLICATE))

    def people_mask(self, image: np.ndarray) -> np.ndarray:
        """Probability (h, w) float32 that a pixel shows a person; h, w are the network's, to be enlarged by the caller.

        The landscape network serves pictures at least a third wider than high.
        """
        height, width = image.shape[:2]
        config = SELFIE_LANDSCAPE if width * 3 >= height * 4 else SELFIE
        rows, columns = config.input_shape
        squeezed = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
        with self._network(config) as session:
            return PersonSegmenter(session, config)(squeezed)

    def _network(self, config: NetworkConfig) -> AbstractContextManager[LiteSession]:
        return self._open(config.weights, config.input_shape, config.outputs, config.unused)

    def _open(
        self,
        weights_id: str,
        input_shape: tuple[int, int],
        outputs: tuple[TensorSpec, ...],
        unused: tuple[str, ...] = (),
    ) -> AbstractContextManager[LiteSession]:
        spec = self._specs.get(weights_id)
        if spec is None:
            path = self._weights.path(weights_id)
            spec = ModelSpec(
                key=f"blaze/{weights_id}/{self._threads}/{self._lane}",
                load=lambda _device: LiteSession(path, input_shape, outputs, self._threads, unused),
                bytes=path.stat().st_size,
                device="cpu",
            )
            self._specs[weights_id] = spec
        return self._cache.use(spec)
