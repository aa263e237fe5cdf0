"""Body shape from bone lengths: the ten betas whose skeleton has the lengths measured over a clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.bodies.joints import INDEX
from models.bodies.smplx import SmplxData
from pipelines.body.clip import Track

Array = np.ndarray
# (landmark pair) = (joint pair); left and right are measured together.
BONES = (
    ((11, 13), (12, 14), ("shoulder", "elbow"), 1.0),
    ((13, 15), (14, 16), ("elbow", "wrist"), 1.0),
    ((23, 25), (24, 26), ("hip", "knee"), 1.0),
    ((25, 27), (26, 28), ("knee", "ankle"), 1.0),
)
MIN_WEIGHT = 0.35  # mean visibility below which a length is not believed


@dataclass(frozen=True)
class Figure:
    """Joints as a linear function of shape: base (55, 3), directions (55, 3, 10)."""

    base: Array
    directions: Array
    pull: float

    @classmethod
    def of(cls, data: SmplxData, pull: float = 0.0004) -> Figure:
        """The figure of a body model. ``pull`` draws betas to the mean: metres squared per unit squared."""
        shape = data.shapedirs[:, :, : min(10, data.identity)].astype(np.float64)
        regressor = data.J_regressor.astype(np.float64)
        return cls(regressor @ data.v_template.astype(np.float64), np.einsum("jv,vck->jck", regressor, shape), pull)

    def joints(self, betas: Array) -> Array:
        """Rest joints (55, 3)."""
        return self.base + self.directions @ betas


def measured_lengths(track: Track) -> list[tuple[tuple[int, int], float, float]]:
    """(joint pair, length in metres, weight) of the bones seen well: robust means over the clip."""
    found = []
    world, visible = track.world, track.visibility
    weight_of = lambda ids: visible[:, ids].min(axis=1)  # noqa: E731

    def add(pairs: list[tuple[Array, Array]], joints: list[tuple[int, int]], scale: float) -> None:
        lengths = np.concatenate([length for length, _ in pairs])
        weights = np.concatenate([weight for _, weight in pairs])
        if weights.size and weights.mean() > MIN_WEIGHT:
            for pair in joints:
                found.append((pair, _middle(lengths, weights), float(weights.mean()) * scale))

    for left, right, (start, end), scale in BONES:
        pairs = [(np.linalg.norm(world[:, a] - world[:, b], axis=1), weight_of([a, b])) for a, b in (left, right)]
        add(pairs, [(INDEX[f"{s}_{start}"], INDEX[f"{s}_{end}"]) for s in ("left", "right")], scale)
    for a, b, joint in ((11, 12, "shoulder"), (23, 24, "hip")):
        pair = (np.linalg.norm(world[:, a] - world[:, b], axis=1), weight_of([a, b]))
        add([pair], [(INDEX[f"left_{joint}"], INDEX[f"right_{joint}"])], 1.0)
    trunk = (world[:, [11, 12]].mean(axis=1) - world[:, [23, 24]].mean(axis=1), weight_of([11, 12, 23, 24]))
    add([(np.linalg.norm(trunk[0], axis=1), trunk[1])], [(-1, -2)], 2.0)
    return found


def fit_betas(figure: Figure, track: Track, rounds: int = 8) -> Array:
    """Betas (10,) by Gauss-Newton on the lengths, drawn to zero."""
    wanted = measured_lengths(track)
    betas = np.zeros(figure.directions.shape[2])
    if not wanted:
        return betas
    for _ in range(rounds):
        rows, gaps = [], []
        for pair, length, weight in wanted:
            vector, slope = _span(figure, betas, pair)
            size = max(float(np.linalg.norm(vector)), 1e-6)
            rows.append(np.sqrt(weight) * (vector / size) @ slope)
            gaps.append(np.sqrt(weight) * (length - size))
        A, b = np.array(rows), np.array(gaps)
        step = np.linalg.solve(A.T @ A + figure.pull * np.eye(len(betas)), A.T @ b - figure.pull * betas)
        betas = np.clip(betas + step, -4.0, 4.0)
    return betas


def _span(figure: Figure, betas: Array, pair: tuple[int, int]) -> tuple[Array, Array]:
    joints = figure.joints(betas)
    if pair == (-1, -2):  # from the middle of the hips to the middle of the shoulders
        top, low = [INDEX["left_shoulder"], INDEX["right_shoulder"]], [INDEX["left_hip"], INDEX["right_hip"]]
        slope = figure.directions[top].mean(axis=0) - figure.directions[low].mean(axis=0)
        return joints[top].mean(axis=0) - joints[low].mean(axis=0), slope
    return joints[pair[1]] - joints[pair[0]], figure.directions[pair[1]] - figure.directions[pair[0]]


def _middle(values: Array, weights: Array) -> float:
    """Weighted median."""
    order = np.argsort(values)
    share = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(share, share[-1] / 2)])
