"""CoNR's crop: the figure's bounding box brought to a square without margin, and the way back into the frame."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SMALLEST_SHARE = 0.001  # of the picture that the figure must cover


@dataclass(frozen=True)
class CropRecord:
    """Where a crop came from: picture size, the window's part inside the picture, the padding outside, window size.

    All in pixels; the twelve numbers are in the order in which the original keeps them.
    """

    height: int
    width: int
    top: int
    bottom: int
    left: int
    right: int
    pad_top: int
    pad_bottom: int
    pad_left: int
    pad_right: int
    window_height: int
    window_width: int

    def numbers(self) -> tuple[int, ...]:
        return astuple(self)


@dataclass(frozen=True)
class Augmentation:
    """Random crops for training: ranges of size and proportion, and shifts as parts of the figure's box."""

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    jitter: tuple[float, float] = (0.1, 0.1)


def figure_box(alpha: NDArray[np.uint8]) -> tuple[int, int, int, int] | None:
    """(left, top, width, height) of what is not transparent, or None when that is too little to be a figure."""
    seen = alpha > 0
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    if not len(rows) or seen.sum() / seen.size < SMALLEST_SHARE:
        return None
    width, height = int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)
    return None if width <= 1 and height <= 1 else (int(columns[0]), int(rows[0]), width, height)


def crop_window(
    alpha: NDArray[np.uint8],
    size: tuple[int, int],
    augmentation: Augmentation | None = None,
    random: np.random.RandomState | None = None,
) -> CropRecord | None:
    """The window round the figure with the proportions of ``size`` (height, width); None when there is no figure."""
    box = figure_box(alpha)
    if box is None:
        return None
    left, top, width, height = box
    aspect, factor, shift_y, shift_x = size[0] / size[1], 1.0, 0.0, 0.0
    if augmentation is not None and random is not None:
        shift_y = random.uniform(-augmentation.jitter[0], augmentation.jitter[0]) * height
        shift_x = random.uniform(-augmentation.jitter[1], augmentation.jitter[1]) * width
        aspect *= float(np.exp(random.uniform(*np.log(augmentation.ratio))))
        factor = random.uniform(*augmentation.scale)
    if aspect < height / width:
        window_height, window_width = round(height * factor), round(height / aspect * factor)
    else:
        window_height, window_width = round(width * aspect * factor), round(width * factor)
    window_top = round(top - (window_height - height) / 2 + shift_y)
    window_left = round(left - (window_width - width) / 2 + shift_x)
    full_height, full_width = alpha.shape
    bottom, right = window_top + window_height, window_left + window_width
    return CropRecord(
        full_height,
        full_width,
        max(window_top, 0),
        min(bottom, full_height),
        max(window_left, 0),
        min(right, full_width),
        max(-window_top, 0),
        max(bottom - full_height, 0),
        max(-window_left, 0),
        max(right - full_width, 0),
        window_height,
        window_width,
    )


def cut(image: NDArray, record: CropRecord) -> NDArray:
    """The window (window_height, window_width, C), zero outside the picture."""
    inside = image[record.top : record.bottom, record.left : record.right]
    sides = ((record.pad_top, record.pad_bottom), (record.pad_left, record.pad_right), (0, 0))
    return np.pad(inside, sides)


def crop_image(image: NDArray[np.uint8], record: CropRecord | None, size: tuple[int, int]) -> NDArray[np.uint8]:
    """An RGBA picture's window at ``size`` (height, width); all zero without a record."""
    if record is None:
        return np.zeros((*size, image.shape[2]), image.dtype)
    window = cut(image, record)
    if window.shape[:2] == size:
        return window
    enlarging = size[0] > window.shape[0] and size[1] > window.shape[1]
    method = cv2.INTER_LINEAR if enlarging else cv2.INTER_AREA
    return cv2.resize(window, (size[1], size[0]), interpolation=method)


def crop_udp(udp: NDArray[np.floating], record: CropRecord | None, size: tuple[int, int]) -> NDArray[np.float32]:
    """A UDP's window at ``size``, by nearest pixels: two surface points blended would be a third, wrong one."""
    if record is None:
        return np.zeros((*size, udp.shape[2]), np.float32)
    window = np.ascontiguousarray(cut(udp, record), dtype=np.float32)
    if window.shape[:2] == size:
        return window
    return cv2.resize(window, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)


def paste(rgba: NDArray[np.floating], record: CropRecord | None) -> NDArray[np.uint8]:
    """A result (S, S, 4) in [0, 1] back in its frame, (H, W, 4) uint8; as it is without a record."""
    picture = np.clip(255 * rgba, 0, 255).astype(np.uint8)
    if record is None:
        return picture
    window = cv2.resize(picture, (record.window_width, record.window_height), interpolation=cv2.INTER_AREA)
    frame = np.zeros((record.height, record.width, 4), np.uint8)
    inside = window[
        record.pad_top : record.window_height - record.pad_bottom,
        record.pad_left : record.window_width - record.pad_right,
    ]
    frame[record.top : record.bottom, record.left : record.right] = inside
    return frame


def premultiplied(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Straight RGBA -> RGBA with colours multiplied by alpha, truncated as the released networks were fed."""
    colours = (rgba[..., :3] * (rgba[..., 3:] / 255.0)).astype(np.uint8)
    return np.concatenate([colours, rgba[..., 3:]], axis=2)


def paste_straight(rgba: NDArray[np.floating], record: CropRecord) -> NDArray[np.uint8]:
    """A premultiplied result (S, S, 4) in [0, 1] back in its frame as straight RGBA (H, W, 4) uint8.

    Unlike ``paste`` it resizes and divides before rounding: soft rims keep their colour, and enlarging is smooth.
    """
    size = (record.window_width, record.window_height)
    enlarging = size[0] > rgba.shape[1] and size[1] > rgba.shape[0]
    window = cv2.resize(
        np.asarray(rgba, np.float32), size, interpolation=cv2.INTER_CUBIC if enlarging else cv2.INTER_AREA
    ).clip(0, 1)
    alpha = window[..., 3:]
    colours = np.divide(window[..., :3], alpha, out=np.zeros_like(window[..., :3]), where=alpha > 1 / 512)
    window = np.rint(np.concatenate([colours.clip(0, 1), alpha], axis=2) * 255).astype(np.uint8)
    frame = np.zeros((record.height, record.width, 4), np.uint8)
    frame[record.top : record.bottom, record.left : record.right] = window[
        record.pad_top : record.window_height - record.pad_bottom,
        record.pad_left : record.window_width - record.pad_right,
    ]
    return frame
