"""Shared fixtures. Real media and the full parity set are optional: tests that need them skip with the reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Busy machines make single examples slow; the same examples every time keep a red run reproducible.
settings.register_profile("studio", deadline=None, derandomize=True, database=None)
settings.load_profile("studio")


def _folder(variable: str) -> Path:
    value = os.environ.get(variable, "")
    if not value:
        pytest.skip(f"{variable} is not set")
    path = Path(value)
    if not path.is_dir():
        pytest.skip(f"{variable} names no folder: {value}")
    return path


@pytest.fixture(scope="session")
def testdata() -> Path:
    """Folder of real sample photos, videos, voices and drawings."""
    return _folder("STUDIO_TESTDATA")


@pytest.fixture(scope="session")
def parity_dir() -> Path:
    """Folder with the full parity set (``<system>/keys``, ``golden``, ``data``)."""
    return _folder("STUDIO_PARITY_DIR")
