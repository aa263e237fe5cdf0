"""Reading videos as a stream of upright RGB frames by timestamp; the whole video is never held."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import count, pairwise
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame

from models.runtime.errors import InputError
from models.runtime.settings import Limits
from pipelines.media.container import VIDEO_ADVICE
from pipelines.media.decode import HIGHEST_RATE, Orientation, Source, open_video
from pipelines.media.queues import BackgroundWriter, in_order, prefetch
from pipelines.media.writer import VideoWriter

__all__ = ["BackgroundWriter", "Frame", "VideoInfo", "VideoReader", "VideoWriter", "in_order", "prefetch", "probe"]

_TIME_EPS = 1e-4
_FAR_SECONDS = 2.0  # beyond this it pays to jump instead of decoding what lies between


@dataclass(frozen=True)
class VideoInfo:
    """What ``probe`` found. Sizes in pixels as displayed, times in seconds on the file's own time line.

    ``rotation`` is the clockwise turn in degrees (0, 90, 180, 270) that the reader applies; ``start`` the time of the
    first frame (not 0 where sound begins earlier); ``variable`` tells a varying frame rate, ``fps`` is then the mean;
    ``complete`` is False when the file ends before its index says.
    """

    width: int
    height: int
    fps: Fraction
    frames: int
    duration: float
    rotation: int
    has_audio: bool
    codec: str = ""
    start: float = 0.0
    variable: bool = False
    complete: bool = True


@dataclass(frozen=True)
class Frame:
    """One frame: ``index`` counts the frames handed out, ``time`` in seconds, ``rgb`` (H, W, 3) uint8 upright."""

    index: int
    time: float
    rgb: np.ndarray


def probe(path: Path, limits: Limits) -> VideoInfo:
    """Reads the timestamps of all packets and decodes one frame.

    Raises:
        InputError: not a video, damaged, or no frame can be decoded.
        LimitExceeded: too large or too long.
    """
    path = Path(path)
    with open_video(path, limits) as source:
        scan = source.scan()
        fps, variable = scan.rate(source.rate, source.base)
        has_audio, codec = bool(source.container.streams.audio), source.stream.codec_context.codec.canonical_name
    with open_video(path, limits) as source:
        first = next(source.frames(), None)
        if first is None or not scan.pts:
            raise _no_frame(path)
        turn = Orientation.of(first[1])
        width, height = source.coded_size(first[1])
        start = source.seconds(scan.pts[0])
        length = (scan.pts[-1] - scan.pts[0] + scan.last_duration) * source.base or 1 / fps
    if turn.quarter_turns % 2:
        width, height = height, width
    return VideoInfo(
        width=width,
        height=height,
        fps=fps,
        frames=len(scan.pts),
        duration=float(length),
        rotation=turn.clockwise_degrees,
        has_audio=has_audio,
        codec=codec,
        start=start,
        variable=variable,
        complete=scan.complete,
    )


def _no_frame(path: Path, where: str = "") -> InputError:
    return InputError(f"{path.name} holds no frame that can be decoded{where}; {VIDEO_ADVICE}")


class VideoReader:
    """Streams the frames of a video in order of time; each iteration opens the file afresh.

    Without ``fps`` every frame with ``start <= time < end`` comes out with its own time. With ``fps`` the picture
    shown at ``start + k / fps`` comes out for every k, frames being repeated or left out as the clock demands, so a
    varying frame rate becomes an even one. With ``times`` (seconds, rising) the picture shown at each of them comes
    out. Rotation and pixel aspect ratio are applied; ``max_side`` scales down to that many pixels.

    Damaged packets are skipped and counted in ``skipped``; ``complete`` turns False when the file breaks off;
    ``warnings()`` says both in words. All three are about the latest iteration.

    Raises (when made or iterated):
        InputError: not a video, damaged from the start, or nothing between ``start`` and ``end``.
        LimitExceeded: too large, too long, or decoding takes too long.
    """

    def __init__(
        self,
        path: Path,
        limits: Limits,
        start: float | None = None,
        end: float | None = None,
        fps: Fraction | float | None = None,
        max_side: int | None = None,
        times: Iterable[float] | None = None,
    ) -> None:
        if fps is not None and not 0 < fps <= HIGHEST_RATE:
            raise InputError(f"The frame rate must lie above 0 and at most {HIGHEST_RATE}, not {fps}")
        if end is not None and end <= (start or 0.0):
            raise InputError("The end of the cut must come after its start")
        self.path, self.limits = Path(path), limits
        self.start, self.end, self.max_side = start, end, max_side
        self.fps = None if fps is None else Fraction(fps).limit_denominator(100_000)
        self.times = None if times is None else sorted(times)
        self.skipped = 0
        self.complete = True

    def __iter__(self) -> Iterator[Frame]:
        self.skipped, self.complete = 0, True
        index = -1
        with open_video(self.path, self.limits) as source:
            size: tuple[int, int] | None = None
            turn = Orientation()
            for index, (when, frame) in enumerate(self._chosen(source)):
                if size is None:
                    size, turn = source.coded_size(frame, self.max_side), Orientation.of(frame)
                picture = turn.apply(source.rgb(frame, size))
                self.skipped, self.complete = source.skipped, source.complete
                yield Frame(index, when, picture)
            self.skipped, self.complete = source.skipped, source.complete
        if index < 0:
            cut = self.start is not None or self.end is not None
            raise _no_frame(self.path, f" between {self.start or 0:g} s and {self.end or math.inf:g} s" if cut else "")

    def warnings(self) -> tuple[str, ...]:
        """What the user should know about the latest iteration."""
        found = []
        if self.skipped:
            found.append(f"{self.path.name}: {self.skipped} damaged frames were left out")
        if not self.complete:
            found.append(f"{self.path.name} ends too early (an incomplete copy?); what was there has been used")
        return tuple(found)

    def _chosen(self, source: Source) -> Iterator[tuple[float, VideoFrame]]:
        end = math.inf if self.end is None else self.end
        if self.times is not None:
            for group in _groups(self.times, _FAR_SECONDS if source.seekable else math.inf):
                yield from _shown_at(source.frames(group[0]), iter(group), 2e-3, source)
        elif self.fps is not None:
            step = 1 / self.fps
            frames = source.frames(self.start)
            first = next(frames, None)
            if first is None:
                return
            begin = first[0] if self.start is None else self.start
            ticks = (begin + float(k * step) for k in count())
            for when, frame in _shown_at(_chain(first, frames), ticks, float(step), source):
                if when >= end - _TIME_EPS:
                    return
                yield when, frame
        else:
            begin = -math.inf if self.start is None else self.start
            for when, frame in source.frames(self.start):
                if when >= end - _TIME_EPS:
                    return
                if when >= begin - _TIME_EPS:
                    yield when, frame


def _groups(times: list[float], far: float) -> Iterator[list[float]]:
    """Runs of ``times`` (sorted) with less than ``far`` between neighbours."""
    group: list[float] = []
    for time in times:
        if group and time - group[-1] >= far:
            yield group
            group = []
        group.append(time)
    if group:
        yield group


def _chain(first: tuple[float, VideoFrame], rest: Iterator[tuple[float, VideoFrame]]) -> Iterator:
    yield first
    yield from rest


def _shown_at(
    frames: Iterable[tuple[float, VideoFrame]], ticks: Iterator[float], step: float, source: Source
) -> Iterator[tuple[float, VideoFrame]]:
    """The frame on screen at each tick: the latest one, or the next where that is nearer within the finer clock.

    The tolerance of half the smaller of both intervals keeps rounded timestamps from repeating and dropping frames.
    """
    tick = next(ticks, None)
    last: tuple[float, VideoFrame] | None = None
    for current, following in pairwise(_chain_end(frames)):
        if following is None:
            last = current
            break
        change = following[0] - 0.5 * min(following[0] - current[0], step) - 1e-9
        while tick is not None and tick < change:
            yield tick, current[1]
            tick = next(ticks, None)
        if tick is None:
            return
    if last is None:
        return
    ends = last[0] + source.length(*last)
    while tick is not None and tick < ends - _TIME_EPS:
        yield tick, last[1]
        tick = next(ticks, None)


def _chain_end(frames: Iterable[tuple[float, VideoFrame]]) -> Iterator[tuple[float, VideoFrame] | None]:
    yield from frames
    yield None
