"""The lip networks on a device: the calls that need the GPU. What goes in and out is plain arrays in main memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from models.runtime.cache import ModelCache, ModelSpec
from models.runtime.gpu import gpu
from models.runtime.onnx_session import OnnxNetwork
from models.runtime.settings import Settings
from models.runtime.warm_memory import warm_memory
from models.talking.bisenet import normalise
from models.talking.checkpoint import load
from models.talking.deepspeech import from_constants
from models.talking.dinet import mask_box
from models.talking.graph_constants import float_constants
from models.talking.onnx_session import xseg_mask
from models.talking.wav2lip import mask_lower_half

FACE_LABELS = (1, 2, 3, 4, 5, 6, 10, 11, 12, 13)  # of the parsing network: skin, brows, eyes, nose, mouth, lips
PARSING_SIZE = RESTORE_SIZE = 512


@dataclass(frozen=True)
class NetworkFile:
    """A checkpoint: ``network`` as in ``models.talking.checkpoint`` and its file (or ``onnx`` for an ONNX file)."""

    network: str
    path: Path

    @property
    def onnx(self) -> bool:
        return self.path.suffix == ".onnx"

    def spec(self) -> ModelSpec:
        key = f"talking/{self.network}@{self.path}"
        if self.onnx:
            return ModelSpec(key, lambda device: OnnxNetwork(self.path, device), self.path.stat().st_size)
        if self.network == "deepspeech":
            return ModelSpec(
                key, lambda device: from_constants(float_constants(self.path), self.path.name).eval().to(device)
            )
        return ModelSpec(key, lambda device: load(self.network, self.path, device))


def to_tensor(pictures: np.ndarray, device: torch.device) -> torch.Tensor:
    """(B, H, W, C) uint8 -> (B, C, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).to(device).permute(0, 3, 1, 2).float() / 255


def to_pictures(tensor: torch.Tensor) -> np.ndarray:
    """The inverse of ``to_tensor``, values clipped and cut to whole grey levels."""
    return (tensor.clamp(0, 1) * 255).permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()


@gpu(duration=60)
def letter_scores(file: NetworkFile, settings: Settings, rows: np.ndarray) -> np.ndarray:
    """DeepSpeech's scores (T, 29) float32 for its input rows (T, 494)."""
    cache = ModelCache.shared(settings)
    with cache.use(file.spec()) as network, torch.inference_mode():
        return network(torch.from_numpy(rows).to(cache.device)).cpu().numpy()


@gpu(duration=30)
def wav2lip_faces(file: NetworkFile, settings: Settings, mel: np.ndarray, faces: np.ndarray, batch: int) -> np.ndarray:
    """Faces (B, 96, 96, 3) uint8 RGB with the mouth of their mel columns (B, 80, 16)."""
    cache = ModelCache.shared(settings)

    def run(network: torch.nn.Module, chunk: int) -> np.ndarray:
        found = []
        for first in range(0, len(faces), chunk):
            part = slice(first, first + chunk)
            bgr = to_tensor(faces[part][..., ::-1], cache.device)
            sound = torch.from_numpy(mel[part]).to(cache.device)[:, None]
            with torch.inference_mode():
                found.append(to_pictures(network(sound, mask_lower_half(bgr)))[..., ::-1])
        return np.concatenate(found)

    return cache.run_chunked(file.spec(), run, batch)


@gpu(duration=60)
def dinet_faces(
    file: NetworkFile,
    settings: Settings,
    sources: np.ndarray,
    references: np.ndarray,
    audio: np.ndarray,
    batch: int,
) -> np.ndarray:
    """Crops (B, 416, 320, 3) uint8 RGB with new mouths.

    Args:
        references: (5, 416, 320, 3) uint8 RGB of the same clip; encoded once per call.
        audio: (B, 29, 5) float32.
    """
    cache = ModelCache.shared(settings)
    rows, columns = mask_box(256)

    def run(network: torch.nn.Module, chunk: int) -> np.ndarray:
        found = []
        with torch.inference_mode(), warm_memory(cache.device.type == "cpu"):
            stacked = to_tensor(references, cache.device).flatten(0, 1)[None]
            prepared = network.prepare(stacked)
            for first in range(0, len(sources), chunk):
                part = slice(first, first + chunk)
                crops = to_tensor(sources[part], cache.device)
                crops[:, :, rows, columns] = 0
                sound = torch.from_numpy(audio[part]).to(cache.device)
                found.append(to_pictures(network.draw(crops, prepared, sound)))
        return np.concatenate(found)

    return cache.run_chunked(file.spec(), run, batch)


@gpu(duration=30)
def parsing_masks(file: NetworkFile, settings: Settings, crops: np.ndarray) -> np.ndarray:
    """Where crops (B, 512, 512, 3) uint8 RGB show the face itself: (B, 512, 512) float32 0 or 1."""
    cache = ModelCache.shared(settings)
    with cache.use(file.spec()) as network:
        pictures = normalise(to_tensor(crops, torch.device("cpu")))
        if isinstance(network, OnnxNetwork):
            labels = network.batches(pictures.numpy())[0].argmax(axis=1)
        else:
            with torch.inference_mode():
                labels = network(pictures.to(cache.device)).argmax(dim=1).cpu().numpy()
    return np.isin(labels, FACE_LABELS).astype(np.float32)


@gpu(duration=30)
def xseg_masks(file: NetworkFile, settings: Settings, crops: np.ndarray) -> np.ndarray:
    """Where crops (B, 256, 256, 3) uint8 RGB show the face and nothing before it: (B, 256, 256) 0..1."""
    with ModelCache.shared(settings).use(file.spec()) as network:
        return xseg_mask(network, crops)


@gpu(duration=60)
def restored_faces(file: NetworkFile, settings: Settings, crops: np.ndarray) -> np.ndarray:
    """Aligned crops (B, 512, 512, 3) uint8 RGB, sharpened."""
    cache = ModelCache.shared(settings)
    with cache.use(file.spec()) as network:
        pictures = to_tensor(crops, torch.device("cpu")) * 2 - 1
        if isinstance(network, OnnxNetwork):
            out = torch.from_numpy(network.batches(pictures.numpy())[0])
        else:
            with torch.inference_mode(), warm_memory(cache.device.type == "cpu"):
                out = torch.cat([network(picture[None].to(cache.device)).cpu() for picture in pictures])
    return to_pictures((out.clamp(-1, 1) + 1) / 2)
