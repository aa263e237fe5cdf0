"""Test media made in code: pictures that know their own number, and videos in every odd shape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

BITS = 8
COLOURS = (
    (200, 40, 40),
    (40, 190, 50),
    (40, 60, 200),
    (210, 200, 60),
)  # top left, top right, bottom left, bottom right


def picture(number: int, width: int = 160, height: int = 96) -> np.ndarray:
    """(H, W, 3) uint8: a colour in each quarter and the number as eight black or white cells across the middle."""
    image = np.zeros((height, width, 3), np.uint8)
    half_h, half_w = height // 2, width // 2
    image[:half_h, :half_w], image[:half_h, half_w:] = COLOURS[0], COLOURS[1]
    image[half_h:, :half_w], image[half_h:, half_w:] = COLOURS[2], COLOURS[3]
    band = slice(height * 3 // 8, height * 5 // 8)
    for bit in range(BITS):
        columns = slice(bit * width // BITS, (bit + 1) * width // BITS)
        image[band, columns] = 235 if number >> bit & 1 else 16
    return image


def number_in(image: np.ndarray) -> int:
    """The number that ``picture`` wrote."""
    height, width = image.shape[:2]
    row = image[height // 2, :, :].mean(axis=1)
    cells = [row[round((bit + 0.5) * width / BITS)] for bit in range(BITS)]
    return sum(int(value > 128) << bit for bit, value in enumerate(cells))


def write_video(
    path: Path,
    times: Iterable[float],
    *,
    size: tuple[int, int] = (160, 96),
    fps: Fraction | int = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rotation: int = 0,
    mirrored: bool = False,
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    tags: dict[str, int] | None = None,
    sound: tuple[str, np.ndarray, int, float] | None = None,
    format: str | None = None,
    pictures: Sequence[np.ndarray] | None = None,
) -> Path:
    """Numbered pictures shown at ``times`` (seconds); ``sound`` is (codec, mono samples, rate, start in seconds)."""
    with av.open(str(path), "w", options=muxer or {}, format=format) as output:
        stream = output.add_stream(codec, rate=fps, width=size[0], height=size[1], options=options or {})
        stream.pix_fmt = pix_fmt
        base = {".avi": 1 / Fraction(fps), ".gif": Fraction(1, 100)}.get(path.suffix, Fraction(1, 12800))
        stream.codec_context.time_base = base
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        if rotation or mirrored:
            stream.set_display_rotation(-rotation, hflip=mirrored)
        heard = _add_sound(output, sound) if sound else None
        for number, when in enumerate(times):
            image = pictures[number] if pictures is not None else picture(number, *size)
            frame = VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = round(when / base), base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if heard is not None:
            _write_sound(output, heard, sound)
    return path


def _add_sound(output: av.container.OutputContainer, sound: tuple[str, np.ndarray, int, float]) -> av.AudioStream:
    return output.add_stream(sound[0], rate=sound[2], layout="mono")


def _write_sound(
    output: av.container.OutputContainer, stream: av.AudioStream, sound: tuple[str, np.ndarray, int, float]
) -> None:
    _, samples, rate, start = sound
    for first in range(0, len(samples), 1024):
        part = (samples[first : first + 1024].clip(-1, 1) * 32767).astype(np.int16)
        frame = AudioFrame.from_ndarray(part[None], format="s16", layout="mono")
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = first + round(start * rate)
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def write_sound(path: Path, codec: str, samples: np.ndarray, rate: int, layout: str = "mono", fmt: str = "s16") -> Path:
    """A sound file of float samples (n,) or (n, 2) in the codec and sample format asked for."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate, layout=layout)
        scaled = {"s16": (32767, np.int16), "s32": (2**31 - 256, np.int32), "flt": (1, np.float32)}[fmt]
        flat = np.atleast_2d((samples.clip(-1, 1) * scaled[0]).astype(scaled[1]).reshape(1, -1))
        channels = 1 if samples.ndim == 1 else samples.shape[1]
        for first in range(0, flat.shape[1], 1024 * channels):
            block = np.ascontiguousarray(flat[:, first : first + 1024 * channels])
            frame = AudioFrame.from_ndarray(block, format=fmt, layout=layout)
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), first // channels
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def tone(seconds: float, rate: int, hertz: float = 440.0, level: float = 0.5) -> np.ndarray:
    """(n,) float32 sine."""
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)
