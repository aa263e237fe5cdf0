"""What lies behind a transparent frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from models.runtime.errors import InputError
from models.runtime.settings import Limits
from pipelines.character.options import CharacterOptions
from pipelines.media.image import read_image

Array = np.ndarray
WHITE = (255, 255, 255)


@dataclass(frozen=True)
class Backdrop:
    """``picture`` (H, W, 3) uint8 goes behind every frame; ``clear`` tells that formats which can stay transparent."""

    picture: Array
    clear: bool

    def compose(self, rgba: Array) -> Array:
        """Straight RGBA (..., H, W, 4) uint8 over the picture, (..., H, W, 3) uint8."""
        alpha = rgba[..., 3:].astype(np.uint16)
        mixed = rgba[..., :3] * alpha + self.picture.astype(np.uint16) * (255 - alpha)
        return ((mixed + 127) // 255).astype(np.uint8)


def backdrop_of(options: CharacterOptions, image: Path | None, size: tuple[int, int], limits: Limits) -> Backdrop:
    """The background asked for, at ``size`` (width, height); a picture is cut to its proportions.

    Raises:
        InputError: a picture is asked for and none was given, or it cannot be read.
    """
    width, height = size
    if options.background == "image":
        if image is None:
            raise InputError("The background is to be a picture, but none was given; add one or choose a colour")
        picture = read_image(image, limits)
        scale = max(width / picture.shape[1], height / picture.shape[0])
        grown = (max(width, round(picture.shape[1] * scale)), max(height, round(picture.shape[0] * scale)))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        picture = cv2.resize(picture, grown, interpolation=method)
        left, top = (grown[0] - width) // 2, (grown[1] - height) // 2
        return Backdrop(np.ascontiguousarray(picture[top : top + height, left : left + width]), clear=False)
    clear = options.background == "transparent"
    text = options.color.lstrip("#")
    color = WHITE if clear else tuple(int(text[i : i + 2], 16) for i in (0, 2, 4))
    return Backdrop(np.broadcast_to(np.array(color, np.uint8), (height, width, 3)), clear)
