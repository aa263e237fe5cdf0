"""How many threads torch takes for what the calling thread does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """For long chains of small tensor operations: threads that wait for each other after every one cost far more than
    they bring, above all where other programs want the processor too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
