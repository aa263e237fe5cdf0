"""Finding a figure's joints from its silhouette: the medial axis is read as a tree of trunk, head and limbs.

The two lowest branches are the legs; they meet at the crotch. The way from there to the top is the trunk, and the
longest branch that leaves it on either side is an arm. Between neighbouring tips the outline runs in and out again: its
innermost points are crotch, armpits and the sides of the neck, and the limbs begin where they are crossed from there.
What cannot be seen - arms drawn against the body - is placed by proportion and said so.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra
from skimage.morphology import skeletonize

from models.runtime.errors import InputError
from pipelines.character.cutout import main_pieces
from pipelines.character.figure import from_named

_HEIGHT = 240  # pixels at which the silhouette is read
_LEG = 0.1  # of the height that legs must be long
_NOT_A_FIGURE = (
    "No figure could be made out in this outline: it needs a head and two legs that stand apart. Place the joints by "
    "hand"
)


@dataclass(frozen=True)
class FoundJoints:
    """Joints (16, 2) x, y in pixels; ``notes`` tell what was only guessed."""

    joints: NDArray[np.float64]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Branch:
    """A way along the axis (N, 2) x, y, from where it leaves the rest to its tip."""

    path: NDArray[np.float64]
    length: float
    start: int  # index on the way it leaves

    @property
    def tip(self) -> NDArray[np.float64]:
        return self.path[-1]

    def at(self, share: float) -> NDArray[np.float64]:
        """The point at a share of the length."""
        steps = np.r_[0, np.cumsum(np.linalg.norm(np.diff(self.path, axis=0), axis=1))]
        return np.array([np.interp(share * steps[-1], steps, self.path[:, k]) for k in (0, 1)])


def find_joints(alpha: NDArray[np.uint8]) -> FoundJoints:
    """The joints of the figure whose opacity (H, W) is given.

    Raises:
        InputError: the outline is not that of a figure.
    """
    mask = main_pieces(alpha > 127, smallest=0.5)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) < 16 or len(columns) < 8:
        raise InputError("There is no figure in this picture, or it is too small")
    top, left = rows[0], columns[0]
    cut = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    scale = _HEIGHT / cut.shape[0]
    size = (max(8, round(cut.shape[1] * scale)), _HEIGHT)
    small = cv2.resize(cut.astype(np.float32), size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    silhouette = np.pad(binary_fill_small(cv2.GaussianBlur(small, (0, 0), 1.5) > 0.5), 4)
    places, notes = _Silhouette(silhouette).joints()
    joints = (from_named({name: tuple(place) for name, place in places.items()}) - 4 + 0.5) / scale - 0.5
    return FoundJoints(joints + np.array([left, top]), tuple(notes))


def binary_fill_small(mask: NDArray[np.bool_], largest: float = 0.01) -> NDArray[np.bool_]:
    """The mask without holes smaller than a share of it; larger ones lie between limbs and stay."""
    holes = binary_fill_holes(mask) & ~mask
    count, labels, stats, _ = cv2.connectedComponentsWithStats(holes.astype(np.uint8), connectivity=4)
    small = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] < largest * mask.sum()]
    return mask | np.isin(labels, small)


class _Silhouette:
    def __init__(self, mask: NDArray[np.bool_]) -> None:
        self.mask = mask
        self.depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
        axis = skeletonize(mask)
        y, x = np.nonzero(axis)
        self.points = np.stack([x, y], 1).astype(np.float64)
        number = np.full(mask.shape, -1)
        number[y, x] = np.arange(len(x))
        rows, columns, lengths = [], [], []
        for dx, dy in ((1, 0), (0, 1), (1, 1), (1, -1)):
            other = number[np.clip(y + dy, 0, mask.shape[0] - 1), np.clip(x + dx, 0, mask.shape[1] - 1)]
            there = other >= 0
            rows.append(np.flatnonzero(there))
            columns.append(other[there])
            lengths.append(np.full(there.sum(), np.hypot(dx, dy)))
        a, b, w = (np.concatenate(v) for v in (rows, columns, lengths))
        self.graph = coo_matrix((np.r_[w, w], (np.r_[a, b], np.r_[b, a])), (len(x), len(x))).tocsr()
        degree = np.diff(self.graph.indptr)
        self.ends = np.flatnonzero(degree == 1)
        self.height = float(mask.shape[0])
        self.notes: list[str] = []

    def joints(self) -> tuple[dict[str, NDArray], list[str]]:
        """Places by name, and notes."""
        if len(self.ends) < 2:
            raise InputError(_NOT_A_FIGURE)
        fork, legs = self._legs()
        trunk, branches = self._trunk(fork, legs)
        arms = self._arms(trunk, branches)
        outline = _Outline(self.mask, self.depth)
        head = outline.tip(trunk)
        feet = [outline.tip(leg) for leg in legs]
        crotch = outline.innermost(feet[0], feet[1])
        hands = [None if arm is None else outline.tip(arm) for arm in arms]
        napes = [outline.innermost(head, hand) for hand in hands if hand is not None]
        nape = np.mean(napes, axis=0) if napes else self._nape(trunk)
        root = crotch + 0.1 * (nape - crotch)
        chest = nape + 0.2 * (root - nape)
        top = outline.points[head]
        places = {"root": root, "torso": chest, "neck": nape + 0.42 * (top - nape)}
        waist = []
        for side, leg, foot, hand in zip(("right", "left"), legs, feet, hands, strict=True):
            waist.append(outline.across(crotch, foot, head if hand is None else hand))
            hip = 0.5 * (crotch + outline.points[waist[-1]])
            places |= _joints_along(leg, hip, (f"{side}_hip", f"{side}_knee", f"{side}_foot"), 0.88)
        for side, arm, hip, hand in zip(("right", "left"), arms, waist, hands, strict=True):
            if arm is not None and hand is not None:
                pit = outline.innermost(hand, hip)
                shoulder = 0.4 * pit + 0.6 * outline.points[outline.across(pit, hand, head)]
                shoulder = shoulder + 0.3 * (chest - shoulder)
                places |= _joints_along(arm, shoulder, (f"{side}_shoulder", f"{side}_elbow", f"{side}_hand"), 0.95)
        self._missing_arms(places, arms)
        return places, self.notes

    def _from(self, node: int) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        return dijkstra(self.graph, directed=False, indices=node, return_predecessors=True)

    def _way(self, before: NDArray, node: int) -> list[int]:
        """Nodes from the source of ``before`` to ``node``."""
        way = [node]
        while before[way[-1]] >= 0:
            way.append(int(before[way[-1]]))
        return way[::-1]

    def _depth(self, node: int) -> float:
        x, y = self.points[node].astype(int)
        return float(self.depth[y, x])

    def _legs(self) -> tuple[int, tuple[_Branch, _Branch]]:
        """The crotch and the legs, the one on the picture's left (the figure's right) first."""
        centre = int(np.argmin(np.linalg.norm(self.points - np.argwhere(self.mask).mean(0)[::-1], axis=1)))
        far, before = self._from(centre)
        lowest = self.points[:, 1].max()
        tips = [e for e in self.ends if np.isfinite(far[e]) and self.points[e, 1] > lowest - 0.3 * self.height]
        ways = {e: self._way(before, int(e)) for e in tips}
        best: tuple[float, int, list[list[int]]] | None = None
        for i, a in enumerate(tips):
            for b in tips[i + 1 :]:
                common = 0
                while common < min(len(ways[a]), len(ways[b])) and ways[a][common] == ways[b][common]:
                    common += 1
                fork = ways[a][common - 1]
                lengths = [far[e] - far[fork] + 0.5 * self._depth(int(e)) for e in (a, b)]
                if min(lengths) < _LEG * self.height or abs(self.points[a, 0] - self.points[b, 0]) < 4:
                    continue
                low = self.points[[a, b], 1].sum() - 2 * abs(self.points[a, 1] - self.points[b, 1])
                score = low + 0.3 * min(lengths)
                if best is None or score > best[0]:
                    best = score, fork, [ways[a][common - 1 :], ways[b][common - 1 :]]
        if best is None:
            raise InputError(_NOT_A_FIGURE)
        _, fork, found = best
        found.sort(key=lambda way: self.points[way[-1], 0])
        legs = [_Branch(self.points[way], float(far[way[-1]] - far[fork]), 0) for way in found]
        return fork, (legs[0], legs[1])

    def _trunk(self, crotch: int, legs: tuple[_Branch, _Branch]) -> tuple[_Branch, list[_Branch]]:
        """The way from the crotch to the top of the head, and the branches that leave it."""
        far, before = self._from(crotch)
        x, y = self.points[crotch]
        feet = {tuple(leg.tip) for leg in legs}
        tips = [int(e) for e in self.ends if np.isfinite(far[e]) and tuple(self.points[e]) not in feet]
        above = [e for e in tips if self.points[e, 1] < y - 0.15 * self.height]
        if not above:
            raise InputError(_NOT_A_FIGURE)
        off = [self.points[e, 1] + 0.8 * abs(self.points[e, 0] - x) - 0.7 * self._depth(e) for e in above]
        head = above[int(np.argmin(off))]
        if abs(self.points[head, 0] - x) > 0.45 * self.height:
            raise InputError(_NOT_A_FIGURE)
        way = self._way(before, head)
        on_trunk = {node: index for index, node in enumerate(way)}
        low_legs = {tuple(p) for leg in legs for p in leg.path[len(leg.path) // 3 :]}
        branches = []
        for e in tips:
            if e == head:
                continue
            own = self._way(before, e)
            common = 0
            while common < min(len(own), len(way)) and own[common] == way[common]:
                common += 1
            fork = own[common - 1]
            if any(tuple(self.points[n]) in low_legs for n in own[common:]):
                continue  # a heel or a toe
            length = float(far[e] - far[fork]) + self._depth(e)
            if length > 1.35 * self._depth(fork) + 2:  # shorter ones are corners of the outline
                branches.append(_Branch(self.points[own[common - 1 :]], length, on_trunk[fork]))
        return _Branch(self.points[way], float(far[head]), 0), branches

    def _arms(self, trunk: _Branch, branches: list[_Branch]) -> tuple[_Branch | None, _Branch | None]:
        """The arms on the picture's left and right: the longest branches that leave the trunk sideways."""
        found: list[_Branch | None] = [None, None]
        steps = len(trunk.path)
        for branch in branches:
            fork = trunk.path[branch.start]
            out = branch.tip - fork
            if branch.start > 0.93 * steps or abs(out[0]) < 0.07 * self.height:
                continue
            side = int(out[0] > 0)
            best = found[side]
            if branch.length > 0.15 * self.height and (best is None or branch.length > best.length):
                found[side] = branch
        return found[0], found[1]

    def _nape(self, trunk: _Branch) -> NDArray[np.float64]:
        """The narrowest place of the trunk's upper part, for figures whose arms do not tell where shoulders are."""
        depths = np.array([self.depth[int(y), int(x)] for x, y in trunk.path])
        first, last = round(0.4 * len(depths)), max(round(0.9 * len(depths)), round(0.4 * len(depths)) + 1)
        return trunk.path[min(first + int(np.argmin(depths[first:last])), len(depths) - 1)]

    def _missing_arms(self, places: dict[str, NDArray], arms: tuple[_Branch | None, _Branch | None]) -> None:
        """Arms that do not stand off the body: the other one mirrored, else hanging inside the outline."""
        lost = [side for side, arm in zip(("right", "left"), arms, strict=True) if arm is None]
        if not lost:
            return
        chest, root = places["torso"], places["root"]
        axis = (root - chest) / max(float(np.linalg.norm(root - chest)), 1e-6)
        for side in lost:
            other = "left" if side == "right" else "right"
            sign = -1.0 if side == "right" else 1.0
            mirrored = {}
            if other not in lost:
                for part in ("shoulder", "elbow", "hand"):
                    off = places[f"{other}_{part}"] - chest
                    mirrored[part] = chest + 2 * (off @ axis) * axis - off
            if mirrored and all(self._inside(p) for p in mirrored.values()):
                places |= {f"{side}_{part}": p for part, p in mirrored.items()}
                continue
            for part, down, out in (("shoulder", 0.08, 0.72), ("elbow", 0.5, 0.8), ("hand", 0.95, 0.8)):
                middle = chest + down * (root - chest)
                places[f"{side}_{part}"] = middle + np.array([sign * out * self._half_width(middle, sign), 0])
        words = "arms do" if len(lost) == 2 else f"{lost[0]} arm does"
        self.notes.append(f"The {words} not stand off the body; the joints are guessed, look at them and move them")

    def _inside(self, place: NDArray) -> bool:
        x, y = np.rint(place).astype(int)
        return 0 <= y < self.mask.shape[0] and 0 <= x < self.mask.shape[1] and bool(self.mask[y, x])

    def _half_width(self, middle: NDArray, sign: float) -> float:
        x, y = np.rint(middle).astype(int)
        row = self.mask[np.clip(y, 0, self.mask.shape[0] - 1)]
        side = row[x:] if sign > 0 else row[: x + 1][::-1]
        stop = np.flatnonzero(~side)
        return float(stop[0] if len(stop) else len(side))


class _Outline:
    """The outer contour as points (N, 2) x, y, in a ring."""

    def __init__(self, mask: NDArray[np.bool_], depth: NDArray[np.float32]) -> None:
        self._depth = depth
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        self.points = max(contours, key=len)[:, 0].astype(np.float64)

    def tip(self, branch: _Branch) -> int:
        """Where a branch, gone on, meets the outline."""
        path = branch.path
        along = path[-1] - path[max(0, len(path) - 8)]
        along = along / max(float(np.linalg.norm(along)), 1e-9)
        off = self.points - path[-1]
        beside = np.abs(off @ np.array([-along[1], along[0]]))
        return int(np.argmin(np.where(off @ along > 0, 2 * beside + np.linalg.norm(off, axis=1), np.inf)))

    def _arc(self, a: int, b: int) -> NDArray[np.int64]:
        """The shorter way round from one point to the other, as numbers of points."""
        count = len(self.points)
        ahead = (b - a) % count
        steps = np.arange(ahead + 1) if ahead <= count - ahead else -np.arange(count - ahead + 1)
        return (a + steps) % count

    def innermost(self, a: int, b: int) -> NDArray[np.float64]:
        """The point between two tips that lies farthest behind the line from tip to tip."""
        arc = self.points[self._arc(a, b)]
        chord = arc[-1] - arc[0]
        normal = np.array([-chord[1], chord[0]]) / max(float(np.linalg.norm(chord)), 1e-9)
        inward = np.sign((self.points.mean(0) - arc[0]) @ normal) or 1.0
        return arc[int(np.argmax((arc - arc[0]) @ normal * inward))]

    def across(self, pit: NDArray, limb: int, other: int) -> int:
        """The number of the point nearest to ``pit`` on the limb's other side: the way from its tip to ``other``."""
        arc = self._arc(limb, other)
        far = np.linalg.norm(self.points[arc] - pit, axis=1)
        x, y = np.rint(0.5 * (self.points[arc] + pit)).astype(int).T
        through = self._depth[y, x] > 0.25 * far  # the way there runs inside the figure
        return int(arc[int(np.argmin(np.where(through, far, far + self._depth.size)))])


def _joints_along(limb: _Branch, first: NDArray, names: tuple[str, str, str], end: float) -> dict[str, NDArray]:
    """First joint as given, the last at a share of the branch, the middle one half way along it."""
    steps = np.r_[0, np.cumsum(np.linalg.norm(np.diff(limb.path, axis=0), axis=1))]
    begin = float(steps[int(np.argmin(np.linalg.norm(limb.path - first, axis=1)))] / max(steps[-1], 1e-9))
    return {names[0]: first, names[1]: limb.at(0.5 * (min(begin, 0.7) + end)), names[2]: limb.at(end)}
