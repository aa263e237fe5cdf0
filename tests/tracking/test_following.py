"""The follower with made-up subjects: when it searches, what it drops, whom it reports."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pipelines.tracking.appearance import Appearance
from pipelines.tracking.following import Effort, Follower
from pipelines.tracking.identities import Sighting
from pipelines.tracking.options import FollowOptions

STEP = 1 / 25


@dataclass
class Dots:
    """Subjects are places on a line, given frame by frame; searching notes its effort."""

    places: list[list[float]]
    tiled: bool = True
    efforts: list[tuple[int, Effort]] = field(default_factory=list)
    ghosts: dict[int, float] = field(default_factory=dict)
    now: int = 0

    def search(self, image: np.ndarray, known: Sequence[float], effort: Effort) -> list[float]:
        self.efforts.append((self.now, effort))
        found = [p for p in self.places[self.now] if all(abs(p - k) > 10 for k in known)]
        return found + ([self.ghosts[self.now]] if self.now in self.ghosts else [])

    def follow(self, image: np.ndarray, last: float) -> float | None:
        near = [p for p in self.places[self.now] if abs(p - last) < 30]
        return min(near, key=lambda p: abs(p - last), default=None)

    def recall(
        self, image: np.ndarray, last: float, place: np.ndarray, size: float, known: Sequence[float]
    ) -> float | None:
        return self.follow(image, float(place[0]))

    def same(self, a: float, b: float) -> bool:
        return abs(a - b) < 5

    def mixed(self, subject: float, others: Sequence[float]) -> bool:
        return False

    def score(self, subject: float) -> float:
        return 1.0

    def sighting(self, image: np.ndarray, subject: float, followed: frozenset[int]) -> Sighting:
        box = np.array([subject - 25, 0, subject + 25, 50])
        return Sighting(box, Appearance(np.zeros((2, 3)), np.ones(2)), followed)


def run(dots: Dots, options: FollowOptions | None = None) -> list[tuple[list[int], tuple[int, ...]]]:
    follower = Follower(dots, options or FollowOptions())
    out = []
    for k in range(len(dots.places)):
        dots.now = k
        scene = follower.step(np.zeros((8, 8, 3), np.uint8), k * STEP)
        out.append(([f.track for f in scene.subjects], scene.lost))
    return out


def test_the_first_are_reported_at_once_and_followed():
    dots = Dots([[100.0 + 2 * k, 300.0] for k in range(10)])
    assert run(dots) == [([1, 2], ())] * 10
    assert dots.efforts == [(0, Effort.THOROUGH)]


def test_searches_come_at_their_intervals():
    dots = Dots([[100.0]] * 120)
    run(dots)
    assert [k for k, e in dots.efforts if e is Effort.SWEEP] == [50, 100]
    quick = [k for k, e in dots.efforts if e is Effort.QUICK]
    assert quick and min(np.diff([0, *quick])) >= 12


def test_an_empty_picture_is_searched_every_frame():
    dots = Dots([[]] * 10)
    assert run(dots) == [([], ())] * 10
    assert [k for k, _ in dots.efforts] == list(range(10))


def test_newcomers_are_confirmed_first():
    dots = Dots([[100.0]] * 12 + [[100.0, 300.0]] * 20)
    tracks = [t for t, _ in run(dots)]
    first = next(k for k, t in enumerate(tracks) if t == [1, 2])
    found = next(k for k, _ in dots.efforts if k >= 12)
    assert first == found + 2


def test_a_ghost_is_never_reported():
    dots = Dots([[100.0]] * 40, ghosts={13: 400.0})
    assert run(dots) == [([1], ())] * 40


def test_who_leaves_is_lost_then_forgotten_and_keeps_the_number_on_return():
    dots = Dots([[100.0, 300.0]] * 5 + [[100.0]] * 10 + [[100.0, 300.0]] * 5 + [[100.0]] * 100)
    frames = run(dots)
    assert frames[6] == ([1], (2,))
    assert frames[16] == ([1, 2], ())
    assert frames[-1] == ([1], ())


def test_two_that_meet_become_one_and_part_again():
    dots = Dots(
        [[100 + 3 * k, 200.0] for k in range(30)] + [[200.0]] * 5 + [[200.0 - 4 * k, 200.0] for k in range(3, 12)]
    )
    frames = run(dots)
    assert frames[33][0] in ([1], [2])
    assert sorted(frames[-1][0]) == [1, 2]


def test_no_more_than_the_limit():
    dots = Dots([[100.0, 200.0, 300.0]] * 5)
    assert all(len(t) == 2 for t, _ in run(dots, FollowOptions(limit=2)))


def test_somebody_hidden_is_recalled_where_their_way_leads():
    way = [[100.0 + 12 * k] if not 10 <= k < 16 else [] for k in range(30)]

    class Unsearchable(Dots):
        def search(self, image: np.ndarray, known: Sequence[float], effort: Effort) -> list[float]:
            return super().search(image, known, effort) if self.now == 0 else []

    reports = run(Unsearchable(way))
    assert [tracks for tracks, _ in reports] == [[1] if places else [] for places in way]
    late = [places if k < 10 or k >= 20 else [] for k, places in enumerate(way)]
    reports = run(Unsearchable(late), FollowOptions(recall_seconds=0.2))
    assert not any(tracks for tracks, _ in reports[10:])
