"""Where somebody speaks in a recording: louder than the background, voiced like a person, and not music.

Everything is computed on 10 ms frames of mono sound at 16 kHz.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.ndimage import binary_closing, binary_opening, maximum_filter1d, minimum_filter1d, uniform_filter1d

from pipelines.talk.spectrum import FRAMES_PER_SECOND, Spectrum

SMALLEST_LEVEL = -62.0  # decibels of full scale: below this nothing is heard
ABOVE_NOISE = 9.0  # decibels over the background
BELOW_SPEECH = 34.0  # decibels under the loud parts: further down it is breath and room
SPEECH_FRAMES = 8  # shorter bursts are clicks
PAUSE_FRAMES = 12  # shorter gaps belong to the word around them
EMPTY_BAND = 10.5  # natural log power (46 dB) under the loudest band
FEWEST_BANDS = 16
CONTEXT_SECONDS = 2.0  # how much around a frame tells speech from music


@dataclass(frozen=True)
class Activity:
    """``speaking`` (T,) bool per 10 ms; ``likeness`` (T,) 0..1: how much the sound around is like speech."""

    speaking: np.ndarray
    likeness: np.ndarray

    def stretches(self, pause: float = 0.3, longest: float = 20.0) -> list[tuple[float, float]]:
        """Spoken stretches (start, end) in seconds: those closer than ``pause`` joined, none much above ``longest``."""
        closed = binary_closing(np.pad(self.speaking, 100), np.ones(round(pause * FRAMES_PER_SECOND)))[100:-100]
        edges = np.flatnonzero(np.diff(np.concatenate([[0], closed.astype(np.int8), [0]])))
        found = []
        for start, end in edges.reshape(-1, 2):
            parts = max(1, int(np.ceil((end - start) / (longest * FRAMES_PER_SECOND))))
            cuts = [
                int(start),
                *(self._quiet_near(start + (end - start) * k // parts) for k in range(1, parts)),
                int(end),
            ]
            found += [(a / FRAMES_PER_SECOND, b / FRAMES_PER_SECOND) for a, b in pairwise(cuts)]
        return found

    def _quiet_near(self, frame: int, reach: int = 300) -> int:
        """The frame nearest to ``frame`` where nobody speaks; itself where there is none."""
        quiet = np.flatnonzero(~self.speaking[max(0, frame - reach) : frame + reach])
        if not len(quiet):
            return int(frame)
        quiet = quiet + max(0, frame - reach)
        return int(quiet[np.argmin(np.abs(quiet - frame))])


def find_speech(spectrum: Spectrum) -> Activity:
    """Speech in a recording."""
    level = spectrum.speech_level
    if not len(level):
        return Activity(np.zeros(0, bool), np.zeros(0))
    floor = uniform_filter1d(minimum_filter1d(level, 3 * FRAMES_PER_SECOND), 3 * FRAMES_PER_SECOND)
    top = uniform_filter1d(maximum_filter1d(level, 6 * FRAMES_PER_SECOND), 6 * FRAMES_PER_SECOND)
    bound = np.maximum(np.minimum(floor + ABOVE_NOISE, top - 6.0), top - BELOW_SPEECH)
    loud = level > np.maximum(bound, SMALLEST_LEVEL)
    likeness = speech_likeness(spectrum)
    speaking = loud & (likeness > 0.5)
    speaking = binary_closing(np.pad(speaking, 50), np.ones(PAUSE_FRAMES))[50:-50]
    return Activity(binary_opening(speaking, np.ones(SPEECH_FRAMES)), likeness)


def features(spectrum: Spectrum) -> dict[str, np.ndarray]:
    """What tells speech from music, each (T,) over about two seconds.

    ``pauses``: share of frames much quieter than their surroundings (Saunders 1996: speech alternates loud vowels with
    near silence); ``syllables``: strength of the 2..8 Hz modulation of loudness; ``steady``: how much the spectrum
    stays as it was 100 ms before, as held notes do; ``voiced``: share of the sound that has a pitch.
    """
    width = round(CONTEXT_SECONDS * FRAMES_PER_SECOND)
    power = spectrum.speech_power
    mean = uniform_filter1d(power, width // 2) + 1e-12
    pauses = uniform_filter1d((power < 0.25 * mean).astype(float), width)
    loud = np.sqrt(power)
    syllabic = uniform_filter1d(loud, 7) - uniform_filter1d(loud, 41)
    syllables = np.sqrt(uniform_filter1d(syllabic**2, width)) / (uniform_filter1d(loud, width) + 1e-9)
    bands = _heard_bands(spectrum.bands)
    shape = bands - bands.mean(axis=1, keepdims=True)
    shape = uniform_filter1d(shape, 5, axis=0)
    norm = np.linalg.norm(shape, axis=1) + 1e-6
    lag = 10
    alike = np.zeros(len(power))
    alike[lag:] = (shape[lag:] * shape[:-lag]).sum(axis=1) / (norm[lag:] * norm[:-lag])
    weight = power / mean
    heard = np.minimum(weight, 2.0)
    steady = uniform_filter1d(alike * heard, width) / (uniform_filter1d(heard, width) + 1e-9)
    voiced = uniform_filter1d(spectrum.voicing * heard, width) / (uniform_filter1d(heard, width) + 1e-9)
    return {"pauses": pauses, "syllables": syllables, "steady": steady, "voiced": voiced}


def _heard_bands(bands: np.ndarray) -> np.ndarray:
    """The bands (T, B) in which there ever is sound: those a telephone has cut off stay as they are all the time."""
    peaks = np.percentile(bands, 99, axis=0)
    bound = min(peaks.max() - EMPTY_BAND, np.sort(peaks)[-FEWEST_BANDS])
    return bands[:, peaks >= bound]


def speech_likeness(spectrum: Spectrum) -> np.ndarray:
    """(T,) 0..1 by a fixed logistic rule over ``features``."""
    f = features(spectrum)
    score = 10.0 * np.minimum(f["pauses"] - 0.26, 0.12) + 10.0 * np.minimum(f["syllables"] - 0.43, 0.12)
    score -= 20.0 * np.maximum(f["steady"] - 0.78, 0.0) + 35.0 * np.maximum(0.40 - f["voiced"], 0.0)
    return 1.0 / (1.0 + np.exp(-3.0 * score))
