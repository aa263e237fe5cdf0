"""Measurements kept on disk, so that a second run over the same media need not detect and track again.

Entries are found by what they were made from: the media's content and how it was measured. They hold biometric data, so
their names begin with the hash of the media, by which deleting a run finds and deletes them; age and size are limited.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.runtime.errors import WeightsInvalid
from models.runtime.safe_load import load_npz
from models.runtime.settings import Settings

FORMAT = 2  # part of every key: raised when the way of storing changes
DAY = 86400.0


@dataclass(frozen=True)
class MeasurementKey:
    """The name of an entry: the content's hash first, then what else it depends on."""

    name: str

    @classmethod
    def of(cls, path: Path, how: str) -> MeasurementKey:
        """For the file at ``path``; ``how`` is a word for what measured it, changed whenever results change."""
        return cls(f"{hash_file(path)}.{FORMAT}.{how}")


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class MeasurementCache:
    """Arrays by key under one folder, ``<key>.npz``.

    Several processes may share the folder: files appear whole or not at all.
    """

    def __init__(self, folder: Path, max_age_days: float, max_bytes: int) -> None:
        self.folder = Path(folder)
        self._max_age = max_age_days * DAY
        self._max_bytes = max_bytes

    @classmethod
    def from_settings(cls, settings: Settings) -> MeasurementCache:
        """The studio's cache, with the limits of its settings."""
        limits = settings.limits
        return cls(settings.measurements_dir, limits.measurement_age_days, limits.measurement_bytes)

    def get(self, key: MeasurementKey) -> dict[str, np.ndarray] | None:
        """The arrays stored under ``key``, None when there are none."""
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            arrays = load_npz(path)
        except WeightsInvalid:  # a damaged entry is as good as none
            path.unlink(missing_ok=True)
            return None
        os.utime(path)
        return arrays

    def put(self, key: MeasurementKey, arrays: Mapping[str, np.ndarray]) -> None:
        """Stores arrays and keeps the folder within its limits. Object arrays are refused with ValueError."""
        if any(np.asarray(a).dtype.hasobject for a in arrays.values()):
            raise ValueError("measurements hold plain arrays only")
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f"{uuid.uuid4().hex}.part"
        try:
            with part.open("wb") as file:
                np.savez_compressed(file, **arrays)
            part.replace(self._path(key))
        finally:
            part.unlink(missing_ok=True)
        self.sweep()

    def sweep(self) -> None:
        """Deletes entries not used for too long, then the longest unused until the rest fits."""
        if not self.folder.is_dir():
            return
        now = time.time()
        entries = sorted(((p.stat().st_mtime, p.stat().st_size, p) for p in self.folder.glob("*.npz")), reverse=True)
        total = 0
        for used, size, path in entries:
            total += size
            if now - used > self._max_age or total > self._max_bytes:
                path.unlink(missing_ok=True)
                total -= size
        for part in self.folder.glob("*.part"):
            if now - part.stat().st_mtime > 3600:
                part.unlink(missing_ok=True)

    def _path(self, key: MeasurementKey) -> Path:
        return self.folder / f"{key.name}.npz"
