"""Unusable input through the command line: one clear line, exit code 2, nothing left behind."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from studio.cli.main import run


def noise(path: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 255, (240, 320, 3), dtype=np.uint8)).save(path)
    return path


def text_named_jpg(folder: Path) -> list[Path]:
    (folder / "letter.jpg").write_text("Dear all, this is no picture. " * 50)
    return [folder / "letter.jpg", noise(folder / "b.png", 1)]


def truncated_video(folder: Path) -> list[Path]:
    path = folder / "cut.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        rng = np.random.default_rng(0)
        for _ in range(30):
            picture = rng.integers(0, 255, (120, 160, 3), dtype=np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        out.mux(stream.encode())
    path.write_bytes(path.read_bytes()[:900])
    return [path]


def one_photo(folder: Path) -> list[Path]:
    return [noise(folder / "a.png", 1)]


def two_equal_photos(folder: Path) -> list[Path]:
    return [noise(folder / "a.png", 1), noise(folder / "b.png", 1)]


def empty_file(folder: Path) -> list[Path]:
    (folder / "nothing.jpg").touch()
    return [folder / "nothing.jpg", noise(folder / "b.png", 1)]


def climbing_zip(folder: Path) -> list[Path]:
    photo = noise(folder / "a.png", 1)
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        archive.write(photo, "fine.png")
        archive.write(photo, "../../../climbed.png")
    return [folder / "photos.zip"]


def giant_png(folder: Path) -> list[Path]:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    (folder / "giant.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b""))
    return [folder / "giant.png", noise(folder / "b.png", 1)]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (text_named_jpg, "letter.jpg"),
        (truncated_video, "cut.mp4"),
        (one_photo, "two"),
        (two_equal_photos, "same"),
        (empty_file, "nothing.jpg"),
        (climbing_zip, "outside"),
        (giant_png, "giant.png"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_bad_input_is_one_line(
    make: Callable[[Path], list[Path]],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("STUDIO_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("STUDIO_WEIGHTS", str(tmp_path / "weights"))
    folder = tmp_path / "given"
    folder.mkdir()
    given = make(folder)
    before = sorted(p.name for p in folder.iterdir())
    assert run(["scene", "auto", *map(str, given), "--quiet", "--export-dir", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    [line] = printed.err.strip().splitlines()
    print(line)
    assert line.startswith("python -m studio: ") and words in line and printed.out == ""
    assert not (tmp_path / "out").exists() and not list(tmp_path.rglob("climbed.png"))
    runs = tmp_path / "workspace" / "runs"
    assert not runs.exists() or not list(runs.iterdir())
    assert sorted(p.name for p in folder.iterdir()) == before
