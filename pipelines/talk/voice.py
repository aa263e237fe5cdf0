"""Text to speech through espeak-ng, where it is installed: a separate program under the GPL, never linked."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from models.runtime.errors import EngineUnavailable, InputError

PROGRAM = "espeak-ng"
SECONDS = 120.0


def installed() -> bool:
    return shutil.which(PROGRAM) is not None


def speak(text: str, target: Path, language: str = "") -> Path:
    """Writes ``text`` spoken as a WAV file.

    Raises:
        EngineUnavailable: the program is not installed, or failed.
        InputError: there is nothing to say.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise EngineUnavailable(
            "Text can only be spoken where espeak-ng is installed (apt install espeak-ng); record or upload a voice"
        )
    if not text.strip():
        raise InputError("There is no text to say")
    voice = language or ("cmn" if any("\u4e00" <= c <= "\u9fff" for c in text) else "en-us")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        # The text goes through a pipe: nothing of it can be taken for an option or a file.
        done = subprocess.run(
            [program, "-v", voice, "-s", "155", "-w", str(target.absolute()), "--stdin"],
            input=text.encode(),
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineUnavailable("espeak-ng did not finish in time; use a shorter text") from error
    if done.returncode != 0 or not target.is_file() or target.stat().st_size < 1000:
        raise EngineUnavailable("espeak-ng could not speak this text; record or upload a voice instead")
    return target
