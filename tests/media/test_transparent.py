"""Files with transparency, read back by other means than they were written with."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence

from models.runtime.errors import InputError
from pipelines.media.transparent import (
    ApngWriter,
    GifWriter,
    PngZipWriter,
    SpriteWriter,
    WebmWriter,
    bled,
    fitted,
)

COUNT, FPS, SIZE = 8, 20.0, (64, 48)


def frame(number: int) -> np.ndarray:
    """An orange square that walks to the right, with a soft rim and nothing round it."""
    rgba = np.zeros((SIZE[1], SIZE[0], 4), np.uint8)
    left = 6 + 3 * number
    rgba[10:36, left : left + 22] = (230, 120, 20, 128)
    rgba[12:34, left + 2 : left + 20] = (230, 120, 20, 255)
    return rgba


def fill(writer: object) -> None:
    with writer as opened:
        for number in range(COUNT):
            opened.write(frame(number))


def test_webm_keeps_alpha(tmp_path: Path) -> None:
    fill(WebmWriter(tmp_path / "a.webm", FPS, SIZE))
    with av.open(str(tmp_path / "a.webm")) as container:
        stream = container.streams.video[0]
        assert stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE")) == "1"
        context = av.CodecContext.create("libvpx-vp9", "r")  # FFmpeg's own decoder leaves the alpha out
        context.extradata = stream.codec_context.extradata
        decoded = []
        for packet in container.demux(stream):
            decoded += [f.to_ndarray(format="rgba") for f in context.decode(packet)]
    assert len(decoded) == COUNT
    for number, seen in enumerate(decoded):
        wanted = frame(number)
        assert np.abs(seen[..., 3].astype(int) - wanted[..., 3]).mean() < 6
        solid = wanted[..., 3] == 255
        assert np.abs(seen[solid][:, :3].astype(int) - (230, 120, 20)).mean() < 12


def test_apng_is_exact_and_loops(tmp_path: Path) -> None:
    fill(ApngWriter(tmp_path / "a.apng", FPS, SIZE))
    with Image.open(tmp_path / "a.apng") as image:
        assert image.n_frames == COUNT
        assert image.info["loop"] == 0
        for number, picture in enumerate(ImageSequence.Iterator(image)):
            seen = np.array(picture.convert("RGBA"))
            shown = frame(number)[..., 3] > 0
            assert np.array_equal(seen[..., 3], frame(number)[..., 3])
            assert np.array_equal(seen[shown], frame(number)[shown])
            assert picture.info["duration"] == pytest.approx(50)


def test_gif_is_transparent_and_in_time(tmp_path: Path) -> None:
    fill(GifWriter(tmp_path / "a.gif", 50.0))
    with Image.open(tmp_path / "a.gif") as image:
        pictures = [(np.array(p.convert("RGBA")), p.info["duration"]) for p in ImageSequence.Iterator(image)]
        assert image.info["loop"] == 0
    assert len(pictures) == COUNT // 2  # 50 frames a second are halved
    assert sum(duration for _, duration in pictures) == 160
    for number, (seen, _) in enumerate(pictures):
        wanted = frame(2 * number)
        assert np.array_equal(seen[..., 3] > 0, wanted[..., 3] >= 128)
        assert np.abs(seen[wanted[..., 3] == 255][:, :3].astype(int) - (230, 120, 20)).max() < 10


def test_png_frames_in_a_zip(tmp_path: Path) -> None:
    fill(PngZipWriter(tmp_path / "a.zip"))
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        names = archive.namelist()
        assert names[0] == "frame_00000.png"
        assert len(names) == COUNT
        last = np.array(Image.open(io.BytesIO(archive.read(names[-1]))))
    assert np.array_equal(last, frame(COUNT - 1))


def test_sprites_say_where_they_are(tmp_path: Path) -> None:
    fill(SpriteWriter(tmp_path / "a.png", FPS, 32, COUNT))
    facts = json.loads((tmp_path / "a.json").read_text())
    sheet = np.array(Image.open(tmp_path / "a.png"))
    assert facts["count"] == COUNT
    assert sheet.shape == (-(-COUNT // facts["columns"]) * facts["height"], facts["columns"] * facts["width"], 4)
    third = sheet[: facts["height"], 2 * facts["width"] : 3 * facts["width"]]
    assert np.array_equal(third, fitted(frame(2), 32))


def test_nothing_is_left_of_a_broken_or_empty_file(tmp_path: Path) -> None:
    with pytest.raises(InputError), ApngWriter(tmp_path / "a.apng", FPS, SIZE):
        pass
    with pytest.raises(ZeroDivisionError), WebmWriter(tmp_path / "a.webm", FPS, SIZE) as writer:
        writer.write(frame(0))
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_shrinking_and_bleeding_keep_rims_clean() -> None:
    small = fitted(frame(0), 30)
    seen = small[..., 3] > 8
    assert np.abs(small[seen][:, :3].astype(int) - (230, 120, 20)).max() < 12
    grown = bled(frame(0))
    assert np.array_equal(grown[..., 3], frame(0)[..., 3])
    assert np.abs(grown[9, 12, :3].astype(int) - (230, 120, 20)).max() < 3
