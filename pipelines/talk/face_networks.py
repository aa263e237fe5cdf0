"""HeyGem's face networks as ONNX files on a device: detection, 98 landmarks, head pose, attributes.

What goes in and out is plain arrays in main memory, so that the calls can travel to a GPU worker.
"""

from __future__ import annotations

import cv2
import numpy as np

from models.runtime.cache import ModelCache
from models.runtime.gpu import gpu
from models.runtime.onnx_session import input_size
from models.runtime.settings import Settings
from models.talking.onnx_session import head_angles
from models.talking.scrfd import ScrfdFaces, decode, prepare
from pipelines.talk.lips import NetworkFile

DETECTOR_SIZE, LANDMARK_SIZE, POSE_SIZE, ATTRIBUTE_SIZE = 640, 112, 224, 512
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ATTRIBUTE_MEAN = (132.38155592, 110.99284567, 102.62942472)
ATTRIBUTE_DEVIATION = (68.5106407, 61.65929394, 58.61700102)
BLUR = -2  # of female, male, front, side, clean, occlusion, super high quality, high quality, blur, nonhuman
# The 98 points (WFLW) that make the 68 (iBUG): one each, or the mean of two.
_EYES = ((60,), (61, 62), (62, 63), (64,), (65, 66), (66, 67)), ((68,), (69, 70), (70, 71), (72,), (73, 74), (74, 75))
_FROM_98: tuple[tuple[int, ...], ...] = (
    *((i,) for i in range(0, 33, 2)),
    *((i,) for i in (*range(33, 38), *range(42, 47), *range(51, 60))),
    *_EYES[0],
    *_EYES[1],
    *((i,) for i in range(76, 96)),
)


def to_68(points: np.ndarray) -> np.ndarray:
    """(..., 98, 2) -> (..., 68, 2)."""
    return np.stack([points[..., list(group), :].mean(axis=-2) for group in _FROM_98], axis=-2)


@gpu(duration=30)
def detected(file: NetworkFile, settings: Settings, images: np.ndarray) -> list[ScrfdFaces]:
    """Faces of each picture (B, H, W, 3) uint8 RGB by SCRFD."""
    with ModelCache.shared(settings).use(file.spec()) as network:
        size = input_size(network, DETECTOR_SIZE)
        found = []
        for image in images:
            blob, scale = prepare(image, size)
            found.append(decode(network(blob), size, scale))
        return found


@gpu(duration=30)
def landmarks_98(file: NetworkFile, settings: Settings, crops: np.ndarray) -> np.ndarray:
    """Landmarks (B, 98, 2), 0..1 of square crops (B, H, W, 3) uint8 RGB."""
    with ModelCache.shared(settings).use(file.spec()) as network:
        pictures = _resized(crops, input_size(network, LANDMARK_SIZE)).astype(np.float32) / 255
        return network.batches(pictures.transpose(0, 3, 1, 2))[0].reshape(len(crops), 98, 2)


@gpu(duration=30)
def head_poses(file: NetworkFile, settings: Settings, crops: np.ndarray) -> np.ndarray:
    """Yaw, pitch and roll (B, 3) in degrees by WHENet, of face crops (B, H, W, 3) uint8 RGB."""
    with ModelCache.shared(settings).use(file.spec()) as network:
        pictures = _resized(crops, input_size(network, POSE_SIZE)).astype(np.float32) / 255
        pictures = (pictures - np.float32(IMAGENET_MEAN)) / np.float32(IMAGENET_DEVIATION)
        return head_angles(*network.batches(pictures.transpose(0, 3, 1, 2))[:3])


@gpu(duration=30)
def blur_confidence(file: NetworkFile, settings: Settings, crops: np.ndarray) -> np.ndarray:
    """How sure the attribute network is that aligned faces (B, H, W, 3) uint8 RGB are blurred: (B,)."""
    with ModelCache.shared(settings).use(file.spec()) as network:
        pictures = _resized(crops, input_size(network, ATTRIBUTE_SIZE)).astype(np.float32)
        pictures = (pictures - np.float32(ATTRIBUTE_MEAN)) / np.float32(ATTRIBUTE_DEVIATION)
        return network.batches(pictures.transpose(0, 3, 1, 2))[0].reshape(len(crops), -1)[:, BLUR]


def _resized(crops: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.stack([cv2.resize(crop, size, interpolation=cv2.INTER_LINEAR) for crop in crops])
