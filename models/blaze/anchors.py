"""Anchor centres of the single-shot detectors."""

from __future__ import annotations

from functools import cache

import numpy as np

from models.blaze.config import DetectorConfig


@cache
def anchor_centres(config: DetectorConfig) -> np.ndarray:
    """Centres (A, 2) x, y in units of the input's side, in the order of the network's outputs.

    Consecutive entries of equal stride share one grid, whose cells are visited row by row; all anchors of a cell
    follow each other. All anchors have size 1, so centres are all that decoding needs. Read-only.
    """
    layers: list[tuple[int, int]] = []
    for stride in config.strides:
        if layers and layers[-1][0] == stride:
            layers[-1] = (stride, layers[-1][1] + config.anchors_per_entry)
        else:
            layers.append((stride, config.anchors_per_entry))
    parts = []
    for stride, per_cell in layers:
        grid = config.input_size // stride
        y, x = np.mgrid[:grid, :grid]
        cells = (np.stack([x, y], -1).reshape(-1, 2) + 0.5) / grid
        parts.append(np.repeat(cells, per_cell, axis=0))
    centres = np.concatenate(parts).astype(np.float32)
    centres.setflags(write=False)
    return centres
