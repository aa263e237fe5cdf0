"""Result files of a moving character, written while its frames come."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from models.runtime.settings import Limits
from pipelines.base import Output
from pipelines.character.backdrop import Backdrop
from pipelines.character.options import OutputOptions
from pipelines.media.image import write_image
from pipelines.media.video import VideoWriter

Array = np.ndarray
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
        with ExitStack() as stack:
            self._video = stack.enter_context(
                VideoWriter(
                    folder / "character.mp4",
                    Fraction(fps).limit_denominator(1000),
                    size,
                    audio_from=sound[0] if sound else None,
                    audio_start=sound[1] if sound else 0.0,
                    crf=CRF,
                    limits=limits,
                )
            )
            self._stack = stack.pop_all()

    def write(self, rgba: Array) -> None:
        """One frame (H, W, 4) uint8."""
        rgb = self.backdrop.compose(rgba)
        self._video.write(rgb)
        if self._frames in self._contact_at:
            self._contacts.append(_fitted(rgb, CONTACT_SIDE))
        if self._frames == self.count // 2:
            write_image(self.folder / "poster.jpg", rgb)
        self._frames += 1

    def finish(self) -> list[Output]:
        """Closes all files."""
        self._stack.close()
        write_image(self.folder / "contact.png", contact_sheet(self._contacts))
        return [
            Output("video", "character.mp4", "video", "Video"),
            Output("contact", "contact.png", "image", "Contact sheet"),
            Output("poster", "poster.jpg", "image", "Poster"),
        ]

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._stack.__exit__(kind, error, trace)


def _fitted(rgb: Array, side: int) -> Array:
    scale = side / max(rgb.shape[:2])
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)


def contact_sheet(pictures: list[Array]) -> Array:
    """Equal pictures (h, w, 3) in rows of ``CONTACT_COLUMNS``."""
    height, width = pictures[0].shape[:2]
    columns = min(CONTACT_COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        y, x = i // columns * height, i % columns * width
        sheet[y : y + height, x : x + width] = picture
    return sheet
