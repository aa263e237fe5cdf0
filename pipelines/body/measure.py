"""Everything seen of people in a video or picture: bodies, and where they are large enough, hands and faces."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from models.blaze.face import LEFT_EYE_OUTER, RIGHT_EYE_OUTER
from models.blaze.hands import HandLandmarks
from models.blaze.pose import LEFT_SHOULDER, RIGHT_SHOULDER
from pipelines.body.clip import VIEWER, HandSample, Sample, TrackBuilder
from pipelines.media.video import Frame
from pipelines.tracking.body_tracker import PoseTracker, TrackedPose
from pipelines.tracking.networks import BlazeNetworks
from pipelines.tracking.options import FollowOptions, PoseOptions
from pipelines.tracking.pose import Pose
from pipelines.tracking.regions import Region, direction, face_region, hand_region

HAND_MIN, FACE_MIN = 14.0, 22.0  # pixels from wrist to knuckles, and between the ears, below which nothing is read
HAND_PRESENCE, FACE_PRESENCE = 0.6, 0.6
OTHER_HAND = 0.15  # probability of being the right one of both below which a closer look is not worth its time
HAND_DRIFT = 0.8  # of the hand's region: how far its wrist may lie from the body's
# Fingers of a hand that is small in the picture are finer than what is seen of them: they are read after this many
# seconds again, every other frame of ordinary videos, and follow a straight line in between. Each look in vain doubles
# the pause, up to so many times.
HAND_LARGE, HAND_PAUSE, LONGEST_PAUSE = 48.0, 0.045, 6
ELBOW, WRIST, INDEX_POINT, PINKY_POINT = (13, 14), (15, 16), (19, 20), (17, 18)
UPPER_LIP, LOWER_LIP, BROW, CHIN = 13, 14, 10, 152
# Of a head held level (eye sockets and ear holes at one height, the Frankfurt plane) the mesh's line from chin to
# hairline leans forward by this much, in radians.
MESH_LEAN = 0.13
JAW_GAIN, JAW_REST = 2.6, 0.012  # radians of jaw per opening in face heights, and what a closed mouth shows


BACKLOG = 3  # frames whose hands and faces may still be under way


@dataclass(frozen=True)
class _LastHand:
    """What one hand's latest reading gave: points (21, 3) in pixels, None unseen; the wrist (2,) of the body then; how
    many looks in a row were in vain."""

    time: float
    points: np.ndarray | None
    wrist: np.ndarray
    misses: int = 0

    def pause(self, size: float) -> float:
        """Seconds until a hand of ``size`` pixels is to be read again."""
        return HAND_PAUSE * min(2**self.misses, LONGEST_PAUSE) if size < HAND_LARGE or self.misses > 1 else 0.0


@dataclass(frozen=True)
class _Waiting:
    """A person in a frame whose hands (none where they are not read) and face are being read."""

    frame: int
    time: float
    shape: tuple[int, ...]
    person: TrackedPose
    hands: tuple[Future[HandSample], ...]
    face: Future[tuple[np.ndarray | None, float | None]] | None


@dataclass
class PeopleMeter:
    """Measures people frame by frame; ``people`` collects their samples by number."""

    networks: BlazeNetworks
    hands: bool = True
    face: bool = True
    limit: int = 16
    still: bool = False
    sweep_interval: float = 2.0
    detector: Callable[[np.ndarray], np.ndarray] | None = None
    people: dict[int, TrackBuilder] = field(default_factory=dict)
    _last_hands: dict[tuple[int, int], _LastHand] = field(default_factory=dict)

    def stream(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, tuple[TrackedPose, ...]]]:
        """Every frame with the people in it, as soon as it is measured."""
        follow = FollowOptions(limit=self.limit, sweep_interval=self.sweep_interval)
        lanes = self.networks.lanes()
        tracker = PoseTracker(
            lanes[0], PoseOptions(follow=follow, smoothing=None, frugal=not self.still), self.detector
        )
        held: list[Frame] = []
        waiting: deque[_Waiting] = deque()

        def watched() -> Iterator[Frame]:
            for frame in frames:
                held.append(frame)
                yield frame

        # Bodies are followed here while hands and faces of the frames before are read: one thread for each hand, so
        # that its frames stay in order.
        with ThreadPoolExecutor(1, "left-hand") as left, ThreadPoolExecutor(1, "right-hand") as right:
            for found in tracker.stream(watched()):
                frame = held.pop()
                for person in found.people:
                    hands = tuple(
                        pool.submit(self._hand, lane, frame, person, side)
                        for side, (pool, lane) in enumerate(zip((left, right), lanes, strict=True))
                        if self.hands
                    )
                    face = right.submit(self._face, lanes[0], frame.rgb, person.pose) if self.face else None
                    waiting.append(_Waiting(frame.index, frame.time, frame.rgb.shape, person, hands, face))
                while waiting and waiting[0].frame <= frame.index - BACKLOG:
                    self._take(waiting.popleft())
                yield frame, found.people
            while waiting:
                self._take(waiting.popleft())

    def _take(self, seen: _Waiting) -> None:
        pose = seen.person.pose
        left, right = (hand.result() for hand in seen.hands) if seen.hands else (HandSample(), HandSample())
        head, jaw = seen.face.result() if seen.face is not None else (None, None)
        inside = seen_inside(pose, seen.shape)
        sample = Sample(seen.frame, seen.time, pose.landmarks, pose.world, inside, (left, right), head, jaw)
        track = seen.person.track
        self.people.setdefault(track, TrackBuilder(track)).samples.append(sample)

    def _hand(self, networks: BlazeNetworks, frame: Frame, person: TrackedPose, side: int) -> HandSample:
        """One hand, looked for near its wrist and, where it was read before, where it has moved to with the wrist."""
        pose = person.pose
        wrist = pose.landmarks[WRIST[side], :2]
        knuckles = (pose.landmarks[INDEX_POINT[side], :2] + pose.landmarks[PINKY_POINT[side], :2]) / 2
        reach = float(np.linalg.norm(pose.landmarks[ELBOW[side], :2] - wrist))
        size = max(float(np.linalg.norm(knuckles - wrist)), 0.3 * reach)
        key = (person.track, side)
        last = self._last_hands.get(key)
        if last is not None and frame.time - last.time < last.pause(size):
            return HandSample(read=False)
        if pose.visibility[WRIST[side]] < 0.5 or size < HAND_MIN:
            self._last_hands.pop(key, None)
            return HandSample()
        self._last_hands[key] = _LastHand(frame.time, None, wrist, 1 + (last.misses if last is not None else 0))
        looks = []
        if last is not None and last.points is not None:
            moved = last.points.copy()
            moved[:, :2] += wrist - last.wrist
            looks.append(hand_region(moved))
        guessed = len(looks)
        looks.append(self._guess(wrist, knuckles, size))
        for attempt, region in enumerate(looks):
            found = networks.hand(frame.rgb, region)
            if found.presence < HAND_PRESENCE:
                continue
            points = region.to_image(found.points)
            if attempt == guessed:  # a guessed region is replaced by the hand's own
                if _own(found, side) < OTHER_HAND:
                    return HandSample()
                region = hand_region(points)
                found = networks.hand(frame.rgb, region)
                points = region.to_image(found.points)
            off = float(np.linalg.norm(points[0, :2] - wrist))
            if found.presence >= HAND_PRESENCE and off < HAND_DRIFT * size * 2 and _own(found, side) > 0.5:
                self._last_hands[key] = _LastHand(frame.time, points, wrist)
                return HandSample(region.turn_to_image(found.world))
            if _own(found, side) <= 0.5:  # another look at the same hand would not make it this one
                return HandSample()
        return HandSample()

    @staticmethod
    def _guess(wrist: np.ndarray, knuckles: np.ndarray, size: float) -> Region:
        along = (knuckles - wrist) / max(float(np.linalg.norm(knuckles - wrist)), 1e-6)
        middle = wrist + along * size * 1.0
        return Region(float(middle[0]), float(middle[1]), 4.2 * size, direction(wrist, knuckles) + np.pi / 2)

    @staticmethod
    def _face(networks: BlazeNetworks, image: np.ndarray, pose: Pose) -> tuple[np.ndarray | None, float | None]:
        """Head rotation in viewer axes and jaw opening, None when no face is seen well."""
        points = pose.landmarks[:11, :2]
        right_ear, left_ear = points[8], points[7]
        width = float(max(np.linalg.norm(left_ear - right_ear), 1.6 * np.linalg.norm(points[2] - points[5])))
        if width < FACE_MIN or pose.visibility[:11].mean() < 0.6:
            return None, None
        middle = points.mean(axis=0)
        half = 0.62 * width
        box = np.array([middle[0] - half, middle[1] - half * 1.1, middle[0] + half, middle[1] + half * 1.1])
        region = face_region(box, points[5], points[2])
        found = networks.face(image, region)
        if found.presence < FACE_PRESENCE:
            return None, None
        mesh = region.to_image(found.points) * VIEWER
        right, left = mesh[RIGHT_EYE_OUTER], mesh[LEFT_EYE_OUTER]
        across = (left - right) / np.linalg.norm(left - right)
        up = mesh[BROW] - mesh[CHIN]
        height = float(np.linalg.norm(up))
        up = up - (up @ across) * across
        up = up / np.linalg.norm(up)
        opening = float(np.linalg.norm(mesh[UPPER_LIP] - mesh[LOWER_LIP])) / height
        jaw = float(np.clip(JAW_GAIN * (opening - JAW_REST), 0.0, 0.5))
        front = np.cross(across, up)
        sine, cosine = np.sin(MESH_LEAN), np.cos(MESH_LEAN)
        return np.stack([across, cosine * up - sine * front, cosine * front + sine * up], axis=1), jaw


def _own(found: HandLandmarks, side: int) -> float:
    """Probability that a hand is the one of ``side``: 0 left, 1 right."""
    return found.right if side else 1 - found.right


def seen_inside(pose: Pose, shape: tuple[int, ...]) -> np.ndarray:
    """Visibility (33,), lowered for landmarks that lie outside the picture."""
    height, width = shape[:2]
    x, y = pose.landmarks[:, 0], pose.landmarks[:, 1]
    size = max(1.0, 0.15 * float(np.linalg.norm(pose.landmarks[LEFT_SHOULDER] - pose.landmarks[RIGHT_SHOULDER])))
    outside = np.maximum.reduce([-x, x - width, -y, y - height, np.zeros_like(x)])
    return pose.visibility * np.exp(-outside / size)
