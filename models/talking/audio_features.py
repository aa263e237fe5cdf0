"""Speech features of the talking-head networks: log-mel spectra in the exact conventions each was trained with.

Waveforms are mono float32 in [-1, 1] at 16 kHz, shape (N,).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

RATE = 16000
PREEMPHASIS = 0.97
FBANK_FFT = 512


@dataclass(frozen=True)
class MelConfig:
    """A centred short-time Fourier transform and a Slaney mel bank over it. Lengths in samples, band limits in Hz."""

    n_fft: int
    hop: int
    window: int
    bands: int
    low: float
    high: float
    power: bool


HEYGEM = MelConfig(n_fft=1024, hop=160, window=800, bands=80, low=0.0, high=8000.0, power=True)
WAV2LIP = MelConfig(n_fft=800, hop=200, window=800, bands=80, low=55.0, high=7600.0, power=False)


def preemphasis(wav: np.ndarray) -> np.ndarray:
    """``y[n] = x[n] - 0.97 x[n - 1]`` with ``y[0] = x[0]``."""
    wav = wav.astype(np.float64)
    return np.concatenate([wav[:1], wav[1:] - PREEMPHASIS * wav[:-1]])


def slaney_hz_to_mel(hz: np.ndarray) -> np.ndarray:
    """Slaney's mel scale: linear below 1 kHz, logarithmic above (27 steps per factor 6.4)."""
    hz = np.asarray(hz, dtype=np.float64)
    above = 15.0 + np.log(np.maximum(hz, 1e-9) / 1000.0) * 27.0 / np.log(6.4)
    return np.where(hz < 1000.0, hz * 3.0 / 200.0, above)


def slaney_mel_to_hz(mel: np.ndarray) -> np.ndarray:
    mel = np.asarray(mel, dtype=np.float64)
    return np.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * np.exp((mel - 15.0) * np.log(6.4) / 27.0))


@lru_cache(maxsize=4)
def slaney_bank(config: MelConfig) -> np.ndarray:
    """Triangular filters of unit area, (bands, n_fft // 2 + 1) float32."""
    bins = np.fft.rfftfreq(config.n_fft, 1.0 / RATE)
    ends = slaney_hz_to_mel(np.array([config.low, config.high]))
    edges = slaney_mel_to_hz(np.linspace(ends[0], ends[1], config.bands + 2))
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    bank = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return bank.astype(np.float32)


def mel_spectrum(wav: np.ndarray, config: MelConfig) -> np.ndarray:
    """Mel energies (or magnitudes) of centred frames, the signal mirrored at its ends: (T, bands), T = N // hop + 1.

    Double precision: the logarithm afterwards magnifies what single precision loses in quiet bands.
    """
    half = config.n_fft // 2
    if len(wav) <= half:  # mirroring needs more samples than it adds
        wav = np.pad(wav, (0, half + 1 - len(wav)))
    padded = np.pad(wav, half, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, config.n_fft)[:: config.hop]  # (T, n_fft)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(config.window) / config.window)  # periodic
    left = (config.n_fft - config.window) // 2
    window = np.pad(hann, (left, config.n_fft - config.window - left))
    spectrum = np.abs(np.fft.rfft(frames * window, axis=-1))
    if config.power:
        spectrum = spectrum * spectrum
    return spectrum @ slaney_bank(config).T


def heygem_log_mel(wav: np.ndarray) -> np.ndarray:
    """Features of the WeNet encoder in the HeyGem chain: (N // 160 + 1, 80) float32, decibels minus 20."""
    return (10.0 * np.log10(mel_spectrum(preemphasis(wav), HEYGEM) + 1e-5) - 20.0).astype(np.float32)


def wav2lip_mel(wav: np.ndarray) -> np.ndarray:
    """Wav2Lip's input: (80, N // 200 + 1) float32 in [-4, 4]."""
    decibel = 20.0 * np.log10(np.maximum(1e-5, mel_spectrum(preemphasis(wav), WAV2LIP))) - 20.0
    return np.clip(8.0 * (decibel + 100.0) / 100.0 - 4.0, -4.0, 4.0).T.astype(np.float32)


def wav2lip_chunk_starts(columns: int, fps: float, steps: int = 16) -> np.ndarray:
    """First mel column of each video frame's chunk; the last chunk is the last ``steps`` columns. (frames,) int32."""
    starts: list[int] = []
    while True:
        start = int(len(starts) * 80.0 / fps)
        if start + steps > columns:
            return np.array([*starts, max(columns - steps, 0)], dtype=np.int32)
        starts.append(start)


@lru_cache(maxsize=1)
def _htk_bank(bands: int) -> Tensor:
    """Triangles on the HTK mel scale without area normalisation, (257, bands); the Nyquist bin is not used."""
    low, high = (1127.0 * math.log(1.0 + hz / 700.0) for hz in (20.0, RATE / 2))
    step = (high - low) / (bands + 1)
    band = torch.arange(bands)[:, None]
    left, centre, right = low + band * step, low + (band + 1) * step, low + (band + 2) * step
    bins = 1127.0 * (1.0 + torch.arange(FBANK_FFT // 2) * (RATE / FBANK_FFT) / 700.0).log()
    bank = torch.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)).clamp(min=0)
    return torch.nn.functional.pad(bank, (0, 1)).T.contiguous()


def kaldi_fbank(wav: np.ndarray, bands: int = 80) -> np.ndarray:
    """Kaldi's log filter-bank features (no dither, povey window): (1 + (N - 400) // 160, bands) float32."""
    length, hop = 400, 160
    samples = torch.from_numpy(np.asarray(wav, dtype=np.float32)) * 32768.0
    if len(samples) < length:
        return np.zeros((0, bands), np.float32)
    frames = samples.unfold(0, length, hop)  # (T, 400)
    frames = frames - frames.mean(1, keepdim=True)
    before = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    povey = torch.hann_window(length, periodic=False).pow(0.85)
    spectrum = torch.fft.rfft((frames - PREEMPHASIS * before) * povey, FBANK_FFT).abs().square()
    return (spectrum @ _htk_bank(bands)).clamp(min=torch.finfo(torch.float32).eps).log().numpy()


def cmvn_from_statistics(mean_stat: np.ndarray, var_stat: np.ndarray, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and inverse deviation per band from accumulated sums, sums of squares and a frame count."""
    mean = np.asarray(mean_stat, np.float64) / frames
    variance = np.asarray(var_stat, np.float64) / frames - mean * mean
    return mean, 1.0 / np.sqrt(np.maximum(variance, 1e-20))
