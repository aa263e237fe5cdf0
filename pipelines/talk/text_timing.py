"""When each sound of a known text is said, whatever the language: alignment by broad classes of sounds.

The text is a chain of sounds with optional pauses between words. Which part of the recording belongs to which sound is
found by dynamic programming (Viterbi), first with rough knowledge of how vowels, hisses, stops, murmurs and pauses
look, then with what each class looks like in this very recording, learned from the last alignment and refined.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from scipy.fft import dct
from scipy.ndimage import uniform_filter1d

from models.talking.phones import SILENCE, Phone
from pipelines.talk.spectrum import FRAMES_PER_SECOND, Spectrum

_CLASSES = (
    "SIL", "AA AE AH AY AW ER", "IY IH EH EY Y", "UW UH AO OW OY W", "M N NG", "P B T D K G", "S Z SH ZH CH JH",
    "F V TH DH HH", "L R",
)  # fmt: skip
_CLASS_OF = {name: number for number, names in enumerate(_CLASSES) for name in names.split()}
_PAUSE, _VOWELS, _NASAL, _STOP, _HISS, _BREATH, _LIQUID = 0, (1, 2, 3), 4, 5, 6, 7, 8
_LEAST_FRAMES = {"vowel": 4, "other": 3}
ROUNDS = 4
CEPSTRA = 10
LONGEST_TABLE = 120_000_000  # steps times states that are searched
ENTER_PAUSE, STAY = -2.5, -0.10


def timed(words: Sequence[Sequence[str]], spectrum: Spectrum, speaking: np.ndarray) -> tuple[Phone, ...]:
    """Timed phones with the pauses between them; empty where the text is too long for the recording, or for this.

    Args:
        words: ARPAbet sounds of each word.
        spectrum: of the recording, T steps of 10 ms.
        speaking: (T,) bool.
    """
    names, units, skips = _chain(words)
    count = len(spectrum.speech_power)
    if not names or len(units) > count or len(units) * count > LONGEST_TABLE:
        return ()
    classes = np.array([_CLASS_OF[name] for name in names])
    features = _features(spectrum)
    scores = _first_look(spectrum, speaking)
    path = _search(scores, classes[units], skips)
    for _ in range(ROUNDS):
        scores = _learned(features, classes[units[path]], speaking)
        path = _search(scores, classes[units], skips)
    return _phones(names, units[path])


def _chain(words: Sequence[Sequence[str]]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names of the sounds and pauses in order; which of them each state (S,) belongs to; whether a state (S,) may be
    left out, as pauses between words may."""
    names: list[str] = [SILENCE]
    for word in words:
        names += [*word, SILENCE]
    units, skips = [], []
    for number, name in enumerate(names):
        kind = "vowel" if _CLASS_OF[name] in _VOWELS else "other"
        states = 1 if name == SILENCE else _LEAST_FRAMES[kind]
        units += [number] * states
        skips += [name == SILENCE] * states
    return names, np.array(units), np.array(skips)


def _search(scores: np.ndarray, kinds: np.ndarray, skips: np.ndarray) -> np.ndarray:
    """(T,) the likeliest state of every step, for scores (T, classes) and the classes (S,) of the states: every state
    but pauses is passed through in order."""
    steps, states = len(scores), len(kinds)
    back = np.zeros((steps, states), np.int8)
    entry = np.where(skips, ENTER_PAUSE, 0.0)
    over = np.concatenate([[False, False], skips[1:-1]])  # the state before may be left out
    best = np.full(states, -np.inf)
    best[:2] = scores[0, kinds[:2]]
    for step in range(1, steps):
        one = np.concatenate([[-np.inf], best[:-1]]) + entry
        two = np.where(over, np.concatenate([[-np.inf, -np.inf], best[:-2]]), -np.inf)
        options = np.stack([best + STAY, one, two])
        back[step] = options.argmax(axis=0)
        best = options.max(axis=0) + scores[step, kinds]
    path = np.empty(steps, int)
    state = states - 1 if best[-1] >= best[-2] else states - 2
    for step in range(steps - 1, -1, -1):
        path[step] = state
        state -= int(back[step, state])
    return path


def _first_look(spectrum: Spectrum, speaking: np.ndarray) -> np.ndarray:
    """(T, classes) scores from loudness, hiss, dips and voicing."""
    level = uniform_filter1d(spectrum.speech_level, 3)
    spoken = level[speaking] if speaking.any() else level
    low, high = np.percentile(spoken, [5, 95])
    loud = np.clip((level - low) / max(high - low, 6.0), -0.5, 1.2)
    bright = spectrum.level_between(2500, 7600) - spectrum.level_between(200, 900)
    hiss = np.clip((bright - np.median(bright[speaking] if speaking.any() else bright)) / 10.0, -1, 2)
    middle = spectrum.level_between(500, 3500)
    dip = np.clip((uniform_filter1d(middle, FRAMES_PER_SECOND // 4) - middle) / 8.0, -1, 2)
    front = spectrum.level_between(1700, 3200) - spectrum.level_between(250, 900)
    front = np.clip((front - np.median(front)) / 10.0, -1, 1)
    voiced = spectrum.voicing
    quiet = np.where(speaking, 0.0, 1.0)
    scores = np.zeros((len(level), len(_CLASSES)))
    scores[:, _PAUSE] = 2.5 * quiet - 3.0 * np.maximum(loud, 0)
    for number, lean in zip(_VOWELS, (0.0, 0.6, -0.6), strict=True):
        scores[:, number] = 2.5 * loud - np.maximum(hiss, 0) + voiced + lean * front - 3.0 * quiet - 0.5
    murmur = voiced - np.maximum(hiss, 0) - 1.5 * np.abs(loud - 0.5) + 0.5 * dip - 2.0 * quiet
    scores[:, _NASAL], scores[:, _LIQUID] = murmur + 0.3 * dip + 0.3, murmur - 0.3 * dip + 0.5
    scores[:, _STOP] = 1.5 * dip - loud - 0.5 * quiet + 0.5
    scores[:, _HISS] = 2.0 * hiss - voiced - 1.0 * quiet + 0.5
    scores[:, _BREATH] = 0.8 * hiss - 0.8 * loud - 0.5 * voiced - 0.5 * quiet + 0.5
    return scores


def _features(spectrum: Spectrum) -> np.ndarray:
    """(T, 2 * CEPSTRA + 1) of unit spread: cepstra, their slopes, voicing."""
    bands = np.maximum(spectrum.bands, np.percentile(spectrum.bands, 95) - 14.0)
    cepstra = dct(bands, axis=1, norm="ortho")[:, :CEPSTRA]
    slopes = np.gradient(uniform_filter1d(cepstra, 3, axis=0), axis=0)
    found = np.concatenate([cepstra, slopes, spectrum.voicing[:, None]], axis=1)
    return (found - found.mean(axis=0)) / (found.std(axis=0) + 1e-6)


def _learned(features: np.ndarray, classes: np.ndarray, speaking: np.ndarray) -> np.ndarray:
    """(T, classes) log likelihoods of a normal distribution per class, as the last alignment (T,) tells them apart."""
    scores = np.full((len(features), len(_CLASSES)), -30.0)
    whole = features.var(axis=0)
    for number in range(len(_CLASSES)):
        mine = features[classes == number]
        if len(mine) < 3:
            continue
        share = len(mine) / (len(mine) + 20.0)  # a class that is hardly seen looks like everything
        mean, var = share * mine.mean(axis=0), share * mine.var(axis=0) + (1 - share) * whole + 0.05
        scores[:, number] = -0.5 * (((features - mean) ** 2) / var + np.log(var)).sum(axis=1)
    scores = 0.25 * scores  # neighbouring steps and features tell the same thing many times over
    scores[:, _PAUSE] += np.where(speaking, -2.0, 1.0)
    return scores


def _phones(names: Sequence[str], places: np.ndarray) -> tuple[Phone, ...]:
    edges = np.concatenate([[0], np.flatnonzero(np.diff(places)) + 1, [len(places)]])
    return tuple(
        Phone(names[places[a]], float(a) / FRAMES_PER_SECOND, float(b) / FRAMES_PER_SECOND)
        for a, b in itertools.pairwise(edges)
    )
