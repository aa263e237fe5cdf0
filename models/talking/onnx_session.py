"""What ONNX files of the talking-head systems say, read as numbers."""

from __future__ import annotations

import numpy as np

from models.runtime.onnx_session import OnnxNetwork


def head_angles(yaw: np.ndarray, pitch: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """WHENet's angles (B, 3) in degrees from its logits (B, 120), (B, 66), (B, 66)."""

    def expected(logits: np.ndarray, offset: float) -> np.ndarray:
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        return weights @ np.arange(logits.shape[1]) * 3.0 - offset

    return np.stack([expected(yaw, 180.0), expected(pitch, 99.0), expected(roll, 99.0)], axis=1)


def xseg_mask(network: OnnxNetwork, crops: np.ndarray) -> np.ndarray:
    """DeepFaceLab's face mask (B, 256, 256) 0..1 of crops (B, 256, 256, 3) uint8 RGB."""
    out = network.batches(crops[..., ::-1].astype(np.float32) / 255)[0]
    mask = np.clip(out.reshape(len(crops), 256, 256), 0.0, 1.0)
    mask[mask < 0.1] = 0.0
    return mask
