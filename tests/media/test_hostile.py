"""Hostile and broken videos: refused in words or read as far as they go; no other error ever escapes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.runtime.errors import InputError, LimitExceeded, StudioError
from models.runtime.settings import Limits
from pipelines.media.audio import probe_audio, read_audio
from pipelines.media.edit import cut, join, mux
from pipelines.media.sniff import sniff
from pipelines.media.video import VideoReader, VideoWriter, probe
from tests.media.make import number_in, tone, write_video

LIMITS = Limits()
CLOCK = [i / 25 for i in range(60)]


def noisy(count: int, seed: int = 0) -> list[np.ndarray]:
    """Pictures that do not compress away, so that a cut or a scratch hits them."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 255, (96, 160, 3), np.uint8) for _ in range(count)]


def everything(path: Path, limits: Limits = LIMITS) -> list[str]:
    """Calls all readers; returns the messages of their InputErrors. Anything else fails the test."""
    found = []
    for act in (
        lambda: probe(path, limits),
        lambda: list(VideoReader(path, limits)),
        lambda: list(VideoReader(path, limits, start=0.5, fps=10)),
        lambda: probe_audio(path, limits),
        lambda: read_audio(path, 16000, limits),
    ):
        try:
            act()
        except InputError as error:
            found.append(error.message)
    return found


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.mkv", "list.ts"])
@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:9/secret.ts\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{real}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{real}'\n",
        "file '{real}'\n",
        "<?xml version='1.0'?><MPD><BaseURL>file://{real}</BaseURL></MPD>",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
        "[playlist]\nFile1={real}\n",
        "[Script Info]\nTitle: {real}\n",
        "1\n00:00:00,000 --> 00:00:05,000\n<img src='{real}'>\n",
    ],
)
def test_playlists_and_scripts_are_refused(tmp_path: Path, name: str, text: str) -> None:
    real = write_video(tmp_path / "real.mp4", CLOCK[:3])
    path = tmp_path / name
    path.write_text(text.replace("{real}", str(real)))
    messages = everything(path)
    assert len(messages) == 5
    assert all(name in message and "text file" in message for message in messages)
    for act in (lambda: cut(path, tmp_path / "o.mp4", 0, 1, LIMITS), lambda: join([path], tmp_path / "o.mp4", LIMITS)):
        with pytest.raises(InputError, match="text file"):
            act()
    with pytest.raises(InputError, match="text file"):
        VideoWriter(tmp_path / "o.mp4", 25, (16, 16), audio_from=path)
    assert not (tmp_path / "o.mp4").exists()


@pytest.mark.parametrize(
    "name", ["http:%2f", "concat:a|b.mp4", "-i.mp4", "%03d.mp4", "a b'c\".mp4", "pipe:0", "視頻.mp4"]
)
def test_names_mean_nothing(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / "v.mp4", CLOCK[:4], sound=("aac", tone(0.2, 16000), 16000, 0.0)).rename(
        tmp_path / name
    )
    assert probe(path, LIMITS).frames == 4
    assert len(list(VideoReader(path, LIMITS))) == 4
    assert len(read_audio(path, 16000, LIMITS))
    assert probe(cut(path, tmp_path / "cut.mp4", 0, 0.08, LIMITS), LIMITS).frames == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"Just words.", "is a text file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "is an image file"),
        (b"PK\x03\x04" + bytes(64), "is an archive file"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(64), "is an image file"),
        (b"\x00\x00\x00\x18ftypisom" + bytes(64), "damaged or incomplete"),
        (b"\x1aE\xdf\xa3" + bytes(64), "v.mp4"),
        (b"FLV\x01" + bytes(64), "cannot be used here"),
        (bytes(np.random.default_rng(0).integers(128, 250, 4096, np.uint8)), "unknown kind"),
    ],
)
def test_what_is_no_video(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        probe(path, LIMITS)
    with pytest.raises(InputError, match=words):
        list(VideoReader(path, LIMITS))


def test_sound_only(tmp_path: Path) -> None:
    from tests.media.make import write_sound

    path = write_sound(tmp_path / "a.m4a", "aac", tone(0.5, 16000), 16000).rename(tmp_path / "a.mp4")
    with pytest.raises(InputError, match="has no video"):
        probe(path, LIMITS)


class TestTruncated:
    def test_index_at_the_end_is_lost(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "v.mp4", CLOCK, pictures=noisy(60))
        path.write_bytes(path.read_bytes()[:-5000])
        with pytest.raises(InputError, match=r"v\.mp4 is damaged or incomplete"):
            probe(path, LIMITS)

    def test_index_in_front_gives_what_is_there(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "v.mp4", CLOCK, pictures=noisy(60), muxer={"movflags": "+faststart"})
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        info = probe(path, LIMITS)
        assert not info.complete
        assert 10 < info.frames < 50
        reader = VideoReader(path, LIMITS)
        frames = list(reader)
        assert 10 < len(frames) <= info.frames
        assert not reader.complete
        assert any("ends too early" in word for word in reader.warnings())

    @pytest.mark.parametrize("name", ["v.mkv", "v.ts", "v.avi"])
    def test_streamable_containers_give_what_is_there(self, tmp_path: Path, name: str) -> None:
        codec = "mpeg4" if name == "v.avi" else "libx264"
        path = write_video(tmp_path / name, CLOCK, codec=codec, pictures=noisy(60))
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        assert 10 < len(list(VideoReader(path, LIMITS))) < 50


def test_damaged_middle_is_skipped_and_counted(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", CLOCK, options={"g": "1"}, codec="mjpeg", pix_fmt="yuvj420p")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    for at in range(middle, middle + 9000, 40):
        data[at : at + 20] = bytes(20)
    path.write_bytes(bytes(data))
    reader = VideoReader(path, LIMITS)
    frames = list(reader)
    assert reader.skipped > 0
    assert any("damaged frames were left out" in word for word in reader.warnings())
    assert number_in(frames[0].rgb) == 0
    assert number_in(frames[-1].rgb) == 59
    assert 30 < len(frames) < 60
    assert np.all(np.diff([f.time for f in frames]) > 0)


def test_every_frame_damaged(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", CLOCK[:5], codec="mjpeg", pix_fmt="yuvj420p")
    data = re.sub(rb"\xff\xd8\xff.*?\xff\xd9", lambda m: bytes(len(m[0])), path.read_bytes(), flags=re.DOTALL)
    path.write_bytes(data)
    for act in (lambda: probe(path, LIMITS), lambda: list(VideoReader(path, LIMITS))):
        with pytest.raises(InputError, match="no frame that can be decoded"):
            act()


def test_size_claimed_in_the_header(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", CLOCK[:3], codec="mpeg4")
    data = path.read_bytes()
    at = data.index(b"mp4v", data.index(b"stsd"))
    claim = data[: at + 28] + (20000).to_bytes(2, "big") * 2 + data[at + 32 :]
    path.write_bytes(claim)
    for message in everything(path)[:2]:
        assert "v.mp4" in message
    gif = tmp_path / "huge.gif"
    gif.write_bytes(b"GIF89a" + (20000).to_bytes(2, "little") * 2 + b"\x00\x00\x00" + b"\x2c" + bytes(40))
    with pytest.raises(InputError):
        probe(gif, LIMITS)


def test_one_picture_that_claims_to_last_for_days(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mov", [0.0], codec="prores_ks", pix_fmt="yuv422p10le")
    data = bytearray(path.read_bytes())
    at = data.index(b"stts") + 16
    data[at : at + 4] = b"\x7f\xff\xff\xff"
    path.write_bytes(bytes(data))
    with pytest.raises(LimitExceeded, match="longer than"):
        probe(path, LIMITS)
    with pytest.raises(LimitExceeded, match="longer than"):
        list(VideoReader(path, LIMITS, fps=10))


def test_pictures_that_grow_in_the_middle(tmp_path: Path) -> None:
    small = write_video(tmp_path / "a.ts", CLOCK[:10])
    large = write_video(tmp_path / "b.ts", [0.4 + t for t in CLOCK[:10]], size=(320, 192))
    path = tmp_path / "ab.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    assert {f.rgb.shape for f in VideoReader(path, LIMITS)} == {(96, 160, 3)}
    with pytest.raises(LimitExceeded):
        list(VideoReader(path, replace(LIMITS, video_side=200)))


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.avi", "v.ts", "v.webm", "v.gif"])
def test_scratches_never_escape_as_other_errors(tmp_path: Path, name: str) -> None:
    codec = {"v.avi": "mpeg4", "v.webm": "libvpx", "v.gif": "gif"}.get(name, "libx264")
    sound = None if name in ("v.gif", "v.webm") else ("aac", tone(0.4, 16000), 16000, 0.0)
    whole = write_video(
        tmp_path / name, CLOCK[:8], codec=codec, pix_fmt="rgb8" if codec == "gif" else "yuv420p", sound=sound
    ).read_bytes()
    rng = np.random.default_rng(3)
    limits = replace(LIMITS, video_seconds=20, audio_seconds=20, decode_seconds=20)
    for _ in range(12):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 12):
            data[at] = int(rng.integers(256))
        path = tmp_path / f"bad_{name}"
        path.write_bytes(bytes(data))
        everything(path, limits)


def test_mux_of_broken_files_leaves_nothing(tmp_path: Path) -> None:
    good = write_video(tmp_path / "v.mp4", CLOCK[:5])
    bad = tmp_path / "s.mp3"
    bad.write_bytes(b"ID3\x04\x00\x00\x00\x00\x00\x00" + bytes(500))
    with pytest.raises(StudioError, match=r"s\.mp3"):
        mux(good, bad, tmp_path / "out" / "o.mp4", LIMITS)
    assert list((tmp_path / "out").iterdir()) == []


def test_external_references_are_not_followed(tmp_path: Path) -> None:
    """A QuickTime file whose data lies in another file, named in its data reference."""
    secret = write_video(tmp_path / "secret.mov", CLOCK[:5], codec="mjpeg", pix_fmt="yuvj420p")
    data = bytearray(secret.read_bytes())
    at = data.index(b"url ", data.index(b"dref"))
    data[at : at + 8] = b"alis\x00\x00\x00\x00"
    path = tmp_path / "lure.mov"
    path.write_bytes(bytes(data))
    assert sniff(path).format == "mov"
    everything(path)  # whatever it finds in the file itself is fine; it must not raise anything else
