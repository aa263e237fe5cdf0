"""Hands in pictures and videos: 21 landmarks in the picture and in metres, which hand, identities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from models.blaze.config import PALM_DETECTION
from models.blaze.hands import MIDDLE_KNUCKLE, WRIST
from pipelines.media.video import Frame
from pipelines.tracking.appearance import look
from pipelines.tracking.following import Effort, Follower, Status
from pipelines.tracking.identities import Sighting
from pipelines.tracking.networks import BlazeNetworks
from pipelines.tracking.nms import join, shape_distance, suppress_boxes
from pipelines.tracking.options import HandOptions
from pipelines.tracking.regions import Region, hand_region, palm_region
from pipelines.tracking.smoothing import ShapeSmoother
from pipelines.tracking.tiles import tile_pyramid

COLOUR_POINTS = (0, 1, 5, 9, 13, 17)
TILE_PRESENCE = 0.9  # in tiles ears, faces and sleeves look like hands to the palm detector
SAME_HAND = 0.25  # of the region's side: mean landmark distance up to which two hands are one


@dataclass(frozen=True)
class Hand:
    """One hand of one picture.

    ``landmarks`` (21, 3) in pixels, z relative to the wrist and negative towards the camera; ``world`` (21, 3) in
    metres about the hand's centre. ``right`` in 0..1 is the probability of the person's right hand, if the picture is
    not mirrored. ``presence`` in 0..1. ``region`` is what the network looked at.
    """

    landmarks: np.ndarray
    world: np.ndarray
    right: float
    presence: float
    region: Region

    @property
    def side(self) -> Literal["left", "right"]:
        """The likelier of the person's hands."""
        return "right" if self.right >= 0.5 else "left"

    @property
    def box(self) -> np.ndarray:
        """Box (4,) x0, y0, x1, y1 in pixels about the landmarks."""
        points = self.landmarks[:, :2]
        return np.concatenate([points.min(axis=0), points.max(axis=0)])

    @property
    def palm(self) -> float:
        """Pixels from the wrist to the middle finger's knuckle, in the picture's plane."""
        return float(np.linalg.norm(self.landmarks[WRIST, :2] - self.landmarks[MIDDLE_KNUCKLE, :2]))


@dataclass(frozen=True)
class TrackedHand:
    """A hand of a video: number, whether found by searching or followed, and the smoothed measurement."""

    track: int
    status: Status
    hand: Hand


@dataclass(frozen=True)
class HandFrame:
    """All hands of one frame, ordered by number; ``lost`` are numbers remembered but not in sight."""

    index: int
    time: float
    hands: tuple[TrackedHand, ...]
    lost: tuple[int, ...] = ()

    @property
    def status(self) -> Literal["ok", "lost", "none"]:
        """``ok`` with at least one hand, ``lost`` while one that was there is out of sight, else ``none``."""
        return "ok" if self.hands else "lost" if self.lost else "none"


class HandTracker:
    """Finds hands in pictures and follows them through videos.

    Every ``stream`` keeps its own state, so one tracker may serve several videos.
    """

    def __init__(self, networks: BlazeNetworks, options: HandOptions | None = None) -> None:
        self.networks = networks
        self.options = options or HandOptions()
        self.tiled = self.options.search.tiled

    def find_hands(self, image: np.ndarray) -> tuple[Hand, ...]:
        """The hands of one picture (H, W, 3) uint8 RGB, the surest palm first; none twice."""
        return tuple(self.search(image, (), Effort.THOROUGH if self.tiled else Effort.QUICK))

    def stream(self, frames: Iterable[Frame]) -> Iterator[HandFrame]:
        """One ``HandFrame`` per frame, as soon as it is read."""
        follower: Follower[Hand] = Follower(self, self.options.follow)
        smoothers: dict[int, tuple[ShapeSmoother, ShapeSmoother]] = {}
        for frame in frames:
            scene = follower.step(frame.rgb, frame.time)
            if self.options.smoothing is None:
                hands = tuple(TrackedHand(s.track, s.status, s.subject) for s in scene.subjects)
                yield HandFrame(frame.index, frame.time, hands, scene.lost)
                continue
            fresh = {s.track: smoothers.get(s.track) for s in scene.subjects}
            smoothers = {n: pair or self._smoothers() for n, pair in fresh.items()}
            hands = tuple(
                TrackedHand(s.track, s.status, smoothed(s.subject, *smoothers[s.track], frame.time))
                for s in scene.subjects
            )
            yield HandFrame(frame.index, frame.time, hands, scene.lost)

    def find_near(self, image: np.ndarray, wrist: np.ndarray, elbow: np.ndarray) -> Hand | None:
        """The hand at the end of a forearm, from the ``wrist`` and ``elbow`` (2,) of a pose in pixels; None unseen.

        The palm is searched for in a square twice the forearm's length, a quarter of it beyond the wrist.
        """
        forearm = np.asarray(wrist, float)[:2] - np.asarray(elbow, float)[:2]
        length = float(np.linalg.norm(forearm))
        if length < self.options.min_size:
            return None
        x, y = wrist[:2] + 0.25 * forearm
        found = self.networks.detect(image, PALM_DETECTION, Region(float(x), float(y), 2.0 * length))
        hands = (
            self.measure(image, palm_region(b, k[0], k[2])) for b, k in zip(found.boxes, found.keypoints, strict=True)
        )
        near = [(float(np.linalg.norm(h.landmarks[WRIST, :2] - wrist[:2])), h) for h in hands if h is not None]
        gap, hand = min(near, key=lambda pair: pair[0], default=(length, None))
        return hand if gap < 0.6 * length else None

    # What ``Follower`` asks

    def search(self, image: np.ndarray, known: Sequence[Hand], effort: Effort) -> list[Hand]:
        """Hands other than ``known``."""
        hands: list[Hand] = []
        for box, keypoints, presence in self._candidates(image, effort):
            if max(box[2] - box[0], box[3] - box[1]) < self.options.min_size:
                continue
            hand = self.measure(image, palm_region(box, keypoints[0], keypoints[2]))
            if hand is None or hand.presence < presence:
                continue
            if not any(self.same(hand, other) for other in (*known, *hands)):
                hands.append(hand)
        return hands

    def follow(self, image: np.ndarray, last: Hand) -> Hand | None:
        """The hand where it was."""
        return self.measure(image, hand_region(last.landmarks))

    def recall(
        self, image: np.ndarray, last: Hand, place: np.ndarray, size: float, known: Sequence[Hand]
    ) -> Hand | None:
        """Never: searching finds hands soon enough."""
        return None

    def same(self, a: Hand, b: Hand) -> bool:
        """Whether the landmarks coincide."""
        return shape_distance(a.landmarks, b.landmarks, min(a.region.side, b.region.side)) <= SAME_HAND

    def mixed(self, subject: Hand, others: Sequence[Hand]) -> bool:
        """Never: the landmark network sees one hand or none."""
        return False

    def score(self, subject: Hand) -> float:
        """Presence."""
        return subject.presence

    def sighting(self, image: np.ndarray, subject: Hand, followed: frozenset[int]) -> Sighting:
        """A square about the palm, which fingers do not move, the skin's colours, and which hand it is."""
        points = subject.landmarks[list(COLOUR_POINTS), :2]
        middle, half = points.mean(axis=0), max(subject.palm, 4.0)
        colours = look(image, subject.region, points, np.full(len(points), 0.2))
        return Sighting(np.concatenate([middle - half, middle + half]), colours, followed, subject.side)

    def measure(self, image: np.ndarray, region: Region) -> Hand | None:
        """The hand in ``region``; None below the presence asked for."""
        found = self.networks.hand(image, region)
        if found.presence < self.options.min_presence:
            return None
        return Hand(
            region.to_image(found.points), region.turn_to_image(found.world), found.right, found.presence, region
        )

    def _candidates(self, image: np.ndarray, effort: Effort) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
        """Boxes (4,), key points (7, 2) and the presence to ask for: of the whole picture, then of its tiles."""
        search = self.options.search
        scales = () if effort is Effort.QUICK else search.scales
        for level, regions in enumerate(tile_pyramid(image, scales, search.smallest_tile, search.overlap)):
            presence = TILE_PRESENCE if level else self.options.min_presence
            found = join(self.networks.detect(image, PALM_DETECTION, region) for region in regions)
            for index in suppress_boxes(found.boxes, found.scores, PALM_DETECTION.max_iou):
                yield found.boxes[index], found.keypoints[index], presence

    def _smoothers(self) -> tuple[ShapeSmoother, ShapeSmoother]:
        return ShapeSmoother(self.options.smoothing), ShapeSmoother(self.options.smoothing)


def smoothed(hand: Hand, picture: ShapeSmoother, world: ShapeSmoother, time: float) -> Hand:
    """The hand with its landmarks in the picture and in metres filtered."""
    return replace(hand, landmarks=picture(hand.landmarks, time), world=world(hand.world, time))
