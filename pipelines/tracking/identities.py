"""Who is who from frame to frame: assignment by motion, size and appearance; birth, memory and death of identities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from models.blaze.decode import box_iou
from pipelines.tracking.appearance import Appearance
from pipelines.tracking.motion import Motion

IMPOSSIBLE = 1e3


@dataclass(frozen=True)
class IdentityConfig:
    """How identities are kept.

    ``memory`` seconds an unseen identity is remembered; ``reach`` how far from its prediction, in standard deviations
    plus ``slack`` sizes, it may reappear; weights of the terms of the cost; ``limit`` the highest cost accepted;
    ``loyalty`` is taken off the cost where the subject was followed from that identity's last place.
    """

    memory: float = 3.0
    reach: float = 3.0
    slack: float = 0.4
    motion_weight: float = 0.4
    appearance_weight: float = 1.0
    size_weight: float = 0.2
    trait_weight: float = 0.3
    loyalty: float = 0.1
    limit: float = 0.75
    learning: float = 0.1


@dataclass(frozen=True)
class Sighting:
    """One subject seen in one frame: its box (4,) x0, y0, x1, y1, what it looks like, and who it was followed from.

    ``trait`` is a word that mostly stays with a subject, such as which hand it is.
    """

    box: np.ndarray
    appearance: Appearance
    followed: frozenset[int] = frozenset()
    trait: str = ""

    @property
    def centre(self) -> np.ndarray:
        return (self.box[:2] + self.box[2:]) / 2

    @property
    def size(self) -> float:
        """Geometric mean of the box's sides, at least one pixel."""
        return max(1.0, float(np.sqrt(np.prod(np.maximum(self.box[2:] - self.box[:2], 1.0)))))


@dataclass
class _Identity:
    number: int
    motion: Motion
    appearance: Appearance
    seen: float
    trait: str


class Identities:
    """Gives every sighting a number that stays with its subject. Numbers count up from 1 and are never used twice."""

    def __init__(self, config: IdentityConfig | None = None) -> None:
        self.config = config or IdentityConfig()
        self._known: dict[int, _Identity] = {}
        self._next = 1

    @property
    def known(self) -> tuple[int, ...]:
        """All identities remembered, seen in the last frame or not."""
        return tuple(self._known)

    def expected(self, number: int, time: float) -> tuple[np.ndarray, float] | None:
        """Where an identity's sighting should have its centre (2,) at ``time``, and its size; None if forgotten."""
        identity = self._known.get(number)
        return None if identity is None else identity.motion.predict(time)[:2]

    def update(self, sightings: Sequence[Sighting], time: float) -> list[int]:
        """The identity of each sighting of the frame at ``time`` seconds; unknown ones get new numbers."""
        config = self.config
        self._known = {n: i for n, i in self._known.items() if time - i.seen <= config.memory}
        identities = list(self._known.values())
        costs = np.full((len(sightings), len(identities)), IMPOSSIBLE)
        for row, sighting in enumerate(sightings):
            for column, identity in enumerate(identities):
                costs[row, column] = self._cost(sighting, identity, time)
        numbers = [0] * len(sightings)
        for row, column in zip(*linear_sum_assignment(costs), strict=True):
            if costs[row, column] <= config.limit:
                numbers[row] = identities[column].number
        crowded = _crowded([s.box for s in sightings])
        for index, sighting in enumerate(sightings):
            if numbers[index]:
                self._learn(self._known[numbers[index]], sighting, time, crowded[index])
            else:
                numbers[index] = self._birth(sighting, time)
        return numbers

    def _cost(self, sighting: Sighting, identity: _Identity, time: float) -> float:
        config = self.config
        place, size, spread = identity.motion.predict(time)
        gap = float(np.linalg.norm(sighting.centre - place))
        allowed = config.reach * min(spread, 2.0 * size) + config.slack * size
        if gap > allowed:
            return IMPOSSIBLE
        growth = abs(np.log(sighting.size / size))
        if growth > 1.0:
            return IMPOSSIBLE
        cost = config.motion_weight * gap / allowed + config.size_weight * growth
        cost += config.appearance_weight * identity.appearance.distance(sighting.appearance)
        cost += config.trait_weight * (identity.trait != sighting.trait)
        return cost - config.loyalty * (identity.number in sighting.followed)

    def _learn(self, identity: _Identity, sighting: Sighting, time: float, crowded: bool) -> None:
        identity.motion.update(*sighting.centre, sighting.size, time)
        if not crowded:  # where subjects overlap, colours are partly the other's
            identity.appearance = identity.appearance.blended(sighting.appearance, self.config.learning)
        identity.seen = time

    def _birth(self, sighting: Sighting, time: float) -> int:
        number, self._next = self._next, self._next + 1
        motion = Motion(*sighting.centre, sighting.size, time)
        self._known[number] = _Identity(number, motion, sighting.appearance, time, sighting.trait)
        return number


def _crowded(boxes: Sequence[np.ndarray]) -> list[bool]:
    """Which boxes overlap another by more than a fifth."""
    if len(boxes) < 2:
        return [False] * len(boxes)
    overlap = box_iou(np.stack(boxes), np.stack(boxes))
    np.fill_diagonal(overlap, 0.0)
    return list(overlap.max(axis=1) > 0.2)
