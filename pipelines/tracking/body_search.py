"""Finding everybody in a picture: tiled detection, several looks at every candidate, and the best of them kept.

The detector sees people who fill a good part of what it looks at, the landmark network one person at a time. In a
crowd its confidence swings with the exact cut, so every candidate is looked at with several. Both networks also see
people in gables, sleeves and crowns, so what tiles find must be borne out by several witnesses: agreeing tiles, the
landmark network's confidence and heat maps, and the segmentation network. Their weights and limits were set by hand on
photos with and without people.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.blaze.config import POSE_DETECTION
from models.blaze.pose import EDGES, LEFT_HIP, LEFT_SHOULDER, RIGHT_HIP, RIGHT_SHOULDER
from pipelines.tracking.networks import BlazeNetworks
from pipelines.tracking.nms import shape_distance
from pipelines.tracking.options import SearchOptions
from pipelines.tracking.pose import Pose
from pipelines.tracking.regions import Region, pose_region
from pipelines.tracking.tiles import tile_pyramid

TILE_SCORE = 0.35  # detections of tiles below the network's own threshold count when other tiles agree
LARGEST = 1.5  # tile sides: a region larger than this is guessed from a part of a person
CUTS = (1.0, 0.85, 0.72)  # sides of the regions tried per candidate
GOOD, CLEAR = 0.9, 0.6  # confidence less drift, and clarity, at which no further cut is tried
DRIFT = 0.25  # of the body's radius: how far hips and shoulders may lie from the detector's
SAME = 0.13  # of the smaller region's side: mean distance of points at which two poses are one
TRUNK_AND_LIMBS = tuple(e for e in EDGES if e[0] >= LEFT_SHOULDER)
WEIGHTS = np.array([1.0] * 33)
WEIGHTS[:11] = 0.3  # eleven of the points lie in the head
WEIGHTS[[LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP]] = 3.0
WEIGHTS[17:23] = 0.2  # fingers
MIXED_GAP, MIXED_SHARE = 0.08, 0.6
MIRROR = np.array([0, 4, 5, 6, 1, 2, 3, *(k + 1 - 2 * (k % 2 == 0) for k in range(7, 33))])
BOX_ROOM = 1.25  # side of the region looked at, in long sides of a detector's box
PART_SIZE, PART_GAP = 0.65, 0.12
LARGER = 1.3  # times the radius of somebody beyond which a detection is not a part of them
PART_SCORE, PART_VOTES = 0.8, 0.5  # what shows that a part is a person before another: score, votes to the other's
MIN_VOTES, MIN_SCORE = 1.0, 0.66  # sum and best of the scores of agreeing tiles
MIN_CLARITY, MIN_COVERED = 0.4, 0.5
MIN_EVIDENCE, MIN_EVIDENCE_WHOLE = 2.85, 2.6


@dataclass(frozen=True)
class Candidate:
    """Detections of one person: key points (4, 2) in pixels of the best, its score, all scores' sum, their mean.

    ``whole`` tells that the best is one of the whole picture, above the network's own threshold.
    """

    keypoints: np.ndarray
    score: float
    votes: float
    mean: np.ndarray
    whole: bool

    @property
    def radius(self) -> float:
        """Pixels from the hips' middle to the end of the body's circle."""
        return max(1.0, float(np.linalg.norm(self.keypoints[1] - self.keypoints[0])))


def candidates(networks: BlazeNetworks, image: np.ndarray, search: SearchOptions, tiled: bool) -> list[Candidate]:
    """Detections of the whole picture, and of its tiles when ``tiled``, grouped by person, best first."""
    levels = tile_pyramid(image, search.scales if tiled else (), search.smallest_tile, search.overlap)
    in_tiles = replace(POSE_DETECTION, min_score=TILE_SCORE)
    rows: list[tuple[bool, float, np.ndarray]] = []
    for level, regions in enumerate(levels):
        looked = networks.detect_all(image, in_tiles if level else POSE_DETECTION, regions)
        for region, found in zip(regions, looked, strict=True):
            for keypoints, score in zip(found.keypoints, found.scores, strict=True):
                side = pose_region(keypoints[0], keypoints[1]).side
                if level and side > LARGEST * region.side:
                    continue
                rows.append((not level, float(score), keypoints))
    groups: list[list[tuple[bool, float, np.ndarray]]] = []
    # The whole picture's detections come first in their group: they are the most complete.
    for row in sorted(rows, key=lambda r: (not r[0], -r[1])):
        home = next((g for g in groups if _near(row[2], g[0][2])), None)
        if home is None:
            groups.append([row])
        else:
            home.append(row)
    return [_candidate(group) for group in groups]


def hints_at_others(found: Sequence[Candidate]) -> bool:
    """Whether detections come from elsewhere than the people whom the whole picture shows, of whom tiles see parts."""
    whole = [c for c in found if c.whole]
    return not whole or any(
        all(np.linalg.norm(c.keypoints[0] - w.keypoints[0]) > w.radius or c.radius > w.radius * LARGER for w in whole)
        for c in found
        if not c.whole
    )


def find(
    networks: BlazeNetworks,
    image: np.ndarray,
    found: Sequence[Candidate],
    known: Sequence[Pose],
    tiled: bool,
    measure: Callable[[np.ndarray, Region], Pose | None],
    min_size: float,
) -> list[Pose]:
    """The people among candidates other than ``known``, best first. ``measure`` gives the pose in a region, None when
    nobody is there."""
    looked: list[tuple[float, Candidate, Pose]] = []
    for candidate in found:
        if not candidate.whole and (candidate.votes < MIN_VOTES or candidate.score < MIN_SCORE):
            continue
        if 2.5 * candidate.radius < min_size or any(_explained(candidate, pose) for pose in known):
            continue
        best = _best_look(image, candidate, measure, CUTS if tiled else CUTS[:1])
        if best is not None and _borne_out(networks, image, candidate, best[1]):
            looked.append((best[0] + 0.1 * min(candidate.votes, 3.0), candidate, best[1]))
    people: list[Pose] = []
    votes: list[float] = []
    for _, candidate, pose in sorted(looked, key=lambda x: -x[0]):
        others = [*known, *people]
        if any(same(pose, other) for other in others) or mixed(pose, others):
            continue
        if any(_is_part(pose, other) for other in known):
            continue
        owner = max((v for other, v in zip(people, votes, strict=True) if _is_part(pose, other)), default=0.0)
        if candidate.votes < PART_VOTES * owner or (owner and candidate.score < PART_SCORE):
            continue
        people.append(pose)
        votes.append(candidate.votes)
    return people


def from_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    known: Sequence[Pose],
    measure: Callable[[np.ndarray, Region], Pose | None],
    min_size: float,
) -> list[Pose]:
    """People other than ``known`` in a detector's boxes (N, 5), best first; each box is looked at upright, then with
    the cut its pose asks for."""
    people: list[Pose] = []
    for x0, y0, x1, y1, _ in boxes:
        side = BOX_ROOM * max(x1 - x0, y1 - y0)
        middle = np.array([x0 + x1, y0 + y1]) / 2
        if side < min_size or any(_fills(pose, (x0, y0, x1, y1)) for pose in (*known, *people)):
            continue
        pose = measure(image, Region(float(middle[0]), float(middle[1]), float(side), 0.0))
        if pose is not None:
            pose = measure(image, pose_region(pose.axis[0], pose.axis[1])) or pose
            others = [*known, *people]
            if not any(same(pose, other) for other in others) and not mixed(pose, others):
                people.append(pose)
    return people


def _fills(pose: Pose, box: tuple[float, float, float, float]) -> bool:
    """Whether a pose is what a box shows: the trunk's middle inside, and alike in size."""
    x0, y0, x1, y1 = box
    x, y = (pose.hips + pose.shoulders) / 2
    seen = pose.landmarks[pose.visibility > 0.4, :2]
    size = float(np.ptp(seen, axis=0).max()) if len(seen) > 1 else 0.0
    return x0 <= x <= x1 and y0 <= y <= y1 and size > 0.6 * max(x1 - x0, y1 - y0)


def same(a: Pose, b: Pose) -> bool:
    """Whether two poses of one picture are one person: their points coincide, those of the trunk counting most."""
    weights = WEIGHTS * np.minimum(a.visibility, b.visibility)
    return shape_distance(a.landmarks, b.landmarks, min(a.region.side, b.region.side), weights) <= SAME


def mixed(pose: Pose, others: Sequence[Pose]) -> bool:
    """Whether a pose borrows from several others: most of its points are the same points of theirs, left or right."""
    return len(others) > 1 and borrowed(pose, others) > MIXED_SHARE


def borrowed(pose: Pose, others: Sequence[Pose]) -> float:
    """The share of a pose's points that are the same points of others, left or right."""
    if not others:
        return 0.0
    own = pose.landmarks[:, :2]
    theirs = np.stack([o.landmarks[side, :2] for o in others for side in (slice(None), MIRROR)])  # (2N, 33, 2)
    gaps = np.linalg.norm(own - theirs, axis=-1)
    weights = WEIGHTS * pose.visibility
    shared = gaps.min(axis=0) < MIXED_GAP * pose.region.side
    return float(weights @ shared) / max(float(weights.sum()), 1e-9)


def _candidate(group: list[tuple[bool, float, np.ndarray]]) -> Candidate:
    whole, score, keypoints = group[0]
    scores = np.array([s for _, s, _ in group])
    mean = np.tensordot(scores / scores.sum(), np.stack([k for _, _, k in group]), axes=1)
    return Candidate(keypoints, score, float(scores.sum()), mean, whole)


def _near(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two detections' hips and shoulders coincide and their sizes agree."""
    radius_a, radius_b = np.linalg.norm(a[1] - a[0]), np.linalg.norm(b[1] - b[0])
    if not 0.6 < (radius_a + 1e-6) / (radius_b + 1e-6) < 1.6:
        return False
    return bool(np.linalg.norm(a[[0, 2]] - b[[0, 2]], axis=1).mean() < 0.2 * radius_b)


def _best_look(
    image: np.ndarray,
    candidate: Candidate,
    measure: Callable[[np.ndarray, Region], Pose | None],
    cuts: tuple[float, ...],
) -> tuple[float, Pose] | None:
    """The best pose among several cuts and its quality; None when none is confident and where the detector said.

    For a detection of the whole picture the first such pose is taken: there the network's own cut is the best.
    """
    best: tuple[float, Pose] | None = None
    for keypoints in (candidate.keypoints, candidate.mean):
        for cut in cuts:
            pose = measure(image, pose_region(keypoints[0], keypoints[1]).scaled(cut))
            if pose is None:
                continue
            trunk = np.array([pose.hips, pose.shoulders])
            drift = float(np.linalg.norm(trunk - keypoints[[0, 2]], axis=1).max()) / candidate.radius
            if drift > DRIFT and not candidate.whole:
                continue
            quality = pose.score - drift + pose.clarity
            if best is None or quality > best[0]:
                best = quality, pose
            if candidate.whole or (pose.score - drift >= GOOD and pose.clarity >= CLEAR):
                return best
    return best


def _borne_out(networks: BlazeNetworks, image: np.ndarray, candidate: Candidate, pose: Pose) -> bool:
    """Whether the witnesses together say that this is a person."""
    mask = networks.person_mask(image, pose.region)
    size = len(mask)
    bones = np.array([e for e in TRUNK_AND_LIMBS if min(pose.visibility[list(e)]) > 0.5], dtype=int).reshape(-1, 2)
    points = pose.region.to_unit(pose.landmarks[:, :2])
    shares = np.array([0.25, 0.5, 0.75])[:, None, None]
    along = (points[bones[:, 0]] * (1 - shares) + points[bones[:, 1]] * shares).reshape(-1, 2)
    along = along[((along >= 0) & (along < 1)).all(axis=1)]
    column, row = (along * size).astype(int).T
    covered = float(mask[row, column].mean()) if len(along) else 0.0
    evidence = candidate.score + 0.1 * min(candidate.votes, 4.0) + pose.score + pose.clarity + covered
    if candidate.whole:
        return evidence >= MIN_EVIDENCE_WHOLE
    return evidence >= MIN_EVIDENCE and pose.clarity >= MIN_CLARITY and covered >= MIN_COVERED


def _explained(candidate: Candidate, pose: Pose) -> bool:
    """Whether a detection shows somebody known: hips and shoulders lie within a fifth of the body."""
    trunk = np.array([pose.hips, pose.shoulders])
    return bool(np.linalg.norm(candidate.keypoints[[0, 2]] - trunk, axis=1).mean() < 0.2 * candidate.radius)


def _is_part(small: Pose, large: Pose) -> bool:
    """Whether ``small`` sits on a limb or the trunk of a much larger person."""
    if small.region.side > PART_SIZE * large.region.side:
        return False
    middle = (small.hips + small.shoulders) / 2
    bones = np.array([e for e in EDGES if min(large.visibility[list(e)]) > 0.3] or EDGES)
    start, end = large.landmarks[bones[:, 0], :2], large.landmarks[bones[:, 1], :2]
    along = end - start
    share = ((middle - start) * along).sum(axis=1) / np.maximum((along**2).sum(axis=1), 1e-9)
    nearest = start + np.clip(share, 0, 1)[:, None] * along
    gap = min(
        float(np.linalg.norm(nearest - middle, axis=1).min()),
        float(np.linalg.norm((large.hips + large.shoulders) / 2 - middle)),
    )
    return gap < PART_GAP * large.region.side
