"""Loudness and coarse spectrum of a recording in 10 ms frames: what voice activity and the language-free mouth read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RATE = 16000
FRAMES_PER_SECOND = 100
HOP = RATE // FRAMES_PER_SECOND
WINDOW = 400
N_FFT = 512
BANDS = 32
BLOCK = 3000  # frames at a time, so that ten minutes do not fill the memory
EDGES = 40.0 * (7600.0 / 40.0) ** (np.arange(BANDS + 1) / BANDS)  # Hz, even steps of pitch


@dataclass(frozen=True)
class Spectrum:
    """``bands`` (T, 32) natural log power of bands from 40 to 7600 Hz; ``speech_power`` (T,) power of 150..4000 Hz;
    ``voicing`` (T,) 0..1: how periodic the sound is at pitches of 80 to 400 Hz."""

    bands: np.ndarray
    speech_power: np.ndarray
    voicing: np.ndarray

    @property
    def speech_level(self) -> np.ndarray:
        """Decibels of full scale (T,)."""
        return 10.0 * np.log10(self.speech_power + 1e-12)

    def level_between(self, low: float, high: float) -> np.ndarray:
        """Decibels (T,) of the bands whose middle lies between two frequencies in Hz."""
        middle = np.sqrt(EDGES[:-1] * EDGES[1:])
        chosen = (middle >= low) & (middle < high)
        return 10.0 * np.log10(np.exp(self.bands[:, chosen]).sum(axis=1) + 1e-12)


def analyse(samples: np.ndarray) -> Spectrum:
    """The spectrum of mono float32 samples (N,) at 16 kHz; T = N // 160, at least 1 frame for any sound."""
    count = max(1, len(samples) // HOP)
    side = (WINDOW - HOP) // 2
    window = np.hanning(WINDOW).astype(np.float32)
    frequencies = np.fft.rfftfreq(N_FFT, 1 / RATE)
    member = np.digitize(frequencies, EDGES) - 1
    bank = np.zeros((len(frequencies), BANDS), np.float32)
    for index, band in enumerate(member):
        if 0 <= band < BANDS:
            bank[index, band] = 1.0
    for band in np.flatnonzero(bank.sum(axis=0) == 0):  # narrower than a bin: the nearest one
        bank[np.argmin(np.abs(frequencies - np.sqrt(EDGES[band] * EDGES[band + 1]))), band] = 1.0
    voice = ((frequencies >= 150) & (frequencies <= 4000)).astype(np.float32)
    scale = 2.0 / (window**2).sum() / N_FFT
    taper = np.maximum(np.correlate(window, window, "full")[WINDOW - 1 :], 1e-3)[None]
    lags = slice(RATE // 400, RATE // 80)
    bands, power, voicing = [], [], []
    for first in range(0, count, BLOCK):
        views = _windows(samples, first * HOP - side, min(BLOCK, count - first))
        frames = np.abs(np.fft.rfft(views * window, N_FFT)).astype(np.float32) ** 2 * scale
        bands.append(np.log(frames @ bank + 1e-12))
        power.append(frames @ voice)
        echo = np.fft.irfft(frames * voice, N_FFT)[:, : lags.stop] / taper[:, : lags.stop]
        voicing.append(np.clip(echo[:, lags].max(axis=1) / (echo[:, 0] + 1e-15), 0.0, 1.0))
    return Spectrum(np.concatenate(bands), np.concatenate(power).astype(np.float64), np.concatenate(voicing))


def _windows(samples: np.ndarray, start: int, count: int) -> np.ndarray:
    """(count, WINDOW) float32 windows every ``HOP`` samples from ``start``, silence beyond both ends."""
    end = start + (count - 1) * HOP + WINDOW
    part = samples[max(0, start) : max(0, end)].astype(np.float32)
    before = max(0, -start)
    part = np.pad(part, (before, end - start - before - len(part)))
    return np.lib.stride_tricks.sliding_window_view(part, WINDOW)[::HOP]
