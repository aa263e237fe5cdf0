"""The sound track of a video being written: packets of another file copied as they are, or encoded as AAC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet

from models.runtime.settings import Limits
from pipelines.media.audio import first_sound, stream_audio
from pipelines.media.container import AUDIO_ADVICE, AUDIO_FORMATS, open_media

MP4_CODECS = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"})
_AAC_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000})
_AAC_BITS_PER_CHANNEL = 96_000
_OVERHANG_SECONDS = 0.5  # sound this much longer than the picture is kept whole


class AudioTrack:
    """Adds a sound stream to ``output`` and feeds it in step with the video.

    ``start`` is the time in the source, in seconds, that falls on the first written picture.
    """

    def __init__(self, output: OutputContainer, path: Path, limits: Limits, start: float = 0.0) -> None:
        self._output, self._path, self._limits, self._start = output, Path(path), limits, start
        self._stack = ExitStack()
        self._waiting: tuple[float, Packet | np.ndarray] | None = None
        self._written = 0
        try:
            source = self._stack.enter_context(open_media(self._path, limits, AUDIO_FORMATS, AUDIO_ADVICE))
            stream = first_sound(source, self._path)
            self._ends = source.duration / av.time_base - start if source.duration else np.inf
            self.copied = stream.codec_context.codec.canonical_name in MP4_CODECS
            if self.copied:
                self._stream = output.add_stream_from_template(stream)
                self._items = self._packets(source, stream)
            else:
                self._rate = stream.codec_context.rate if stream.codec_context.rate in _AAC_RATES else 48_000
                self._channels = min(2, stream.codec_context.channels)
                layout = "mono" if self._channels == 1 else "stereo"
                bits = _AAC_BITS_PER_CHANNEL * self._channels
                self._stream = output.add_stream("aac", rate=self._rate, layout=layout, bit_rate=bits)
                self._items = self._samples()
                source.close()
        except BaseException:
            self._stack.close()
            raise

    def _packets(self, source: av.container.InputContainer, stream: av.AudioStream) -> Iterator[tuple[float, Packet]]:
        origin = source.start_time / av.time_base if source.start_time is not None else 0.0
        base = Fraction(stream.time_base)
        shift = round((self._start + origin) / base)
        packets = source.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError:
                return  # the source breaks off: what was there is kept
            if packet is None:
                return
            if packet.dts is None or packet.pts is None or packet.is_corrupt:
                continue
            if self._start > 0 and packet.pts + (packet.duration or 0) <= shift:
                continue
            packet.pts -= shift
            packet.dts -= shift
            when = float(packet.pts * base)
            packet.stream = self._stream
            yield when, packet

    def _samples(self) -> Iterator[tuple[float, np.ndarray]]:
        done = 0
        for block in stream_audio(
            self._path, self._rate, self._limits, start=self._start, end=None, channels=self._channels
        ):
            yield done / self._rate, block
            done += len(block)

    def advance(self, until: float) -> None:
        """Writes the sound that begins before ``until`` seconds of the new video."""
        while True:
            item = self._waiting or next(self._items, None)
            self._waiting = None
            if item is None:
                return
            if item[0] >= until:
                self._waiting = item
                return
            self._write(item[1], item[0], until)

    def _write(self, what: Packet | np.ndarray, when: float, until: float) -> None:
        if isinstance(what, Packet):
            self._output.mux(what)
            return
        if until - when < len(what) / self._rate:
            keep = max(0, round((until - when) * self._rate))
            self._waiting = (until, what[keep:])
            what = what[:keep]
        self._encode(what)

    def _encode(self, samples: np.ndarray) -> None:
        if not len(samples):
            return
        planes = np.ascontiguousarray(samples.reshape(len(samples), -1).T)
        frame = AudioFrame.from_ndarray(planes, format="fltp", layout="mono" if self._channels == 1 else "stereo")
        frame.sample_rate = self._rate
        frame.time_base = Fraction(1, self._rate)
        frame.pts = self._written
        self._written += len(samples)
        self._output.mux(self._stream.encode(frame))

    def finish(self, video_end: float) -> None:
        """Writes the rest, cut at ``video_end`` seconds where the sound goes on for much longer than the picture."""
        self.advance(video_end if self._ends > video_end + _OVERHANG_SECONDS else np.inf)
        if not self.copied:
            self._output.mux(self._stream.encode(None))

    def close(self) -> None:
        self._items.close()
        self._stack.close()
