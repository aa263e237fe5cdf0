"""Cutting and joining finished videos on moviepy, whose ffmpeg program is a process of its own; muxing without it.

moviepy lets ffmpeg guess what a file is, so only files that ``probe`` has passed reach it. Its merge can neither choose
between two sound tracks nor put the index in front, hence ``mux`` copies packets itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

from moviepy import VideoClip, VideoFileClip, concatenate_videoclips

from models.runtime.errors import InputError
from models.runtime.settings import Limits
from pipelines.media.atomic import replacing
from pipelines.media.remux import copy_pictures
from pipelines.media.video import probe

_EVEN = "pad=ceil(iw/2)*2:ceil(ih/2)*2"


def cut(path: Path, target: Path, start: float, end: float, limits: Limits, crf: float = 18) -> Path:
    """Writes the part between ``start`` and ``end`` seconds, to the frame, with its sound, as H.264 MP4.

    Raises:
        InputError, LimitExceeded: not a video, or nothing of it lies between the two.
    """
    info = probe(path, limits)
    end = min(end, info.duration)
    if not 0 <= start < end:
        raise InputError(
            f"{Path(path).name} lasts {info.duration:.2f} s; nothing lies between {start:g} s and {end:g} s"
        )
    with VideoFileClip(str(Path(path).absolute()), audio=info.has_audio) as clip:
        _write(clip.subclipped(start, min(end, clip.duration)), Path(target), info.fps, crf)
    return Path(target)


def join(paths: Sequence[Path], target: Path, limits: Limits, crf: float = 18) -> Path:
    """Writes the videos one after the other as H.264 MP4; smaller pictures are centred on black.

    The highest of the frame rates is used.

    Raises:
        InputError, LimitExceeded: no videos, one that cannot be read, or more seconds than the limit together.
    """
    if not paths:
        raise InputError("There is nothing to join; choose at least one video")
    infos = [probe(path, limits) for path in paths]
    seconds = sum(info.duration for info in infos)
    if seconds > limits.video_seconds:
        raise InputError(
            f"Together the videos last {seconds:.0f} s, more than the {limits.video_seconds:.0f} s allowed"
        )
    with ExitStack() as stack:
        clips = [
            stack.enter_context(VideoFileClip(str(Path(path).absolute()), audio=info.has_audio))
            for path, info in zip(paths, infos, strict=True)
        ]
        _write(concatenate_videoclips(clips, method="compose"), Path(target), max(i.fps for i in infos), crf)
    return Path(target)


def _write(clip: VideoClip, target: Path, fps: Fraction, crf: float) -> None:
    with replacing(target) as temporary:
        try:
            clip.write_videofile(
                str(temporary),
                fps=float(fps),
                codec="libx264",
                preset="veryfast",
                audio_codec="aac",
                temp_audiofile_path=str(temporary.parent),
                pixel_format="yuv420p",
                ffmpeg_params=["-crf", f"{crf:g}", "-vf", _EVEN, "-movflags", "+faststart"],
                logger=None,
            )
        except OSError as error:
            raise InputError(f"{target.name} could not be encoded; the input is damaged") from error


def mux(video: Path, audio: Path, target: Path, limits: Limits, audio_start: float = 0.0) -> Path:
    """Writes the pictures of ``video``, copied bit for bit, with the sound of ``audio`` in place of any of its own.

    The sound is copied too where MP4 can hold its codec, else encoded as AAC; ``audio_start`` is the time in it that
    falls on the first picture. It is cut where it goes on for long after the last picture.

    Raises:
        InputError, LimitExceeded: one of the files cannot be read.
    """
    probe(video, limits)
    with replacing(Path(target)) as temporary:
        copy_pictures(video, temporary, limits, audio, audio_start)
    return Path(target)
