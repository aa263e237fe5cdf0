"""The expression file: how one face moves over time, read by every tab that moves something with it.

JSON: ``names`` of the 52 curves (ARKit's), ``times`` in seconds, ``seen``, ``weights`` per frame in 0..1, and ``head``,
the turn of the head per frame as axis-angle in viewer axes (x right, y up, z towards the viewer; zero looks at it).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from models.runtime.errors import InputError

LARGEST_BYTES = 64 << 20


@dataclass(frozen=True)
class ExpressionClip:
    """names (K,), times (T,) rising or equal, seen (T,) bool, weights (T, K), head (T, 3) axis-angle."""

    names: tuple[str, ...]
    times: np.ndarray
    seen: np.ndarray
    weights: np.ndarray
    head: np.ndarray

    @property
    def seconds(self) -> float:
        return float(self.times[-1] - self.times[0])

    def curve(self, *names: str) -> np.ndarray:
        """Mean (T,) of the curves of those names."""
        return self.weights[:, [self.names.index(name) for name in names]].mean(axis=1)

    def played(self, times: np.ndarray, values: np.ndarray) -> np.ndarray:
        """``values`` (T,) of this clip at ``times`` (N,) from its start, back and forth where that is longer."""
        length = max(self.seconds, 1e-6)
        phase = np.abs((np.asarray(times) + length) % (2 * length) - length)
        return np.interp(phase, self.times - self.times[0], values)


class _Stored(BaseModel):
    model_config = ConfigDict(extra="ignore")

    names: list[str]
    times: list[float]
    seen: list[bool]
    weights: list[list[float]]
    head: list[tuple[float, float, float]]


def write_expression(path: Path, clip: ExpressionClip, fps: float, note: str) -> Path:
    """Writes the file, with the source's frame rate and a remark for readers."""
    told = {
        "fps": fps,
        "note": note,
        "names": list(clip.names),
        "times": clip.times.round(4).tolist(),
        "seen": clip.seen.tolist(),
        "weights": clip.weights.round(4).tolist(),
        "head": clip.head.round(5).tolist(),
    }
    path.write_text(json.dumps(told), encoding="utf-8")
    return path


def read_expression(path: Path) -> ExpressionClip:
    """Reads an expression file.

    Raises:
        InputError: it is no expression file, or its lists do not fit together.
    """
    wrong = f"{path.name} is no file of expression curves from the Face tab"
    if path.stat().st_size > LARGEST_BYTES:
        raise InputError(f"{wrong}: it is too large")
    try:
        stored = _Stored.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InputError(f"{wrong}: {error.errors()[0]['msg']}") from error
    count = len(stored.times)
    rows = {len(row) for row in stored.weights}
    if not count or {len(stored.seen), len(stored.weights), len(stored.head)} != {count} or rows != {len(stored.names)}:
        raise InputError(f"{wrong}: its lists are of different lengths")
    times = np.array(stored.times)
    if not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise InputError(f"{wrong}: its times do not rise")
    return ExpressionClip(
        tuple(stored.names), times, np.array(stored.seen), np.array(stored.weights), np.array(stored.head)
    )
