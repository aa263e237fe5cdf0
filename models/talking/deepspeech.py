"""DeepSpeech 0.1's input features: MFCCs with their neighbours, as the open DINet listens to speech.

Mozilla DeepSpeech v0.1; the cepstra follow the defaults of the package python_speech_features.
"""

from __future__ import annotations

import numpy as np
from scipy.fft import dct

RATE = 16000
WINDOW, HOP, N_FFT = 400, 160, 512
FILTERS, CEPSTRA, LIFTER = 26, 26, 22
PREEMPHASIS = 0.97
CONTEXT = 9  # frames before and after
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
