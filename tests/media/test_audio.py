"""Sound: any container and sample format becomes mono float at the rate asked for, aligned with the pictures."""

from __future__ import annotations

import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.runtime.errors import InputError, LimitExceeded
from models.runtime.settings import Limits
from pipelines.media.audio import probe_audio, read_audio, stream_audio, write_wav
from tests.media.make import tone, write_sound, write_video

LIMITS = Limits()


def loudest_hertz(samples: np.ndarray, rate: int) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples))


@pytest.mark.parametrize(
    ("name", "codec", "rate", "fmt"),
    [
        ("a.wav", "pcm_s16le", 8000, "s16"),
        ("b.wav", "pcm_s24le", 48000, "s32"),
        ("c.wav", "pcm_f32le", 44100, "flt"),
        ("a.mp3", "libmp3lame", 44100, "s16"),
        ("a.m4a", "aac", 44100, "s16"),
        ("a.aac", "aac", 44100, "s16"),
        ("a.flac", "flac", 48000, "s16"),
        ("a.ogg", "libopus", 48000, "s16"),
        ("a.opus", "libopus", 48000, "s16"),
        ("a.webm", "libopus", 48000, "s16"),
        ("a.aiff", "pcm_s16be", 22050, "s16"),
        ("a.mka", "pcm_s16le", 16000, "s16"),
    ],
)
def test_every_container(tmp_path: Path, name: str, codec: str, rate: int, fmt: str) -> None:
    path = write_sound(tmp_path / name, codec, tone(1.0, rate), rate, fmt=fmt)
    samples = read_audio(path, 16000, LIMITS)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert len(samples) == pytest.approx(16000, abs=1700)
    assert loudest_hertz(samples, 16000) == pytest.approx(440, abs=2)
    assert np.abs(samples[2000:12000]).max() == pytest.approx(0.5, abs=0.03)
    assert probe_audio(path, LIMITS).rate in (rate, 48000)


def test_same_rate_is_exact(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, 5000).astype(np.float32)
    path = write_wav(tmp_path / "a.wav", noise, 16000)
    assert np.abs(read_audio(path, 16000, LIMITS) - noise).max() < 1 / 32000


@pytest.mark.parametrize(("source", "target"), [(8000, 16000), (48000, 16000), (44100, 48000), (16000, 8000)])
def test_resampling_keeps_time_and_level(tmp_path: Path, source: int, target: int) -> None:
    path = write_sound(tmp_path / "a.wav", "pcm_f32le", tone(1.0, source, 300), source, fmt="flt")
    samples = read_audio(path, target, LIMITS)
    assert len(samples) == target
    middle = slice(target // 10, -target // 10)
    assert np.abs(samples[middle] - tone(1.0, target, 300)[middle]).max() < 0.01


def test_stereo_is_averaged(tmp_path: Path) -> None:
    left, right = tone(0.5, 16000), tone(0.5, 16000, 1000)
    path = write_wav(tmp_path / "a.wav", np.stack([left, right], 1), 16000)
    assert np.abs(read_audio(path, 16000, LIMITS) - (left + right) / 2).max() < 1e-4
    both = np.concatenate(list(stream_audio(path, 16000, LIMITS, channels=2)))
    assert both.shape == (8000, 2)
    assert np.abs(both[:, 1] - right).max() < 1e-4
    mono = write_wav(tmp_path / "m.wav", left, 16000)
    assert np.concatenate(list(stream_audio(mono, 16000, LIMITS, channels=2))).shape == (8000, 2)


def test_start_and_end_to_the_sample(tmp_path: Path) -> None:
    ramp = np.linspace(-1, 1, 32000).astype(np.float32)
    path = write_wav(tmp_path / "a.wav", ramp, 16000)
    part = read_audio(path, 16000, LIMITS, start=0.5, end=1.25)
    assert np.abs(part - ramp[8000:20000]).max() < 1e-4
    assert len(read_audio(path, 8000, LIMITS, start=1.5)) == pytest.approx(4000, abs=2)
    with pytest.raises(InputError, match="after 3 s"):
        read_audio(path, 16000, LIMITS, start=3.0)


def test_late_sound_is_aligned_with_the_pictures(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "a.mp4", [i / 25 for i in range(50)], sound=("aac", tone(1.0, 16000, 1000), 16000, 0.75)
    )
    samples = read_audio(path, 16000, LIMITS)
    assert np.flatnonzero(np.abs(samples) > 0.25)[0] / 16000 == pytest.approx(0.75, abs=0.01)
    assert np.abs(samples[: int(0.7 * 16000)]).max() < 0.01


def test_gaps_become_silence(tmp_path: Path) -> None:
    import av

    source = write_sound(tmp_path / "a.mka", "pcm_s16le", tone(2.0, 16000), 16000)
    path = tmp_path / "gap.mka"
    with av.open(str(source)) as reading, av.open(str(path), "w") as writing:
        stream = writing.add_stream_from_template(reading.streams.audio[0])
        for packet in reading.demux(audio=0):
            if packet.dts is not None and not 0.8 < packet.pts * packet.time_base < 1.2:
                packet.stream = stream
                writing.mux(packet)
    samples = read_audio(path, 16000, LIMITS)
    assert len(samples) == pytest.approx(32000, abs=20)
    assert np.abs(samples[int(0.9 * 16000) : int(1.1 * 16000)]).max() == 0
    late = slice(int(1.5 * 16000), int(1.9 * 16000))
    assert np.abs(samples[late] - tone(2.0, 16000)[late]).max() < 0.01


def test_streams_in_blocks(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(30.0, 16000), 16000)
    lengths = [len(block) for block in stream_audio(path, 16000, LIMITS)]
    assert sum(lengths) == 480_000
    assert max(lengths) < 50_000


class TestRefused:
    def test_length(self, tmp_path: Path) -> None:
        path = write_wav(tmp_path / "a.wav", tone(4.0, 8000), 8000)
        with pytest.raises(LimitExceeded, match="longer than the 2 s"):
            read_audio(path, 16000, replace(LIMITS, audio_seconds=2.0))
        assert len(read_audio(path, 16000, replace(LIMITS, audio_seconds=2.0), end=1.0)) == 16000

    def test_length_that_the_header_hides(self, tmp_path: Path) -> None:
        path = write_sound(tmp_path / "a.aac", "aac", tone(6.0, 16000), 16000)  # has no header at all
        with pytest.raises(LimitExceeded, match="longer than the 2 s"):
            read_audio(path, 16000, replace(LIMITS, audio_seconds=2.0))

    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("a.wav", b"hello, I am a text", "is a text file"),
            ("b.wav", b"", "empty"),
            ("c.wav", b"RIFF\x24\x00\x00\x00WAVE", r"c\.wav"),
            ("d.mp3", b"ID3\x04\x00\x00\x00\x00\x00\x00" + b"\x00" * 400, r"d\.mp3"),
            ("e.flac", b"fLaC" + b"\x00" * 60, r"e\.flac"),
            ("f.ogg", b"OggS" + b"\xff" * 60, r"f\.ogg"),
        ],
    )
    def test_not_sound(self, tmp_path: Path, name: str, content: bytes, words: str) -> None:
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError, match=words):
            read_audio(path, 16000, LIMITS)

    def test_absurd_rate_in_the_header(self, tmp_path: Path) -> None:
        path = write_wav(tmp_path / "a.wav", tone(0.1, 8000), 8000)
        data = bytearray(path.read_bytes())
        data[24:28] = (687_913_856).to_bytes(4, "little")
        path.write_bytes(bytes(data))
        with pytest.raises(InputError, match="cannot be decoded"):
            read_audio(path, 16000, LIMITS)

    def test_silent_video(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="has no sound"):
            read_audio(write_video(tmp_path / "a.mp4", [0.0]), 16000, LIMITS)

    def test_rate(self, tmp_path: Path) -> None:
        path = write_wav(tmp_path / "a.wav", tone(0.1, 8000), 8000)
        with pytest.raises(InputError, match="sample rate"):
            read_audio(path, 1, LIMITS)

    def test_damaged_middle_is_left_out(self, tmp_path: Path) -> None:
        path = write_sound(tmp_path / "a.mp3", "libmp3lame", tone(3.0, 44100), 44100)
        data = bytearray(path.read_bytes())
        data[len(data) // 2 : len(data) // 2 + 900] = bytes(900)
        path.write_bytes(bytes(data))
        assert len(read_audio(path, 16000, LIMITS)) > 2 * 16000


def test_wav(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", np.array([0.0, 2.0, -2.0, np.nan, 0.5]), 8000)
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        assert list(np.frombuffer(file.readframes(9), "<i2")) == [0, 32767, -32768, 0, 16384]
    with pytest.raises(ValueError, match="samples must be"):
        write_wav(path, np.zeros((4, 3)), 8000)


@pytest.mark.media
def test_real_voices(testdata: Path) -> None:
    for name, seconds in (("speech_en.wav", 60.0), ("speech_zh.wav", 6.0)):
        samples = read_audio(testdata / "talk" / name, 16000, LIMITS)
        assert len(samples) == pytest.approx(seconds * 16000, rel=0.01)
        assert 0.01 < samples.std() < 0.5
    video = testdata / "face/driving_speech.mp4"
    assert len(read_audio(video, 16000, LIMITS)) == pytest.approx(7.32 * 16000, rel=0.02)
