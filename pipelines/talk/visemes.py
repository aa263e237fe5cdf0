"""From timed phones to mouth curves: targets per sound, blended so that neighbours colour each other.

The blend is Cohen and Massaro's (Modeling coarticulation in synthetic visual speech, 1993): every sound pulls the mouth
towards its target with a strength that fades exponentially with the distance in time, and the mouth takes the weighted
mean. What must not be blended away - lips meeting on p, b and m, the lower lip under the teeth on f and v - is laid
over it afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d, grey_erosion, maximum_filter1d, uniform_filter1d

from models.talking.phones import Phone

RATE = 100  # steps per second of the curves
LIP_CLOSERS = ("P", "B", "M")
MISHEARD_LIPS = ("T", "D", "N", "K", "G", "NG", "DH", "TH", "V", "W", "HH", "L", "SIL")
LIP_TUCKERS = ("F", "V")
CHANNELS = ("opening", "width", "closure", "tuck", "tongue", "energy")
# Opening 0..1 of the lips, width -1 (pucker) .. 1 (spread), tongue 0..1 shown behind the teeth.
_VOWELS = {
    "AA": (0.95, 0.05, 0.1), "AE": (0.85, 0.35, 0.1), "AH": (0.62, 0.05, 0.1), "AO": (0.75, -0.45, 0.0),
    "EH": (0.62, 0.35, 0.2), "ER": (0.42, -0.35, 0.2), "IH": (0.42, 0.35, 0.3), "IY": (0.32, 0.65, 0.3),
    "UH": (0.40, -0.55, 0.0), "UW": (0.30, -0.95, 0.0),
}  # fmt: skip
_GLIDES = {"AW": ("AA", "UW"), "AY": ("AA", "IY"), "EY": ("EH", "IY"), "OW": ("AO", "UW"), "OY": ("AO", "IY")}
_CONSONANTS = {
    "P": (0.0, 0.0, 0.0), "B": (0.0, 0.0, 0.0), "M": (0.0, 0.0, 0.0), "F": (0.10, 0.15, 0.0), "V": (0.10, 0.15, 0.0),
    "TH": (0.28, 0.1, 1.0), "DH": (0.28, 0.1, 1.0), "T": (0.22, 0.15, 0.7), "D": (0.24, 0.15, 0.7),
    "N": (0.24, 0.15, 0.7), "L": (0.32, 0.1, 0.9), "S": (0.17, 0.35, 0.2), "Z": (0.17, 0.35, 0.2),
    "SH": (0.24, -0.55, 0.2), "ZH": (0.24, -0.55, 0.2), "CH": (0.24, -0.55, 0.3), "JH": (0.24, -0.55, 0.3),
    "K": (0.34, 0.05, 0.1), "G": (0.34, 0.05, 0.1), "NG": (0.32, 0.05, 0.1), "HH": (0.38, 0.0, 0.1),
    "R": (0.28, -0.5, 0.3), "W": (0.14, -1.0, 0.0), "Y": (0.26, 0.45, 0.3),
}  # fmt: skip
_SILENT = (0.0, 0.0, 0.0)
_STRENGTH = {"vowel": 1.0, "consonant": 0.45, "rounded": 0.9, "silence": 0.7}
_FADE = 14.0  # per second: how fast a sound's pull fades outside of it
JAW_SPEED = 18.0  # full openings a second
_SHUT_BEFORE, _SHUT_AFTER = 0.06, 0.07  # seconds in which the lips come together and part


@dataclass(frozen=True)
class MouthCurves:
    """The mouth over time, ``values`` (T, 6) at 100 steps a second, channels as in ``CHANNELS``.

    opening 0..1 (1 is a loud "ah"), width -1..1, closure 0..1 (lips pressed together), tuck 0..1 (lower lip under the
    upper teeth), tongue 0..1, energy 0..1 (how loud the voice is).
    """

    values: np.ndarray

    @property
    def seconds(self) -> float:
        return len(self.values) / RATE

    def channel(self, name: str) -> np.ndarray:
        return self.values[:, CHANNELS.index(name)]

    def at(self, times: np.ndarray, frame_seconds: float) -> np.ndarray:
        """Curves (F, 6) for frames shown from ``times`` for ``frame_seconds`` each.

        Openings are averages over the frame; closures the strongest moment, so that a short "p" is not lost between
        two frames.
        """
        if not len(self.values):
            return np.zeros((len(times), len(CHANNELS)))
        width = max(1, round(frame_seconds * RATE))
        middle = np.clip(((np.asarray(times) + frame_seconds / 2) * RATE).astype(int), 0, len(self.values) - 1)
        mean = uniform_filter1d(self.values, width, axis=0, mode="nearest")[middle]
        shut = [CHANNELS.index("closure"), CHANNELS.index("tuck")]
        strongest = maximum_filter1d(self.values[:, shut], max(1, width - 1), axis=0)[middle]
        mean[:, shut] = 0.2 * mean[:, shut] + 0.8 * strongest
        # A frame in which the lips meet shows them met, whatever the sounds beside it average to.
        met = np.clip((mean[:, shut[0]] - 0.35) / 0.35, 0, 1)
        mean[:, CHANNELS.index("opening")] *= 1 - met
        return mean


def silent(seconds: float) -> MouthCurves:
    """A closed mouth."""
    return MouthCurves(np.zeros((max(1, round(seconds * RATE)), len(CHANNELS))))


def mouth_curves(
    phones: Sequence[Phone],
    seconds: float,
    loudness: np.ndarray,
    speaking: np.ndarray,
    closing: np.ndarray | None = None,
) -> MouthCurves:
    """Curves of timed phones.

    Args:
        phones: in order of time; what lies outside of ``speaking`` is not moved to.
        seconds: length of the recording.
        loudness: (T,) 0..1 at 100 a second, relative to the loud parts of the recording.
        speaking: (T,) bool at 100 a second.
        closing: (T,) 0..1: where the sound tells shut lips, for phones that are not sure: what is heard as a stop or
            a murmur of another place may be one of the lips.
    """
    count = max(1, round(seconds * RATE))
    energy, active = _fit(loudness, count), _fit(speaking.astype(float), count)
    heard = _fit(closing, count) if closing is not None else np.zeros(count)
    time = (np.arange(count) + 0.5) / RATE
    weights, sums = np.full(count, 1e-3), np.zeros((count, 3))
    closure, tuck = np.zeros(count), np.zeros(count)
    for start, end, name in _halves(phones):
        target, strength = _target(name)
        near = slice(max(0, int((start - 0.4) * RATE)), min(count, int((end + 0.4) * RATE) + 1))
        away = np.maximum(np.maximum(start - time[near], time[near] - end), 0.0)
        inside = np.minimum(time[near] - start, end - time[near])
        pull = strength * np.where(away > 0, np.exp(-_FADE * away), 1.0 + np.clip(inside / 0.05, 0, 1))
        weights[near] += pull
        sums[near] += pull[:, None] * np.array(target)
        if name in LIP_CLOSERS:
            closure[near] = np.maximum(closure[near], _plateau(time[near], start, end))
        elif name in MISHEARD_LIPS:
            maybe = _plateau(time[near], start, end) * heard[near]
            closure[near] = np.maximum(closure[near], maybe)
        if name in LIP_TUCKERS:
            tuck[near] = np.maximum(tuck[near], _plateau(time[near], start, end))
    shape = sums / weights[:, None]
    voiced = gaussian_filter1d(maximum_filter1d(active, 5), 4.0)
    emphasis = 0.86 + 0.5 * gaussian_filter1d(energy, 6.0)
    opening = shape[:, 0] * emphasis * voiced * (1.0 - closure) * (1.0 - 0.85 * tuck)
    values = np.stack(
        [opening, shape[:, 1] * voiced, closure * voiced, tuck * voiced, shape[:, 2] * voiced, energy * voiced], axis=1
    )
    smooth = [CHANNELS.index(n) for n in ("opening", "width", "tongue", "energy")]
    values[:, smooth] = gaussian_filter1d(values[:, smooth], 1.6, axis=0)
    values[:, 0] = _unhurried(values[:, 0] * (1.0 - np.clip(closure * 1.02, 0, 1)))
    return MouthCurves(values)


def sound_curves(
    seconds: float, loudness: np.ndarray, speaking: np.ndarray, brightness: np.ndarray, closing: np.ndarray
) -> MouthCurves:
    """Curves without knowing the sounds, for any language.

    Loudness opens the mouth, a bright spectrum spreads the lips and a dark one rounds them, and ``closing`` (T,) 0..1
    (sudden dips and murmurs, as of p, b and m) shuts them; ``brightness`` (T,) is -1..1.
    """
    count = max(1, round(seconds * RATE))
    energy, active = _fit(loudness, count), _fit(speaking.astype(float), count)
    bright, shut = _fit(brightness, count), _fit(closing, count)
    voiced = gaussian_filter1d(maximum_filter1d(active, 5), 4.0)
    opening = gaussian_filter1d(np.clip(0.95 * energy - 0.08, 0, 1) * voiced, 2.0) * (1.0 - np.clip(1.05 * shut, 0, 1))
    opening = _unhurried(opening)
    width = gaussian_filter1d(0.7 * bright, 5.0) * voiced
    zero = np.zeros(count)
    tongue = 0.4 * np.clip(bright, 0, 1) * voiced
    return MouthCurves(np.stack([opening, width, shut * voiced, zero, tongue, energy * voiced], axis=1))


def _unhurried(opening: np.ndarray) -> np.ndarray:
    """The largest opening under the given one (T,) that changes no faster than jaws can; closures stay as they are."""
    reach = int(np.ceil(1.5 / JAW_SPEED * RATE))
    slope = -JAW_SPEED / RATE * np.abs(np.arange(-reach, reach + 1))
    return grey_erosion(opening, structure=slope, footprint=np.ones(len(slope)), mode="nearest")


def _fit(values: np.ndarray, count: int) -> np.ndarray:
    """``values`` cut or extended with zeros to ``count``."""
    return np.pad(values[:count].astype(float), (0, max(0, count - len(values))))


def _halves(phones: Sequence[Phone]) -> list[tuple[float, float, str]]:
    """Diphthongs as their two vowels."""
    parts = []
    for phone in phones:
        if phone.name in _GLIDES:
            middle = phone.start + 0.55 * (phone.end - phone.start)
            first, second = _GLIDES[phone.name]
            parts += [(phone.start, middle, first), (middle, phone.end, second)]
        else:
            parts.append((phone.start, phone.end, phone.name))
    return parts


def _target(name: str) -> tuple[tuple[float, float, float], float]:
    if name in _VOWELS:
        return _VOWELS[name], _STRENGTH["vowel"]
    if name in _CONSONANTS:
        rounded = _CONSONANTS[name][1] <= -0.5
        return _CONSONANTS[name], _STRENGTH["rounded" if rounded else "consonant"]
    return _SILENT, _STRENGTH["silence"]


def _plateau(time: np.ndarray, start: float, end: float) -> np.ndarray:
    """1 from ``start`` to ``end`` and eased to 0 around."""
    before = np.clip((time - (start - _SHUT_BEFORE)) / _SHUT_BEFORE, 0, 1)
    after = np.clip(((end + _SHUT_AFTER) - time) / _SHUT_AFTER, 0, 1)
    level = np.minimum(before, after)
    return level * level * (3 - 2 * level)
