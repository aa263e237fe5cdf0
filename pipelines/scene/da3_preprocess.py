"""Pictures as Depth Anything 3 takes them: scaled to a working resolution, sides multiples of the patch size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from models.depth_anything_3.config import PATCH
from models.runtime.errors import InputError
from models.runtime.settings import Limits
from pipelines.media.image import read_image

Method = Literal["upper_bound_resize", "upper_bound_crop", "lower_bound_resize", "lower_bound_crop"]
METHODS: tuple[Method, ...] = ("upper_bound_resize", "lower_bound_resize", "upper_bound_crop", "lower_bound_crop")
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Processed:
    """A batch of views of one size: images (N, H, W, 3) uint8 RGB and intrinsics (N, 3, 3) float32 or None.

    ``sizes`` (N, 2) are the (height, width) of the originals.
    """

    images: NDArray[np.uint8]
    intrinsics: NDArray[np.float32] | None
    sizes: NDArray[np.int64]

    def tensor(self) -> torch.Tensor:
        """(1, N, 3, H, W) float32, normalised by ImageNet's mean and deviation."""
        x = torch.from_numpy(self.images).permute(0, 3, 1, 2).float() / 255
        mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, DEVIATION))
        return ((x - mean) / deviation)[None]

    def truncated(self) -> NDArray[np.uint8]:
        """The images after normalising and back, truncated: what the original reports as processed."""
        mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, DEVIATION))
        x = (self.tensor()[0] * deviation + mean).clamp(0, 1) * 255
        return x.permute(0, 2, 3, 1).to(torch.uint8).numpy()


def load(source: Path | NDArray, limits: Limits, upstream_compat: bool = False) -> NDArray[np.uint8]:
    """A picture as (H, W, 3) uint8 RGB; ``upstream_compat`` ignores EXIF orientation and clips 16-bit values."""
    if isinstance(source, np.ndarray) and not upstream_compat:
        return source[..., :3] if source.ndim == 3 else np.repeat(source[..., None], 3, axis=2)
    if not upstream_compat:
        return read_image(source, limits)
    picture = Image.fromarray(source) if isinstance(source, np.ndarray) else Image.open(source)
    return np.asarray(picture.convert("RGB"))


def bounded_size(width: int, height: int, resolution: int, method: Method) -> tuple[int, int]:
    """(width, height) with the longer (upper bound) or shorter side (lower bound) at ``resolution``."""
    side = max(width, height) if method.startswith("upper") else min(width, height)
    if side == resolution:
        return width, height
    scale = resolution / side
    return max(1, round(width * scale)), max(1, round(height * scale))  # Python rounds halves to even, as wanted


def patched_size(width: int, height: int, method: Method) -> tuple[int, int]:
    """(width, height) as multiples of the patch: the nearest (ties up) for resizing, the next lower for cropping.

    Raises:
        InputError: a side is too small to keep a single patch.
    """
    spare = PATCH // 2 if method.endswith("resize") else 0
    size = tuple((side + spare) // PATCH * PATCH for side in (width, height))
    if min(size) == 0:
        raise InputError(f"A picture of {width} x {height} pixels is too small or too narrow at this resolution")
    return size[0], size[1]


def _resized(image: NDArray[np.uint8], width: int, height: int, enlarging: bool) -> NDArray[np.uint8]:
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC if enlarging else cv2.INTER_AREA)


def process_one(
    image: NDArray[np.uint8], K: NDArray[np.floating] | None, resolution: int, method: Method
) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
    """One view (H, W, 3) and its intrinsics (3, 3) brought to the working size."""
    K = None if K is None else np.array(K, dtype=np.float32)
    height, width = image.shape[:2]
    new_width, new_height = bounded_size(width, height, resolution, method)
    if (new_width, new_height) != (width, height):
        side = max(width, height) if method.startswith("upper") else min(width, height)
        image = _resized(image, new_width, new_height, resolution > side)
        K = _scaled(K, new_width / width, new_height / height)
        width, height = new_width, new_height
    new_width, new_height = patched_size(width, height, method)
    if method.endswith("crop"):
        left, top = (width - new_width) // 2, (height - new_height) // 2
        return image[top : top + new_height, left : left + new_width], _shifted(K, left, top)
    if (new_width, new_height) != (width, height):
        image = _resized(image, new_width, new_height, new_width > width or new_height > height)
        K = _scaled(K, new_width / width, new_height / height)
    return image, K


def _scaled(K: NDArray[np.float32] | None, x: float, y: float) -> NDArray[np.float32] | None:
    if K is not None:
        K[0] *= x
        K[1] *= y
    return K


def _shifted(K: NDArray[np.float32] | None, left: int, top: int) -> NDArray[np.float32] | None:
    if K is not None:
        K[0, 2] -= left
        K[1, 2] -= top
    return K


def process(
    images: Sequence[NDArray[np.uint8]],
    intrinsics: ArrayLike | None = None,
    resolution: int = 504,
    method: Method = "upper_bound_resize",
) -> Processed:
    """All views of a job at one size; views of other proportions are cropped to the smallest height and width.

    Raises:
        InputError: a picture is too small.
    """
    cameras = [None] * len(images) if intrinsics is None else list(np.asarray(intrinsics, np.float32))
    views = [process_one(i, K, resolution, method) for i, K in zip(images, cameras, strict=True)]
    return join(views, [image.shape[:2] for image in images])


def join(
    views: Sequence[tuple[NDArray[np.uint8], NDArray[np.float32] | None]], sizes: Sequence[tuple[int, int]]
) -> Processed:
    """Views from ``process_one`` as one batch, cropped to the smallest height and width; ``sizes`` of the originals."""
    height = min(image.shape[0] for image, _ in views)
    width = min(image.shape[1] for image, _ in views)
    pictures = []
    for image, K in views:
        extra_y, extra_x = image.shape[0] - height, image.shape[1] - width
        top, left = round(extra_y / 2), round(extra_x / 2)
        pictures.append(image[top : top + height, left : left + width])
        _shifted(K, extra_x // 2, extra_y // 2)
    known = all(K is not None for _, K in views)
    return Processed(
        np.ascontiguousarray(np.stack(pictures)),
        np.stack([K for _, K in views]) if known else None,
        np.array(sizes, np.int64),
    )
