"""Voices and transcripts of other languages: spelling to sounds, timing by the text, and what does not fit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from models.talking.ipa import arpabet
from models.talking.phones import SILENCE, Phone
from pipelines.talk import voice
from pipelines.talk.spectrum import analyse
from pipelines.talk.speech import fits
from pipelines.talk.text_timing import timed
from pipelines.talk.visemes import mouth_curves
from pipelines.talk.voice_activity import Activity, find_speech
from tests.talk.conftest import babble

needs_program = pytest.mark.skipif(not voice.installed(), reason="espeak-ng is not installed")


@pytest.mark.parametrize(
    ("spelling", "sounds"),
    [
        ("m\u02c8\u0251\u02d0m\u0259", "M AA M AH"),
        ("t\u0283\u02c8\u0251\u026az", "CH AY Z"),
        ("b\u0254\u0303", "B AO N"),
        ("\u02c8y\u02d0b\u025c", "UW B ER"),
    ],
)
def test_phonetic_spellings_become_sounds(spelling: str, sounds: str) -> None:
    assert " ".join(arpabet(spelling)) == sounds


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Hello there, 42!", "en"),
        ("\u4f60\u597d OK", "zh"),
        ("\u3053\u3093\u306b\u3061\u306f\u4e16\u754c", "ja"),
        ("\u041f\u0440\u0438\u0432\u0435\u0442", "ru"),
        ("", "en"),
    ],
)
def test_the_alphabet_tells_the_language(text: str, language: str) -> None:
    assert voice.language_of(text) == language
    assert voice.language_of(text, "fr") == "fr"


@needs_program
def test_chinese_is_pronounced_as_chinese() -> None:
    words = voice.pronounced("\u5988\u5988\u8dd1\u6b65")  # mother runs
    assert [word[0] for word in words] == ["M", "M", "P", "P"]


def test_timed_sounds_follow_the_text_and_fill_the_recording() -> None:
    sound = babble(3.0)
    spectrum = analyse(sound)
    words = [("M", "AA"), ("S", "IY"), ("P", "UW", "T")]
    phones = timed(words, spectrum, find_speech(spectrum).speaking)
    assert [p.name for p in phones if p.name != SILENCE] == [name for word in words for name in word]
    assert phones[0].start == 0 and phones[-1].end == pytest.approx(3.0)
    assert all(a.end == b.start for a, b in itertools.pairwise(phones))
    assert timed(words * 100, spectrum, find_speech(spectrum).speaking) == ()


def test_squeezed_and_drawn_out_texts_do_not_fit() -> None:
    activity = Activity(np.ones(200, bool), np.ones(200))
    even = tuple(Phone("AA", 0.1 * k, 0.1 * k + 0.1) for k in range(20))
    assert fits(even, activity)
    assert not fits(tuple(Phone("AA", 0.03 * k, 0.03 * k + 0.03) for k in range(60)), activity)
    assert not fits((Phone("AA", 0.0, 2.0),), activity)
    assert not fits(even[:5], activity)
    assert not fits((), activity)


def test_a_misheard_stop_still_closes_the_lips() -> None:
    phones = [Phone("AA", 0.3, 0.6), Phone("D", 0.6, 0.68), Phone("AA", 0.68, 1.0)]
    closing = np.zeros(150)
    closing[60:68] = 1.0
    loud, speaking = np.full(150, 0.7), np.ones(150, bool)
    sure = mouth_curves(phones, 1.5, loud, speaking).values[64]
    unsure = mouth_curves(phones, 1.5, loud, speaking, closing).values[64]
    assert sure[2] == 0 and unsure[2] > 0.9 and unsure[0] < 0.1 < sure[0]
