"""Files are what their bytes say."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from models.runtime.errors import InputError
from pipelines.media.audio import write_wav
from pipelines.media.sniff import describe, sniff, sniff_bytes
from tests.media.make import picture, tone, write_sound, write_video


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "bmp", "tiff", "gif"])
def test_images(tmp_path: Path, kind: str) -> None:
    Image.fromarray(picture(1)).save(tmp_path / "file.mp4", kind)
    assert (sniff(tmp_path / "file.mp4").kind, sniff(tmp_path / "file.mp4").format) == ("image", kind)


def test_videos_and_sounds(tmp_path: Path) -> None:
    for name, codec, expected in (
        ("a.mp4", "libx264", "mov"),
        ("a.mov", "libx264", "mov"),
        ("a.mkv", "libx264", "matroska"),
        ("a.webm", "libvpx", "matroska"),
        ("a.avi", "mpeg4", "avi"),
        ("a.ts", "libx264", "mpegts"),
    ):
        found = sniff(write_video(tmp_path / name, [0.0, 0.04, 0.08], codec=codec))
        assert (found.kind, found.format) == ("video", expected)
    for name, codec, expected in (
        ("a.mp3", "libmp3lame", "mp3"),
        ("a.aac", "aac", "aac"),
        ("a.m4a", "aac", "mov"),
        ("a.flac", "flac", "flac"),
        ("a.ogg", "libopus", "ogg"),
        ("a.aiff", "pcm_s16be", "aiff"),
    ):
        found = sniff(write_sound(tmp_path / name, codec, tone(0.3, 48000), 48000))
        assert (found.kind, found.format) == ("audio", expected)
    assert sniff(write_wav(tmp_path / "a.wav", tone(0.1, 8000), 8000)).format == "wav"


def test_archives_and_models(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a", "w") as file:
        file.writestr("x", "y")
    with tarfile.open(tmp_path / "b", "w") as file:
        file.addfile(tarfile.TarInfo("x"), io.BytesIO())
    assert [sniff(tmp_path / n).format for n in "ab"] == ["zip", "tar"]
    assert sniff_bytes(b"glTF\x02\x00\x00\x00").kind == "model3d"
    assert sniff_bytes(b"ply\nformat binary_little_endian 1.0\n").kind == "model3d"


@pytest.mark.parametrize(
    "text",
    ["hello", "naïve café", "日本語", "#EXTM3U\n", "a" * 70000, "é" * 40000, "BM and some more words here to read"],
)
def test_texts(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.jpg").write_text(text, encoding="utf-8")
    assert sniff(tmp_path / "a.jpg").kind == "text"
    assert describe(sniff(tmp_path / "a.jpg")) == "a text file"


def test_missing_and_empty(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name, words in (("gone", "does not exist"), ("empty", "0 bytes"), (".", "not a file")):
        with pytest.raises(InputError, match=words):
            sniff(tmp_path / name)


@given(st.binary(min_size=1, max_size=600))
def test_any_bytes_have_an_answer(head: bytes) -> None:
    assert describe(sniff_bytes(head))
