"""Phones, voice activity, mouth curves, and the order in which frames are shown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.talking.phones import Phone, number_words, spelled_sounds, spoken_words
from pipelines.talk.schedule import back_and_forth, frame_count
from pipelines.talk.spectrum import analyse
from pipelines.talk.speech import ENVELOPE_STEPS, envelope_of
from pipelines.talk.visemes import mouth_curves, silent
from pipelines.talk.voice_activity import features, find_speech
from tests.talk.conftest import RATE, babble


@given(st.integers(0, 999_999))
def test_numbers_are_spoken(value: int) -> None:
    words = number_words(value)
    assert words and all(w.isalpha() for w in words)


def test_words_of_a_transcript() -> None:
    assert spoken_words("It\u2019s 42, OK?") == ["it's", "forty", "two", "ok"]
    assert spelled_sounds("shiny").split()[0] == "SH"
    assert spelled_sounds("\u4f60") == ""


def test_speech_is_told_from_music_noise_and_silence() -> None:
    rng = np.random.default_rng(0)
    time = np.arange(6 * RATE) / RATE
    chord = sum(np.sin(2 * np.pi * f * time) for f in (220, 277, 330)) * 0.1
    melody = np.sin(2 * np.pi * np.cumsum(np.repeat([220, 262, 330, 392] * 3, RATE // 2)) / RATE) * 0.2
    assert find_speech(analyse(babble(6.0))).speaking.mean() > 0.3
    for sound in (chord, melody, rng.normal(0, 0.1, 6 * RATE), np.zeros(6 * RATE)):
        assert find_speech(analyse(sound.astype(np.float32))).speaking.mean() < 0.05


def test_speech_through_a_telephone_is_speech() -> None:
    """Nothing above 4 kHz: the bands there are empty all the time, which is not what makes music steady."""
    sound = babble(6.0)
    tones = np.fft.rfft(sound)
    tones[round(len(sound) / RATE * 3400) :] = 0
    cut = np.fft.irfft(tones, len(sound)).astype(np.float32)
    steady, steady_cut = (np.median(features(analyse(part))["steady"]) for part in (sound, cut))
    assert steady_cut < steady + 0.06


@given(st.integers(0, 3000))
def test_any_length_of_sound(count: int) -> None:
    spectrum = analyse(np.zeros(count, np.float32))
    assert len(spectrum.bands) == len(spectrum.speech_power) == max(1, count // 160)


def test_windows_do_not_depend_on_where_blocks_end() -> None:
    """The 3000 frames of a block and the next block's first ones are those of the sound around them."""
    sound = np.random.default_rng(0).normal(0, 0.1, 3100 * 160).astype(np.float32)
    whole, part = analyse(sound), analyse(sound[2900 * 160 :])
    np.testing.assert_allclose(whole.bands[2910:3090], part.bands[10:190], atol=1e-5)


@given(st.integers(0, 20_000))
def test_the_envelope_reaches_as_far_as_the_sound(count: int) -> None:
    sound = np.linspace(-1.0, 0.5, count, dtype=np.float32)
    envelope = envelope_of(sound)
    assert len(envelope) <= ENVELOPE_STEPS
    assert count == 0 or envelope.max() == 1.0


def _curves(phones: list[Phone], seconds: float = 2.0):
    count = round(seconds * 100)
    return mouth_curves(phones, seconds, np.full(count, 0.7), np.ones(count, bool))


@pytest.mark.parametrize("name", ["P", "B", "M"])
def test_lips_meet_between_vowels(name: str) -> None:
    curves = _curves([Phone("AA", 0.3, 0.6), Phone(name, 0.6, 0.68), Phone("AA", 0.68, 1.0)])
    frames = curves.at(np.arange(0, 2, 0.04), 0.04)
    shut = frames[15:17]  # 0.60 .. 0.68
    assert shut[:, 0].max() < 0.05 and shut[:, 2].min() > 0.9
    assert frames[11, 0] > 0.5 and frames[20, 0] > 0.5


def test_vowels_have_their_heights_and_widths() -> None:
    def middle(name: str) -> np.ndarray:
        return _curves([Phone(name, 0.5, 1.5)]).at(np.array([1.0]), 0.04)[0]

    assert middle("AA")[0] > middle("EH")[0] > middle("IY")[0] > middle("SIL")[0]
    assert middle("IY")[1] > 0.3 > -0.3 > middle("UW")[1]


def test_silence_is_closed() -> None:
    assert not silent(1.0).values.any()


@given(st.integers(2, 40), st.integers(1, 300), st.sampled_from([24.0, 25.0, 30.0, 60.0]))
def test_back_and_forth(frames: int, count: int, fps: float) -> None:
    order = back_and_forth(np.arange(frames) / fps, count, fps)
    assert len(order) == count and order[0] == 0 and order.max() < frames
    assert np.abs(np.diff(order)).max(initial=0) <= 1
    assert not (np.diff(order) == 0).any()  # an even source moves on with every frame
    if count >= 2 * frames:
        assert set(order) == set(range(frames))


def test_length_follows_the_sound() -> None:
    assert frame_count(6.0, 25) == 150
    assert frame_count(0.001, 25) == 1
