"""52 expression shapes with the names that ARKit made common, as offsets of the 468 landmarks, and their estimation.

The offsets are made by rule from a few moved landmarks each, in metres of the canonical face. "Left" is the person's
own left, on the right of an unmirrored picture. Gaze and tongue are part of the list but not estimated: always 0.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipelines.face.canonical import LANDMARKS, canonical_face
from pipelines.tracking.face_points import (
    BROWS,
    CORNERS,
    JAW,
    LEFT_EYE,
    LOWER_INNER,
    LOWER_OUTER,
    RIGHT_EYE,
    SKULL,
    STILL,
    UPPER_INNER,
    UPPER_OUTER,
)

Array = NDArray[np.float64]
NAMES = (
    "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft", "eyeSquintLeft",
    "eyeWideLeft", "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight",
    "eyeSquintRight", "eyeWideRight", "jawForward", "jawLeft", "jawRight", "jawOpen", "mouthClose", "mouthFunnel",
    "mouthPucker", "mouthLeft", "mouthRight", "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight",
    "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight", "mouthRollLower", "mouthRollUpper",
    "mouthShrugLower", "mouthShrugUpper", "mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft",
    "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight", "browDownLeft", "browDownRight", "browInnerUp",
    "browOuterUpLeft", "browOuterUpRight", "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft",
    "noseSneerRight", "tongueOut",
)  # fmt: skip
NOT_ESTIMATED = tuple(n for n in NAMES if n.startswith("eyeLook") or n == "tongueOut")
HINGE = (0.0, -0.012, -0.075)  # of the jaw, in head axes
JAW_DEGREES = 24.0
MM = 0.001
PARTED = 0.014  # metres
RIDGE, SPARE = 1.5e-5, 5e-6  # square metres: towards no expression, in the square and in the sum
STILL_RIDGE = 2.5e-4  # without a face at rest to compare with, other people's features look like expressions
STILL_NAMES = (
    "eyeBlink", "eyeWide", "jawOpen", "mouthSmile", "mouthFrown", "mouthUpperUp", "mouthLowerDown", "mouthPucker",
    "mouthFunnel", "browInnerUp", "browOuterUp", "mouthStretch",
)  # fmt: skip
ROUNDS = 160


@lru_cache(maxsize=1)
def _parted() -> Array:
    """The canonical landmarks with the mouth wide open, so that distances tell the lips apart."""
    face = canonical_face()
    points, uv = face.positions.copy(), face.uv[:LANDMARKS]
    line = (uv[list(UPPER_INNER)] + uv[list(LOWER_INNER)]) / 2
    order = np.argsort(line[:, 0])
    below = uv[:, 1] < np.interp(uv[:, 0], line[order, 0], line[order, 1]) - 1e-6
    across = points[:, 0] / abs(points[CORNERS[1], 0])
    points[:, 1] -= below * PARTED * np.sqrt(np.clip(1 - across**2, 0, 1))
    return points


def _spread(moves: dict[int, tuple[float, float, float]], reach: float) -> Array:
    """Offsets (468, 3) of a few landmarks, in millimetres, fading with the distance (``reach`` in millimetres)."""
    points = _parted()
    ids = list(moves)
    distance = np.linalg.norm(points[:, None] - points[None, ids], axis=-1)  # (468, N)
    near = np.exp(-((distance / (reach * MM)) ** 2))
    share = near / np.maximum(near.sum(axis=1, keepdims=True), 1.0)
    offsets = share @ (np.array([moves[i] for i in ids]) * MM)
    offsets[ids] = np.array([moves[i] for i in ids]) * MM
    return offsets


@lru_cache(maxsize=1)
def _jaw_share() -> Array:
    """How far each landmark follows the jaw (468,), 0..1."""
    known = dict.fromkeys((*SKULL, *STILL, *UPPER_OUTER[2:-2], *UPPER_INNER[2:-2]), 0.0)
    known |= dict.fromkeys((185, 409, 191, 415), 0.12) | JAW
    lower = (*LOWER_OUTER[1:-1], *LOWER_INNER[1:-1])
    points = canonical_face().positions
    half = abs(points[CORNERS[1], 0])
    known |= {i: float(1 - 0.55 * (abs(points[i, 0]) / half) ** 3) for i in lower}
    known |= {61: 0.4, 291: 0.4, 78: 0.4, 308: 0.4}
    ids, parted = list(known), _parted()
    distance = np.linalg.norm(parted[:, None] - parted[None, ids], axis=-1)
    near = 1 / np.maximum(distance, 1e-5) ** 4
    return near @ np.array([known[i] for i in ids]) / near.sum(axis=1)


def _jaw_open() -> Array:
    angle = np.radians(JAW_DEGREES)
    arm = canonical_face().positions - HINGE
    c, s = np.cos(angle), np.sin(angle)
    turned = np.stack([arm[:, 0], c * arm[:, 1] - s * arm[:, 2], s * arm[:, 1] + c * arm[:, 2]], axis=-1)
    return (turned - arm) * _jaw_share()[:, None]


def _side(ids: tuple[int, ...], left: bool) -> list[int]:
    """Those on one side, the middle ones on both."""
    x = canonical_face().positions[:, 0]
    return [i for i in ids if (x[i] if left else -x[i]) > -0.0005]


def _one_side(left: bool) -> dict[str, Array]:
    """The shapes that exist for either side."""
    out = 1.0 if left else -1.0
    points = canonical_face().positions
    eye = LEFT_EYE if left else RIGHT_EYE
    corner, inner = (291, 308) if left else (61, 78)
    brow = BROWS["left" if left else "right"]
    outer = sorted(brow, key=lambda i: -abs(points[i, 0]))[:3]
    fixed = dict.fromkeys((*brow, eye["upper"][0], eye["upper"][-1]), (0.0, 0.0, 0.0))
    close = {
        u: tuple((points[lo] - points[u]) / MM * (0.97, 0.94, 0.97))
        for u, lo in zip(eye["upper"][1:-1], eye["lower"][1:-1], strict=True)
    }
    still_low = dict.fromkeys(eye["lower"][1:-1], (0.0, 0.3, 0.0))
    still_up = dict.fromkeys(eye["upper"][1:-1], (0.0, 0.0, 0.0))
    low, up = (
        _side((*LOWER_OUTER[2:-2], *LOWER_INNER[2:-2]), left),
        _side((*UPPER_OUTER[2:-2], *UPPER_INNER[2:-2]), left),
    )
    cheek = (280, 425, 411, 352) if left else (50, 205, 187, 123)
    wing = (358, 327, 278) if left else (129, 98, 48)

    def at_corner(x: float, y: float, z: float, reach: float) -> Array:
        lips = dict.fromkeys((0, 13, 14, 17), (0.0, 0.0, 0.0))
        return _spread({corner: (out * x, y, z), inner: (out * x * 0.9, y * 0.9, z), **lips}, reach)

    def lips(ids: list[int], other: list[int], y: float) -> Array:
        return _spread({**dict.fromkeys(other, (0.0, 0.0, 0.0)), **dict.fromkeys(ids, (0.0, y, 0.5))}, 8)

    return {
        "eyeBlink": _spread(fixed | still_low | close, 5),
        "eyeSquint": _spread(fixed | still_up | dict.fromkeys(eye["lower"][1:-1], (0.0, 2.2, 0.2)), 6),
        "eyeWide": _spread(fixed | dict.fromkeys(eye["upper"][1:-1], (0.0, 2.2, 0.0)), 4),
        "mouthSmile": at_corner(6, 7, -2.5, 19),
        "mouthFrown": at_corner(0, -6, 0, 15),
        "mouthDimple": at_corner(4, 0, -3, 12),
        "mouthStretch": at_corner(6, -3, -2, 17),
        "mouthPress": _spread(dict.fromkeys(low, (0.0, 1.5, -0.5)) | dict.fromkeys(up, (0.0, -1.5, -0.5)), 6),
        "mouthLowerDown": lips(low, up, -5),
        "mouthUpperUp": lips(up, low, 4.5),
        "browDown": _spread(dict.fromkeys(brow, (-out * 1.0, -5.0, 0.5)), 10),
        "browOuterUp": _spread(dict.fromkeys(outer, (0.0, 6.0, 0.0)), 12),
        "cheekSquint": _spread(dict.fromkeys(cheek, (0.0, 3.5, 1.0)), 11),
        "noseSneer": _spread(dict.fromkeys(wing, (0.0, 3.0, 0.0)), 8),
    }


@lru_cache(maxsize=1)
def shapes() -> Array:
    """Offsets (52, 468, 3) in metres at weight 1, in the order of ``NAMES``."""
    points = canonical_face().positions
    table: dict[str, Array] = {}
    for side, left in (("Left", True), ("Right", False)):
        table |= {f"{name}{side}": offsets for name, offsets in _one_side(left).items()}
    share = _jaw_share()[:, None]
    table["jawOpen"] = _jaw_open()
    table["jawForward"] = share * (0, 0, 5 * MM)
    table["jawLeft"], table["jawRight"] = share * (7 * MM, 0, 0), share * (-7 * MM, 0, 0)
    lower, upper = (*LOWER_OUTER[1:-1], *LOWER_INNER[1:-1]), (*UPPER_OUTER[1:-1], *UPPER_INNER[1:-1])
    opened = table["jawOpen"]
    table["mouthClose"] = _spread({i: tuple(-opened[i] / MM) for i in lower}, 6)
    lips = (*CORNERS, 78, 308, *lower, *upper)
    inward = {i: -float(points[i, 0]) / MM for i in lips}
    table["mouthPucker"] = _spread({i: (0.36 * inward[i], 0.0, 4.0) for i in lips}, 12)
    table["mouthFunnel"] = _spread(
        {i: (0.22 * inward[i], 2.5 * (i in upper) - 2.5 * (i in lower), 4.0) for i in lips}, 11
    )
    table["mouthLeft"], table["mouthRight"] = (_spread(dict.fromkeys(lips, (x, 0.0, 0.0)), 12) for x in (7.0, -7.0))
    for name, ids, other, y in (("Lower", lower, upper, 2.0), ("Upper", upper, lower, -2.0)):
        rest = dict.fromkeys(other, (0.0, 0.0, 0.0))
        table[f"mouthRoll{name}"] = _spread(rest | dict.fromkeys(ids, (0.0, y * 0.8, -2.5)), 6)
        table[f"mouthShrug{name}"] = _spread(rest | dict.fromkeys(ids, (0.0, 3.0, 1.0)), 9)
    inner_brows = [i for brow in BROWS.values() for i in sorted(brow, key=lambda i: abs(points[i, 0]))[:2]]
    table["browInnerUp"] = _spread(dict.fromkeys(inner_brows, (0.0, 6.0, 0.0)), 12)
    sides = {205: -1, 50: -1, 187: -1, 425: 1, 280: 1, 411: 1}
    table["cheekPuff"] = _spread({i: (4.0 * side, 0.0, 3.0) for i, side in sides.items()}, 15)
    zero = np.zeros((LANDMARKS, 3))
    return np.stack([table.get(name, zero) for name in NAMES])


@lru_cache(maxsize=4)
def _normal(still: bool, points: tuple[int, ...] | None) -> tuple[Array, Array, float]:
    """The shapes that may take part (52, 3 N), the regularised normal matrix and its largest eigenvalue."""
    part = [n not in NOT_ESTIMATED and (not still or n.startswith(STILL_NAMES)) for n in NAMES]
    table = shapes() if points is None else shapes()[:, list(points)]
    basis = table.reshape(len(NAMES), -1) * np.array(part)[:, None]
    gram = basis @ basis.T
    gram[np.diag_indices_from(gram)] += (STILL_RIDGE if still else RIDGE) * table.shape[1] / LANDMARKS
    return basis, gram, float(np.linalg.eigvalsh(gram)[-1])


def weights_of(deltas: NDArray[np.floating], still: bool = False, points: tuple[int, ...] | None = None) -> Array:
    """Weights (T, 52) in 0..1 of landmark offsets (T, 468, 3) from the neutral face, in metres of the canonical face.

    ``still`` is for offsets from the canonical face instead of the person's own: fewer shapes, strongly held back.
    ``points`` names the landmarks where there are only some (T, N, 3).
    Regularised least squares within bounds, by accelerated projected gradients.
    """
    basis, gram, steep = _normal(still, points)
    spare = SPARE * (1 if points is None else len(points) / LANDMARKS)
    target = np.asarray(deltas, np.float64).reshape(len(deltas), -1) @ basis.T - spare  # (T, K)
    w = np.zeros_like(target)
    y, t = w, 1.0
    for _ in range(ROUNDS):
        following = np.clip(y - (y @ gram - target) / steep, 0, 1)
        t_next = (1 + np.sqrt(1 + 4 * t * t)) / 2
        y = following + (t - 1) / t_next * (following - w)
        w, t = following, t_next
    return w


def offsets_of(weights: NDArray[np.floating]) -> Array:
    """Weights (..., 52) -> landmark offsets (..., 468, 3) in metres of the canonical face."""
    return np.tensordot(np.asarray(weights, np.float64), shapes(), axes=1)


def lips_apart(points: NDArray[np.floating]) -> Array:
    """Landmarks (468, 3) whose lips no longer pass through each other."""
    points = np.array(points, np.float64)
    upper, lower = list(UPPER_INNER[1:-1]), list(LOWER_INNER[1:-1])
    crossed = points[upper, 1] < points[lower, 1]
    middle = (points[upper] + points[lower])[crossed] / 2
    points[np.array(upper)[crossed]] = middle
    points[np.array(lower)[crossed]] = middle
    return points
