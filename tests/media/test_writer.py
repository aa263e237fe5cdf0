"""Writing videos: what comes out plays everywhere, keeps rate and sound, and is whole or absent."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from models.runtime.errors import EngineUnavailable, InputError
from models.runtime.settings import Limits
from pipelines.media.audio import read_audio, write_wav
from pipelines.media.edit import cut, join, mux
from pipelines.media.video import VideoReader, VideoWriter, probe
from tests.media.make import number_in, picture, tone, write_sound, write_video

LIMITS = Limits()


def write(path: Path, count: int, size: tuple[int, int] = (160, 96), fps: Fraction | float = 25, **options) -> Path:
    with VideoWriter(path, fps, size, **options) as writer:
        for number in range(count):
            writer.write(picture(number, *size))
    return path


def packets(path: Path, kind: str) -> list[bytes]:
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams if s.type == kind)
        return [bytes(p) for p in container.demux(stream) if p.size]


def atoms(path: Path) -> list[bytes]:
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        found.append(data[at + 4 : at + 8])
        at += int.from_bytes(data[at : at + 4], "big")
    return found


class TestPicture:
    @pytest.mark.parametrize("fps", [25, Fraction(30000, 1001), Fraction(24000, 1001), 12.5, 60])
    def test_rate_and_order(self, tmp_path: Path, fps: Fraction | float) -> None:
        path = write(tmp_path / "a.mp4", 30, fps=fps)
        info = probe(path, LIMITS)
        assert info.fps == Fraction(fps)
        assert not info.variable
        assert info.duration == pytest.approx(30 / fps, abs=1e-3)
        assert [number_in(f.rgb) for f in VideoReader(path, LIMITS)] == list(range(30))

    def test_plays_everywhere(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.mp4", 10)
        order = atoms(path)
        assert order.index(b"moov") < order.index(b"mdat")
        with av.open(str(path)) as container:
            context = container.streams.video[0].codec_context
            assert (context.name, context.pix_fmt, context.colorspace, context.color_range) == ("h264", "yuv420p", 1, 1)

    def test_colours_survive(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.mp4", 3, crf=8)
        assert np.abs(next(iter(VideoReader(path, LIMITS))).rgb[10, 20].astype(int) - (200, 40, 40)).max() <= 4

    @pytest.mark.parametrize("size", [(161, 97), (160, 97), (161, 96), (1, 1)])
    def test_odd_sizes_are_padded(self, tmp_path: Path, size: tuple[int, int]) -> None:
        with VideoWriter(tmp_path / "a.mp4", 25, size) as writer:
            writer.write(np.full((size[1], size[0], 3), 200, np.uint8))
        info = probe(tmp_path / "a.mp4", LIMITS)
        assert (info.width, info.height) == (size[0] + size[0] % 2, size[1] + size[1] % 2)
        assert next(iter(VideoReader(tmp_path / "a.mp4", LIMITS))).rgb.min() > 195

    @pytest.mark.parametrize("separate", [False, True])
    def test_tags(self, tmp_path: Path, separate: bool) -> None:
        path = write(tmp_path / "a.mp4", 3, metadata={"title": "A talk"}, separate_process=separate)
        with av.open(str(path)) as container:
            assert container.metadata["title"] == "A talk"

    def test_quality_costs_bytes(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (5, 96, 160, 3), np.uint8)
        sizes = []
        for crf in (10, 40):
            with VideoWriter(tmp_path / f"{crf}.mp4", 25, (160, 96), crf=crf) as writer:
                for image in noise:
                    writer.write(image)
            sizes.append((tmp_path / f"{crf}.mp4").stat().st_size)
        assert sizes[0] > 2 * sizes[1]


class TestWholeOrAbsent:
    def test_error_in_the_body_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(RuntimeError, match="model failed"), VideoWriter(tmp_path / "a.mp4", 25, (16, 16)) as writer:
            writer.write(np.zeros((16, 16, 3), np.uint8))
            raise RuntimeError("model failed")
        assert list(tmp_path.iterdir()) == []

    def test_an_older_file_stays_until_the_new_one_is_whole(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.mp4", 3)
        before = path.read_bytes()
        with pytest.raises(ValueError, match="frame must be"), VideoWriter(path, 25, (16, 16)) as writer:
            assert path.read_bytes() == before
            writer.write(np.zeros((8, 8, 3), np.uint8))
        assert path.read_bytes() == before
        assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]

    def test_no_frames(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="No frame was written"):
            VideoWriter(tmp_path / "a.mp4", 25, (16, 16)).close()
        assert list(tmp_path.iterdir()) == []

    def test_broken_sound_leaves_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        (tmp_path / "in/a.wav").write_bytes(b"RIFF\x00\x00\x00\x00WAVE")
        with pytest.raises(InputError, match=r"a\.wav"):
            VideoWriter(tmp_path / "out/a.mp4", 25, (16, 16), audio_from=tmp_path / "in/a.wav")
        assert not list(tmp_path.glob("out/*"))

    def test_closing_twice(self, tmp_path: Path) -> None:
        writer = VideoWriter(tmp_path / "a.mp4", 25, (16, 16))
        writer.write(np.zeros((16, 16, 3), np.uint8))
        writer.close()
        writer.close()
        assert probe(tmp_path / "a.mp4", LIMITS).frames == 1


class TestSeparateProcess:
    @pytest.mark.parametrize("size", [(160, 96), (161, 97)])
    def test_gives_the_same(self, tmp_path: Path, size: tuple[int, int]) -> None:
        rate = Fraction(30000, 1001)
        sound = write_sound(tmp_path / "s.m4a", "aac", tone(1.0, 44100), 44100)
        (tmp_path / "out").mkdir()
        path = write(tmp_path / "out/a.mp4", 30, size, rate, audio_from=sound, separate_process=True)
        info = probe(path, LIMITS)
        assert (info.fps, info.frames, info.has_audio) == (rate, 30, True)
        assert (info.width, info.height) == (size[0] + size[0] % 2, size[1] + size[1] % 2)
        frames = list(VideoReader(path, LIMITS))
        assert [number_in(f.rgb[: size[1], : size[0]]) for f in frames] == list(range(30))
        assert np.abs(frames[0].rgb[10, 20].astype(int) - (200, 40, 40)).max() <= 6
        assert packets(path, "audio") == packets(sound, "audio")
        assert atoms(path).index(b"moov") < atoms(path).index(b"mdat")
        assert [p.name for p in path.parent.iterdir()] == ["a.mp4"]

    def test_error_in_the_body_leaves_nothing(self, tmp_path: Path) -> None:
        with (
            pytest.raises(RuntimeError, match="model failed"),
            VideoWriter(tmp_path / "a.mp4", 25, (640, 480), separate_process=True) as writer,
        ):
            writer.write(np.zeros((480, 640, 3), np.uint8))
            raise RuntimeError("model failed")
        assert list(tmp_path.iterdir()) == []

    def test_encoder_that_dies(self, tmp_path: Path) -> None:
        with (
            pytest.raises(EngineUnavailable, match="encoder stopped"),
            VideoWriter(tmp_path / "a.mp4", 25, (640, 480), separate_process=True) as writer,
        ):
            writer._encoder._program.kill()
            for _ in range(20):
                writer.write(np.zeros((480, 640, 3), np.uint8))
        assert list(tmp_path.iterdir()) == []

    def test_is_taken_where_nothing_is_built_in(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pipelines.media.writer.built_in", lambda: False)
        monkeypatch.setattr("pipelines.media.writer.BuiltInEncoder", None)
        assert probe(write(tmp_path / "a.mp4", 3), LIMITS).frames == 3


class TestSound:
    @pytest.mark.parametrize(("name", "codec", "rate"), [("s.m4a", "aac", 44100), ("s.mp3", "libmp3lame", 48000)])
    def test_copied_bit_for_bit(self, tmp_path: Path, name: str, codec: str, rate: int) -> None:
        source = write_sound(tmp_path / name, codec, tone(2.0, rate), rate)
        path = write(tmp_path / "a.mp4", 50, audio_from=source)
        assert packets(path, "audio") == packets(source, "audio")
        mine, theirs = read_audio(path, 16000, LIMITS), read_audio(source, 16000, LIMITS)
        shared = min(len(mine), len(theirs)) - 1600  # the last packet may be cut differently
        assert shared >= 2 * 16000 - 3200
        assert np.abs(mine[:shared] - theirs[:shared]).max() < 1e-3

    def test_silent_source_gives_a_silent_video(self, tmp_path: Path) -> None:
        source = write(tmp_path / "s.mp4", 3)
        assert not probe(write(tmp_path / "a.mp4", 3, audio_from=source), LIMITS).has_audio
        with pytest.raises(InputError, match="no sound"):
            mux(source, source, tmp_path / "b.mp4", LIMITS)

    def test_of_a_transport_stream(self, tmp_path: Path) -> None:
        source = write_video(
            tmp_path / "s.ts", [i / 25 for i in range(50)], sound=("aac", tone(2.0, 48000), 48000, 0.0)
        )
        path = write(tmp_path / "a.mp4", 50, audio_from=source)
        samples = read_audio(path, 48000, LIMITS)
        assert len(samples) == pytest.approx(2 * 48000, abs=4800)
        assert np.abs(samples[4800:9600]).max() == pytest.approx(0.5, abs=0.05)

    def test_encoded_where_mp4_cannot_hold_it(self, tmp_path: Path) -> None:
        source = write_wav(tmp_path / "s.wav", tone(2.0, 22050), 22050)
        path = write(tmp_path / "a.mp4", 50, audio_from=source)
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            assert (stream.codec_context.name, stream.codec_context.rate) == ("aac", 22050)
        mine, theirs = read_audio(path, 16000, LIMITS), read_audio(source, 16000, LIMITS)
        assert len(mine) == pytest.approx(len(theirs), abs=2000)
        middle = slice(8000, 24000)
        assert np.corrcoef(mine[middle], theirs[middle])[0, 1] > 0.99

    @pytest.mark.parametrize("codec", ["pcm_s16le", "aac"])
    def test_begins_where_asked(self, tmp_path: Path, codec: str) -> None:
        rate = 16000
        samples = np.zeros(3 * rate, np.float32)
        samples[2 * rate : 2 * rate + 1600] = tone(0.1, rate, 1000)
        source = write_sound(tmp_path / "s.mkv", codec, samples, rate)
        path = write(tmp_path / "a.mp4", 50, audio_from=source, audio_start=1.5)
        heard = np.flatnonzero(np.abs(read_audio(path, rate, LIMITS)) > 0.25)
        assert heard[0] / rate == pytest.approx(0.5, abs=0.005)

    def test_offset_of_the_source_is_kept(self, tmp_path: Path) -> None:
        clap = np.zeros(16000, np.float32)
        clap[:800] = tone(0.05, 16000, 1000)
        for codec in ("aac", "pcm_s16le"):
            source = write_video(tmp_path / "s.mkv", [i / 25 for i in range(50)], sound=(codec, clap, 16000, 0.6))
            path = write(tmp_path / "a.mp4", 50, audio_from=source)
            for file in (source, path):
                heard = np.flatnonzero(np.abs(read_audio(file, 16000, LIMITS)) > 0.25)
                assert heard[0] / 16000 == pytest.approx(0.6, abs=0.01)

    @pytest.mark.parametrize("name", ["s.wav", "s.m4a"])
    def test_long_sound_is_cut_with_the_picture(self, tmp_path: Path, name: str) -> None:
        source = write_sound(tmp_path / name, "pcm_s16le" if name == "s.wav" else "aac", tone(5.0, 16000), 16000)
        path = write(tmp_path / "a.mp4", 25, audio_from=source)
        assert len(read_audio(path, 16000, LIMITS)) == pytest.approx(16000, abs=2100)

    def test_short_sound_does_not_shorten_the_picture(self, tmp_path: Path) -> None:
        source = write_wav(tmp_path / "s.wav", tone(0.2, 16000), 16000)
        assert probe(write(tmp_path / "a.mp4", 50, audio_from=source), LIMITS).frames == 50


class TestEdit:
    def test_cut_to_the_frame(self, tmp_path: Path) -> None:
        source = write_video(
            tmp_path / "s.mp4", [i / 25 for i in range(75)], sound=("aac", tone(3.0, 44100), 44100, 0.0)
        )
        path = cut(source, tmp_path / "cut.mp4", 1.0, 2.0, LIMITS)
        info = probe(path, LIMITS)
        assert (info.frames, info.has_audio, info.fps) == (25, True, 25)
        assert [number_in(f.rgb) for f in VideoReader(path, LIMITS)] == list(range(25, 50))
        assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.mp4", "s.mp4"]
        with pytest.raises(InputError, match=r"lasts 3\.00 s"):
            cut(source, tmp_path / "no.mp4", 5.0, 6.0, LIMITS)

    def test_join(self, tmp_path: Path) -> None:
        first = write(tmp_path / "a.mp4", 20)
        second = write(tmp_path / "b.mp4", 10, size=(121, 61))
        path = join([first, second], tmp_path / "ab.mp4", LIMITS)
        info = probe(path, LIMITS)
        assert (info.width, info.height, info.frames) == (160, 96, 30)
        shown = list(VideoReader(path, LIMITS))
        assert [number_in(f.rgb) for f in shown[:20]] == list(range(20))
        assert shown[25].rgb[2].max() < 30
        with pytest.raises(InputError, match="nothing to join"):
            join([], tmp_path / "no.mp4", LIMITS)

    def test_mux_copies_both(self, tmp_path: Path) -> None:
        video = write_video(
            tmp_path / "v.mp4", [i / 25 for i in range(50)], rotation=90, sound=("aac", tone(2, 8000), 8000, 0.0)
        )
        sound = write_sound(tmp_path / "s.m4a", "aac", tone(2.0, 44100, 1000), 44100)
        path = mux(video, sound, tmp_path / "vs.mp4", LIMITS)
        assert packets(path, "video") == packets(video, "video")
        assert packets(path, "audio") == packets(sound, "audio")
        assert probe(path, LIMITS).rotation == 90
        assert atoms(path).index(b"moov") < atoms(path).index(b"mdat")


@pytest.mark.media
def test_real_sound_is_copied(testdata: Path, tmp_path: Path) -> None:
    source = testdata / "face/driving_speech.mp4"
    info = probe(source, LIMITS)
    with VideoWriter(tmp_path / "a.mp4", info.fps, (info.width, info.height), audio_from=source) as writer:
        for frame in VideoReader(source, LIMITS):
            writer.write(frame.rgb)
    assert packets(tmp_path / "a.mp4", "audio") == packets(source, "audio")
    assert probe(tmp_path / "a.mp4", LIMITS).frames == info.frames
