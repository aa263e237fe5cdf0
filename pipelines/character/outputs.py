"""Result files of a moving character, written while its frames come."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import numpy as np

from models.runtime.settings import Limits
from pipelines.base import Output
from pipelines.character.backdrop import Backdrop
from pipelines.character.options import OutputOptions
from pipelines.media.image import write_image
from pipelines.media.transparent import (
    ApngWriter,
    FrameWriter,
    GifWriter,
    PngZipWriter,
    SpriteWriter,
    WebmWriter,
    fitted,
    tiled,
)
from pipelines.media.video import VideoWriter

Array = np.ndarray
FILES = {  # formats beside mp4; they stay transparent where the background is
    "webm": Output("webm", "character.webm", "video", "WebM (VP9)"),
    "apng": Output("apng", "character.apng", "image", "Animated PNG"),
    "gif": Output("gif", "character.gif", "image", "GIF"),
    "png": Output("frames", "frames.zip", "archive", "Frames (PNG)"),
    "sprites": Output("sprites", "sprites.png", "image", "Sprite sheet"),
}
Sound = tuple[Path, float]  # a file with sound, and the second in it that falls on the first frame
CRF = 16
CONTACTS, CONTACT_COLUMNS, CONTACT_SIDE = 12, 4, 256


class ResultWriter:
    """Takes straight RGBA frames in order and writes every format asked for; ``finish`` lists what was made.

    Used in a ``with`` block, so that nothing half written is left when the work breaks off.
    """

    def __init__(
        self,
        folder: Path,
        size: tuple[int, int],
        fps: float,
        count: int,
        options: OutputOptions,
        backdrop: Backdrop,
        sound: Sound | None,
        limits: Limits,
    ) -> None:
        self.folder, self.size, self.count, self.backdrop = folder, size, count, backdrop
        self._frames = 0
        self._contacts: list[Array] = []
        self._contact_at = set(np.linspace(0, max(count - 1, 0), min(CONTACTS, count)).round().astype(int).tolist())
        self._others: list[FrameWriter] = []
        self._video: VideoWriter | None = None
        with ExitStack() as stack:
            if "mp4" in options.formats:
                self._video = VideoWriter(
                    folder / "character.mp4",
                    Fraction(fps).limit_denominator(1000),
                    size,
                    audio_from=sound[0] if sound else None,
                    audio_start=sound[1] if sound else 0.0,
                    crf=CRF,
                    limits=limits,
                )
                stack.enter_context(self._video)
            for kind in (kind for kind in FILES if kind in options.formats):
                self._others.append(stack.enter_context(self._writer(kind, fps, options)))
            self._stack = stack.pop_all()
        self._formats = options.formats

    def _writer(self, kind: str, fps: float, options: OutputOptions) -> FrameWriter:
        path = self.folder / FILES[kind].path
        if kind == "webm":
            return WebmWriter(path, fps, self.size)
        if kind == "apng":
            return ApngWriter(path, fps, self.size)
        if kind == "gif":
            return GifWriter(path, fps)
        if kind == "png":
            return PngZipWriter(path)
        return SpriteWriter(path, fps, options.sprite_side, self.count)

    def write(self, rgba: Array) -> None:
        """One frame (H, W, 4) uint8."""
        rgb = self.backdrop.compose(rgba)
        if self._video is not None:
            self._video.write(rgb)
        if self._others:
            frame = rgba if self.backdrop.clear else np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
            for writer in self._others:
                writer.write(frame)
        if self._frames in self._contact_at:
            self._contacts.append(fitted(rgb, CONTACT_SIDE))
        if self._frames == self.count // 2:
            write_image(self.folder / "poster.jpg", rgb)
        self._frames += 1

    def finish(self) -> list[Output]:
        """Closes all files."""
        self._stack.close()
        columns = min(CONTACT_COLUMNS, len(self._contacts))
        write_image(self.folder / "contact.png", tiled(self._contacts, columns, (255, 255, 255)))
        made = [Output("video", "character.mp4", "video", "Video")] if "mp4" in self._formats else []
        made += [FILES[kind] for kind in FILES if kind in self._formats]
        if "sprites" in self._formats:
            made.append(Output("sprites_json", "sprites.json", "data", "Where the sprites are"))
        return [
            *made,
            Output("contact", "contact.png", "image", "Contact sheet"),
            Output("poster", "poster.jpg", "image", "Poster"),
        ]

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._stack.__exit__(kind, error, trace)
