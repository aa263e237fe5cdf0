"""Measurements kept on disk, so that a second run over the same media need not detect and track again.

Entries are found by what they were made from: the media's content, the models and the options. They hold biometric
data, so every run that used an entry is noted, and deleting the run deletes the entry; age and size are limited.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.runtime.errors import InputError, WeightsInvalid
from models.runtime.safe_load import load_npz
from models.runtime.settings import Settings

FORMAT = 1  # part of every key: raised when the meaning of stored measurements changes
_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
DAY = 86400.0


@dataclass(frozen=True)
class MeasurementKey:
    """Digest of all that a measurement depends on."""

    digest: str

    @classmethod
    def of(cls, content: str, models: tuple[str, ...], options: Mapping[str, Any]) -> MeasurementKey:
        """``content`` is a hash of the media, ``models`` name what measured it, ``options`` are plain JSON values."""
        text = json.dumps([FORMAT, content, sorted(models), dict(options)], sort_keys=True, separators=(",", ":"))
        return cls(hashlib.sha256(text.encode()).hexdigest())


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class MeasurementCache:
    """Arrays by key under one folder: ``<digest>.npz``, and a marker ``runs/<run>/<digest>`` for every use.

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

    def get(self, key: MeasurementKey, run: str = "") -> dict[str, np.ndarray] | None:
        """The arrays stored under ``key``, None when there are none; ``run`` is noted as their user."""
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            arrays = load_npz(path)
        except WeightsInvalid:  # a damaged entry is as good as none
            path.unlink(missing_ok=True)
            return None
        self._note(key, run)
        os.utime(path)
        return arrays

    def put(self, key: MeasurementKey, arrays: Mapping[str, np.ndarray], run: str = "") -> None:
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
        self._note(key, run)
        self.sweep()

    def remember(
        self, key: MeasurementKey, measure: Callable[[], Mapping[str, np.ndarray]], run: str = ""
    ) -> Mapping[str, np.ndarray]:
        """The stored arrays, or those that ``measure`` makes, stored for the next time."""
        arrays = self.get(key, run)
        if arrays is None:
            arrays = measure()
            self.put(key, arrays, run)
        return arrays

    def forget_run(self, run: str) -> int:
        """Deletes every entry that ``run`` used, also where others used it too; returns how many."""
        markers = self._markers(run)
        if not markers.is_dir():
            return 0
        count = 0
        for marker in list(markers.iterdir()):
            entry = self.folder / f"{marker.name}.npz"
            count += entry.exists()
            entry.unlink(missing_ok=True)
            marker.unlink(missing_ok=True)
        markers.rmdir()
        return count

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
        for markers in self.folder.glob("runs/*"):
            for marker in markers.iterdir():
                if not (self.folder / f"{marker.name}.npz").exists():
                    marker.unlink(missing_ok=True)
            if not any(markers.iterdir()):
                markers.rmdir()

    def _path(self, key: MeasurementKey) -> Path:
        return self.folder / f"{key.digest}.npz"

    def _markers(self, run: str) -> Path:
        if not _RUN_ID.fullmatch(run):
            raise InputError(f"{run!r} is no run id")
        return self.folder / "runs" / run

    def _note(self, key: MeasurementKey, run: str) -> None:
        if run:
            markers = self._markers(run)
            markers.mkdir(parents=True, exist_ok=True)
            (markers / key.digest).touch()
