"""Faces in pictures and videos: detection, 468 landmarks (478 with irises), presence, identities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from models.blaze.config import FACE_FULL_RANGE, FACE_SHORT_RANGE
from models.blaze.face import LEFT_EYE_INNER, LEFT_EYE_OUTER, RIGHT_EYE_INNER, RIGHT_EYE_OUTER
from pipelines.media.video import Frame
from pipelines.tracking.appearance import look
from pipelines.tracking.face_checks import disagreement, is_line_drawing
from pipelines.tracking.following import Effort, Follower, Status
from pipelines.tracking.identities import Sighting
from pipelines.tracking.networks import BlazeNetworks
from pipelines.tracking.nms import containment, join, shape_distance, suppress_boxes
from pipelines.tracking.options import FaceOptions
from pipelines.tracking.regions import Region, eye_region, face_region
from pipelines.tracking.smoothing import ShapeSmoother
from pipelines.tracking.tiles import tile_pyramid

FOREHEAD, CHIN = 10, 152
# Places whose colours tell faces apart: forehead, brows, nose, cheeks, jaw.
COLOUR_POINTS = (10, 151, 9, 1, 50, 280, 205, 425, 234, 454, 172, 397, 152, 108, 337)
DETECTOR_AGREEMENT = 0.25  # of the box's side: how far the detector's key points may lie from the landmarks
SAME_FACE = 0.3  # of the smaller box's side: mean landmark distance up to which two faces are one
MOVED, GROWN = 0.2, 1.4  # how far a face may move or grow between frames before it is measured a second time


@dataclass(frozen=True)
class Face:
    """One face of one picture.

    ``box`` (4,) x0, y0, x1, y1 about the landmarks, in pixels. ``landmarks`` (468 or 478, 3) in pixels; z grows away
    from the camera, in the scale of x. ``presence`` in 0..1. ``region`` is what the network looked at. ``certainty`` is
    the detector's score, 0 where the face was not searched for.
    """

    box: np.ndarray
    landmarks: np.ndarray
    presence: float
    region: Region
    certainty: float = 0.0

    @property
    def size(self) -> float:
        """The long side of the box in pixels."""
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))

    @property
    def eye_distance(self) -> float:
        """Pixels between the outer eye corners, in the picture's plane."""
        return float(np.linalg.norm(self.landmarks[RIGHT_EYE_OUTER, :2] - self.landmarks[LEFT_EYE_OUTER, :2]))


@dataclass(frozen=True)
class TrackedFace:
    """A face of a video: its number, whether it was found by searching or followed, and the smoothed measurement."""

    track: int
    status: Status
    face: Face


@dataclass(frozen=True)
class FaceFrame:
    """All faces of one frame, ordered by number; ``lost`` are numbers remembered but not in sight."""

    index: int
    time: float
    faces: tuple[TrackedFace, ...]
    lost: tuple[int, ...] = ()

    @property
    def status(self) -> Literal["ok", "lost", "none"]:
        """``ok`` with at least one face, ``lost`` while one that was there is out of sight, else ``none``."""
        return "ok" if self.faces else "lost" if self.lost else "none"


class FaceTracker:
    """Finds faces in pictures and follows them through videos.

    Every ``stream`` keeps its own state, so one tracker may serve several videos.
    """

    def __init__(self, networks: BlazeNetworks, options: FaceOptions | None = None) -> None:
        self.networks = networks
        self.options = options or FaceOptions()
        self.tiled = self.options.search.tiled

    def find_faces(self, image: np.ndarray) -> tuple[Face, ...]:
        """The faces of one picture (H, W, 3) uint8 RGB, largest first; none twice."""
        return tuple(self.search(image, (), Effort.THOROUGH if self.tiled else Effort.QUICK))

    def stream(self, frames: Iterable[Frame]) -> Iterator[FaceFrame]:
        """One ``FaceFrame`` per frame, as soon as it is read."""
        follower: Follower[Face] = Follower(self, self.options.follow)
        smoothers: dict[int, ShapeSmoother | None] = {}
        for frame in frames:
            scene = follower.step(frame.rgb, frame.time)
            smoothers = {s.track: smoothers.get(s.track) or self._smoother() for s in scene.subjects}
            faces = tuple(
                TrackedFace(s.track, s.status, smoothed(s.subject, smoothers[s.track], frame.time))
                for s in scene.subjects
            )
            yield FaceFrame(frame.index, frame.time, faces, scene.lost)

    # What ``Follower`` asks

    def search(self, image: np.ndarray, known: Sequence[Face], effort: Effort) -> list[Face]:
        """Faces other than ``known``, largest first."""
        faces: list[Face] = []
        for box, keypoints, score in self._candidates(image, effort):
            side = float(box[2] - box[0])
            if side < self.options.min_size or any(_inside(box, face.box) for face in (*known, *faces)):
                continue
            face = self.measure(image, face_region(box, keypoints[0], keypoints[1]))
            if face is None or disagreement(face.landmarks, keypoints) > DETECTOR_AGREEMENT * side:
                continue
            if is_line_drawing(image, face.region, face.landmarks):
                continue
            if not any(self.same(face, other) for other in (*known, *faces)):
                faces.append(replace(face, certainty=score))
        return sorted(faces, key=lambda f: -f.size)

    def follow(self, image: np.ndarray, last: Face) -> Face | None:
        """The face where it was, measured once more when it moved far within its region."""
        face = self.measure(image, next_region(last))
        if face is not None and _far(face):
            face = self.measure(image, next_region(face))
        return face

    def recall(
        self, image: np.ndarray, last: Face, place: np.ndarray, size: float, known: Sequence[Face]
    ) -> Face | None:
        """Never: searching finds faces soon enough."""
        return None

    def same(self, a: Face, b: Face) -> bool:
        """Whether the landmarks coincide, or one box lies in the other's."""
        if shape_distance(a.landmarks[:468], b.landmarks[:468], min(a.size, b.size)) <= SAME_FACE:
            return True
        return bool(containment(a.box[None], b.box[None])[0, 0] > 0.85)

    def mixed(self, subject: Face, others: Sequence[Face]) -> bool:
        """Never: the landmark network sees one face or none."""
        return False

    def score(self, subject: Face) -> float:
        """Presence."""
        return subject.presence

    def sighting(self, image: np.ndarray, subject: Face, followed: frozenset[int]) -> Sighting:
        """Box and the colours of skin, hair and clothing."""
        points = subject.landmarks[:, :2]
        up = points[FOREHEAD] - points[CHIN]
        around = np.array([points[FOREHEAD] + 0.25 * up, points[CHIN] - 0.35 * up, points[CHIN] - 0.6 * up])
        places = np.concatenate([points[list(COLOUR_POINTS)], around])
        weights = np.array([0.5] * len(COLOUR_POINTS) + [2.0, 2.0, 2.0])
        colours = look(image, subject.region.scaled(1.4), places, weights / 2)
        return Sighting(subject.box, colours, followed)

    def measure(self, image: np.ndarray, region: Region) -> Face | None:
        """The face in ``region``; None below the presence asked for."""
        found = self.networks.face(image, region)
        if found.presence < self.options.min_presence:
            return None
        landmarks = region.to_image(found.points)
        box = np.concatenate([landmarks[:, :2].min(axis=0), landmarks[:, :2].max(axis=0)])
        if self.options.iris:
            landmarks = np.concatenate([landmarks, self._irises(image, landmarks)])
        return Face(box, landmarks, found.presence, region)

    def _candidates(self, image: np.ndarray, effort: Effort) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
        """Boxes (4,), key points (6, 2), scores: of the whole picture, then of its tiles, best first in each."""
        search = self.options.sweep if effort is Effort.SWEEP else self.options.search
        levels = [[self.networks.detect(image, FACE_SHORT_RANGE)]]
        if effort is not Effort.QUICK:
            levels.append([self.networks.detect(image, FACE_FULL_RANGE)])
            for regions in tile_pyramid(image, search.scales, search.smallest_tile, search.overlap)[1:]:
                levels.append([self.networks.detect(image, FACE_FULL_RANGE, region) for region in regions])
        for level in levels:
            found = join(level)
            for index in suppress_boxes(found.boxes, found.scores, FACE_SHORT_RANGE.max_iou):
                yield found.boxes[index], found.keypoints[index], float(found.scores[index])

    def _irises(self, image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """Right then left iris (10, 3): centre and four points of the rim each; z is that of the eye's corners."""
        parts = []
        corners = ((RIGHT_EYE_OUTER, RIGHT_EYE_INNER, False), (LEFT_EYE_OUTER, LEFT_EYE_INNER, True))
        for outer, inner, mirror in corners:
            region = eye_region(landmarks[outer, :2], landmarks[inner, :2], mirror)
            points = region.to_image(self.networks.iris(image, region))
            points[:, 2] = landmarks[[outer, inner], 2].mean()
            parts.append(points)
        return np.concatenate(parts)

    def _smoother(self) -> ShapeSmoother | None:
        return ShapeSmoother(self.options.smoothing) if self.options.smoothing else None


def smoothed(face: Face, smoother: ShapeSmoother | None, time: float) -> Face:
    """The face with its landmarks and box filtered; as it is without a smoother."""
    if smoother is None:
        return face
    landmarks = smoother(face.landmarks, time)
    surface = landmarks[:468, :2]
    return replace(face, landmarks=landmarks, box=np.concatenate([surface.min(axis=0), surface.max(axis=0)]))


def next_region(face: Face) -> Region:
    """Where to look for a face in the next frame."""
    return face_region(face.box, face.landmarks[RIGHT_EYE_OUTER], face.landmarks[LEFT_EYE_OUTER])


def _inside(box: np.ndarray, other: np.ndarray) -> bool:
    """Whether a detection lies in a known face's box: the same face, or a part of it."""
    return bool(containment(box[None], other[None])[0, 0] > 0.6)


def _far(face: Face) -> bool:
    """Whether a face lies so far from where its region expected it that the measurement suffers."""
    expected = next_region(face)
    shift = np.hypot(expected.x - face.region.x, expected.y - face.region.y) / face.region.side
    growth = expected.side / face.region.side
    return bool(shift > MOVED or growth > GROWN or growth < 1 / GROWN)
