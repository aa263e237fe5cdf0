"""The decoding behind ``VideoReader`` and ``probe``: one open video stream, its timestamps, upright RGB pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import EOFError as EndOfFile
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc, VideoReformatter
from av.video.stream import VideoStream

from models.runtime.errors import InputError, LimitExceeded
from models.runtime.settings import Limits
from pipelines.media.container import VIDEO_ADVICE, VIDEO_FORMATS, DecodeClock, open_media

HIGHEST_RATE = 240
_AVCOL_SPC_UNSPECIFIED = 2
_HDR_TRANSFERS = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
_WIDE_PRIMARIES = (ColorPrimaries.BT2020, ColorPrimaries.SMPTE431, ColorPrimaries.SMPTE432)
_DECODER_THREADS = 4
_DEFAULT_RATE = Fraction(25)
_COMMON_RATES = tuple(Fraction(n) for n in (10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 100, 120, 240)) + tuple(
    Fraction(n * 1000, 1001) for n in (24, 30, 60, 120, 240)
)
_RATE_ROUNDING = 2e-4  # clocks too coarse for 30000/1001 still mean it
_SEEK_BACK_SECONDS = (0.0, 4.0)  # land that far before the wanted time, else at the beginning
_SEEKABLE = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi"})
_TIME_EPS = 1e-4


@dataclass(frozen=True)
class Orientation:
    """How to turn a coded picture upright: mirror left-right first, then quarter turns counter-clockwise."""

    quarter_turns: int = 0
    mirrored: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> Orientation:
        """From the frame's display matrix, whose upper left part [[a, c], [b, d]] maps coded to shown coordinates."""
        data = frame.side_data.get("DISPLAYMATRIX")
        if data is None:
            return cls()
        a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].astype(np.float64)
        mirrored = a * d - b * c < 0
        if mirrored:
            a, b = -a, -b
        return cls(int(np.rint(-np.arctan2(b, a) / (np.pi / 2))) % 4, bool(mirrored))

    @property
    def clockwise_degrees(self) -> int:
        return -90 * self.quarter_turns % 360

    def apply(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W, 3) -> (H, W, 3) or (W, H, 3), contiguous."""
        if self.mirrored:
            rgb = rgb[:, ::-1]
        return np.ascontiguousarray(np.rot90(rgb, self.quarter_turns))


@dataclass
class Scan:
    """Sorted timestamps of all packets in ticks of the stream; ``complete`` is False when the file breaks off."""

    pts: list[int] = field(default_factory=list)
    last_duration: int = 0
    complete: bool = True

    def rate(self, declared: Fraction, base: Fraction) -> tuple[Fraction, bool]:
        """Mean frame rate and whether it varies by more than the rounding of the container."""
        if len(self.pts) < 2 or self.pts[-1] == self.pts[0]:
            return declared, False
        steps = np.diff(np.asarray(self.pts, np.int64))
        measured = len(steps) / (Fraction(self.pts[-1] - self.pts[0]) * base)
        middle = float(np.median(steps))
        rounding = 2.5e-3 / float(base)
        variable = bool((np.abs(steps - middle) > 0.2 * middle + rounding).mean() > 0.01)
        rate = declared if abs(float(measured / declared) - 1.0) < 0.01 else measured.limit_denominator(1001)
        common = min(_COMMON_RATES, key=lambda known: abs(known - rate))
        return (common if abs(float(rate / common) - 1.0) < _RATE_ROUNDING else rate), variable


class Source:
    """An open video. Times are seconds from where the file's earliest stream starts.

    ``skipped`` counts damaged packets and frames left out, ``complete`` turns False when the file breaks off.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path, self.limits = Path(path), limits
        self.skipped = 0
        self.complete = True
        self._stack = ExitStack()
        self._reformatter = VideoReformatter()
        self._open()
        seconds = self.container.duration / av.time_base if self.container.duration else 0.0
        self.clock = DecodeClock(self.path.name, limits, seconds)
        if seconds > limits.video_seconds + 1.0:
            self.close()
            raise too_long(self.path, limits)

    def _open(self) -> None:
        container = self._stack.enter_context(open_media(self.path, self.limits, VIDEO_FORMATS, VIDEO_ADVICE))
        try:
            self.container, self.stream = container, self._video_stream(container)
        except BaseException:
            self.close()
            raise
        self.base = Fraction(self.stream.time_base)
        self.origin = container.start_time / av.time_base if container.start_time is not None else 0.0

    def _video_stream(self, container: InputContainer) -> VideoStream:
        """The first stream of moving pictures; cover pictures do not count."""
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            raise InputError(f"{self.path.name} has no video in it; {VIDEO_ADVICE}")
        stream = streams[0]
        if stream.codec_context is None:
            raise InputError(f"{self.path.name} uses a codec that cannot be decoded; convert it to H.264 MP4")
        check_side(self.path, stream.codec_context.width, stream.codec_context.height, self.limits)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = _DECODER_THREADS
        return stream

    def close(self) -> None:
        self._stack.close()

    def _restart(self) -> None:
        self._stack.close()
        self.skipped, self.complete = 0, True
        self._open()

    def seconds(self, stamp: int) -> float:
        return float(stamp * self.base) - self.origin

    @property
    def seekable(self) -> bool:
        """Whether the file has an index, so that ``frames`` may be called again for a later time."""
        return self.container.format.name in _SEEKABLE

    def length(self, when: float, frame: VideoFrame) -> float:
        """How many seconds the frame at ``when`` stays on screen. Raises LimitExceeded when past the limit."""
        length = float(frame.duration * self.base) if frame.duration else float(1 / self.rate)
        if when + length > self.limits.video_seconds + 1.0:
            raise too_long(self.path, self.limits)
        return length

    @property
    def shift(self) -> int:
        """The origin in ticks of the stream."""
        return round(self.origin / self.base)

    def packets(self) -> Iterator[Packet]:
        """All packets with timestamps, in order of decoding; ends where the file breaks off."""
        packets = self.container.demux(self.stream)
        while True:
            self.clock.start()
            try:
                packet = next(packets, None)
            except FFmpegError:
                self.complete = False
                return
            self.clock.tick()
            if packet is None:
                return
            if packet.pts is not None and packet.dts is not None:
                yield packet

    @property
    def rate(self) -> Fraction:
        """The declared frame rate."""
        for rate in (self.stream.average_rate, self.stream.guessed_rate, self.stream.base_rate):
            if rate and 0 < rate <= 1000:
                return Fraction(rate)
        return _DEFAULT_RATE

    def coded_size(self, frame: VideoFrame, max_side: int | None = None) -> tuple[int, int]:
        """(width, height) before turning, with square pixels, scaled down to ``max_side``."""
        width, height = float(frame.width), float(frame.height)
        aspect = self.stream.sample_aspect_ratio
        if aspect and aspect > 0:
            width *= float(min(max(Fraction(aspect), Fraction(1, 8)), Fraction(8)))
        scale = min(1.0, (max_side or self.limits.video_side) / max(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))

    def rgb(self, frame: VideoFrame, size: tuple[int, int]) -> np.ndarray:
        """(H, W, 3) uint8 sRGB of ``size`` (width, height).

        Untagged HD video is read as BT.709, smaller as BT.601. HDR (PQ, HLG) and wide colours are mapped to sRGB.
        """
        colours: dict[str, int] = {}
        if frame.color_trc in _HDR_TRANSFERS or frame.color_primaries in _WIDE_PRIMARIES:
            colours = {"dst_color_trc": ColorTrc.IEC61966_2_1, "dst_color_primaries": ColorPrimaries.BT709}
        elif frame.colorspace == _AVCOL_SPC_UNSPECIFIED:
            high_definition = frame.width >= 1280 or frame.height > 576
            colours = {"src_colorspace": Colorspace.ITU709 if high_definition else Colorspace.ITU601}
        try:
            return self._reformatter.reformat(frame, *size, "rgb24", **colours).to_ndarray()
        except FFmpegError as error:
            raise InputError(
                f"{self.path.name} holds pictures that cannot be converted to RGB; {VIDEO_ADVICE}"
            ) from error

    def scan(self) -> Scan:
        """Reads all packets without decoding them; leaves the position at the end."""
        scan = Scan()
        longest = self.limits.video_seconds + 1.0
        try:
            for packet in self.container.demux(self.stream):
                self.clock.tick()
                if packet.size == 0 or packet.is_discard:
                    continue
                if packet.is_corrupt:
                    scan.complete = False
                    continue
                stamp = packet.pts if packet.pts is not None else packet.dts
                if stamp is None:
                    stamp = scan.pts[-1] + scan.last_duration if scan.pts else 0
                scan.pts.append(stamp)
                scan.last_duration = packet.duration or scan.last_duration
                if (stamp - scan.pts[0] + scan.last_duration) * self.base > longest:
                    raise too_long(self.path, self.limits)
        except FFmpegError:
            scan.complete = False
        if self.container.format.name.startswith("mov"):  # the others only guess how many there are
            scan.complete = scan.complete and len(scan.pts) >= self.stream.frames
        scan.pts.sort()
        return scan

    def frames(self, start: float | None = None) -> Iterator[tuple[float, VideoFrame]]:
        """Decoded frames with their times, strictly increasing, from the last one at or before ``start`` on."""
        before: tuple[float, VideoFrame] | None = None
        for when, frame in self._from(start):
            if start is not None and when <= start + _TIME_EPS:
                before = (when, frame)
                continue
            if before is not None:
                yield before
                before = None
            yield when, frame
        if before is not None:
            yield before

    def _from(self, start: float | None) -> Iterator[tuple[float, VideoFrame]]:
        if start is None or start <= 0 or not self.seekable:
            yield from self._timed()
            return
        for back in _SEEK_BACK_SECONDS:
            try:
                self.container.seek(round((max(0.0, start - back) + self.origin) / self.base), stream=self.stream)
            except FFmpegError:
                break
            timed = self._timed()
            first = next(timed, None)
            if first is not None and first[0] <= start + _TIME_EPS:
                self.skipped = 0  # what could not be decoded on the way to the key frame was not asked for
                yield first
                yield from timed
                return
            timed.close()
        self._restart()
        yield from self._timed()

    def _timed(self) -> Iterator[tuple[float, VideoFrame]]:
        previous = -np.inf
        for frame in self._decoded():
            stamp = frame.pts if frame.pts is not None else frame.dts
            if stamp is not None:
                when = self.seconds(stamp)
            else:
                when = previous + float(1 / self.rate) if previous > -np.inf else 0.0
            if when <= previous:
                self.skipped += 1
                continue
            if when > self.limits.video_seconds + 1.0:
                raise too_long(self.path, self.limits)
            check_side(self.path, frame.width, frame.height, self.limits)  # it may grow in the middle
            previous = when
            yield when, frame

    def _decoded(self) -> Iterator[VideoFrame]:
        packets = self.container.demux(self.stream)
        while True:
            self.clock.start()
            try:
                packet = next(packets, None)
            except FFmpegError:
                self.complete = False
                packet = None
            if packet is not None and packet.is_corrupt:
                self.complete = False
            try:
                frames = packet.decode() if packet is not None else self.stream.decode(None)
            except EndOfFile:
                frames = []
            except FFmpegError:
                self.skipped += 1
                frames = []
            self.clock.tick()
            for frame in frames:
                if frame.is_corrupt:
                    self.skipped += 1
                else:
                    yield frame
            if packet is None:
                return


def check_side(path: Path, width: int, height: int, limits: Limits) -> None:
    """Raises LimitExceeded when either side is longer than ``limits.video_side``."""
    if max(width, height) > limits.video_side:
        raise LimitExceeded(
            f"{path.name} is {width}x{height}; videos may have at most {limits.video_side} pixels a side. "
            "Make it smaller first"
        )


def too_long(path: Path, limits: Limits) -> LimitExceeded:
    return LimitExceeded(f"{path.name} is longer than the {limits.video_seconds:.0f} s allowed; cut it first")


@contextmanager
def open_video(path: Path, limits: Limits) -> Iterator[Source]:
    """The pictures of a file, checked against the limits. Raises InputError, LimitExceeded as ``VideoReader``."""
    source = Source(path, limits)
    try:
        yield source
    finally:
        source.close()
