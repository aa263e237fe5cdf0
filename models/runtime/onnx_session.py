"""One onnxruntime wrapper for ONNX files; names and shapes are read from the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import torch

from models.runtime.errors import WeightsInvalid

PROVIDERS = {"cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"), "cpu": ("CPUExecutionProvider",)}
FREE = 0  # a size the file leaves open


class OnnxNetwork:
    """An opened file with one input.

    ``input_shape`` has ``FREE`` where the file leaves a size open; ``outputs`` are names in the file's order.

    Raises:
        WeightsInvalid: not an ONNX file, or one with several inputs.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        wanted = PROVIDERS.get(device.type, PROVIDERS["cpu"])
        there = set(onnxruntime.get_available_providers())
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=[name for name in wanted if name in there]
            )
        except Exception as error:  # the library's own errors share no narrower base
            raise WeightsInvalid(f"{path.name} cannot be opened as an ONNX network; fetch it again") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise WeightsInvalid(f"{path.name} takes {len(inputs)} inputs, expected one")
        self.name = path.name
        self.input_name = inputs[0].name
        self.input_shape = tuple(n if isinstance(n, int) and n > 0 else FREE for n in inputs[0].shape)
        self.outputs = tuple(output.name for output in self._session.get_outputs())

    def __call__(self, value: np.ndarray) -> list[np.ndarray]:
        """All outputs for one float32 input. Raises WeightsInvalid where it does not fit the file's shape."""
        fits = len(value.shape) == len(self.input_shape) and all(
            want in (FREE, have) for want, have in zip(self.input_shape, value.shape, strict=True)
        )
        if not fits:
            raise WeightsInvalid(f"{self.name} takes {self.input_shape}, not {value.shape}; it is another network")
        return self._session.run(None, {self.input_name: np.ascontiguousarray(value, dtype=np.float32)})

    def batches(self, values: np.ndarray) -> list[np.ndarray]:
        """As calling it, for files whose batch size may be fixed to one: (B, ...) in and out."""
        if self.input_shape[0] in (FREE, len(values)):
            return self(values)
        parts = [self(value[None]) for value in values]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]


def input_size(network: OnnxNetwork, default: int, channels_last: bool = False) -> tuple[int, int]:
    """(width, height) the file is made for; ``default`` where it leaves them open."""
    rows, columns = network.input_shape[1:3] if channels_last else network.input_shape[2:4]
    return columns or default, rows or default
