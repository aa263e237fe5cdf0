"""DeepSpeech 0.1: MFCCs with their neighbours in, letter scores out, as the open DINet listens to speech.

Mozilla DeepSpeech v0.1; the cepstra follow the defaults of the package python_speech_features.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from scipy.fft import dct
from torch import Tensor, nn

from models.runtime.errors import WeightsInvalid
from models.runtime.state_dict import load_strict

RATE = 16000
WINDOW, HOP, N_FFT = 400, 160, 512
FILTERS, CEPSTRA, LIFTER = 26, 26, 22
PREEMPHASIS = 0.97
CONTEXT = 9  # frames before and after
CLIPPED, FORGET_BIAS = 20.0, 1.0
COLUMNS = CEPSTRA * (2 * CONTEXT + 1)


def mel_filters() -> np.ndarray:
    """Triangles whose corners lie on whole bins, HTK mel scale: (26, 257)."""
    top = 2595.0 * np.log10(1.0 + RATE / 2 / 700.0)
    corners = 700.0 * (10.0 ** (np.linspace(0.0, top, FILTERS + 2) / 2595.0) - 1.0)
    bins = np.floor((N_FFT + 1) * corners / RATE)
    bank = np.zeros((FILTERS, N_FFT // 2 + 1))
    for j in range(FILTERS):
        for i in range(int(bins[j]), int(bins[j + 1])):
            bank[j, i] = (i - bins[j]) / (bins[j + 1] - bins[j])
        for i in range(int(bins[j + 1]), int(bins[j + 2])):
            bank[j, i] = (bins[j + 2] - i) / (bins[j + 2] - bins[j + 1])
    return bank


def mfcc(samples: np.ndarray) -> np.ndarray:
    """Cepstra (T, 26) of int16 samples (N,) at 16 kHz; the first is replaced by the log energy."""
    signal = samples.astype(np.float64)
    signal = np.append(signal[:1], signal[1:] - PREEMPHASIS * signal[:-1])
    count = 1 if len(signal) <= WINDOW else 1 + int(np.ceil((len(signal) - WINDOW) / HOP))
    padded = np.pad(signal, (0, max(0, (count - 1) * HOP + WINDOW - len(signal))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:count]
    power = np.abs(np.fft.rfft(frames, N_FFT)) ** 2 / N_FFT
    tiny = np.finfo(float).eps
    energy = np.where(power.sum(axis=1) == 0, tiny, power.sum(axis=1))
    bands = power @ mel_filters().T
    cepstra = dct(np.log(np.where(bands == 0, tiny, bands)), type=2, axis=1, norm="ortho")[:, :CEPSTRA]
    cepstra = cepstra * (1 + LIFTER / 2 * np.sin(np.pi * np.arange(CEPSTRA) / LIFTER))
    cepstra[:, 0] = np.log(energy)
    return cepstra


def network_input(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Every second frame with nine neighbours on both sides, normalised by one mean and deviation.

    Returns:
        rows (T, 494) float32, the cepstra used (T, 26), mean, deviation.
    """
    cepstra = mfcc(samples)[::2]
    empty = np.zeros((CONTEXT, CEPSTRA))
    padded = np.concatenate([empty, cepstra, empty])
    rows = np.lib.stride_tricks.sliding_window_view(padded, 2 * CONTEXT + 1, axis=0)[: len(cepstra)]
    rows = rows.transpose(0, 2, 1).reshape(len(cepstra), COLUMNS)
    mean, deviation = float(rows.mean()), float(rows.std())
    return ((rows - mean) / deviation).astype(np.float32), cepstra, mean, deviation


class DeepSpeech(nn.Module):
    """Three dense layers, a bidirectional LSTM, two dense layers: rows (T, 494) -> letter scores (T, 29).

    Deep Speech (Hannun et al., 2014) as released by Mozilla in 0.1; the state's names are those of the released graph.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        sizes = {1: (COLUMNS, width), 2: (width, width), 3: (width, 2 * width), 5: (2 * width, width)}
        self.dense = nn.ModuleDict({str(n): nn.Linear(*size) for n, size in sizes.items()})
        self.lstm = nn.LSTM(2 * width, width, bidirectional=True)
        self.out = nn.Linear(width, classes)

    def forward(self, rows: Tensor) -> Tensor:
        x = rows
        for name in ("1", "2", "3"):
            x = self.dense[name](x).clamp(0, CLIPPED)
        x = self.lstm(x[:, None])[0][:, 0]
        return self.out(self.dense["5"](x).clamp(0, CLIPPED))


def from_constants(constants: Mapping[str, np.ndarray], what: str) -> DeepSpeech:
    """The network from the constants of the released graph.

    Raises:
        WeightsInvalid: one is missing or misshapen; the message names it.
    """

    def need(name: str, *shape: int) -> Tensor:
        if name not in constants:
            raise WeightsInvalid(f"{what}: no constant {name!r} inside; the graph of DeepSpeech 0.1 is needed")
        array = constants[name]
        if shape and array.shape != shape:
            raise WeightsInvalid(f"{what}: {name} is {array.shape}, expected {shape}")
        return torch.from_numpy(np.array(array))

    width, classes = len(need("b1")), len(need("b6"))
    with torch.device("meta"):
        network = DeepSpeech(width, classes)
    state: dict[str, Tensor] = {}
    for name, layer in network.dense.items():
        state[f"dense.{name}.weight"] = need(f"h{name}", layer.in_features, layer.out_features).T.contiguous()
        state[f"dense.{name}.bias"] = need(f"b{name}", layer.out_features)
    state["out.weight"], state["out.bias"] = need("h6", width, classes).T.contiguous(), need("b6", classes)
    for side, suffix in (("fw", ""), ("bw", "_reverse")):
        cell = f"bidirectional_rnn/{side}/basic_lstm_cell"
        kernel = need(f"{cell}/kernel", 3 * width, 4 * width)
        bias = need(f"{cell}/bias", 4 * width).clone()
        bias[2 * width : 3 * width] += FORGET_BIAS
        # TensorFlow orders the gates input, candidate, forget, output; torch input, forget, candidate, output.
        order = torch.cat([torch.arange(width) + g * width for g in (0, 2, 1, 3)])
        gates = kernel.T[order]
        state[f"lstm.weight_ih_l0{suffix}"] = gates[:, : 2 * width].contiguous()
        state[f"lstm.weight_hh_l0{suffix}"] = gates[:, 2 * width :].contiguous()
        state[f"lstm.bias_ih_l0{suffix}"] = bias[order]
        state[f"lstm.bias_hh_l0{suffix}"] = torch.zeros(4 * width)
    return load_strict(network, state, what)
