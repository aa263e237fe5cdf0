"""Following any kind of subject through a video: search, follow from the frame before, drop doubles, name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Literal, Protocol, TypeVar

import numpy as np

from pipelines.tracking.identities import Identities, IdentityConfig, Sighting
from pipelines.tracking.options import FollowOptions

T = TypeVar("T")
Status = Literal["found", "followed"]


class Effort(Enum):
    """How hard to search: the whole picture at once, a sweep of tiles for newcomers, or everything."""

    QUICK = 0
    SWEEP = 1
    THOROUGH = 2


class SubjectKind(Protocol[T]):
    """One kind of subject: how it is searched, followed and compared. Pictures are (H, W, 3) uint8 RGB."""

    tiled: bool

    def search(self, image: np.ndarray, known: Sequence[T], effort: Effort) -> Sequence[T]:
        """Subjects other than ``known``."""
        ...

    def follow(self, image: np.ndarray, last: T) -> T | None:
        """The subject as it is now, from how it was in the frame before; None when it is not there."""
        ...

    def recall(self, image: np.ndarray, last: T, place: np.ndarray, size: float, known: Sequence[T]) -> T | None:
        """A subject that was out of sight, where it should be by now: ``place`` (2,) and ``size`` as in its sightings;
        None unless it is clearly there and clear of those ``known``."""
        ...

    def same(self, a: T, b: T) -> bool:
        """Whether two measurements of one frame show one subject."""
        ...

    def mixed(self, subject: T, others: Sequence[T]) -> bool:
        """Whether a measurement is put together from several others instead of showing one more subject."""
        ...

    def score(self, subject: T) -> float:
        """Confidence 0..1."""
        ...

    def sighting(self, image: np.ndarray, subject: T, followed: frozenset[int]) -> Sighting:
        """What identities are kept by."""
        ...


@dataclass(frozen=True)
class Followed(Generic[T]):
    """A subject with its number: ``found`` by searching or ``followed`` from the frame before."""

    track: int
    status: Status
    subject: T


@dataclass(frozen=True)
class Scene(Generic[T]):
    """All subjects of one frame by number, and the numbers remembered but out of sight."""

    subjects: tuple[Followed[T], ...]
    lost: tuple[int, ...]


class Follower(Generic[T]):
    """Follows all subjects of one kind through one video, frame by frame."""

    def __init__(self, kind: SubjectKind[T], options: FollowOptions) -> None:
        self._kind = kind
        self._options = options
        self._identities = Identities(IdentityConfig(memory=options.memory))
        self._active: dict[int, T] = {}
        self._lost: dict[int, tuple[float, T]] = {}  # when and how subjects now out of sight were seen last
        self._seen: dict[int, int] = {}  # frames in which each number was seen; trusted ones count as confirmed
        self._first = True
        self._missed_at = -np.inf
        self._quick_at = -np.inf
        self._sweep_at = -np.inf

    def step(self, image: np.ndarray, time: float) -> Scene[T]:
        """The subjects of the frame at ``time`` seconds; times must not fall."""
        kind = self._kind
        seen: list[tuple[T, frozenset[int], Status]] = []
        for number, last in self._active.items():
            subject = kind.follow(image, last)
            if subject is None:
                self._missed_at = time
            else:
                seen.append((subject, frozenset([number]), "followed"))
        before = len(seen)
        seen = self._without_doubles(seen)
        if len(seen) < before:
            self._missed_at = time
        if len(seen) < self._options.limit:
            seen = self._without_doubles([*seen, *self._recalled(image, time, [s for s, _, _ in seen])])
        found = self._search(image, time, [s for s, _, _ in seen])
        seen = self._without_doubles([*seen, *((s, frozenset(), "found") for s in found)])
        seen = sorted(seen, key=lambda s: -kind.score(s[0]))[: self._options.limit]
        numbers = self._identities.update([kind.sighting(image, s, f) for s, f, _ in seen], time)
        subjects = sorted(
            (Followed(number, status, subject) for number, (subject, _, status) in zip(numbers, seen, strict=True)),
            key=lambda f: f.track,
        )
        gone = {n: (time, s) for n, s in self._active.items()}
        self._active = {f.track: f.subject for f in subjects}
        self._lost = {n: seen for n, seen in (self._lost | gone).items() if n not in self._active}
        known = self._identities.known
        first = self._options.confirm if self._first else 1
        self._first = self._first and not subjects
        self._seen = {n: self._seen.get(n, 0) for n in known}
        for number in self._active:
            self._seen[number] = self._seen[number] + 1 if self._seen[number] else first
        confirmed = {n for n, count in self._seen.items() if count >= self._options.confirm}
        return Scene(
            tuple(f for f in subjects if f.track in confirmed),
            tuple(n for n in known if n in confirmed and n not in self._active),
        )

    def _recalled(
        self, image: np.ndarray, time: float, known: Sequence[T]
    ) -> Iterator[tuple[T, frozenset[int], Status]]:
        """Those lost a moment ago who are back where their way led them."""
        for number, (when, last) in list(self._lost.items()):
            expected = self._identities.expected(number, time)
            if expected is None or time - when > self._options.recall_seconds:
                del self._lost[number]
                continue
            subject = self._kind.recall(image, last, *expected, known)
            if subject is not None:
                yield subject, frozenset(), "found"

    def _search(self, image: np.ndarray, time: float, known: Sequence[T]) -> Sequence[T]:
        """Searches when it is due."""
        options = self._options
        if len(known) >= options.limit:
            return ()
        wanting = not known or time - self._missed_at <= options.retry_seconds
        interval = options.retry_interval if wanting else options.sweep_interval
        if self._kind.tiled and time - self._sweep_at >= interval:
            effort = Effort.SWEEP if np.isfinite(self._sweep_at) else Effort.THOROUGH
            self._sweep_at = self._quick_at = time
            return self._kind.search(image, known, effort)
        if wanting or time - self._quick_at >= options.quick_interval:
            self._quick_at = time
            return self._kind.search(image, known, Effort.QUICK)
        return ()

    def _without_doubles(
        self, seen: Sequence[tuple[T, frozenset[int], Status]]
    ) -> list[tuple[T, frozenset[int], Status]]:
        """Keeps the better of what shows one subject; it inherits by whom it was followed."""
        kept: list[tuple[T, frozenset[int], Status]] = []
        for subject, followed, status in sorted(seen, key=lambda s: (s[2] == "found", -self._kind.score(s[0]))):
            for index, (other, its, its_status) in enumerate(kept):
                if self._kind.same(subject, other):
                    kept[index] = (other, its | followed, its_status)
                    break
            else:
                if not self._kind.mixed(subject, [other for other, _, _ in kept]):
                    kept.append((subject, followed, status))
        return kept
