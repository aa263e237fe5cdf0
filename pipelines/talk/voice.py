"""Text to speech, and how words sound, through espeak-ng where it is installed: a separate program under the GPL,
never linked."""

from __future__ import annotations

import re
import shutil
import subprocess
import unicodedata
from collections import Counter
from pathlib import Path

from models.runtime.errors import EngineUnavailable, InputError
from models.talking.ipa import arpabet

PROGRAM = "espeak-ng"
SECONDS = 120.0
# The program's voices; where two are named, the first that it knows. Its "cmn" reads Chinese out as English spelling.
_VOICES = {
    "en": ("en-us",), "zh": ("cmn-latn-pinyin", "cmn"), "yue": ("yue",), "ja": ("ja",), "ko": ("ko",), "ru": ("ru",),
    "ar": ("ar",), "hi": ("hi",), "el": ("el",), "he": ("he",), "th": ("th",), "de": ("de",), "fr": ("fr-fr",),
    "es": ("es",), "it": ("it",), "pt": ("pt-br",), "nl": ("nl",), "pl": ("pl",), "tr": ("tr",), "vi": ("vi",),
}  # fmt: skip
_SCRIPTS = {
    "CJK": "zh", "HIRAGANA": "ja", "KATAKANA": "ja", "HANGUL": "ko", "CYRILLIC": "ru", "ARABIC": "ar",
    "DEVANAGARI": "hi", "GREEK": "el", "HEBREW": "he", "THAI": "th", "LATIN": "en",
}  # fmt: skip
_OTHER_ALPHABETS = 0.2  # share of letters from which a text with Latin words in it counts as the other language


def installed() -> bool:
    return shutil.which(PROGRAM) is not None


def language_of(text: str, chosen: str = "auto") -> str:
    """The language ``chosen``, or the likeliest one of the text's letters; Latin letters count as English."""
    if chosen != "auto":
        return chosen
    letters = Counter(_SCRIPTS.get(unicodedata.name(c, "").split(" ")[0], "en") for c in text if c.isalpha())
    others = {name: count for name, count in letters.items() if name != "en"}
    if sum(others.values()) <= _OTHER_ALPHABETS * letters.total():
        return "en"
    return "ja" if "ja" in others else max(others, key=lambda name: others[name])


def speak(text: str, target: Path, language: str = "auto") -> Path:
    """Writes ``text`` spoken as a WAV file.

    Raises:
        EngineUnavailable: the program is not installed, or failed.
        InputError: there is nothing to say.
    """
    if not installed():
        raise EngineUnavailable(
            "Text can only be spoken where espeak-ng is installed (apt install espeak-ng); record or upload a voice"
        )
    if not text.strip():
        raise InputError("There is no text to say")
    target.parent.mkdir(parents=True, exist_ok=True)
    _told(text, language_of(text, language), ["-s", "155", "-w", str(target.absolute())])
    if not target.is_file() or target.stat().st_size < 1000:
        raise EngineUnavailable("espeak-ng could not speak this text; record or upload a voice instead")
    return target


def pronounced(text: str, language: str = "auto") -> tuple[tuple[str, ...], ...]:
    """How each word of a text sounds, in ARPAbet.

    Raises:
        EngineUnavailable: the program is not installed, or failed.
    """
    language = language_of(text, language)
    said = re.sub(r"\([a-z-]+\)", " ", _told(text, language, ["-q", "--ipa", "--sep= "]))
    if language == "zh":
        said = said.replace("\u025c", "")  # here a tone, not a vowel
    words = (arpabet(word.replace(" ", "")) for word in re.split(r"\s{2,}|\n", said))
    return tuple(word for word in words if word)


def _told(text: str, language: str, arguments: list[str]) -> str:
    """Runs the program; what it prints."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise EngineUnavailable("espeak-ng is not installed (apt install espeak-ng)")
    for voice in _VOICES[language]:
        try:
            # The text goes through a pipe: nothing of it can be taken for an option or a file.
            done = subprocess.run(
                [program, "-v", voice, *arguments, "--stdin"],
                input=text.encode(),
                capture_output=True,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise EngineUnavailable("espeak-ng did not finish in time; use a shorter text") from error
        if done.returncode == 0:
            return done.stdout.decode(errors="replace")
    raise EngineUnavailable("espeak-ng could not speak this text; record or upload a voice instead")
