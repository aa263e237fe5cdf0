"""How several data sets are walked as one: concatenated, stretched to the longest, or balanced to a total length.

Each ``walk`` gives (data set, item) per index. Random draws come from the ``random.Random`` handed in.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

import numpy as np

Array = np.ndarray
Pair = tuple[int, int]


class Concat:
    """All sets in a row."""

    def __init__(self, lengths: Iterable[int]) -> None:
        self.lengths = list(lengths)

    def __len__(self) -> int:
        return sum(self.lengths)

    def pair(self, index: int, draw: random.Random) -> Pair:
        for which, length in enumerate(self.lengths):
            if index < length:
                return which, index
            index -= length
        raise IndexError(index)


class Balanced:
    """Every set gets the same share of ``total``: whole rounds in order, then draws; what is left over is drawn freely.

    ``total`` None takes the longest set's length for every set.
    """

    def __init__(self, lengths: Iterable[int], total: int | None) -> None:
        self.lengths = list(lengths)
        count = len(self.lengths)
        self.share = max(self.lengths) if total is None else total // count
        self.total = self.share * count if total is None else total

    def __len__(self) -> int:
        return self.total

    def pair(self, index: int, draw: random.Random) -> Pair:
        which, item = divmod(index, self.share)
        if which >= len(self.lengths):
            which = draw.randint(0, len(self.lengths) - 1)
            return which, item % self.lengths[which]
        length = self.lengths[which]
        if item >= length * (self.share // length) and self.share >= length:
            return which, draw.randint(0, length - 1)
        return which, item % length


def decompress(compressed: Array, mask: Array) -> Array:
    """Key points of HumanData files: (N, K', C) of the joints whose mask is 1 -> (N, K, C), the others 0."""
    out = np.zeros((len(compressed), len(mask), compressed.shape[2]), compressed.dtype)
    out[:, np.asarray(mask).astype(bool)] = compressed
    return out
