"""One talking job in the middle: what was heard, who speaks, which source picture each frame shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
from scipy.ndimage import minimum_filter1d, uniform_filter1d

from models.runtime.settings import Limits
from pipelines.export.expression import ExpressionClip
from pipelines.talk.schedule import Shown, hold, play
from pipelines.talk.speech import Speech
from pipelines.tracking.face_measure import FaceTrack, Measurement

FADE_SECONDS = 0.12  # in which a mouth takes over from the source's own where a face comes or goes


@dataclass(frozen=True)
class Speaker:
    """A face that speaks. ``weight`` (F,) per source frame: 1 drawn, 0 left as it is, between where it fades."""

    face: FaceTrack
    weight: np.ndarray


@dataclass(frozen=True)
class Followed:
    """A speaker seen by other networks, per source frame: ``seen`` (F,) bool, ``points`` (F, 68, 2) and ``boxes``
    (F, 4) x0, y0, x1, y1 in pixels, ``angles`` (F, 3) yaw, pitch, roll in degrees (0 where not measured)."""

    seen: np.ndarray
    points: np.ndarray
    boxes: np.ndarray
    angles: np.ndarray


@dataclass(frozen=True)
class TalkWork:
    """Everything an engine needs for its frames. ``indices`` (N,) names the source frame of each output frame;
    ``followed`` holds, by face number, what networks besides the built-in ones saw;
    ``expression``: whose blinks and head a photo follows."""

    source: Path
    voice: Path
    photo: bool
    fps: Fraction
    measurement: Measurement
    speakers: tuple[Speaker, ...]
    speech: Speech
    indices: np.ndarray
    curves: np.ndarray
    followed: Mapping[int, Followed] = field(default_factory=dict)
    expression: ExpressionClip | None = None

    @property
    def count(self) -> int:
        return len(self.indices)

    def frames(self, limits: Limits) -> Iterator[Shown]:
        """The source pictures in the order in which they are shown."""
        if self.photo:
            return hold(self.source, limits, self.count)
        return play(self.source, limits, self.measurement.times, self.indices)

    def untouched(self) -> int:
        """Output frames in which nobody speaks although they should: the face is away or turned aside."""
        drawn = np.max([s.weight for s in self.speakers], axis=0)[self.indices]
        return int((drawn <= 0).sum())


class TalkEngine(Protocol):
    """Draws speaking mouths. ``notes`` are for the user, known once all frames have come out."""

    notes: list[str]

    def frames(self, shown: Iterator[Shown]) -> Iterator[np.ndarray]:
        """The finished frames (H, W, 3) uint8, one for each one shown, in order."""
        ...


def speaker(face: FaceTrack, max_turn: float, fps: float, allowed: np.ndarray | None = None) -> Speaker:
    """How much of a face is drawn in each source frame: nothing where it is unseen, turned away, or not ``allowed``
    (F,)."""
    usable = face.seen & ~face.turned_away(max_turn, 0.8 * max_turn)
    if allowed is not None:
        usable &= allowed
    if len(usable) < 3:
        return Speaker(face, usable.astype(float))
    width = max(1, round(FADE_SECONDS * fps))
    # Fades lie inside the usable stretches, since outside there are no landmarks to draw with.
    inner = minimum_filter1d(usable.astype(float), 2 * (width // 2) + 1, mode="nearest")
    return Speaker(face, np.where(usable, uniform_filter1d(inner, width, mode="nearest"), 0.0))
