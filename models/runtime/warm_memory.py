"""Keeps large buffers of a job inside the process, so that the next one like it finds warm pages.

glibc hands blocks beyond a threshold back to the system as soon as they are freed, and a fresh page costs several times
a warm one: networks whose layers write tens of megabytes each spend a good part of their time on that.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM, _MMAP = -1, -3  # malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
# Where glibc's own thresholds end in a process with large arrays; setting one stops them from growing by themselves.
_USUAL_MMAP, _USUAL_TRIM = 32 << 20, 64 << 20
_KEPT = 1 << 30
_lock = threading.Lock()
_inside = 0


def _allocator() -> ctypes.CDLL | None:
    """The C library where it has ``mallopt``; None elsewhere (macOS, Windows, musl)."""
    try:
        library = ctypes.CDLL(None)
        return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
    except (OSError, TypeError):
        return None


@contextmanager
def warm_memory(wanted: bool = True) -> Iterator[None]:
    """While inside, freed memory stays with the process; at the end of the last one it all goes back."""
    global _inside
    library = _allocator() if wanted else None
    if library is None:
        yield
        return
    with _lock:
        _inside += 1
        if _inside == 1:
            library.mallopt(_MMAP, _KEPT)
            library.mallopt(_TRIM, _KEPT)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                library.mallopt(_MMAP, _USUAL_MMAP)
                library.mallopt(_TRIM, _USUAL_TRIM)
                library.malloc_trim(0)
