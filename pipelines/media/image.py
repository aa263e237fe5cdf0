"""Images in and out: upright 8-bit RGB whatever the file holds, with the limits checked before anything is decoded."""

from __future__ import annotations

import io
import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from models.runtime.errors import InputError, LimitExceeded
from models.runtime.settings import Limits
from pipelines.media.atomic import replacing
from pipelines.media.sniff import describe, sniff

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
# Whoever decodes through Pillow in this process gets an error instead of a warning for absurdly large pictures.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)

_ADVICE = "use a JPEG, PNG, WEBP, BMP, TIFF or GIF image"
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    OverflowError,
    ZeroDivisionError,
    AttributeError,
    struct.error,
    zlib.error,
)
_TURNS = {  # EXIF orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DIAGONAL_35MM = math.hypot(36.0, 24.0)
_UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 1e-3}  # EXIF FocalPlaneResolutionUnit
_LARGEST_FILM_EQUIVALENT_MM = 3000.0


@contextmanager
def _opened(path: Path, limits: Limits) -> Iterator[Image.Image]:
    """The lazily opened image: header read, nothing decoded. Raises InputError, LimitExceeded."""
    path = Path(path)
    found = sniff(path)
    if found.format in ("heic", "avif"):
        raise InputError(
            f"{path.name} is a {found.format.upper()} picture, which cannot be read here; export it as JPEG "
            "(on an iPhone: Settings > Camera > Formats > Most Compatible)"
        )
    if found.kind != "image":
        raise InputError(f"{path.name} is {describe(found)}, not an image; {_ADVICE}")
    try:
        image = Image.open(path, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path, limits) from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path.name} is damaged or of an unknown image format; {_ADVICE}") from error
    except _BROKEN as error:
        raise InputError(f"{path.name} is damaged and cannot be read as an image; {_ADVICE}") from error
    with image:
        if image.width * image.height > limits.image_pixels:
            raise _too_large(path, limits, image.size)
        yield image


def _too_large(path: Path, limits: Limits, size: tuple[int, int] | None = None) -> LimitExceeded:
    what = f"has {size[0]}x{size[1]} pixels, more" if size else "has far more pixels"
    return LimitExceeded(
        f"{path.name} {what} than the {limits.image_pixels / 1e6:.0f} megapixels allowed; make it smaller first"
    )


def image_size(path: Path, limits: Limits) -> tuple[int, int]:
    """(width, height) in pixels as displayed, that is after the EXIF orientation; reads the header only.

    Raises:
        InputError, LimitExceeded: as ``read_image``.
    """
    with _opened(path, limits) as image:
        turned = _orientation(image) >= 5
        return (image.height, image.width) if turned else image.size


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _BROKEN:
        return 1  # broken EXIF must not cost the user the picture
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _to_8bit(image: Image.Image) -> Image.Image:
    """Grey images of 16 or 32 bits become 8-bit ones; everything else passes through."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode == "I":
        values = np.asarray(image)
        values = values >> 8 if values.max(initial=0) > 255 else values
        return Image.fromarray(values.clip(0, 255).astype(np.uint8))
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image))
        scale = 255.0 if values.max(initial=0) <= 1.0 else 1.0
        return Image.fromarray((values * scale).clip(0, 255).astype(np.uint8))
    return image


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Colours through the embedded profile where there is one that is not sRGB already."""
    if not profile or image.mode not in ("RGB", "RGBA", "CMYK"):
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return image
        target = ImageCms.createProfile("sRGB")
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        return ImageCms.profileToProfile(image, source, target, outputMode=mode) or image
    except (ImageCms.PyCMSError, *_BROKEN):
        return image  # an unusable profile is no reason to refuse the picture


def _load(path: Path, limits: Limits) -> Image.Image:
    """First frame, upright, 8 bits per channel, mode RGB or RGBA (RGBA where the file holds any transparency)."""
    path = Path(path)
    with _opened(path, limits) as image:
        try:
            image.load()
            profile = image.info.get("icc_profile")
            turn = _orientation(image)
            alpha = image.mode in ("LA", "PA", "La", "RGBa", "RGBA") or "transparency" in image.info
            image = _to_srgb(_to_8bit(image), profile)
            image = image.convert("RGBA" if alpha else "RGB")
            if turn != 1:
                image = image.transpose(_TURNS[turn])
        except MemoryError as error:
            raise LimitExceeded(f"{path.name} needs more memory than there is; make it smaller first") from error
        except (Image.DecompressionBombError, *_BROKEN) as error:
            raise InputError(
                f"{path.name} is damaged or incomplete and cannot be decoded; copy or export it again"
            ) from error
    return image


def read_image(path: Path, limits: Limits) -> np.ndarray:
    """Reads an image upright as (H, W, 3) uint8 RGB.

    EXIF orientation is applied, an embedded colour profile is converted to sRGB, 16-bit values keep their high byte,
    transparency is composited over white, and of an animation the first frame is taken.

    Raises:
        InputError: not an image, damaged, truncated or of a format that is not supported.
        LimitExceeded: more pixels than ``limits.image_pixels``; known from the header, nothing is decoded.
    """
    image = _load(path, limits)
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image).convert("RGB")
    return np.array(image)


def read_image_rgba(path: Path, limits: Limits) -> np.ndarray:
    """Reads an image upright as (H, W, 4) uint8 RGBA, alpha straight (not premultiplied), 255 where the file has none.

    Raises:
        InputError, LimitExceeded: as ``read_image``.
    """
    return np.array(_load(path, limits).convert("RGBA"))


def _number(value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0
    return number if math.isfinite(number) else 0.0


def exif_focal_px(path: Path, limits: Limits | None = None) -> float | None:
    """Focal length in pixels of the image as stored, from its EXIF data, or None where that says nothing usable.

    The 35 mm equivalent is read by its definition over the image diagonal (CIPA DCG-001: 43.27 mm); without it the
    focal length in mm times the pixels per mm of the sensor, corrected for resizing by the recorded pixel width.

    Raises:
        InputError, LimitExceeded: as ``read_image``.
    """
    with _opened(path, limits or Limits()) as image:
        try:
            tags = image.getexif().get_ifd(ExifTags.IFD.Exif)
        except _BROKEN:
            return None
        width, height = image.size
    film = _number(tags.get(ExifTags.Base.FocalLengthIn35mmFilm))
    if 0 < film <= _LARGEST_FILM_EQUIVALENT_MM:
        return film / _DIAGONAL_35MM * math.hypot(width, height)
    focal = _number(tags.get(ExifTags.Base.FocalLength))
    density = _number(tags.get(ExifTags.Base.FocalPlaneXResolution))
    unit = _UNIT_MM.get(tags.get(ExifTags.Base.FocalPlaneResolutionUnit, 2), 25.4)
    if focal <= 0 or density <= 0:
        return None
    recorded = _number(tags.get(ExifTags.Base.ExifImageWidth)) or float(max(width, height))
    pixels = focal * density / unit * max(width, height) / max(recorded, 1.0)
    return pixels if 0.1 * max(width, height) < pixels < 100 * max(width, height) else None


def write_image(path: Path, array: np.ndarray, quality: int = 95) -> Path:
    """Writes (H, W), (H, W, 3) or (H, W, 4) uint8, or (H, W) uint16 (PNG only), as .jpg, .png or .webp by suffix.

    The file appears whole or not at all. Transparency is composited over white where the format has none.

    Raises:
        InputError: a suffix or an array that cannot be written.
    """
    path = Path(path)
    kind = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"Cannot write images as {path.suffix or path.name}; use .jpg, .png or .webp")
    array = np.ascontiguousarray(array)
    deep = array.dtype == np.uint16 and array.ndim == 2 and kind == "PNG"
    if not deep and (
        array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4)))
    ):
        raise InputError(f"Cannot write an array of shape {array.shape} and type {array.dtype} as {path.suffix}")
    image = Image.fromarray(array)
    if image.mode == "RGBA" and kind == "JPEG":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    options = {
        "JPEG": {"quality": quality, "subsampling": 0},
        "PNG": {"compress_level": 4},
        "WEBP": {"quality": quality},
    }
    with replacing(path) as temporary:
        image.save(temporary, kind, **options[kind])
    return path
