"""A pyramid of overlapping square tiles, so that detectors made for one big subject find many small ones."""

from __future__ import annotations

from math import ceil

import numpy as np

from pipelines.tracking.regions import Region, whole_picture


def tile_row(length: float, side: float, overlap: float) -> list[float]:
    """Centres of the fewest tiles of ``side`` that cover 0..``length`` and overlap by at least ``overlap`` of a side.

    One centred tile where the side covers the length; else the outer tiles touch the ends.
    """
    if side >= length:
        return [length / 2]
    count = ceil((length - side) / (side * (1 - overlap)) - 1e-9) + 1
    return [float(c) for c in np.linspace(side / 2, length - side / 2, count)]


def tiles(width: int, height: int, side: float, overlap: float = 0.4) -> list[Region]:
    """Square tiles of ``side`` pixels that cover a picture, row by row."""
    return [Region(x, y, side) for y in tile_row(height, side, overlap) for x in tile_row(width, side, overlap)]


def tile_pyramid(
    image: np.ndarray, scales: tuple[float, ...], smallest: float, overlap: float = 0.4
) -> list[list[Region]]:
    """The whole picture, then one list of tiles per scale, coarse to fine.

    ``scales`` are tile sides as fractions of the picture's *short* side, falling; tiles below ``smallest`` pixels are
    enlarged to that size, and levels of nearly the size of the one before left out.
    """
    height, width = image.shape[:2]
    short = min(height, width)
    levels = [[whole_picture(image)]]
    before = float(max(height, width))
    for scale in scales:
        side = max(scale * short, smallest)
        if side > before / 1.1:
            continue
        levels.append(tiles(width, height, side, overlap))
        before = side
    return levels
