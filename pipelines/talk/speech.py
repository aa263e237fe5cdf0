"""What the mouth should do for a recording: voice activity, phones by the best way there is, curves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d, uniform_filter1d

from models.runtime.errors import EngineUnavailable
from models.runtime.settings import Limits
from models.talking.phones import RATE, SILENCE, Phone, PhoneRecognizer, Word
from pipelines.media.audio import read_audio
from pipelines.talk import voice
from pipelines.talk.spectrum import FRAMES_PER_SECOND, Spectrum, analyse
from pipelines.talk.text_timing import timed
from pipelines.talk.visemes import MouthCurves, mouth_curves, silent, sound_curves
from pipelines.talk.voice_activity import Activity, find_speech

Method = Literal["auto", "words", "phones", "sound"]
TRUSTED_CONFIDENCE = 0.55  # mean word confidence from which recognised English words are believed
ENVELOPE_STEPS = 3000
FITTING = 0.6  # share of the speech that an aligned text must fill, and the other way round
SHORTEST_SOUND, LONGEST_SOUND = 0.035, 0.6  # seconds: a text that fits has few sounds outside of these
PADDING = 0.25  # seconds of silence that recognisers like around an utterance
LONGEST_WORDS = 240.0  # seconds of speech up to which words are recognised; the phone loop is four times as fast


@dataclass(frozen=True)
class Speech:
    """A recording understood. ``method`` is transcript, words, phones, sound or silence; ``words`` what was recognised.

    ``seconds`` is the exact length; ``share`` of it is spoken. ``warnings`` are for the user. ``envelope`` (N,) is the
    largest sample of even steps of the recording, ``ENVELOPE_STEPS`` at most, to be drawn.
    """

    seconds: float
    curves: MouthCurves
    phones: tuple[Phone, ...]
    words: tuple[Word, ...]
    activity: Activity
    method: str
    share: float
    warnings: tuple[str, ...] = ()
    envelope: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


def listen(
    path: Path,
    limits: Limits,
    transcript: str = "",
    method: Method = "auto",
    seconds: float = 0.0,
    told: Callable[[float, float], None] = lambda done, total: None,
    language: str = "auto",
) -> Speech:
    """Reads a recording (its first ``seconds`` if given) and finds its mouth curves; ``told(done, total)`` in seconds,
    ``language`` of the transcript.

    Raises:
        InputError, LimitExceeded: no sound in the file, or too much.
    """
    # A transcript is that of the whole recording, however little of it is asked for.
    samples = read_audio(path, RATE, limits, 0.0, None if transcript.strip() else seconds or None)
    speech = understand(samples, transcript, method, told, language)
    kept = samples[: round(seconds * RATE)] if seconds else samples
    return replace(_first(speech, len(kept) / RATE), envelope=envelope_of(kept))


def _first(speech: Speech, seconds: float) -> Speech:
    """The beginning of a recording that is understood."""
    if seconds >= speech.seconds:
        return speech
    count = max(1, round(seconds * FRAMES_PER_SECOND))
    activity = Activity(speech.activity.speaking[:count], speech.activity.likeness[:count])
    phones = tuple(replace(p, end=min(p.end, seconds)) for p in speech.phones if p.start < seconds)
    words = tuple(w for w in speech.words if w.start < seconds)
    share = float(activity.speaking.mean()) if len(activity.speaking) else 0.0
    curves = MouthCurves(speech.curves.values[:count])
    return replace(speech, seconds=seconds, curves=curves, phones=phones, words=words, activity=activity, share=share)


def envelope_of(samples: np.ndarray) -> np.ndarray:
    """How far a recording (N,) swings in even steps of it, ``ENVELOPE_STEPS`` at most."""
    step = max(1, -(-len(samples) // ENVELOPE_STEPS))
    blocks = samples[: len(samples) // step * step].reshape(-1, step)
    return np.maximum(blocks.max(axis=1), -blocks.min(axis=1)) if len(blocks) else np.zeros(0)


def understand(
    samples: np.ndarray,
    transcript: str = "",
    method: Method = "auto",
    told: Callable[[float, float], None] = lambda done, total: None,
    language: str = "auto",
) -> Speech:
    """Mouth curves of mono float32 samples (N,) at 16 kHz."""
    length = len(samples) / RATE
    spectrum = analyse(samples)
    activity = find_speech(spectrum)
    share = float(activity.speaking.mean()) if len(activity.speaking) else 0.0
    if share * length < 0.15:
        note = "No speech was heard, so the mouth stays closed; check the recording if that is not what you expect"
        return Speech(length, silent(length), (), (), activity, "silence", share, (note,))
    loudness = relative_loudness(spectrum, activity)
    phones: tuple[Phone, ...] = ()
    words: tuple[Word, ...] = ()
    used, notes = "sound", []
    if method != "sound":
        recognizer = PhoneRecognizer()
        if transcript.strip():
            phones, note = _aligned(recognizer, samples, spectrum, activity, transcript, language)
            used, notes = "transcript", [note] if note else []
        if not phones:
            phones, words, used = _recognised(recognizer, samples, activity, method, told)
    if phones:
        unsure = closings(spectrum) if used == "phones" else None
        curves = mouth_curves(phones, length, loudness, activity.speaking, unsure)
    else:
        curves = sound_curves(length, loudness, activity.speaking, brightness(spectrum, activity), closings(spectrum))
        used = "sound"
    return Speech(length, curves, phones, words, activity, used, share, tuple(notes))


def _aligned(
    recognizer: PhoneRecognizer, samples: np.ndarray, spectrum: Spectrum, activity: Activity, transcript: str,
    language: str,
) -> tuple[tuple[Phone, ...], str]:  # fmt: skip
    """Phones of a known text, or none and why."""
    instead = ", so the sounds were recognised instead"
    if voice.language_of(transcript, language) == "en":
        phones = _shifted(recognizer.align(_padded(samples), transcript), -PADDING)
        if fits(phones, activity):
            return phones, ""
        words = recognizer.sounds(transcript)
    else:
        try:
            words = voice.pronounced(transcript, language)
        except EngineUnavailable as error:
            return (), f"The transcript was not used ({error.message}){instead}"
    phones = timed(words, spectrum, activity.speaking)
    if not fits(phones, activity):
        return (), f"The transcript does not fit the recording{instead}"
    return phones, ""


def fits(phones: tuple[Phone, ...], activity: Activity) -> bool:
    """Whether aligned sounds are spread over the speech as sounds are: a wrong text is squeezed or drawn out."""
    sounds = [p for p in phones if p.name != SILENCE]
    if not sounds:
        return False
    lengths = np.array([p.end - p.start for p in sounds])
    spoken = np.zeros(len(activity.speaking), bool)
    for phone in sounds:
        spoken[int(phone.start * FRAMES_PER_SECOND) : int(phone.end * FRAMES_PER_SECOND)] = True
    both = float((spoken & activity.speaking).sum())
    covered = both / max(activity.speaking.sum(), 1)
    squeezed = float((lengths < SHORTEST_SOUND).mean())
    drawn_out = float(lengths[lengths > LONGEST_SOUND].sum() / lengths.sum())
    return covered >= FITTING and both / max(spoken.sum(), 1) >= FITTING and squeezed < 0.5 and drawn_out < 0.25


def _recognised(
    recognizer: PhoneRecognizer,
    samples: np.ndarray,
    activity: Activity,
    method: Method,
    told: Callable[[float, float], None],
) -> tuple[tuple[Phone, ...], tuple[Word, ...], str]:
    """Phones of every stretch: from its words where they are believed, else from the phone loop."""
    stretches = activity.stretches()
    total = sum(end - start for start, end in stretches)
    try_words = method == "words" or (method == "auto" and total <= LONGEST_WORDS)
    done, by_words = 0.0, 0.0
    phones: list[Phone] = []
    words: list[Word] = []
    for start, end in stretches:
        first = max(0.0, start - PADDING)
        part = samples[int(first * RATE) : int((end + PADDING) * RATE)]
        found: tuple[Phone, ...] = ()
        if try_words:
            heard = recognizer.words(part)
            if method == "words" or believed(heard):
                found = recognizer.align(part, " ".join(w.text for w in heard))
                words += [Word(w.text, w.start + first, w.end + first, w.confidence) for w in heard]
            elif done + end - start > 6.0 and by_words == 0.0:
                try_words = False  # another language: the words will not be right later either
        if found:
            by_words += end - start
        else:
            found = recognizer.loop(part)
        phones += _shifted(found, first)
        done += end - start
        told(done, total)
    return tuple(phones), tuple(words), "words" if by_words > 0.5 * total else "phones"


def believed(words: tuple[Word, ...]) -> bool:
    """Whether recognised words are probably what was said: their confidence, weighted by length."""
    spans = np.array([w.end - w.start for w in words])
    if not len(spans):
        return False
    return float((spans * [w.confidence for w in words]).sum() / spans.sum()) >= TRUSTED_CONFIDENCE


def _padded(samples: np.ndarray) -> np.ndarray:
    quiet = np.random.default_rng(0).normal(0, 1e-4, round(PADDING * RATE)).astype(np.float32)
    return np.concatenate([quiet, samples, quiet])


def _shifted(phones: tuple[Phone, ...], by: float) -> tuple[Phone, ...]:
    return tuple(Phone(p.name, max(0.0, p.start + by), max(0.0, p.end + by)) for p in phones)


def relative_loudness(spectrum: Spectrum, activity: Activity) -> np.ndarray:
    """(T,) 0..1: level between the quiet and the loud speech of this recording."""
    level = uniform_filter1d(spectrum.speech_level, 3)
    spoken = level[activity.speaking]
    low, high = (np.percentile(spoken, 8), np.percentile(spoken, 95)) if len(spoken) else (-60.0, -20.0)
    return np.clip((level - low + 4.0) / max(high - low + 4.0, 6.0), 0.0, 1.0)


def brightness(spectrum: Spectrum, activity: Activity) -> np.ndarray:
    """(T,) -1..1: spectral tilt around the recording's own; "ee" is bright, "oo" is dark."""
    tilt = spectrum.level_between(1500, 3500) - spectrum.level_between(200, 900)
    tilt = gaussian_filter1d(tilt, 3.0)
    spoken = tilt[activity.speaking]
    if not len(spoken):
        return np.zeros_like(tilt)
    return np.clip((tilt - np.median(spoken)) / (2.0 * spoken.std() + 1e-6), -1.0, 1.0)


def closings(spectrum: Spectrum) -> np.ndarray:
    """(T,) 0..1: moments in which the lips are likely shut.

    A stop is a short dip of the middle band far under its surroundings; a nasal murmur keeps its low band while the
    middle band falls.
    """
    middle, low = spectrum.level_between(500, 3500), spectrum.level_between(100, 350)
    hiss = spectrum.level_between(2500, 7600) - spectrum.level_between(200, 900)
    around = uniform_filter1d(np.maximum(middle, np.percentile(middle, 30)), FRAMES_PER_SECOND // 4)
    dip = np.clip((around - middle - 7.0) / 8.0, 0.0, 1.0)
    murmur = np.clip((low - middle - 9.0) / 8.0, 0.0, 1.0) * np.clip((around - middle - 3.0) / 5.0, 0.0, 1.0)
    # Where it hisses, air comes through.
    shut = np.maximum(dip, murmur) * np.clip((4.0 - hiss) / 6.0, 0, 1)
    # Lips are still shut when the sound already changes.
    return np.clip(1.25 * gaussian_filter1d(maximum_filter1d(shut, 5), 1.2), 0, 1)
