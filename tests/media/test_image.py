"""Images: every kind of pixel becomes upright 8-bit RGB; what cannot be used is refused in words."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps

from models.runtime.errors import InputError, LimitExceeded
from models.runtime.settings import Limits
from pipelines.media.image import exif_focal_px, image_size, read_image, read_image_rgba, write_image
from tests.media.make import COLOURS, picture

LIMITS = Limits()


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def with_exif(path: Path, image: Image.Image, tags: dict[int, object], sub: dict[int, object] | None = None) -> Path:
    exif = Image.Exif()
    exif.update(tags)
    if sub:
        exif.get_ifd(ExifTags.IFD.Exif).update(sub)
    return save(path, image, exif=exif)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\x00" * 64)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tiff", "gif"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(picture(5)))
    image = read_image(path, LIMITS)
    assert image.shape == (96, 160, 3)
    assert image.dtype == np.uint8
    for (y, x), colour in zip(((10, 20), (10, 140), (86, 20), (86, 140)), COLOURS, strict=True):
        assert np.abs(image[y, x].astype(int) - colour).max() <= 16
    assert image_size(path, LIMITS) == (160, 96)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    stored = Image.fromarray(picture(5))
    path = with_exif(tmp_path / "a.png", stored, {ExifTags.Base.Orientation: orientation})
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    image = read_image(path, LIMITS)
    assert np.array_equal(image, expected)
    assert image_size(path, LIMITS) == (image.shape[1], image.shape[0])
    if orientation == 6:  # held upright: the stored left column is the shown top row, from bottom to top
        assert np.array_equal(image, np.rot90(picture(5), -1))


def test_broken_exif_does_not_cost_the_picture(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", Image.fromarray(picture(5)), exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f")
    assert read_image(path, LIMITS).shape == (96, 160, 3)
    assert exif_focal_px(path) is None


class TestPixels:
    def test_16_bit_grey(self, tmp_path: Path) -> None:
        ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, 0)
        for name in ("a.png", "a.tiff"):
            image = read_image(save(tmp_path / name, Image.fromarray(ramp)), LIMITS)
            assert np.array_equal(image[0, :, 0], ramp[0] >> 8)
            assert (image[..., 0] == image[..., 2]).all()

    def test_16_bit_rgb_png(self, tmp_path: Path) -> None:
        import cv2

        deep = np.zeros((4, 6, 3), np.uint16)
        deep[:, :3], deep[:, 3:] = (1000, 30000, 65535), (65535, 256, 0)
        cv2.imwrite(str(tmp_path / "a.png"), deep[..., ::-1])
        image = read_image(tmp_path / "a.png", LIMITS)
        assert np.abs(image.astype(int) - (deep >> 8)).max() <= 1

    def test_float_and_32_bit(self, tmp_path: Path) -> None:
        half = Image.fromarray(np.full((4, 4), 0.5, np.float32))
        assert read_image(save(tmp_path / "f.tiff", half), LIMITS)[0, 0, 0] == 127
        deep = Image.fromarray(np.full((4, 4), 0x8000, np.int32))
        assert read_image(save(tmp_path / "i.tiff", deep), LIMITS)[0, 0, 0] == 0x80

    def test_palette_bilevel_and_grey(self, tmp_path: Path) -> None:
        base = Image.fromarray(picture(5))
        assert (
            np.abs(read_image(save(tmp_path / "p.png", base.quantize(16)), LIMITS).astype(int) - picture(5)).mean() < 4
        )
        assert set(np.unique(read_image(save(tmp_path / "1.png", base.convert("1")), LIMITS))) == {0, 255}
        assert read_image(save(tmp_path / "l.png", base.convert("L")), LIMITS).shape == (96, 160, 3)

    def test_cmyk(self, tmp_path: Path) -> None:
        cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
        assert tuple(read_image(save(tmp_path / "c.jpg", cyan), LIMITS)[4, 4]) == pytest.approx((0, 255, 255), abs=4)

    def test_alpha_is_laid_over_white_or_kept(self, tmp_path: Path) -> None:
        half = Image.new("RGBA", (4, 4), (200, 0, 0, 128))
        path = save(tmp_path / "a.png", half)
        assert tuple(read_image(path, LIMITS)[0, 0]) == pytest.approx((227, 127, 127), abs=1)
        assert tuple(read_image_rgba(path, LIMITS)[0, 0]) == (200, 0, 0, 128)
        grey = save(tmp_path / "la.png", Image.new("LA", (4, 4), (100, 0)))
        assert tuple(read_image(grey, LIMITS)[0, 0]) == (255, 255, 255)
        assert tuple(read_image_rgba(grey, LIMITS)[0, 0]) == (100, 100, 100, 0)
        palette = half.convert("RGB").quantize(4)
        clear = save(tmp_path / "t.gif", palette, transparency=palette.getpixel((0, 0)))
        assert tuple(read_image(clear, LIMITS)[0, 0]) == (255, 255, 255)
        opaque = save(tmp_path / "o.jpg", half.convert("RGB"))
        assert read_image_rgba(opaque, LIMITS)[..., 3].min() == 255

    def test_animation_gives_its_first_frame(self, tmp_path: Path) -> None:
        frames = [Image.fromarray(picture(i)) for i in (3, 200)]
        for name in ("a.gif", "a.webp", "a.png", "a.tiff"):
            path = save(tmp_path / name, frames[0], save_all=True, append_images=frames[1:])
            assert np.abs(read_image(path, LIMITS).astype(int) - picture(3)).mean() < 8

    def test_camera_pairs_give_their_first_picture(self, tmp_path: Path) -> None:
        pair = [Image.fromarray(picture(i)) for i in (3, 200)]
        path = save(tmp_path / "pair.jpg", pair[0], format="MPO", save_all=True, append_images=pair[1:])
        assert np.abs(read_image(path, LIMITS).astype(int) - picture(3)).mean() < 8

    def test_colour_profile_is_converted(self, tmp_path: Path) -> None:
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        red = Image.new("RGB", (4, 4), (200, 40, 40))
        for profile in (srgb, lab, b"nonsense"):  # the right one, one of the wrong kind, a broken one
            path = save(tmp_path / "a.png", red, icc_profile=profile)
            assert tuple(read_image(path, LIMITS)[0, 0]) == (200, 40, 40)


class TestRefused:
    def test_huge_header_is_refused_before_decoding(self, tmp_path: Path) -> None:
        for width, height in ((20000, 20000), (9000, 9000), (12000, 11000), (2**31 - 1, 2**31 - 1)):
            path = tmp_path / "huge.png"
            path.write_bytes(png_header(width, height))
            for read in (read_image, read_image_rgba, image_size, lambda p, limits: exif_focal_px(p, limits)):
                with pytest.raises(LimitExceeded, match=r"huge\.png .*64 megapixels.*smaller"):
                    read(path, LIMITS)

    def test_limit_counts_pixels(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.png", Image.fromarray(picture(1)))
        with pytest.raises(LimitExceeded, match="160x96"):
            read_image(path, replace(LIMITS, image_pixels=160 * 96 - 1))
        assert read_image(path, replace(LIMITS, image_pixels=160 * 96)).size

    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("notes.jpg", b"Dear diary, this is no photo.\n", "is a text file, not an image"),
            ("empty.jpg", b"", r"empty \(0 bytes\)"),
            ("noise.jpg", bytes(range(256)) * 8, "unknown kind"),
            ("page.jpg", b"<?xml version='1.0'?><svg onload='x'/>", "text file"),
            ("script.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
            ("phone.jpg", b"\x00\x00\x00\x18ftypheic" + b"\x00" * 32, "HEIC picture.*JPEG"),
            ("head.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF", "damaged"),
            ("head.png", b"\x89PNG\r\n\x1a\n", "damaged"),
            ("head.webp", b"RIFF\x10\x00\x00\x00WEBPVP8 ", "damaged"),
            ("head.tiff", b"II*\x00\x08\x00\x00\x00", "damaged"),
            ("head.gif", b"GIF89a\x10\x00", "damaged"),
            ("head.bmp", b"BM" + b"\x00" * 12 + b"\x28\x00\x00\x00" + b"\x00" * 20, "damaged"),
        ],
    )
    def test_not_an_image(self, tmp_path: Path, name: str, content: bytes, words: str) -> None:
        path = tmp_path / name
        path.write_bytes(content)
        for read in (read_image, read_image_rgba):
            with pytest.raises(InputError, match=words) as caught:
                read(path, LIMITS)
            assert name in caught.value.message

    def test_missing_or_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="does not exist"):
            read_image(tmp_path / "gone.jpg", LIMITS)
        with pytest.raises(InputError, match="is not a file"):
            read_image(tmp_path, LIMITS)

    @pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tiff"])
    def test_truncated(self, tmp_path: Path, suffix: str) -> None:
        noise = np.random.default_rng(1).integers(0, 255, (96, 160, 3), np.uint8)
        path = save(tmp_path / f"cut.{suffix}", Image.fromarray(noise))
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(InputError, match=rf"cut\.{suffix} is damaged"):
            read_image(path, LIMITS)

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_flipped_bytes_never_escape_as_other_errors(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(2)
        for suffix in ("png", "jpg", "webp", "tiff", "gif", "bmp"):
            buffer = io.BytesIO()
            Image.fromarray(picture(9)).save(buffer, {"jpg": "jpeg"}.get(suffix, suffix))
            for _ in range(40):
                data = bytearray(buffer.getvalue())
                for at in rng.integers(0, min(len(data), 400), 6):
                    data[at] = int(rng.integers(256))
                path = tmp_path / f"bad.{suffix}"
                path.write_bytes(bytes(data))
                try:
                    assert read_image(path, LIMITS).ndim == 3
                except InputError as error:
                    assert "bad." in error.message


class TestFocal:
    SIZE = (400, 300)

    def image(self) -> Image.Image:
        return Image.new("RGB", self.SIZE)

    def test_film_equivalent_is_over_the_diagonal(self, tmp_path: Path) -> None:
        path = with_exif(tmp_path / "a.jpg", self.image(), {}, {ExifTags.Base.FocalLengthIn35mmFilm: 28})
        assert exif_focal_px(path) == pytest.approx(28 / 43.2666 * 500, rel=1e-4)

    def test_sensor_resolution_and_resizing(self, tmp_path: Path) -> None:
        sub = {
            ExifTags.Base.FocalLength: 5.4,
            ExifTags.Base.FocalPlaneXResolution: 10000.0,
            ExifTags.Base.FocalPlaneResolutionUnit: 3,  # per centimetre
            ExifTags.Base.ExifImageWidth: 4000,
        }
        path = with_exif(tmp_path / "a.jpg", self.image(), {}, sub)
        assert exif_focal_px(path) == pytest.approx(5.4 * 1000 * 400 / 4000)

    @pytest.mark.parametrize("sub", [{}, {ExifTags.Base.FocalLengthIn35mmFilm: 0}, {ExifTags.Base.FocalLength: 50.0}])
    def test_nothing_usable(self, tmp_path: Path, sub: dict[int, object]) -> None:
        assert exif_focal_px(with_exif(tmp_path / "a.jpg", self.image(), {}, sub)) is None


class TestWrite:
    @pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
    def test_round_trip(self, tmp_path: Path, suffix: str) -> None:
        path = write_image(tmp_path / "deep" / f"a{suffix}", picture(7))
        assert np.abs(read_image(path, LIMITS).astype(int) - picture(7)).mean() < 4
        assert [p.name for p in path.parent.iterdir()] == [path.name]

    def test_alpha_grey_and_16_bits(self, tmp_path: Path) -> None:
        clear = np.zeros((4, 4, 4), np.uint8)
        assert read_image(write_image(tmp_path / "a.jpg", clear), LIMITS).min() == 255
        assert read_image_rgba(write_image(tmp_path / "a.png", clear), LIMITS)[..., 3].max() == 0
        deep = np.arange(16, dtype=np.uint16).reshape(4, 4) * 4096
        with Image.open(write_image(tmp_path / "d.png", deep)) as image:
            assert np.array_equal(np.asarray(image), deep)

    def test_refused_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"use \.jpg"):
            write_image(tmp_path / "a.exe", picture(1))
        with pytest.raises(InputError, match="shape"):
            write_image(tmp_path / "a.png", np.zeros((4, 4, 5), np.uint8))
        with pytest.raises(InputError, match="float"):
            write_image(tmp_path / "a.jpg", np.zeros((4, 4, 3)))
        assert list(tmp_path.iterdir()) == []


@pytest.mark.media
def test_real_photos(testdata: Path) -> None:
    paths = sorted((testdata / "scene/castle").glob("*.jpg"))
    assert len(paths) == 11
    assert read_image(paths[0], LIMITS).shape == (769, 1024, 3)
