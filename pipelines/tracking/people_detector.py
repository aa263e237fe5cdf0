"""People by a detector the user installed: any YOLO or RT-DETR file in ONNX form, told apart by what it gives out."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from models.runtime.cache import ModelCache, ModelSpec
from models.runtime.errors import WeightsInvalid
from models.runtime.onnx_session import OnnxNetwork, input_size
from models.runtime.weights import WeightsStore
from pipelines.tracking.nms import suppress_boxes

WEIGHTS = "person-detector"
SIDE = 640  # of the picture handed over, where the file leaves it open
GREY = 114  # of the border around pictures of another shape
MIN_SCORE, OVERLAP = 0.35, 0.6
CLASSES_WITH_BACKGROUND = 91  # the older numbering of COCO, in which people are number 1
ENDED, ANCHORED = 6, 5  # numbers per box: finished ones, and those with a confidence of their own before the classes


class OnnxPeople:
    """Boxes of people in pictures (H, W, 3) uint8 RGB."""

    def __init__(self, cache: ModelCache, weights: WeightsStore) -> None:
        path = weights.path(WEIGHTS)
        self._cache = cache
        self._spec = ModelSpec(
            key=f"onnx/{WEIGHTS}", load=lambda device: OnnxNetwork(path, device), bytes=path.stat().st_size
        )

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Boxes (N, 5): x0, y0, x1, y1 in pixels and score, best first; none overlaps a better one much.

        Raises:
            WeightsInvalid: the file is no detector of a known form.
        """
        with self._cache.use(self._spec) as network:
            width, height = input_size(network, SIDE)
            tensor, scale = letterboxed(image, width, height)
            outputs = network(tensor)
            boxes = read_people(outputs, (width, height), network.name)
        boxes[:, :4] /= scale
        boxes = boxes[boxes[:, 4] >= MIN_SCORE]
        boxes[:, [0, 2]] = boxes[:, [0, 2]].clip(0, image.shape[1])
        boxes[:, [1, 3]] = boxes[:, [1, 3]].clip(0, image.shape[0])
        return boxes[suppress_boxes(boxes[:, :4], boxes[:, 4], OVERLAP)]


def letterboxed(image: np.ndarray, width: int, height: int) -> tuple[np.ndarray, float]:
    """The picture as (1, 3, height, width) float32 in 0..1, grey below and to the right, and its scale."""
    scale = min(width / image.shape[1], height / image.shape[0])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    canvas = np.full((height, width, 3), GREY, np.uint8)
    canvas[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(canvas.transpose(2, 0, 1)[None]).astype(np.float32) / 255, scale


def read_people(outputs: list[np.ndarray], size: tuple[int, int], name: str) -> np.ndarray:
    """People (N, 5) in pixels of the network's input (width, height) ``size``, from a detector's outputs.

    Known are: finished boxes (1, N, 6); YOLO's (1, 4 + C, N) and, with a confidence of its own, (1, N, 5 + C);
    RT-DETR's (1, N, 4 + C) in shares of the picture, or as two outputs, logits (1, N, C) and boxes (1, N, 4).

    Raises:
        WeightsInvalid: none of these.
    """
    shapes = [o.shape for o in outputs]
    flat = [o[0] for o in outputs if o.ndim == 3]
    if len(flat) == 2 and flat[1].shape[1] == 4 and len(flat[0]) == len(flat[1]):
        person = 1 if flat[0].shape[1] >= CLASSES_WITH_BACKGROUND else 0
        scores = 1 / (1 + np.exp(-flat[0][:, person].astype(np.float64)))
        return _corners(flat[1] * (*size, *size), scores)
    if len(flat) != 1:
        raise WeightsInvalid(f"{name} gives {shapes}; it is no detector of the YOLO or RT-DETR kind")
    table = flat[0].astype(np.float64)
    if table.shape[1] == ENDED:
        return np.concatenate([table[:, :4], table[:, 4:5]], axis=1)[np.rint(table[:, 5]) == 0]
    if table.shape[0] < table.shape[1]:  # a column per box
        table = table.T
        return _corners(table[:, :4], table[:, 4])
    if table.shape[1] < ANCHORED:
        raise WeightsInvalid(f"{name} gives {shapes}; it is no detector of the YOLO or RT-DETR kind")
    if table[:, :4].max(initial=0) <= 1.5:  # shares of the picture, scores straight after them
        return _corners(table[:, :4] * (*size, *size), table[:, 4])
    return _corners(table[:, :4], table[:, 4] * table[:, 5])


def _corners(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Boxes (N, 4) by centre and size, with scores (N,) -> (N, 5)."""
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half, scores[:, None]], axis=1)


def validate(path: Path) -> None:
    """Raises WeightsInvalid unless ``path`` is a detector of a known form: it is tried on a grey picture."""
    network = OnnxNetwork(path, torch.device("cpu"))
    width, height = input_size(network, SIDE)
    tensor, _ = letterboxed(np.full((height, width, 3), GREY, np.uint8), width, height)
    read_people(network(tensor), (width, height), path.name)
