"""What was measured of one person over a clip, frame by frame, with gaps filled in and weights that tell them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

Array = np.ndarray
VIEWER = np.array([1.0, -1.0, -1.0])  # camera axes (y down, z forward) <-> viewer axes (y up, z to the viewer)
LANDMARKS, HAND_POINTS = 33, 21


@dataclass(frozen=True)
class HandSample:
    """One hand in one frame: (21, 3) metres in camera axes, None where it is not seen; whether it was looked at."""

    points: Array | None = None
    read: bool = True


@dataclass(frozen=True)
class Sample:
    """One person in one frame.

    picture (33, 3) pixels; world (33, 3) metres in camera axes; visibility (33,). hands: left and right. face: rotation
    (3, 3) of the head in viewer axes or None; jaw: opening in radians or None.
    """

    frame: int
    time: float
    picture: Array
    world: Array
    visibility: Array
    hands: tuple[HandSample, HandSample] = (HandSample(), HandSample())
    face: Array | None = None
    jaw: float | None = None


@dataclass(frozen=True)
class Track:
    """One person's measurements on an even grid of frames, first to last seen.

    world (T, 33, 3) metres in viewer axes; picture (T, 33, 2) pixels; visibility (T, 33); seen (T,);
    hands (T, 2, 21, 3) viewer axes with hand_seen (T, 2); head (T, 3, 3) with head_seen (T,); jaw (T,).
    """

    number: int
    first: int
    fps: float
    size: tuple[int, int]
    times: Array
    world: Array
    picture: Array
    visibility: Array
    seen: Array
    hands: Array
    hand_seen: Array
    head: Array
    head_seen: Array
    jaw: Array

    def __len__(self) -> int:
        return len(self.world)


@dataclass
class TrackBuilder:
    """Collects samples of one person; memory grows by a few kilobytes a frame, pictures are not kept."""

    number: int
    samples: list[Sample] = field(default_factory=list)

    def build(self, fps: float, size: tuple[int, int]) -> Track:
        """The track; frames in between without a sample are interpolated and not ``seen``."""
        first = self.samples[0].frame
        count = self.samples[-1].frame - first + 1
        at = np.array([s.frame - first for s in self.samples])
        seen = np.zeros(count, bool)
        seen[at] = True
        world = _fill(np.stack([s.world for s in self.samples]) * VIEWER, at, count)
        picture = _fill(np.stack([s.picture[:, :2] for s in self.samples]), at, count)
        visibility = np.zeros((count, LANDMARKS))
        visibility[at] = np.stack([s.visibility for s in self.samples])
        sides = [self._hand(side, first, count) for side in (0, 1)]
        hands, hand_seen = (np.stack(parts, axis=1) for parts in zip(*sides, strict=True))
        head, head_seen = np.tile(np.eye(3), (count, 1, 1)), np.zeros(count, bool)
        jaw = np.zeros(count)
        for sample, t in zip(self.samples, at, strict=True):
            if sample.face is not None:
                head[t], head_seen[t] = sample.face, True
            jaw[t] = sample.jaw or 0.0
        times = _fill(np.array([[s.time] for s in self.samples]), at, count)[:, 0]
        return Track(
            number=self.number, first=first, fps=fps, size=size, times=times, world=world, picture=picture,
            visibility=visibility, seen=seen, hands=hands, hand_seen=hand_seen, head=head, head_seen=head_seen, jaw=jaw,
        )  # fmt: skip

    def _hand(self, side: int, first: int, count: int) -> tuple[Array, Array]:
        """One hand's points (count, 21, 3) in viewer axes and whether it is seen (count,).

        Frames in which it was not looked at lie on the line between the readings before and after, if both saw it; the
        last ones stay as they were.
        """
        points, seen = np.zeros((count, HAND_POINTS, 3)), np.zeros(count, bool)
        before = -1
        unread: list[int] = []
        for sample in self.samples:
            hand, t = sample.hands[side], sample.frame - first
            if not hand.read:
                unread.append(t)
                continue
            if hand.points is not None:
                points[t], seen[t] = hand.points * VIEWER, True
                if before >= 0:
                    share = ((np.array(unread, int) - before) / (t - before))[:, None, None]
                    points[unread] = points[before] + share * (points[t] - points[before])
                    seen[unread] = True
            before, unread = t if seen[t] else -1, []
        if before >= 0:
            points[unread], seen[unread] = points[before], True
        return points, seen


def _fill(values: Array, at: Array, count: int) -> Array:
    """Values (S, ...) known at frames ``at`` -> (count, ...), linear in between."""
    flat = values.reshape(len(at), -1)
    frames = np.arange(count)
    columns = [np.interp(frames, at, flat[:, k]) for k in range(flat.shape[1])]
    return np.stack(columns, axis=1).reshape(count, *values.shape[1:])
