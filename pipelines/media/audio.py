"""Audio from any container as float samples at a chosen rate, streamed; and WAV files out."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import InputContainer
from av.error import FFmpegError

from models.runtime.errors import InputError, LimitExceeded
from models.runtime.settings import Limits
from pipelines.media.atomic import replacing
from pipelines.media.container import AUDIO_ADVICE, AUDIO_FORMATS, DecodeClock, open_media

RATES = range(4000, 192_001)
_SOURCE_RATES = range(1000, 768_001)  # beyond lies nonsense that takes the resampler seconds to prepare for
_GAP_SECONDS = 0.05  # a jump of the timestamps beyond this is silence, below it is rounding


@dataclass(frozen=True)
class AudioInfo:
    """``rate`` in samples per second, ``duration`` in seconds (0 where the file does not say)."""

    rate: int
    channels: int
    duration: float
    codec: str


def probe_audio(path: Path, limits: Limits) -> AudioInfo:
    """Reads the header of the first sound stream. Raises InputError, LimitExceeded as ``read_audio``."""
    with open_media(path, limits, AUDIO_FORMATS, AUDIO_ADVICE) as container:
        stream = first_sound(container, Path(path))
        _check_seconds(Path(path), _declared_seconds(container), limits)
        context = stream.codec_context
        return AudioInfo(context.rate, context.channels, _declared_seconds(container), context.codec.canonical_name)


def has_sound(path: Path, limits: Limits) -> bool:
    """Whether a video or sound file has a sound track. Raises InputError for what is neither."""
    with open_media(path, limits, AUDIO_FORMATS, AUDIO_ADVICE) as container:
        return bool(container.streams.audio)


def first_sound(container: InputContainer, path: Path) -> av.AudioStream:
    """The sound track to use. Raises InputError where there is none that can be decoded."""
    if not container.streams.audio:
        raise InputError(f"{path.name} has no sound in it; {AUDIO_ADVICE}")
    stream = container.streams.audio[0]
    context = stream.codec_context
    if context is None or context.rate not in _SOURCE_RATES or context.channels < 1:
        raise InputError(f"{path.name} holds sound that cannot be decoded; {AUDIO_ADVICE}")
    return stream


def _declared_seconds(container: InputContainer) -> float:
    return container.duration / av.time_base if container.duration else 0.0


def _check_seconds(path: Path, seconds: float, limits: Limits) -> None:
    if seconds > limits.audio_seconds + 1.0:
        raise LimitExceeded(f"{path.name} is longer than the {limits.audio_seconds:.0f} s allowed; cut it first")


def stream_audio(
    path: Path,
    rate: int,
    limits: Limits,
    start: float = 0.0,
    end: float | None = None,
    channels: int = 1,
) -> Iterator[np.ndarray]:
    """Yields blocks of float32 samples in -1..1: (n,) for one channel (the mean of left and right), else (n, 2).

    Sample 0 lies at ``start`` seconds on the file's own time line, the same one ``VideoReader`` uses: sound that
    begins late is preceded by silence and gaps are filled with it. Damaged packets are left out.

    Raises:
        InputError: no sound, damaged, or nothing that can be decoded.
        LimitExceeded: longer than ``limits.audio_seconds`` or too slow to decode.
    """
    path = Path(path)
    if rate not in RATES:
        raise InputError(f"The sample rate must lie between {RATES[0]} and {RATES[-1]}, not {rate}")
    if channels not in (1, 2):
        raise ValueError("channels must be 1 or 2")
    with open_media(path, limits, AUDIO_FORMATS, AUDIO_ADVICE) as container:
        stream = first_sound(container, path)
        declared = _declared_seconds(container)
        if end is None:
            _check_seconds(path, declared - start, limits)
        origin = container.start_time / av.time_base if container.start_time is not None else 0.0
        clock = DecodeClock(path.name, limits, declared)
        total = np.inf if end is None else max(1, round((end - start) * rate))
        position, done = 0, 0  # index of the next decoded sample; samples handed out
        for number, (when, block) in enumerate(_readable(path, _blocks(container, stream, rate, clock, origin))):
            if number == 0:
                position = round((when - start) * rate)
                if position > 0:
                    silence = int(min(position, total))
                    _check_seconds(path, silence / rate, limits)
                    done = silence
                    yield np.zeros((silence, channels) if channels > 1 else silence, np.float32)
            block = _with_channels(block, channels)
            first, position = max(0, -position), position + len(block)
            block = block[first : first + int(min(len(block), total - done))]
            if len(block):
                done += len(block)
                _check_seconds(path, done / rate, limits)
                yield block
            if done >= total:
                return
        if not done:
            cut = f" after {start:g} s" if start > 0 else ""
            raise InputError(f"{path.name} holds no sound that can be decoded{cut}; {AUDIO_ADVICE}")


def _readable(path: Path, blocks: Iterator[tuple[float, np.ndarray]]) -> Iterator[tuple[float, np.ndarray]]:
    try:
        yield from blocks
    except FFmpegError as error:
        raise InputError(f"{path.name} holds sound of a kind that cannot be converted; {AUDIO_ADVICE}") from error


def _with_channels(block: np.ndarray, channels: int) -> np.ndarray:
    """(n, C) -> (n,) or (n, 2)."""
    if channels == 1:
        return block.mean(axis=1, dtype=np.float32)
    return block if block.shape[1] == 2 else np.repeat(block, 2, axis=1)


@dataclass
class _Shift:
    """Changes the sample rate of (n, C) float32 blocks, keeping the filter's state between them."""

    source_rate: int
    rate: int
    channels: int

    def __post_init__(self) -> None:
        self._layout = "mono" if self.channels == 1 else "stereo"
        self._filter = AudioResampler(format="fltp", layout=self._layout, rate=self.rate)
        self._fed = False

    def push(self, block: np.ndarray) -> np.ndarray:
        if self.rate == self.source_rate or not len(block):
            return block
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(block.T), format="fltp", layout=self._layout)
        frame.sample_rate = self.source_rate
        self._fed = True
        return self._collect(self._filter.resample(frame))

    def flush(self) -> np.ndarray:
        return self._collect(self._filter.resample(None)) if self._fed else self._collect([])

    def _collect(self, frames: list[AudioFrame]) -> np.ndarray:
        parts = [frame.to_ndarray().T for frame in frames if frame is not None]
        return np.ascontiguousarray(np.concatenate(parts)) if parts else np.zeros((0, self.channels), np.float32)


class _Mixer:
    """Frames of any sample format as (n, 1) or (n, 2) float32; more channels are mixed to stereo by their positions."""

    def __init__(self) -> None:
        self._filter: AudioResampler | None = None
        self._kind: tuple[str, str, int] | None = None

    def mix(self, frame: AudioFrame) -> np.ndarray:
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._kind:
            layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
            self._filter = AudioResampler(format="fltp", layout=layout, rate=frame.sample_rate)
            self._kind = kind
        parts = [part.to_ndarray() for part in self._filter.resample(frame)]
        samples = np.concatenate(parts, axis=1).T if parts else np.zeros((0, 1), np.float32)
        return samples.clip(-1.0, 1.0) if frame.layout.nb_channels > 2 else samples


def _blocks(
    container: InputContainer, stream: av.AudioStream, rate: int, clock: DecodeClock, origin: float
) -> Iterator[tuple[float, np.ndarray]]:
    """Decoded (n, 1 or 2) blocks at ``rate`` without gaps, each with the time in seconds of the very first sample."""
    mixer = _Mixer()
    shift: _Shift | None = None
    began, expected = 0.0, 0.0
    for frame in _frames(container, stream, clock):
        when = float(frame.pts * frame.time_base) - origin if frame.pts is not None else expected
        samples = mixer.mix(frame)
        if shift is None:
            began = expected = when
        if shift is None or (shift.source_rate, shift.channels) != (frame.sample_rate, samples.shape[1]):
            if shift is not None:
                yield began, shift.flush()
            shift = _Shift(frame.sample_rate, rate, samples.shape[1])
        if when - expected > _GAP_SECONDS:
            for silence in _silence(round((when - expected) * frame.sample_rate), samples.shape[1]):
                yield began, shift.push(silence)
            expected = when
        expected += len(samples) / frame.sample_rate
        yield began, shift.push(samples)
    if shift is not None:
        yield began, shift.flush()


def _silence(samples: int, channels: int, block: int = 1 << 16) -> Iterator[np.ndarray]:
    for first in range(0, samples, block):
        yield np.zeros((min(block, samples - first), channels), np.float32)


def _frames(container: InputContainer, stream: av.AudioStream, clock: DecodeClock) -> Iterator[AudioFrame]:
    """Decoded frames; damaged packets are left out and a file that breaks off ends the stream."""
    packets = container.demux(stream)
    while True:
        clock.start()
        try:
            packet = next(packets, None)
        except FFmpegError:
            packet = None
        try:
            frames = packet.decode() if packet is not None else stream.decode(None)
        except FFmpegError:  # the end of the stream included
            frames = []
        clock.tick()
        yield from (frame for frame in frames if frame.samples > 0 and frame.sample_rate in _SOURCE_RATES)
        if packet is None:
            return


def read_audio(path: Path, rate: int, limits: Limits, start: float = 0.0, end: float | None = None) -> np.ndarray:
    """Reads sound as mono: (n,) float32 in -1..1 at ``rate``; sample 0 lies at ``start`` seconds of the file.

    Raises:
        InputError, LimitExceeded: as ``stream_audio``.
    """
    held = bytearray()  # grows where it lies; joining blocks would hold everything twice
    for block in stream_audio(path, rate, limits, start, end):
        held += block.tobytes()
    return np.frombuffer(held, np.float32)


def write_wav(path: Path, samples: np.ndarray, rate: int) -> Path:
    """Writes float samples (n,) or (n, 2) in -1..1 (clipped) as 16-bit WAV; the file appears whole or not at all."""
    samples = np.asarray(samples)
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and samples.shape[1] not in (1, 2)):
        raise ValueError(f"samples must be (n,) or (n, 2), not {samples.shape}")
    whole = np.rint(np.nan_to_num(samples) * 32768.0).clip(-32768, 32767).astype("<i2")
    with replacing(Path(path)) as temporary, wave.open(str(temporary), "wb") as file:
        file.setnchannels(1 if whole.ndim == 1 else whole.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(whole.tobytes())
    return Path(path)
