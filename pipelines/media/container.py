"""Opening untrusted video and audio: local files, demuxers chosen by content from a whitelist, a clock on the work.

FFmpeg would otherwise pick a demuxer itself, and some of them (playlists, ``concat``, image sequences) open further
files and addresses named inside the file.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError

from models.runtime.errors import InputError, LimitExceeded
from models.runtime.settings import Limits
from pipelines.media.sniff import describe, sniff

VIDEO_FORMATS = {"mov": "mov", "matroska": "matroska", "avi": "avi", "mpegts": "mpegts", "gif": "gif", "ogg": "ogg"}
AUDIO_FORMATS = {
    **{name: demuxer for name, demuxer in VIDEO_FORMATS.items() if name != "gif"},
    "wav": "wav",
    "mp3": "mp3",
    "flac": "flac",
    "aac": "aac",
    "aiff": "aiff",
    "caf": "caf",
}
VIDEO_ADVICE = "use an MP4, MOV, WEBM, MKV, AVI, TS or GIF video"
AUDIO_ADVICE = "use WAV, MP3, M4A, FLAC, OGG or a video with sound"
SECONDS_PER_MEDIA_SECOND = 4.0  # how much slower than real time decoding may be beyond ``limits.decode_seconds``


class DecodeClock:
    """Adds up the seconds spent inside the decoder, not those of the consumer, and refuses more than it was given."""

    def __init__(self, name: str, limits: Limits, media_seconds: float = 0.0) -> None:
        self.name = name
        self.allowed = limits.decode_seconds + SECONDS_PER_MEDIA_SECOND * min(media_seconds, limits.video_seconds)
        self.spent = 0.0
        self._since = time.monotonic()

    def start(self) -> None:
        self._since = time.monotonic()

    def tick(self) -> None:
        """Adds the time since ``start`` or the last tick. Raises LimitExceeded when the file takes too long."""
        now = time.monotonic()
        self.spent += now - self._since
        self._since = now
        if self.spent > self.allowed:
            raise LimitExceeded(
                f"{self.name} took longer than {self.allowed:.0f} s to decode; convert it to H.264 at a smaller size"
            )


@contextmanager
def open_media(path: Path, limits: Limits, formats: dict[str, str], advice: str) -> Iterator[InputContainer]:
    """The opened container of a local file whose content is of one of ``formats`` (sniffed name -> demuxer).

    Raises:
        InputError: of another kind, damaged or incomplete; the message names the file and ``advice``.
    """
    path = Path(path)
    found = sniff(path)
    demuxer = formats.get(found.format)
    if demuxer is None:
        raise InputError(f"{path.name} is {describe(found)}, which cannot be used here; {advice}")
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": ",".join(sorted(set(formats.values()))) + ",mov,mp4,m4a,3gp,3g2,mj2,webm",
        "max_pixels": str(limits.video_side * limits.video_side),
    }
    try:
        container = av.open(
            f"file:{path.absolute()}",
            format=demuxer,
            options=options,
            metadata_errors="replace",
            timeout=(limits.decode_seconds, limits.decode_seconds),
        )
    except FFmpegError as error:
        raise InputError(f"{path.name} is damaged or incomplete and cannot be opened; {advice}") from error
    try:
        yield container
    finally:
        container.close()
