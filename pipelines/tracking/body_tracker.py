"""People in pictures and videos: 33 landmarks in the picture and in metres, visibility, identities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from pipelines.media.video import Frame
from pipelines.tracking import body_search
from pipelines.tracking.appearance import look
from pipelines.tracking.following import Effort, Follower, Status
from pipelines.tracking.identities import Sighting
from pipelines.tracking.networks import BlazeNetworks
from pipelines.tracking.options import PoseOptions
from pipelines.tracking.pose import Pose
from pipelines.tracking.regions import Region, pose_region
from pipelines.tracking.smoothing import ShapeSmoother

# Pairs of landmarks and a share of the way between them: where a person's colours are read.
COLOUR_PLACES = (
    (0, 0, 0.0), (7, 8, 0.5), (11, 13, 0.5), (12, 14, 0.5), (13, 15, 0.5), (14, 16, 0.5), (11, 23, 0.15),
    (12, 24, 0.15), (11, 23, 0.5), (12, 24, 0.5), (11, 24, 0.5), (11, 12, 0.5), (23, 24, 0.5), (23, 25, 0.4),
    (24, 26, 0.4), (25, 27, 0.5), (26, 28, 0.5), (31, 31, 0.0), (32, 32, 0.0),
)  # fmt: skip

RECALL_BORROWED = 0.15  # share of another's points up to which somebody recalled is told from them
RECALL_DRIFT = 0.5  # sizes, half the sides of a region: how far somebody recalled may be from where they should be


@dataclass(frozen=True)
class TrackedPose:
    """A person of a video: number, whether found by searching or followed, and the smoothed measurement."""

    track: int
    status: Status
    pose: Pose


@dataclass(frozen=True)
class PoseFrame:
    """All people of one frame, ordered by number; ``lost`` are numbers remembered but not in sight."""

    index: int
    time: float
    people: tuple[TrackedPose, ...]
    lost: tuple[int, ...] = ()

    @property
    def status(self) -> Literal["ok", "lost", "none"]:
        """``ok`` with at least one person, ``lost`` while one that was there is out of sight, else ``none``."""
        return "ok" if self.people else "lost" if self.lost else "none"


class PoseTracker:
    """Finds people in pictures and follows them through videos.

    Every ``stream`` keeps its own state, so one tracker may serve several videos.
    """

    def __init__(
        self,
        networks: BlazeNetworks,
        options: PoseOptions | None = None,
        detector: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        """``detector`` gives boxes (N, 5), x0, y0, x1, y1 and score, of the people in a picture; it replaces the
        search through tiles."""
        self.networks = networks
        self._detector = detector
        self.options = options or PoseOptions()
        self.tiled = self.options.search.tiled

    def find_people(self, image: np.ndarray) -> tuple[Pose, ...]:
        """The people of one picture (H, W, 3) uint8 RGB, the surest first; none twice."""
        return tuple(self.search(image, (), Effort.THOROUGH if self.tiled else Effort.QUICK))

    def stream(self, frames: Iterable[Frame]) -> Iterator[PoseFrame]:
        """One ``PoseFrame`` per frame, as soon as it is read."""
        follower: Follower[Pose] = Follower(self, self.options.follow)
        smoothers: dict[int, PoseSmoother | None] = {}
        for frame in frames:
            scene = follower.step(frame.rgb, frame.time)
            smoothers = {s.track: smoothers.get(s.track) or self._smoother() for s in scene.subjects}
            people = []
            for subject in scene.subjects:
                smoother = smoothers[subject.track]
                pose = subject.subject if smoother is None else smoother(subject.subject, frame.time)
                people.append(TrackedPose(subject.track, subject.status, pose))
            yield PoseFrame(frame.index, frame.time, tuple(people), scene.lost)

    # What ``Follower`` asks

    def search(self, image: np.ndarray, known: Sequence[Pose], effort: Effort) -> list[Pose]:
        """People other than ``known``."""
        options = self.options
        if self._detector is not None:
            boxes = self._detector(image)
            return body_search.from_boxes(image, boxes, known, self.measure, options.min_size)
        tiled = effort is not Effort.QUICK
        swept = effort is Effort.SWEEP or (effort is Effort.THOROUGH and options.frugal)
        search = options.sweep if swept else options.search
        found = body_search.candidates(self.networks, image, search, tiled)
        if swept and effort is Effort.THOROUGH and body_search.hints_at_others(found):
            found = body_search.candidates(self.networks, image, options.search, tiled)
        return body_search.find(self.networks, image, found, known, tiled, self.measure, options.min_size)

    def follow(self, image: np.ndarray, last: Pose) -> Pose | None:
        """The person where they were."""
        return self.measure(image, pose_region(last.axis[0], last.axis[1]))

    def recall(
        self, image: np.ndarray, last: Pose, place: np.ndarray, size: float, known: Sequence[Pose]
    ) -> Pose | None:
        """The person who was hidden, looked at as the detector's finds are, and as critically."""
        height, width = image.shape[:2]
        if not (0 <= place[0] < width and 0 <= place[1] < height):
            return None
        region = pose_region(last.axis[0], last.axis[1])
        x, y = place - (last.hips + last.shoulders) / 2 + (region.x, region.y)
        pose = self.measure(image, replace(region, x=float(x), y=float(y)))
        if pose is None or pose.score < body_search.GOOD or pose.clarity < body_search.CLEAR:
            return None
        if body_search.borrowed(pose, known) > RECALL_BORROWED:
            return None
        off = float(np.linalg.norm((pose.hips + pose.shoulders) / 2 - place))
        return pose if off < RECALL_DRIFT * size else None

    def same(self, a: Pose, b: Pose) -> bool:
        """Whether two poses are one person."""
        return body_search.same(a, b)

    def mixed(self, subject: Pose, others: Sequence[Pose]) -> bool:
        """Whether a pose has one person's arms and another's legs."""
        return body_search.mixed(subject, others)

    def score(self, subject: Pose) -> float:
        """Confidence of the landmark network."""
        return subject.score

    def sighting(self, image: np.ndarray, subject: Pose, followed: frozenset[int]) -> Sighting:
        """A square about the trunk, which limbs do not move, and the colours of skin and clothing."""
        points, seen = subject.landmarks[:, :2], subject.visibility
        start, end, share = (np.array(column) for column in zip(*COLOUR_PLACES, strict=True))
        places = points[start] + share[:, None] * (points[end] - points[start])
        colours = look(image, subject.region, places, np.minimum(seen[start], seen[end]))
        middle, half = (subject.hips + subject.shoulders) / 2, subject.region.side / 4
        return Sighting(np.concatenate([middle - half, middle + half]), colours, followed)

    def measure(self, image: np.ndarray, region: Region) -> Pose | None:
        """The pose in ``region``; None below the confidence asked for or with nothing in the picture."""
        found = self.networks.pose(image, region)
        if found.score < self.options.min_presence:
            return None
        return Pose(
            landmarks=region.to_image(found.points),
            world=region.turn_to_image(found.world),
            visibility=found.visibility,
            presence=found.presence,
            peaks=found.peaks,
            axis=region.to_image(found.axis),
            score=found.score,
            region=region,
        )

    def _smoother(self) -> PoseSmoother | None:
        return PoseSmoother(self.options) if self.options.smoothing else None


class PoseSmoother:
    """Filters one person's landmarks in the picture and in metres."""

    def __init__(self, options: PoseOptions) -> None:
        self._picture = ShapeSmoother(options.smoothing)
        self._world = ShapeSmoother(options.smoothing)

    def __call__(self, pose: Pose, time: float) -> Pose:
        """The pose at ``time`` with smoothed landmarks."""
        return replace(
            pose,
            landmarks=self._picture(pose.landmarks, time, pose.visibility),
            world=self._world(pose.world, time, pose.visibility),
        )
