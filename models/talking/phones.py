"""Timed phones of speech by pocketsphinx and the English acoustic model its wheel carries.

Three ways, best first: alignment of a known text, words by the language model, and a free phone loop, which also
follows other languages roughly. Phones are ARPAbet names without stress; times in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pocketsphinx import Decoder, get_model_path

RATE = 16000
FRAME_SECONDS = 0.01
SILENCE = "SIL"
_FILLERS = {"<s>", "</s>", "<sil>", "[NOISE]", "[SPEECH]", "SIL", "+NSN+", "+SPN+"}
# A known text whose usual search ends early is searched again more widely: some voices are odd to the model.
_WIDE = {"beam": 1e-80, "pbeam": 1e-80, "wbeam": 1e-60}
_PHONE_FILLERS = {"+NSN+": SILENCE, "+SPN+": "AH"}
# Rough spelling-to-sound for words outside the dictionary; longest spelling first.
_SPELLING = {
    "tion": "SH AH N", "ough": "AO", "igh": "AY", "sch": "SH", "tch": "CH", "ch": "CH", "sh": "SH", "th": "TH",
    "ph": "F", "wh": "W", "ck": "K", "ng": "NG", "qu": "K W", "ee": "IY", "ea": "IY", "oo": "UW", "ou": "AW",
    "ow": "OW", "oa": "OW", "ai": "EY", "ay": "EY", "ei": "AY", "ie": "IY", "oi": "OY", "oy": "OY", "au": "AO",
    "aw": "AO", "er": "ER", "ir": "ER", "ur": "ER", "ar": "AA R", "or": "AO R", "a": "AE", "b": "B", "c": "K",
    "d": "D", "e": "EH", "f": "F", "g": "G", "h": "HH", "i": "IH", "j": "JH", "k": "K", "l": "L", "m": "M", "n": "N",
    "o": "OW", "p": "P", "q": "K", "r": "R", "s": "S", "t": "T", "u": "AH", "v": "V", "w": "W", "x": "K S", "y": "IY",
    "z": "Z",
}  # fmt: skip
_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


@dataclass(frozen=True)
class Phone:
    """One sound from ``start`` to ``end`` seconds."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class Word:
    """One recognised word; ``confidence`` 0..1 is its posterior probability."""

    text: str
    start: float
    end: float
    confidence: float


class PhoneRecognizer:
    """Opens each of pocketsphinx's decoders at first need (about 0.3 s). Not for several threads at once."""

    def __init__(self) -> None:
        self._words: Decoder | None = None
        self._wide: Decoder | None = None
        self._loop: Decoder | None = None

    def words(self, samples: np.ndarray) -> tuple[Word, ...]:
        """Words of an utterance (N,) float32 at 16 kHz, by the English language model."""
        decoder = self._word_decoder()
        decoder.activate_search("_default")
        _feed(decoder, samples)
        found = []
        for part in decoder.seg() or ():
            if part.word not in _FILLERS:
                start, end = part.start_frame * FRAME_SECONDS, (part.end_frame + 1) * FRAME_SECONDS
                found.append(Word(re.sub(r"\(\d+\)$", "", part.word), start, end, min(1.0, float(part.prob))))
        return tuple(found)

    def align(self, samples: np.ndarray, text: str) -> tuple[Phone, ...]:
        """Phones of an utterance whose English words are known; empty when the text does not fit the sound."""
        for decoder in (self._word_decoder, self._wide_decoder):
            found = self._through(decoder(), samples, spoken_words(text))
            if found:
                return found
        return ()

    def _through(self, decoder: Decoder, samples: np.ndarray, text: Sequence[str]) -> tuple[Phone, ...]:
        words = self._known(decoder, text)
        if not words:
            return ()
        try:
            decoder.set_align_text(" ".join(words))
            _feed(decoder, samples)
            if decoder.hyp() is None:
                return ()
            decoder.set_alignment()
            _feed(decoder, samples)
            return tuple(_aligned(decoder))
        except RuntimeError:  # no path through the text
            return ()

    def sounds(self, text: str) -> tuple[tuple[str, ...], ...]:
        """The sounds of each word of an English text, by the dictionary or the spelling."""
        decoder = self._word_decoder()
        found = (decoder.lookup_word(word) for word in self._known(decoder, spoken_words(text)))
        return tuple(tuple(word.split()) for word in found if word)

    def loop(self, samples: np.ndarray) -> tuple[Phone, ...]:
        """Phones of an utterance by the phone loop, whatever the language."""
        if self._loop is None:
            model = str(Path(get_model_path()) / "en-us" / "en-us-phone.lm.bin")
            self._loop = Decoder(
                samprate=RATE, allphone=model, lm=None, lw=2.0, beam=1e-20, pbeam=1e-20, loglevel="FATAL"
            )
        _feed(self._loop, samples)
        found = []
        for part in self._loop.seg() or ():
            name = _PHONE_FILLERS.get(part.word, part.word)
            found.append(Phone(name, part.start_frame * FRAME_SECONDS, (part.end_frame + 1) * FRAME_SECONDS))
        return tuple(found)

    def _word_decoder(self) -> Decoder:
        if self._words is None:
            self._words = Decoder(samprate=RATE, loglevel="FATAL")
        return self._words

    def _wide_decoder(self) -> Decoder:
        if self._wide is None:
            self._wide = Decoder(samprate=RATE, lm=None, loglevel="FATAL", **_WIDE)
        return self._wide

    @staticmethod
    def _known(decoder: Decoder, words: Sequence[str]) -> list[str]:
        """The words, those outside the dictionary added to it by their spelling."""
        known = []
        for word in words:
            if decoder.lookup_word(word) is None:
                sounds = spelled_sounds(word)
                if not sounds:
                    continue
                with suppress(RuntimeError):
                    decoder.add_word(word, sounds, True)
            known.append(word)
        return known


def _feed(decoder: Decoder, samples: np.ndarray) -> None:
    decoder.start_utt()
    decoder.process_raw((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()


def _aligned(decoder: Decoder) -> Iterator[Phone]:
    # The entries are views of the iterator, so they are read while it stands on them.
    for word in decoder.get_alignment() or ():
        for phone in word:
            start = phone.start * FRAME_SECONDS
            yield Phone(_PHONE_FILLERS.get(phone.name, phone.name), start, start + phone.duration * FRAME_SECONDS)


def spoken_words(text: str) -> list[str]:
    """Lower-case words as they are said: numbers spelled out, punctuation dropped."""
    words: list[str] = []
    for token in re.findall(r"[a-z']+|\d+", text.lower().replace("\u2019", "'")):
        words += number_words(int(token)) if token.isdigit() else [token.strip("'")]
    return [w for w in words if w]


def number_words(value: int) -> list[str]:
    """``1984`` -> one thousand nine hundred eighty four; digit by digit from a million on."""
    if value >= 1_000_000:
        return [_ONES[int(d)] for d in str(value)]
    if value >= 1000:
        rest = number_words(value % 1000) if value % 1000 else []
        return [*number_words(value // 1000), "thousand", *rest]
    if value >= 100:
        return [_ONES[value // 100], "hundred", *(number_words(value % 100) if value % 100 else [])]
    if value >= 20:
        return [_TENS[value // 10], *([_ONES[value % 10]] if value % 10 else [])]
    return [_ONES[value]]


def spelled_sounds(word: str) -> str:
    """A guess at the phones of an English spelling, blank-separated; empty for words without Latin letters."""
    sounds, rest = [], re.sub(r"(.)\1", r"\1", re.sub(r"[^a-z]", "", word.lower()))
    while rest:
        length = next((n for n in (4, 3, 2, 1) if rest[:n] in _SPELLING), 0)
        if not length:
            return ""
        silent = rest == "e" and len(sounds) > 1
        if not silent:
            sounds.append(_SPELLING[rest[:length]])
        rest = rest[length:]
    return " ".join(sounds)
