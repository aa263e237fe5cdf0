"""Small pictures inside the page itself, so that they need no address and nothing has to be kept for them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

from PIL import Image, ImageOps

from models.runtime.errors import InputError
from models.runtime.settings import Limits
from pipelines.media.image import FORMATS, image_size

STRIP = 8


def data_uri(path: Path, limits: Limits, side: int = 200) -> str:
    """A JPEG of at most ``side`` pixels as a ``data:`` address.

    Raises:
        InputError: the file is no image that can be read, or larger than the limits allow.
    """
    image_size(path, limits)
    try:
        with Image.open(path, formats=FORMATS) as image:
            image.draft("RGB", (side, side))
            small = ImageOps.exif_transpose(image).convert("RGB")
            small.thumbnail((side, side))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path.name} is damaged and cannot be read: {error}") from error
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def strip(paths: Sequence[Path], limits: Limits) -> str:
    """The first few photos side by side, with the number of the others. Raises InputError naming an unreadable one."""
    pictures = "".join(
        f'<img src="{data_uri(path, limits, 120)}" alt="{escape(path.name)}" title="{escape(path.name)}">'
        for path in paths[:STRIP]
    )
    more = f"<span>+{len(paths) - STRIP}</span>" if len(paths) > STRIP else ""
    return f'<div class="ls-strip">{pictures}{more}</div>' if pictures else ""
