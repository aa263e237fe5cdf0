"""Runs one LiteRT file on the processor: float32 arrays in and out, safe to share between threads."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from threading import Lock

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from models.blaze.config import TensorSpec
from models.blaze.prune import without_outputs
from models.runtime.errors import WeightsInvalid

MAX_THREADS = 4  # these networks are too small to gain from more


class LiteSession:
    """One opened file. Its output names and shapes must be exactly those asked for.

    Args:
        path: the .tflite file.
        input_shape: (H, W) of its one float32 input (1, H, W, 3).
        outputs: every output of the file but those ``unused``, which are not computed.
        threads: worker threads; 0 takes the machine's cores, at most four.
        unused: names of the outputs to leave out.

    Raises:
        WeightsInvalid: not a LiteRT file, or one with other tensors.
    """

    def __init__(
        self,
        path: Path,
        input_shape: tuple[int, int],
        outputs: tuple[TensorSpec, ...],
        threads: int = 0,
        unused: tuple[str, ...] = (),
    ) -> None:
        count = threads or min(MAX_THREADS, os.cpu_count() or 1)
        try:
            if unused:
                content = without_outputs(path.read_bytes(), unused)
                interpreter = Interpreter(model_content=content, num_threads=count)
            else:
                interpreter = Interpreter(model_path=str(path), num_threads=count)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError, OSError, IndexError, struct.error) as error:
            raise WeightsInvalid(f"{path.name} cannot be opened as a LiteRT network; fetch it again") from error
        inputs, found = interpreter.get_input_details(), interpreter.get_output_details()
        wanted_input = (1, *input_shape, 3)
        if len(inputs) != 1 or tuple(inputs[0]["shape"]) != wanted_input or inputs[0]["dtype"] != np.float32:
            raise WeightsInvalid(f"{path.name} does not take one float32 input of shape {wanted_input}")
        shapes = {d["name"]: tuple(int(n) for n in d["shape"]) for d in found}
        wanted = {spec.name: spec.shape for spec in outputs}
        if shapes != wanted:
            raise WeightsInvalid(f"{path.name} gives {shapes}, expected {wanted}")
        self.input_shape = input_shape
        self.nbytes = path.stat().st_size
        self._interpreter = interpreter
        self._input = inputs[0]["index"]
        self._outputs = {d["name"]: d["index"] for d in found}
        self._lock = Lock()

    def __call__(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs by name, as copies without the batch axis, of one float32 picture (H, W, 3)."""
        with self._lock:
            self._interpreter.set_tensor(self._input, pixels[None])
            self._interpreter.invoke()
            return {name: self._interpreter.get_tensor(index)[0] for name, index in self._outputs.items()}


def scale_pixels(crop: np.ndarray, value_range: tuple[float, float] = (0.0, 1.0)) -> np.ndarray:
    """uint8 (H, W, 3) as float32 with 0 and 255 at the ends of ``value_range``."""
    low, high = value_range
    pixels = crop.astype(np.float32)
    pixels *= np.float32((high - low) / 255.0)
    if low:
        pixels += np.float32(low)
    return pixels


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Logistic function, its argument clipped so that float32 cannot overflow."""
    return 1.0 / (1.0 + np.exp(-np.clip(x, -80.0, 80.0)))
