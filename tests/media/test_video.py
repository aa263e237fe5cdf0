"""The video reader: time, order, orientation, colours and every container."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from models.runtime.errors import InputError, LimitExceeded
from models.runtime.settings import Limits
from pipelines.media.video import VideoReader, probe
from tests.media.make import COLOURS, number_in, picture, tone, write_video

LIMITS = Limits()


def clock(count: int, fps: float = 25) -> list[float]:
    return [i / fps for i in range(count)]


def numbers(reader: VideoReader) -> list[int]:
    return [number_in(frame.rgb) for frame in reader]


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mov", "libx264", "yuv422p10le"),
        ("a.mkv", "libx264", "yuv444p"),
        ("b.mkv", "ffv1", "yuv420p10le"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("b.avi", "mjpeg", "yuvj420p"),
        ("a.ts", "libx264", "yuv420p"),
        ("c.mp4", "libx265", "yuv420p10le"),
        ("d.mp4", "mpeg4", "yuv420p"),
        ("e.mov", "prores_ks", "yuv422p10le"),
    ],
)
def test_every_container_and_pixel_format(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = write_video(tmp_path / name, clock(12), codec=codec, pix_fmt=pix_fmt, options=options)
    info = probe(path, LIMITS)
    assert (info.width, info.height, info.frames, info.rotation) == (160, 96, 12, 0)
    assert info.fps == 25
    assert not info.variable
    assert info.complete
    assert not info.has_audio
    assert info.duration == pytest.approx(12 / 25, abs=0.05)
    frames = list(VideoReader(path, LIMITS))
    assert [number_in(f.rgb) for f in frames] == list(range(12))
    assert [f.index for f in frames] == list(range(12))
    assert np.diff([f.time for f in frames]) == pytest.approx(0.04, abs=2e-3)
    assert frames[3].rgb.flags.c_contiguous
    assert frames[3].rgb.dtype == np.uint8
    for (y, x), colour in zip(((10, 20), (10, 140), (86, 20), (86, 140)), COLOURS, strict=True):
        assert np.abs(frames[3].rgb[y, x].astype(int) - colour).max() <= 12


def test_gif_is_read_as_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.gif", clock(5, 10), codec="gif", pix_fmt="rgb8", fps=10)
    assert numbers(VideoReader(path, LIMITS)) == list(range(5))
    assert probe(path, LIMITS).fps == 10


def test_fractional_rate_is_kept(tmp_path: Path) -> None:
    rate = Fraction(30000, 1001)
    path = write_video(tmp_path / "ntsc.mp4", [i / rate for i in range(40)], fps=rate)
    assert probe(path, LIMITS).fps == rate
    path = write_video(tmp_path / "ntsc.mkv", [i / rate for i in range(40)], fps=rate)
    info = probe(path, LIMITS)
    assert abs(info.fps - rate) < 0.01
    assert not info.variable
    assert numbers(VideoReader(path, LIMITS, fps=rate)) == list(range(40))


class TestRotation:
    @pytest.mark.parametrize("turn", [0, 90, 180, 270])
    @pytest.mark.parametrize("mirrored", [False, True])
    def test_display_matrix_is_applied(self, tmp_path: Path, turn: int, mirrored: bool) -> None:
        path = write_video(tmp_path / "turned.mp4", clock(3), rotation=turn, mirrored=mirrored)
        info = probe(path, LIMITS)
        frame = next(iter(VideoReader(path, LIMITS)))
        assert frame.rgb.shape[:2] == (info.height, info.width)
        assert (info.width > info.height) == (turn % 180 == 0)
        upright = np.rot90(picture(0), -turn // 90)
        if mirrored:
            upright = upright[:, ::-1]
        for y, x in itertools.product((0.1, 0.9), repeat=2):
            place = (int(y * info.height), int(x * info.width))
            assert np.abs(frame.rgb[place].astype(int) - upright[place]).max() <= 12
        if not mirrored:
            assert info.rotation == turn


class TestTime:
    def test_varying_rate_keeps_its_times(self, tmp_path: Path) -> None:
        times = [0.0, 0.04, 0.08, 0.5, 0.52, 1.4, 1.44]
        path = write_video(tmp_path / "vfr.mp4", times)
        info = probe(path, LIMITS)
        assert info.variable
        assert info.frames == 7
        assert [f.time for f in VideoReader(path, LIMITS)] == pytest.approx(times, abs=1e-3)

    def test_varying_rate_becomes_even(self, tmp_path: Path) -> None:
        times = [0.0, 0.1, 0.2, 1.0, 1.1]
        path = write_video(tmp_path / "vfr.mp4", times)
        frames = list(VideoReader(path, LIMITS, fps=10, end=1.2))
        shown = [number_in(f.rgb) for f in frames]
        assert shown[:12] == [0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 4]
        assert [f.time for f in frames][:12] == pytest.approx(np.arange(12) / 10, abs=1e-6)

    @pytest.mark.parametrize(("fps", "expected"), [(5, [0, 5, 10, 15, 20]), (50, [i // 2 for i in range(50)])])
    def test_other_rates(self, tmp_path: Path, fps: int, expected: list[int]) -> None:
        path = write_video(tmp_path / "a.mp4", clock(25))
        assert numbers(VideoReader(path, LIMITS, fps=fps)) == expected

    def test_rounded_timestamps_repeat_and_drop_nothing(self, tmp_path: Path) -> None:
        times = [round(i / 30, 3) for i in range(45)]  # what containers do that count milliseconds
        path = write_video(tmp_path / "ms.mkv", times, fps=30)
        assert numbers(VideoReader(path, LIMITS, fps=30)) == list(range(45))
        assert numbers(VideoReader(path, LIMITS, fps=15)) == list(range(0, 45, 2))

    @pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi", "a.webm"])
    @pytest.mark.parametrize("start", [0.0, 0.52, 2.0, 3.96])
    def test_start_and_end_to_the_frame(self, tmp_path: Path, name: str, start: float) -> None:
        codec = {"a.avi": "mpeg4", "a.webm": "libvpx"}.get(name, "libx264")
        path = write_video(tmp_path / name, clock(100), codec=codec, options={"g": "30", "bf": "2"})
        offset = probe(path, LIMITS).start
        first = round(start * 25)
        reader = VideoReader(path, LIMITS, start=start + offset, end=start + offset + 0.4)
        assert numbers(reader) == list(range(first, min(first + 10, 100)))
        assert reader.warnings() == ()

    def test_pictures_at_chosen_times(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.mp4", clock(50))
        frames = list(VideoReader(path, LIMITS, times=[1.5, 0.4, 0.41, 1.96]))
        assert [number_in(f.rgb) for f in frames] == [10, 10, 37, 49]
        assert [f.time for f in frames] == [0.4, 0.41, 1.5, 1.96]

    @pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi", "a.webm"])
    def test_far_apart_times_jump(self, tmp_path: Path, name: str) -> None:
        codec = {"a.avi": "mpeg4", "a.webm": "libvpx"}.get(name, "libx264")
        path = write_video(tmp_path / name, clock(250), codec=codec, options={"g": "30", "bf": "2"})
        base = probe(path, LIMITS).start
        wanted = [0, 3, 90, 91, 200, 249]
        frames = VideoReader(path, LIMITS, times=[base + n / 25 + 1e-3 for n in wanted])
        assert numbers(frames) == wanted

    def test_late_picture_keeps_its_offset_to_the_sound(self, tmp_path: Path) -> None:
        sound = ("aac", tone(2.0, 48000), 48000, 0.0)
        path = write_video(tmp_path / "late.mp4", [0.5 + t for t in clock(25)], sound=sound)
        assert probe(path, LIMITS).start == pytest.approx(0.5, abs=0.03)
        assert next(iter(VideoReader(path, LIMITS))).time == pytest.approx(0.5, abs=0.03)

    def test_one_frame(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "one.mp4", [0.0])
        info = probe(path, LIMITS)
        assert info.frames == 1
        assert info.duration > 0
        assert numbers(VideoReader(path, LIMITS)) == [0]
        assert numbers(VideoReader(path, LIMITS, fps=25)) == [0]

    def test_reading_twice_gives_the_same(self, tmp_path: Path) -> None:
        reader = VideoReader(write_video(tmp_path / "a.mp4", clock(5)), LIMITS)
        assert numbers(reader) == numbers(reader) == list(range(5))


def test_scaled_down_and_square_pixels(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", clock(2))
    assert next(iter(VideoReader(path, LIMITS, max_side=80))).rgb.shape == (48, 80, 3)
    wide = write_video(tmp_path / "wide.mp4", clock(2), tags={"sample_aspect_ratio": Fraction(2, 1)})
    assert (probe(wide, LIMITS).width, probe(wide, LIMITS).height) == (320, 96)
    assert next(iter(VideoReader(wide, LIMITS))).rgb.shape == (96, 320, 3)


def test_untagged_colours_follow_the_size_like_players_do(tmp_path: Path) -> None:
    from av.video.reformatter import Colorspace

    flat = np.full((720, 1280, 3), (180, 60, 40), np.uint8)
    for size, matrix in (((1280, 720), Colorspace.ITU709), ((320, 240), Colorspace.ITU601)):
        path = tmp_path / f"{size[0]}.mkv"
        _write_with_matrix(path, flat[: size[1], : size[0]], matrix)
        rgb = next(iter(VideoReader(path, LIMITS))).rgb
        assert np.abs(rgb[100, 100].astype(int) - (180, 60, 40)).max() <= 4


def _write_with_matrix(path: Path, image: np.ndarray, matrix: int) -> None:
    import av
    from av.video.frame import VideoFrame

    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, width=image.shape[1], height=image.shape[0])
        stream.pix_fmt = "yuv420p"
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=matrix)
        frame.colorspace = 2  # unspecified
        frame.pts = 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def test_hdr_white_is_white(tmp_path: Path) -> None:
    """HLG puts diffuse white at 75 % of the signal; shown as it is, it would be a dull grey of 191."""
    import av
    from av.video.frame import VideoFrame

    path = tmp_path / "hlg.mp4"
    planes = np.full((96 * 3 // 2, 160), 512, np.uint16)
    planes[:96] = 64 + round(0.75 * 876)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, width=160, height=96)
        stream.pix_fmt = "yuv420p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 9, 18, 9, 1
        frame = VideoFrame.from_ndarray(planes, format="yuv420p10le")
        frame.pts = 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    rgb = next(iter(VideoReader(path, LIMITS))).rgb
    assert rgb.min() >= 240
    assert np.ptp(rgb) <= 8


class TestLimits:
    def test_side(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.mp4", clock(2))
        for act in (probe, lambda p, limits: list(VideoReader(p, limits))):
            with pytest.raises(LimitExceeded, match=r"a\.mp4 is 160x96"):
                act(path, replace(LIMITS, video_side=128))

    @pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
    def test_length(self, tmp_path: Path, name: str) -> None:
        path = write_video(tmp_path / name, clock(100))
        for act in (probe, lambda p, limits: list(VideoReader(p, limits))):
            with pytest.raises(LimitExceeded, match="longer than the 2 s allowed"):
                act(path, replace(LIMITS, video_seconds=2.0))

    def test_clock(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.mp4", clock(100))
        with pytest.raises(LimitExceeded, match="took longer than"):
            list(VideoReader(path, replace(LIMITS, decode_seconds=-20.0)))

    def test_options(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.mp4", clock(2))
        with pytest.raises(InputError, match="frame rate"):
            VideoReader(path, LIMITS, fps=0)
        with pytest.raises(InputError, match="end of the cut"):
            VideoReader(path, LIMITS, start=2, end=1)
        with pytest.raises(InputError, match="between 5 s"):
            list(VideoReader(path, LIMITS, start=5, end=6))


@pytest.mark.media
def test_real_videos(testdata: Path) -> None:
    expected = {
        "face/driving_speech.mp4": (512, 512, 25, 183, True),
        "talk/speaker.mp4": (704, 1216, 25, 268, False),
        "body/street_5frames.mp4": (960, 540, 5, 5, False),
    }
    for name, (width, height, fps, count, sound) in expected.items():
        info = probe(testdata / name, LIMITS)
        assert (info.width, info.height, info.fps, info.frames, info.has_audio) == (width, height, fps, count, sound)
        assert sum(1 for _ in VideoReader(testdata / name, LIMITS, max_side=64)) == count
