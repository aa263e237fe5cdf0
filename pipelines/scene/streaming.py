"""Long scenes in overlapping parts: how neighbouring parts are laid onto each other and closed into loops.

All similarities take the later part's world to the earlier one's. Source for the pose graph: Strasdat 2012, chapter 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from models.geometry.cameras import unproject
from models.geometry.similarity import Similarity
from models.runtime.errors import InputError

AlignMethod = Literal["sim3", "se3", "scale+se3"]
ScaleMethod = Literal["auto", "ransac", "weighted"]
Array = NDArray[np.floating]

UNSURE = 0.1  # share of the median confidence below which pixels are not used
HUBER, STEPS, TOLERANCE = 0.1, 5, 1e-9
DEPTHS = (1e-3, 100.0)  # depths used for scale
SCALES = (0.1, 10.0)  # ratios that are believed
ENOUGH = 100
GOOD = 0.7
SEED, TRIALS, RESIDUAL, CERTAINTY = 42, 1000, 0.1, 0.99
MOST_SAMPLES = 10_000
QUANTILE = 0.9


def split(count: int, size: int, overlap: int) -> list[tuple[int, int]]:
    """Parts [start, end) of ``count`` frames, each but the last with ``size`` of them."""
    if count <= size:
        return [(0, count)]
    step = size - overlap
    parts = -(-(count - overlap) // step)
    return [(i * step, min(i * step + size, count)) for i in range(parts)]


def confidence_threshold(first: Array, second: Array) -> float:
    """From which confidence pixels of two parts are laid onto each other."""
    return float(min(np.median(first), np.median(second)) * UNSURE)


def _radius_fit(source: Array, target: Array, weights: Array, with_scale: bool) -> Similarity:
    """Weighted rigid fit; the scale is the ratio of the clouds' weighted radii, which noise does not shrink."""
    w = weights / weights.sum()
    mean_x, mean_y = w @ source, w @ target
    dx, dy = source - mean_x, target - mean_y
    scale = float(np.sqrt((w @ np.square(dy).sum(1)) / (w @ np.square(dx).sum(1)))) if with_scale else 1.0
    U, _, Vt = np.linalg.svd((dy * w[:, None]).T @ dx)
    R = (U * [1.0, 1.0, np.linalg.det(U @ Vt)]) @ Vt
    return Similarity(scale, R, mean_y - scale * R @ mean_x)


def robust_fit(
    source: Array, target: Array, weights: Array, with_scale: bool = True, delta: float = HUBER, steps: int = STEPS
) -> Similarity:
    """The similarity from points (P, 3) to points (P, 3) with Huber's weights, iterated.

    A fit is taken over only when it still changes something, so that the last one may be a step old.
    """
    source, target, weights = (np.asarray(v, np.float64) for v in (source, target, weights))
    found, before = _radius_fit(source, target, weights, with_scale), np.inf
    for _ in range(steps):
        residual = np.linalg.norm(target - found.apply(source), axis=1)
        huber = np.where(residual > delta, delta / np.maximum(residual, 1e-12), 1.0)
        loss = np.where(residual <= delta, residual**2 / 2, delta * (residual - delta / 2))
        now = float(loss @ weights)
        better = _radius_fit(source, target, weights * huber, with_scale)
        moved = abs(better.scale - found.scale) + np.linalg.norm(better.translation - found.translation)
        turned = np.arccos(np.clip((np.trace(better.rotation @ found.rotation.T) - 1) / 2, -1, 1))
        settled = moved < TOLERANCE and turned < np.radians(0.1)
        if settled or abs(before - now) < TOLERANCE * before:
            break
        found, before = better, now
    return found


def align_parts(
    points1: Array,
    conf1: Array,
    points2: Array,
    conf2: Array,
    method: AlignMethod = "sim3",
    scale: float | None = None,
) -> Similarity:
    """Lays the later part onto the earlier one by the frames both hold.

    Args:
        points1, points2: world points (N, H, W, 3) of the shared frames in the earlier and the later part.
        conf1, conf2: their confidence (N, H, W).
        scale: of the later part, for ``scale+se3``.
    Raises:
        InputError: no pixel is certain enough in both.
    """
    limit = confidence_threshold(conf1, conf2)
    use = (conf1 > limit) & (conf2 > limit) & np.isfinite(points1).all(-1) & np.isfinite(points2).all(-1)
    if use.sum() < 3:
        raise InputError("Two parts of the video share nothing to be joined by; use a larger overlap")
    source = points2[use] * (1.0 if scale is None else scale)
    found = robust_fit(source, points1[use], np.sqrt(conf1[use] * conf2[use]), with_scale=method == "sim3")
    return found if scale is None else Similarity(scale, found.rotation, found.translation)


@dataclass(frozen=True)
class Scale:
    """Depth of the earlier part over that of the later one, and how far to trust it (0..1)."""

    value: float
    quality: float


def _scale_pixels(depth1: Array, depth2: Array, conf1: Array, conf2: Array) -> NDArray[np.bool_]:
    limit = max(np.median(conf1) * UNSURE, np.median(conf2) * UNSURE, 1e-6)
    use = (conf1 > limit) & (conf2 > limit)
    for depth in (depth1, depth2):
        use &= (depth > DEPTHS[0]) & (depth < DEPTHS[1])
    return use


def _believed(scale: Scale) -> Scale:
    return scale if SCALES[0] < scale.value < SCALES[1] else Scale(1.0, scale.quality)


def scale_by_consensus(depth1: Array, depth2: Array, conf1: Array, conf2: Array) -> Scale:
    """The ratio most pixels agree with, by random trials that stop once a better one is unlikely.

    Draws follow a fixed seed. Source: Fischler and Bolles 1981.
    """
    use = _scale_pixels(depth1, depth2, conf1, conf2)
    y, x = depth1[use].astype(np.float64), depth2[use].astype(np.float64)
    if len(x) < ENOUGH:
        return Scale(1.0, 0.0)
    random = np.random.RandomState(SEED)
    if len(x) > MOST_SAMPLES:
        chosen = np.random.RandomState(0).choice(len(x), MOST_SAMPLES, replace=False)
        x, y = x[chosen], y[chosen]
    count = max(10, len(x) // 100)
    best, best_score, trials, done = np.zeros(len(x), bool), -np.inf, float(TRIALS), 0
    while done < trials:
        done += 1
        chosen = _draw(random, len(x), count)
        inliers = np.abs(y - _slope(x[chosen], y[chosen]) * x) <= RESIDUAL
        if inliers.sum() < max(best.sum(), 1):
            continue
        score = _determination(x[inliers], y[inliers], _slope(x[chosen], y[chosen]))
        if inliers.sum() == best.sum() and score < best_score:
            continue
        best, best_score = inliers, score
        trials = min(trials, _trials_needed(best.mean(), count))
    if not best.any():
        return Scale(1.0, 0.0)
    return _believed(Scale(_slope(x[best], y[best]), float(best.mean())))


def _slope(x: Array, y: Array) -> float:
    """Of the line through the origin with the least squared error."""
    return float((x @ y) / (x @ x))


def _determination(x: Array, y: Array, slope: float) -> float:
    spread = np.square(y - y.mean()).sum()
    return float(1 - np.square(y - slope * x).sum() / spread) if spread > 0 else 0.0


def _draw(random: np.random.RandomState, population: int, count: int) -> NDArray[np.int64]:
    """Distinct numbers: by permutation, or one by one where few are drawn of many."""
    if count / population > 0.01:
        return random.permutation(population)[:count]
    drawn: dict[int, None] = {}
    while len(drawn) < count:
        drawn.setdefault(int(random.randint(population)))
    return np.array(list(drawn))


def _trials_needed(share: float, count: int) -> float:
    """After which a draw of inliers alone has come up with the wanted certainty."""
    missed = max(1 - share**count, np.finfo(float).eps)
    return float("inf") if missed >= 1 else float(np.ceil(np.log(1 - CERTAINTY) / np.log(missed)))


def scale_by_weight(depth1: Array, depth2: Array, conf1: Array, conf2: Array) -> Scale:
    """The .9 quantile of all ratios under squared confidence; the quality tells how few pixels carry the weight."""
    use = _scale_pixels(depth1, depth2, conf1, conf2)
    if use.sum() < ENOUGH:
        return Scale(1.0, 0.0)
    weights = (conf1[use].astype(np.float64) * conf2[use]) ** 2
    weights /= weights.sum()
    ratios = depth1[use].astype(np.float64) / depth2[use]
    order = np.argsort(ratios)
    at = min(int(np.searchsorted(np.cumsum(weights[order]), QUANTILE)), len(order) - 1)
    entropy = -float(weights @ np.log(weights + 1e-8))
    return _believed(Scale(float(ratios[order][at]), 1 - entropy / np.log(len(weights))))


def scale_between(depth1: Array, depth2: Array, conf1: Array, conf2: Array, method: ScaleMethod = "auto") -> Scale:
    """Scale of the later part; ``auto`` takes the better of both ways, or their mean where both are good."""
    depths = (depth1, depth2, conf1, conf2)
    if method == "ransac":
        return scale_by_consensus(*depths)
    if method == "weighted":
        return scale_by_weight(*depths)
    a, b = scale_by_consensus(*depths), scale_by_weight(*depths)
    if min(a.quality, b.quality) > GOOD:
        return Scale((a.value + b.value) / 2, max(a.quality, b.quality))
    return a if a.quality > b.quality else b


def accumulate(steps: Sequence[Similarity]) -> list[Similarity]:
    """Similarities between neighbours -> similarities to the first part's world, one for every later part."""
    total: list[Similarity] = []
    for step in steps:
        total.append(total[-1].compose(step) if total else step)
    return total


def between(first: Similarity, second: Similarity) -> Similarity:
    """From one part to another, given how a window common to both lies in each: ``first`` and ``second`` take the
    window's world to theirs."""
    return second.compose(first.inverse())


# Loops


def find_loops(
    descriptors: Array, nearest: int = 5, alike: float = 0.85, gap: int = 10, apart: int = 25
) -> list[tuple[int, int, float]]:
    """Frames that show a place seen before: (later, earlier, likeness), the most alike first.

    Args:
        descriptors: (N, D) of unit length.
        nearest: how many most similar frames are asked for each, itself included.
        gap: least number of frames between the two.
        apart: nearer neighbours of an accepted loop, at either end, are dropped.
    """
    likeness = descriptors @ descriptors.T
    order = np.argsort(-likeness, axis=1, kind="stable")[:, :nearest]
    pairs: dict[tuple[int, int], float] = {}
    for i, row in enumerate(order):
        for j in row:
            value = float(likeness[i, j])
            if i != j and value > alike and abs(i - int(j)) > gap:
                pairs[max(i, int(j)), min(i, int(j))] = value
    kept: list[tuple[int, int, float]] = []
    for (later, earlier), value in sorted(pairs.items(), key=lambda item: -item[1]):
        if all(abs(later - a) >= apart and abs(earlier - b) >= apart for a, b, _ in kept):
            kept.append((later, earlier, value))
    return kept


def loop_windows(
    parts: Sequence[tuple[int, int]], loops: Sequence[tuple[int, int]], half: int = 10
) -> list[tuple[int, int, int, int, int, int]]:
    """(part, start, end) around both frames of each loop: the last part that holds the frame, and a window moved to lie
    within it."""
    found = []
    for pair in loops:
        row: list[int] = []
        for frame in pair:
            index = max((k for k, (start, end) in enumerate(parts) if start <= frame < end), default=-1)
            if index < 0:
                raise InputError(f"Frame {frame} lies in no part")
            start, end = parts[index]
            first = max(start, min(frame - half, end - 2 * half))
            row += [index, first, min(end, first + 2 * half)]
        found.append(tuple(row))
    return found


def close_loops(
    steps: Sequence[Similarity],
    loops: Sequence[tuple[int, int, Similarity]],
    rounds: int = 30,
    damping: float = 1e-6,
) -> list[Similarity]:
    """Steps between neighbours, changed as little as possible so that loops close.

    Args:
        steps: the n similarities between n + 1 parts.
        loops: (i, j, similarity): part i's world as seen from part j.
    Returns:
        n similarities.
    """
    n = len(steps)
    poses = np.stack([np.eye(4), *(s.matrix for s in accumulate(steps))])
    ends = np.array([(k, k + 1) for k in range(n)] + [(j, i) for i, j, _ in loops]).T
    undo = np.linalg.inv(np.stack([*(s.matrix for s in steps), *(s.matrix for _, _, s in loops)]))
    residual = _disagreement(poses[ends[0]], poses[ends[1]], undo)
    cost, history = float(np.square(residual).sum()), []
    for _ in range(rounds):
        J = _jacobian(poses, ends, undo)
        H, g = J.T @ J, J.T @ residual.ravel()
        step = np.linalg.solve(H + damping * np.eye(len(H)), -g).reshape(n, 7)
        moved = poses.copy()
        moved[1:] = poses[1:] @ _exp(step)
        again = _disagreement(moved[ends[0]], moved[ends[1]], undo)
        if np.square(again).sum() < cost:
            poses, residual, cost, damping = moved, again, float(np.square(again).sum()), damping / 2
        else:
            damping *= 2
        history.append(cost)
        if (cost < 1e-5 and len(history) >= 5 and history[-5] < 1.5 * cost) or np.linalg.norm(step) < 1e-10:
            break
    relative = np.linalg.inv(poses[:-1]) @ poses[1:]
    scale = np.cbrt(np.linalg.det(relative[:, :3, :3]))
    return [Similarity(float(s), T[:3, :3] / s, T[:3, 3]) for s, T in zip(scale, relative, strict=True)]


# The Lie algebra of similarities: translation (3), rotation vector (3), log scale (1).

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)


def _carrier(turn: Array, growth: Array) -> Array:
    """(E, 3, 3): what the translation of a generator becomes, the integral of exp(u (growth + turn)) over 0..1."""
    u = (_NODES + 1) / 2
    spun = Rotation.from_rotvec((turn[:, None] * u[:, None]).reshape(-1, 3)).as_matrix().reshape(len(turn), -1, 3, 3)
    return np.einsum("eu,euij->eij", np.exp(growth[:, None] * u) * _WEIGHTS / 2, spun)


def _exp(v: Array) -> Array:
    """Generators (E, 7) -> (E, 4, 4)."""
    T = np.tile(np.eye(4), (len(v), 1, 1))
    T[:, :3, :3] = np.exp(v[:, 6])[:, None, None] * Rotation.from_rotvec(v[:, 3:6]).as_matrix()
    T[:, :3, 3] = np.einsum("eij,ej->ei", _carrier(v[:, 3:6], v[:, 6]), v[:, :3])
    return T


def _log(T: Array) -> Array:
    """(E, 4, 4) -> generators (E, 7)."""
    scale = np.cbrt(np.linalg.det(T[:, :3, :3]))
    turn, growth = Rotation.from_matrix(T[:, :3, :3] / scale[:, None, None]).as_rotvec(), np.log(scale)
    shift = np.linalg.solve(_carrier(turn, growth), T[:, :3, 3:])[..., 0]
    return np.concatenate([shift, turn, growth[:, None]], axis=1)


def _disagreement(a: Array, b: Array, undo: Array) -> Array:
    """(E, 7): where edges from poses ``a`` to poses ``b`` (E, 4, 4) differ from what was measured."""
    return _log(np.linalg.inv(a) @ b @ undo)


def _jacobian(poses: Array, ends: Array, undo: Array, step: float = 1e-6) -> Array:
    """(7 edges, 7 (poses - 1)) by central differences; the first pose stays."""
    edges, free = ends.shape[1], len(poses) - 1
    J = np.zeros((edges, 7, free + 1, 7))
    rows = np.arange(edges)
    for k in range(7):
        shift, back = _exp(step * np.eye(7)[[k]]), _exp(-step * np.eye(7)[[k]])
        a, b = poses[ends[0]], poses[ends[1]]
        J[rows, :, ends[0], k] += (_disagreement(a @ shift, b, undo) - _disagreement(a @ back, b, undo)) / (2 * step)
        J[rows, :, ends[1], k] += (_disagreement(a, b @ shift, undo) - _disagreement(a, b @ back, undo)) / (2 * step)
    return J[:, :, 1:].reshape(7 * edges, 7 * free)


def points_of(depth: Array, intrinsics: ArrayLike, extrinsics: ArrayLike) -> Array:
    """World points (N, H, W, 3) of depth maps (N, H, W)."""
    views = zip(depth, np.asarray(intrinsics), np.asarray(extrinsics), strict=True)
    return np.stack([unproject(d.astype(np.float64), K, E) for d, K, E in views])
