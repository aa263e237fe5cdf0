"""What an engine works on, and what it is: pictures of a moving character, in chunks, with straight transparency."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from pipelines.character.inputs import CharacterSheet
from pipelines.export.motion import Motion

Array = np.ndarray


@dataclass(frozen=True)
class CharacterWork:
    """One run's character and motion.

    Exactly one kind of motion is there: ``motion`` (a skeleton with SMPL-X's joint names, whatever file it came from;
    cut to the chosen range, y up, the viewer at +z), or ``udps`` or ``drawings`` (one file per frame). ``size`` is the
    (width, height) asked for; engines that take UDP files draw at the size of those instead.
    """

    sheet: CharacterSheet
    motion: Motion | None
    udps: tuple[Path, ...]
    drawings: tuple[Path, ...]
    fps: float
    size: tuple[int, int]

    @property
    def count(self) -> int:
        """Frames."""
        return len(self.motion) if self.motion is not None else len(self.udps) or len(self.drawings)


class CharacterEngine(Protocol):
    """One way to draw. Made as ``Engine(work, options, ctx)``; raises InputError there for what cannot work.

    ``size`` (width, height) is that of its frames; ``notes`` are words for the user; ``weights`` the registry ids used.
    """

    size: tuple[int, int]
    notes: list[str]

    def frames(self) -> Iterator[Array]:
        """Chunks (N, H, W, 4) uint8 of straight RGBA, ``work.count`` frames in all, in order."""
        ...
