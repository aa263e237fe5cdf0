"""Moving pictures with transparency, written frame by frame: WebM, APNG, GIF, PNG files in a ZIP, sprite sheets.

All take straight RGBA frames (H, W, 4) uint8 and put the file in place when closed; used in ``with`` blocks, they leave
nothing behind when the work breaks off.
"""

from __future__ import annotations

import io
import json
import zipfile
from abc import ABC, abstractmethod
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from PIL import Image

from models.runtime.errors import EngineUnavailable, InputError
from pipelines.media.atomic import replacing
from pipelines.media.image import write_image

HIGHEST_GIF_FPS = 25
_BLEED = 6  # pixels by which colours go on beneath transparent ones, so that chroma subsampling takes up no black
_OPAQUE = 128  # alpha from which a GIF's pixel is seen
_COLOURS = 255  # of a GIF's palette, beside the transparent entry
_PALETTE_FRAMES = 12
_MOST_SPRITES = 144


class FrameWriter(Protocol):
    """What every writer offers."""

    def write(self, rgba: np.ndarray) -> None: ...

    def __enter__(self) -> FrameWriter: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None: ...


class _Writer(ABC):
    """The file appears when the block ends well. ``_finish`` completes it, ``_stack`` holds what must be closed."""

    def __init__(self, path: Path) -> None:
        self.path, self.frames = Path(path), 0
        self._stack = ExitStack()
        self._target = self._stack.enter_context(replacing(self.path))

    @abstractmethod
    def _finish(self) -> None: ...

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            if not self.frames:
                raise InputError(f"No frame was written to {self.path.name}; the input gave none")
            self._finish()


class _Encoded(_Writer):
    """A file by way of one of FFmpeg's encoders."""

    def __init__(
        self, path: Path, fps: float, size: tuple[int, int], container: str, codec: str, pixels: str, options: dict
    ) -> None:
        if codec not in av.codecs_available:
            raise EngineUnavailable(f"This machine's FFmpeg has no encoder {codec}; choose another format")
        super().__init__(path)
        self._output = self._stack.enter_context(av.open(str(self._target), "w", format=container, options=options))
        rate = Fraction(fps).limit_denominator(1000)
        self._stream = self._output.add_stream(codec, rate=rate, width=size[0], height=size[1])
        self._stream.pix_fmt = pixels
        self._stream.codec_context.time_base = 1 / rate
        self._rate = rate

    def _encode(self, frame: VideoFrame) -> None:
        frame.pts, frame.time_base = self.frames, 1 / self._rate
        self._output.mux(self._stream.encode(frame))
        self.frames += 1

    def _finish(self) -> None:
        self._output.mux(self._stream.encode(None))
        self._output.close()


class WebmWriter(_Encoded):
    """VP9 with an alpha channel, which browsers and editors show transparent; sizes are made even."""

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        self._size = (size[0] + size[0] % 2, size[1] + size[1] % 2)
        super().__init__(path, fps, self._size, "webm", "libvpx-vp9", "yuva420p", {})
        self._stream.options = {
            "crf": "24", "b": "0", "deadline": "realtime", "cpu-used": "7", "row-mt": "1", "auto-alt-ref": "0",
        }  # fmt: skip

    def write(self, rgba: np.ndarray) -> None:
        """Appends one frame."""
        width, height = self._size
        rgba = np.pad(rgba, ((0, height - rgba.shape[0]), (0, width - rgba.shape[1]), (0, 0)), mode="edge")
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(bled(rgba)), format="rgba")
        self._encode(frame.reformat(format="yuva420p"))


class ApngWriter(_Encoded):
    """An animated PNG that plays in a loop, without loss."""

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        super().__init__(path, fps, size, "apng", "apng", "rgba", {"plays": "0"})
        self._stream.options = {"pred": "paeth"}

    def write(self, rgba: np.ndarray) -> None:
        """Appends one frame."""
        self._encode(VideoFrame.from_ndarray(np.ascontiguousarray(rgba), format="rgba"))


class GifWriter(_Writer):
    """A looping GIF: one palette for the clip, pixels seen or not; rates above 25 a second are thinned out."""

    def __init__(self, path: Path, fps: float, backdrop: tuple[int, int, int] = (255, 255, 255)) -> None:
        super().__init__(path)
        self._step = max(1, int(np.ceil(fps / HIGHEST_GIF_FPS)))
        self._fps, self._backdrop = fps / self._step, np.array(backdrop, np.float32)
        self._kept: list[bytes] = []
        self._size = (0, 0)

    def write(self, rgba: np.ndarray) -> None:
        """Appends one frame."""
        if self.frames % self._step == 0:
            self._size = rgba.shape[1::-1]
            packed = io.BytesIO()
            Image.fromarray(rgba).save(packed, "PNG", compress_level=1)
            self._kept.append(packed.getvalue())
        self.frames += 1

    def _flat(self, packed: bytes) -> tuple[np.ndarray, np.ndarray]:
        """Colours over the backdrop, and what is seen: soft rims keep their look on a ground like it."""
        rgba = np.array(Image.open(io.BytesIO(packed)))
        alpha = rgba[..., 3:].astype(np.float32) / 255
        rgb = np.rint(rgba[..., :3] * alpha + self._backdrop * (1 - alpha)).astype(np.uint8)
        return rgb, rgba[..., 3] >= _OPAQUE

    def _finish(self) -> None:
        chosen = np.linspace(0, len(self._kept) - 1, min(_PALETTE_FRAMES, len(self._kept))).round().astype(int)
        colours = [rgb[seen][::4] for rgb, seen in (self._flat(self._kept[i]) for i in chosen)]
        sample = np.concatenate(colours) if colours else np.zeros((0, 3), np.uint8)
        sample = sample if len(sample) else np.zeros((1, 3), np.uint8)
        palette = Image.fromarray(sample[None]).quantize(_COLOURS, method=Image.Quantize.MEDIANCUT)
        table = (palette.getpalette() or [])[: 3 * _COLOURS]
        table += [0] * (3 * 256 - len(table))
        palette.putpalette(table)
        pictures = []
        for packed in self._kept:
            rgb, seen = self._flat(packed)
            picture = Image.fromarray(rgb).quantize(palette=palette, dither=Image.Dither.NONE)
            indices = np.where(seen, np.minimum(np.array(picture), _COLOURS - 1), _COLOURS).astype(np.uint8)
            picture = Image.fromarray(indices, "P")
            picture.putpalette(table)
            pictures.append(picture)
        times = np.diff(np.rint(np.arange(len(pictures) + 1) * 100 / self._fps)).astype(int) * 10
        pictures[0].save(
            self._target,
            "GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=times.tolist(),
            loop=0,
            transparency=_COLOURS,
            disposal=2,
            optimize=False,
        )


class PngZipWriter(_Writer):
    """Every frame as ``frame_00000.png`` in a ZIP."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._zip = self._stack.enter_context(zipfile.ZipFile(self._target, "w", zipfile.ZIP_STORED))

    def write(self, rgba: np.ndarray) -> None:
        """Appends one frame."""
        packed = io.BytesIO()
        Image.fromarray(rgba).save(packed, "PNG", compress_level=4)
        self._zip.writestr(f"frame_{self.frames:05d}.png", packed.getvalue())
        self.frames += 1

    def _finish(self) -> None:
        self._zip.close()


class SpriteWriter(_Writer):
    """Frames side by side in one PNG, evenly chosen where they are many, with a JSON file beside it that tells where.

    ``side`` is the longer side of a sprite in pixels, ``count`` the number of frames that will come.
    """

    def __init__(self, path: Path, fps: float, side: int, count: int) -> None:
        super().__init__(path)
        self._step = max(1, -(-count // _MOST_SPRITES))
        self._fps, self._side = fps / self._step, side
        self._sprites: list[np.ndarray] = []

    def write(self, rgba: np.ndarray) -> None:
        """Appends one frame."""
        if self.frames % self._step == 0:
            self._sprites.append(fitted(rgba, self._side))
        self.frames += 1

    def _finish(self) -> None:
        height, width = self._sprites[0].shape[:2]
        columns = int(np.ceil(np.sqrt(len(self._sprites))))
        write_image(self._target, tiled(self._sprites, columns, (0, 0, 0, 0)))
        facts = {
            "image": self.path.name,
            "width": width,
            "height": height,
            "columns": columns,
            "count": len(self._sprites),
            "fps": round(self._fps, 3),
        }
        self.path.with_suffix(".json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def fitted(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture (H, W, 3 or 4) uint8 at ``side`` pixels on its longer side; straight alpha is blended as it must be."""
    scale = side / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    if picture.shape[2] == 3:
        return cv2.resize(picture, size, interpolation=method)
    flat = picture.astype(np.float32)
    flat[..., :3] *= flat[..., 3:] / 255
    flat = cv2.resize(flat, size, interpolation=method)
    alpha = flat[..., 3:]
    flat[..., :3] = np.where(alpha > 0.5, flat[..., :3] * 255 / np.maximum(alpha, 0.5), 0)
    return np.rint(flat.clip(0, 255)).astype(np.uint8)


def tiled(pictures: list[np.ndarray], columns: int, ground: tuple[int, ...]) -> np.ndarray:
    """Equal pictures (h, w, C) in rows of ``columns``."""
    height, width, channels = pictures[0].shape
    rows = -(-len(pictures) // columns)
    sheet = np.empty((rows * height, columns * width, channels), np.uint8)
    sheet[:] = ground
    for i, picture in enumerate(pictures):
        y, x = i // columns * height, i % columns * width
        sheet[y : y + height, x : x + width] = picture
    return sheet


def bled(rgba: np.ndarray) -> np.ndarray:
    """The frame with colours going on for some pixels beneath what is transparent."""
    seen = (rgba[..., 3] > 0).astype(np.uint8)
    if seen.all() or not seen.any():
        return rgba
    weight = seen.astype(np.float32)
    size = (2 * _BLEED + 1, 2 * _BLEED + 1)
    around = cv2.blur(rgba[..., :3].astype(np.float32) * weight[..., None], size)
    share = cv2.blur(weight, size)[..., None]
    colours = np.where(share > 1e-4, around / np.maximum(share, 1e-4), 0)
    out = rgba.copy()
    out[..., :3] = np.where(seen[..., None] > 0, rgba[..., :3], np.rint(colours)).astype(np.uint8)
    return out
