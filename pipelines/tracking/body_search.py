"""Finding everybody in a picture: tiled detection, several looks at every candidate, and the best of them kept.

The detector sees people who fill a good part of what it looks at, the landmark network one person at a time. In a
crowd its confidence swings with the exact cut, so every candidate is looked at with several; and both networks like to
see a small person in an arm or a leg of a large one, so such finds need more evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.blaze.config import POSE_DETECTION
from models.blaze.pose import EDGES, LEFT_HIP, LEFT_SHOULDER, RIGHT_HIP, RIGHT_SHOULDER
from pipelines.tracking.networks import BlazeNetworks
from pipelines.tracking.options import SearchOptions
from pipelines.tracking.pose import Pose
from pipelines.tracking.regions import Region, pose_region
from pipelines.tracking.tiles import tile_pyramid

TILE_SCORE = 0.35  # detections of tiles below the network's own threshold count when other tiles agree
LARGEST = 1.5  # tile sides: a region larger than this is guessed from a part of a person
CUTS = (1.0, 0.85, 0.72)  # sides of the regions tried per candidate
GOOD = 0.9  # quality at which no further cut is tried
DRIFT = 0.25  # of the body's radius: how far hips and shoulders may lie from the detector's
SAME = 0.13  # of the smaller region's side: mean distance of points at which two poses are one
WEIGHTS = np.array([1.0] * 33)
WEIGHTS[:11] = 0.3  # eleven of the points lie in the head
WEIGHTS[[LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP]] = 3.0
WEIGHTS[17:23] = 0.2  # fingers
PART_SIZE, PART_GAP = 0.65, 0.12


@dataclass(frozen=True)
class Candidate:
    """Detections of one person: key points (4, 2) in pixels of the best, its score, all scores' sum, their mean."""

    keypoints: np.ndarray
    score: float
    votes: float
    mean: np.ndarray

    @property
    def radius(self) -> float:
        """Pixels from the hips' middle to the end of the body's circle."""
        return max(1.0, float(np.linalg.norm(self.keypoints[1] - self.keypoints[0])))


def candidates(networks: BlazeNetworks, image: np.ndarray, search: SearchOptions, thorough: bool) -> list[Candidate]:
    """Detections of the whole picture, and of its tiles when ``thorough``, grouped by person, best first."""
    levels = tile_pyramid(image, search.scales if thorough else (), search.smallest_tile, search.overlap)
    config = replace(POSE_DETECTION, min_score=TILE_SCORE) if thorough else POSE_DETECTION
    rows: list[tuple[float, np.ndarray]] = []
    for level, regions in enumerate(levels):
        for region in regions:
            found = networks.detect(image, config, region)
            for keypoints, score in zip(found.keypoints, found.scores, strict=True):
                side = pose_region(keypoints[0], keypoints[1]).side
                if level and side > LARGEST * region.side:
                    continue
                # The whole picture's detections come first in their group: they are the most complete.
                bonus = 1.0 if not level and score >= POSE_DETECTION.min_score else 0.0
                rows.append((float(score) + bonus, keypoints))
    groups: list[list[tuple[float, np.ndarray]]] = []
    for row in sorted(rows, key=lambda r: -r[0]):
        home = next((g for g in groups if _near(row[1], g[0][1])), None)
        if home is None:
            groups.append([row])
        else:
            home.append(row)
    return [_candidate(group) for group in groups]


def find(
    networks: BlazeNetworks,
    image: np.ndarray,
    search: SearchOptions,
    known: Sequence[Pose],
    thorough: bool,
    measure: Callable[[np.ndarray, Region], Pose | None],
    min_size: float,
) -> list[Pose]:
    """People other than ``known``, best first. ``measure`` gives the pose in a region, None when nobody is there."""
    looked: list[tuple[float, Candidate, Pose]] = []
    for candidate in candidates(networks, image, search, thorough):
        if 2.5 * candidate.radius < min_size or any(_explained(candidate, pose) for pose in known):
            continue
        best = _best_look(image, candidate, measure, CUTS if thorough else CUTS[:1])
        if best is not None:
            looked.append((best[0], candidate, best[1]))
    people: list[Pose] = []
    for _, candidate, pose in sorted(looked, key=lambda x: -x[0]):
        others = [*known, *people]
        if any(same(pose, other) for other in others):
            continue
        if any(_is_part(pose, other) for other in others) and not (candidate.score >= 0.8 and candidate.votes >= 1.6):
            continue
        people.append(pose)
    return people


def same(a: Pose, b: Pose) -> bool:
    """Whether two poses of one picture are one person: their points coincide, those of the trunk counting most."""
    weights = WEIGHTS * np.minimum(a.visibility, b.visibility)
    gaps = np.linalg.norm(a.landmarks[:, :2] - b.landmarks[:, :2], axis=1)
    total = float(weights.sum())
    if total <= 0:
        return False
    return float(gaps @ weights) / total <= SAME * min(a.region.side, b.region.side)


def _candidate(group: list[tuple[float, np.ndarray]]) -> Candidate:
    scores = np.array([min(s, 1.0) if s <= 1.0 else s - 1.0 for s, _ in group])
    mean = np.tensordot(scores / scores.sum(), np.stack([k for _, k in group]), axes=1)
    return Candidate(group[0][1], float(scores[0]), float(scores.sum()), mean)


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
    """The best pose among several cuts and its quality; None when none is confident and where the detector said."""
    best: tuple[float, Pose] | None = None
    for keypoints in (candidate.keypoints, candidate.mean):
        for cut in cuts:
            pose = measure(image, pose_region(keypoints[0], keypoints[1]).scaled(cut))
            if pose is None:
                continue
            trunk = np.array([pose.hips, pose.shoulders])
            drift = float(np.linalg.norm(trunk - keypoints[[0, 2]], axis=1).max()) / candidate.radius
            if drift > DRIFT:
                continue
            quality = pose.score - drift + 0.1 * min(candidate.votes, 3.0)
            if best is None or quality > best[0]:
                best = quality, pose
            if pose.score - drift >= GOOD:
                return best
    return best


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
