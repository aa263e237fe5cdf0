"""Says that a video is synthetic: a visible mark, a watermark of the user's own, and the file's metadata."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MARGIN = 10
MARK = "AI-generated"
METADATA = {
    "title": "Synthetic video",
    "comment": "AI-generated synthetic media: the mouth was made to match a recording. Made with Likeness Studio.",
    "description": "AI-generated synthetic media",
}


@dataclass(frozen=True)
class Stamp:
    """A rendered text with its place: ``rgba`` (h, w, 4) float32 in 0..1."""

    rgba: np.ndarray
    x: int
    y: int

    def draw(self, frame: np.ndarray) -> None:
        """Blends the stamp into ``frame`` (H, W, 3) uint8 in place."""
        height, width = self.rgba.shape[:2]
        part = frame[self.y : self.y + height, self.x : self.x + width]
        rgba = self.rgba[: part.shape[0], : part.shape[1]]
        alpha = rgba[..., 3:]
        part[:] = np.clip(part * (1 - alpha) + 255 * rgba[..., :3] * alpha, 0, 255).astype(np.uint8)


def stamps(size: tuple[int, int], mark: bool, watermark: str) -> tuple[Stamp, ...]:
    """The stamps of a video of ``size`` (width, height): the mark top right, the watermark bottom right."""
    found = []
    if mark:
        found.append(_stamp(MARK, size, top=True))
    if watermark.strip():
        found.append(_stamp(watermark.strip(), size, top=False))
    return tuple(found)


def _stamp(text: str, size: tuple[int, int], top: bool) -> Stamp:
    width, height = size
    points = max(9, round(min(width, height) / 34))
    font = ImageFont.load_default(points)
    left, upper, right, lower = font.getbbox(text)
    pad = max(3, points // 3)
    w, h = min(width, right - left + 2 * pad), min(height, lower - upper + 2 * pad)
    image = Image.new("RGBA", (int(w), int(h)), (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    if top:
        pen.rounded_rectangle((0, 0, w - 1, h - 1), radius=pad, fill=(0, 0, 0, 105))
    else:
        pen.text((pad - left + 1, pad - upper + 1), text, font=font, fill=(0, 0, 0, 130))
    pen.text((pad - left, pad - upper), text, font=font, fill=(255, 255, 255, 225))
    x = max(0, width - image.width - MARGIN)
    y = MARGIN if top else max(0, height - image.height - MARGIN)
    return Stamp(np.asarray(image, dtype=np.float32) / 255, x, min(y, max(0, height - image.height)))
