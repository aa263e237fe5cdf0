"""The mannequin's outer form as a signed field, and its joints: measures of a person of 1.72 m standing with arms out.

Metres; x to the person's left, y up from the floor, z to the front. Every part is a loft: ellipses along an axis.
Negative values of the field lie inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from models.bodies.joints import NAMES

Array = np.ndarray
MIRRORED = ("left", "right")


def _joints() -> dict[str, tuple[float, float, float]]:
    middle = {
        "pelvis": (0, 0.945, -0.008),
        "spine1": (0, 1.03, -0.022),
        "spine2": (0, 1.15, -0.022),
        "spine3": (0, 1.25, -0.026),
        "neck": (0, 1.445, -0.024),
        "head": (0, 1.535, -0.002),
        "jaw": (0, 1.568, 0.012),
    }
    side = {
        "hip": (0.090, 0.905, 0.0),
        "knee": (0.094, 0.485, 0.004),
        "ankle": (0.096, 0.085, -0.022),
        "foot": (0.106, 0.028, 0.112),
        "collar": (0.022, 1.395, -0.012),
        "shoulder": (0.178, 1.402, -0.022),
        "elbow": (0.452, 1.402, -0.026),
        "wrist": (0.700, 1.402, -0.020),
        "eye": (0.0315, 1.622, 0.074),
    }
    fingers = {
        "index": [(0.790, 1.404, 0.008), (0.832, 1.403, 0.012), (0.857, 1.401, 0.014)],
        "middle": [(0.793, 1.405, -0.015), (0.839, 1.404, -0.015), (0.868, 1.402, -0.015)],
        "ring": [(0.788, 1.404, -0.037), (0.830, 1.403, -0.041), (0.857, 1.401, -0.043)],
        "pinky": [(0.779, 1.402, -0.058), (0.811, 1.401, -0.065), (0.830, 1.400, -0.069)],
        "thumb": [(0.722, 1.394, 0.008), (0.750, 1.386, 0.038), (0.777, 1.382, 0.058)],
    }
    side |= {f"{finger}{i + 1}": p for finger, points in fingers.items() for i, p in enumerate(points)}
    both = {f"{s}_{n}": (x if s == "left" else -x, y, z) for s in MIRRORED for n, (x, y, z) in side.items()}
    return middle | both


JOINTS: Array = np.array([_joints()[name] for name in NAMES])
TIPS = {"index": 0.022, "middle": 0.024, "ring": 0.022, "pinky": 0.018, "thumb": 0.026}
FINGER_RADIUS = {"index": 0.0098, "middle": 0.0100, "ring": 0.0094, "pinky": 0.0082, "thumb": 0.0112}


@dataclass(frozen=True)
class Loft:
    """Ellipses along the line ``start`` -> ``end``.

    ``knots`` rows: share of the way, half width along ``across``, half width along the third axis, and the centre's
    shift along the two. ``blend`` in metres rounds the seam with what the ``group`` holds already.
    """

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    knots: tuple[tuple[float, ...], ...]
    group: str
    blend: float
    across: tuple[float, float, float] = (1.0, 0.0, 0.0)
    cut: bool = False
    cap: float = 0.0  # how far the rounded ends stick out; 0 makes them round

    def field(self, points: Array) -> Array:
        """Roughly the signed distance of points (..., 3) to the surface."""
        start, end = np.array(self.start), np.array(self.end)
        axis = end - start
        length = float(np.linalg.norm(axis))
        axis = axis / length
        first = np.array(self.across) - axis * np.dot(self.across, axis)
        first /= np.linalg.norm(first)
        second = np.cross(axis, first)
        table = np.array([(*row, 0.0, 0.0)[:5] for row in self.knots])
        away = points - start
        along = away @ axis / length
        share = np.clip(along, table[0, 0], table[-1, 0])
        a, b, ca, cb = (PchipInterpolator(table[:, 0], table[:, i])(share) for i in range(1, 5))
        width = np.minimum(a, b)
        cap = self.cap or width
        r = np.sqrt(
            ((away @ first - ca) / a) ** 2 + ((away @ second - cb) / b) ** 2 + ((along - share) * length / cap) ** 2
        )
        return (r - 1) * width

    def bounds(self, margin: float) -> tuple[Array, Array]:
        """Box about the part, enlarged."""
        table = np.array([(*row, 0.0, 0.0)[:5] for row in self.knots])
        reach = float(table[:, 1:3].max() + np.abs(table[:, 3:]).max()) + margin
        ends = np.array([self.start, self.end])
        return ends.min(axis=0) - reach, ends.max(axis=0) + reach


def _ball(centre: tuple[float, float, float], half: tuple[float, float, float], group: str, blend: float, cut=False):
    x, y, z = centre
    return Loft(
        (x, y - 1e-3, z), (x, y + 1e-3, z), ((0, half[0], half[2]), (1, half[0], half[2])), group, blend, cut=cut
    )


def _trunk() -> list[Loft]:
    rows = (
        (0.855, 0.060, 0.060, 0.000), (0.885, 0.150, 0.104, -0.014), (0.93, 0.169, 0.116, -0.016),
        (0.98, 0.163, 0.108, -0.010), (1.04, 0.144, 0.094, 0.002), (1.10, 0.130, 0.086, 0.008),
        (1.17, 0.132, 0.090, 0.008), (1.25, 0.146, 0.100, 0.004), (1.32, 0.158, 0.102, -0.002),
        (1.375, 0.152, 0.086, -0.012), (1.415, 0.118, 0.066, -0.020), (1.445, 0.074, 0.056, -0.022),
        (1.475, 0.053, 0.053, -0.018),
    )  # fmt: skip
    low, high = rows[0][0], 1.55
    share = [(y - low) / (high - low) for y, *_ in rows]
    # The third axis of a loft along +y with x across points to -z.
    knots = tuple((s, a, b, 0.0, -c) for s, (_, a, b, c) in zip(share, rows, strict=True))
    parts = [Loft((0, low, 0), (0, high, 0), (*knots, (1.0, 0.049, 0.052, 0.0, 0.004)), "trunk", 0.0)]
    for s in (1, -1):
        parts += [
            _ball((s * 0.066, 1.285, 0.052), (0.066, 0.05, 0.042), "trunk", 0.06),
            _ball((s * 0.078, 0.915, -0.078), (0.078, 0.075, 0.062), "trunk", 0.06),
            Loft((s * 0.03, 1.45, -0.03), (s * 0.15, 1.405, -0.026), ((0, 0.03, 0.03), (1, 0.034, 0.034)), "trunk",
                 0.06, (0, 1, 0)),
        ]  # fmt: skip
    return parts


def _head() -> list[Loft]:
    rows = (
        (1.497, 0.022, 0.022, 0.050), (1.512, 0.037, 0.044, 0.034), (1.535, 0.052, 0.066, 0.018),
        (1.565, 0.062, 0.083, 0.006), (1.60, 0.069, 0.092, -0.001), (1.64, 0.0745, 0.0965, -0.006),
        (1.675, 0.073, 0.093, -0.009), (1.70, 0.063, 0.080, -0.010), (1.716, 0.048, 0.061, -0.010),
        (1.726, 0.024, 0.030, -0.010),
    )  # fmt: skip
    low, high = rows[0][0], rows[-1][0]
    knots = tuple(((y - low) / (high - low), a, b, 0.0, -c) for y, a, b, c in rows)
    parts = [
        Loft((0, low, 0), (0, high, 0), knots, "head", 0.02, cap=0.012),
        Loft((0, 1.622, 0.086), (0, 1.583, 0.103), ((0, 0.008, 0.009), (0.8, 0.0125, 0.011), (1, 0.015, 0.009)),
             "head", 0.014),
        _ball((0, 1.640, 0.078), (0.048, 0.010, 0.010), "head", 0.016),  # brow
        _ball((0, 1.553, 0.087), (0.022, 0.006, 0.007), "head", 0.008),  # lips
        _ball((0, 1.544, 0.085), (0.019, 0.006, 0.008), "head", 0.008),
        _ball((0, 1.515, 0.072), (0.018, 0.012, 0.012), "head", 0.02),  # chin
    ]  # fmt: skip
    for s in (1, -1):
        parts += [
            _ball((s * 0.033, 1.622, 0.094), (0.018, 0.011, 0.013), "head", 0.014, cut=True),
            _ball((s * 0.0315, 1.622, 0.074), (0.0125, 0.0125, 0.0125), "eye", 0.002),
            Loft((s * 0.072, 1.575, 0.000), (s * 0.082, 1.628, -0.012),
                 ((0, 0.006, 0.010), (0.5, 0.007, 0.015), (1, 0.007, 0.018)), "head", 0.006),
            _ball((s * 0.042, 1.585, 0.062), (0.026, 0.018, 0.024), "head", 0.03),  # cheeks
        ]  # fmt: skip
    # Hair: the skull made a little larger, open to the face.
    hair = tuple(((y - 1.535) / (1.729 - 1.535), a + 0.009, b + 0.009, 0.0, -c + 0.004) for y, a, b, c in rows[2:-1])
    parts.append(Loft((0, 1.535, 0), (0, 1.729, 0), hair, "hair", 0.008, cap=0.022))
    return parts


def _leg(s: int) -> list[Loft]:
    side = "left" if s > 0 else "right"
    hip, knee, ankle = (_joints()[f"left_{n}"] for n in ("hip", "knee", "ankle"))
    thigh = ((0, 0.080, 0.088, 0.0, 0.006), (0.25, 0.079, 0.086, -0.002, -0.002), (0.55, 0.067, 0.072, 0, -0.004),
             (0.85, 0.055, 0.057, 0, -0.004), (1, 0.052, 0.055, 0, -0.004))  # fmt: skip
    shin = ((0, 0.050, 0.054, 0, -0.002), (0.14, 0.050, 0.055, 0, 0.010), (0.32, 0.053, 0.058, 0.002, 0.014),
            (0.6, 0.042, 0.046, 0, 0.008), (0.85, 0.0315, 0.037, 0, 0.0), (1, 0.032, 0.040, 0, -0.002))  # fmt: skip
    sole = ((0, 0.030, 0.034, 0, 0.036), (0.2, 0.033, 0.040, 0, 0.044), (0.42, 0.034, 0.036, 0, 0.039),
            (0.65, 0.043, 0.025, 0, 0.027), (0.85, 0.044, 0.018, 0, 0.020), (1, 0.032, 0.014, 0, 0.016))  # fmt: skip
    turn = [(s * x, y, z) for x, y, z in (hip, knee, ankle)]
    return [
        Loft(turn[0], turn[1], thigh, f"{side}_leg", 0.045),
        Loft(turn[1], turn[2], shin, f"{side}_leg", 0.03),
        Loft((s * 0.096, 0, -0.058), (s * 0.112, 0, 0.178), sole, f"{side}_leg", 0.03),
    ]


def _arm(s: int) -> list[Loft]:
    side = "left" if s > 0 else "right"
    at = {n: np.array(p) * (s, 1, 1) for n, p in ((k[5:], v) for k, v in _joints().items() if k.startswith("left_"))}
    up = (0.0, 1.0, 0.0)
    upper = ((0, 0.050, 0.049), (0.15, 0.051, 0.050), (0.45, 0.043, 0.044), (0.8, 0.036, 0.037), (1, 0.035, 0.036))
    lower = ((0, 0.035, 0.037), (0.2, 0.038, 0.040), (0.5, 0.033, 0.036), (0.85, 0.023, 0.029), (1, 0.0205, 0.028))
    palm = ((0, 0.019, 0.027), (0.3, 0.0165, 0.034), (0.75, 0.0140, 0.041), (1, 0.0115, 0.040))
    parts = [
        Loft(tuple(at["shoulder"]), tuple(at["elbow"]), upper, f"{side}_arm", 0.05, up),
        Loft(tuple(at["elbow"]), tuple(at["wrist"]), lower, f"{side}_arm", 0.03, up),
        Loft((s * 0.695, 1.402, -0.020), (s * 0.787, 1.402, -0.024), palm, f"{side}_arm", 0.02, up),
        Loft((s * 0.715, 1.395, 0.0), (s * 0.752, 1.387, 0.030), ((0, 0.016, 0.018), (1, 0.0125, 0.014)),
             f"{side}_arm", 0.014, up),
    ]  # fmt: skip
    for finger, tip in TIPS.items():
        points = [at[f"{finger}{i}"] for i in (1, 2, 3)]
        last = points[2] - points[1]
        points.append(points[2] + last / np.linalg.norm(last) * (tip - 0.006))
        radius = FINGER_RADIUS[finger]
        for i in range(3):
            a, b = radius * (1.02 - 0.1 * i), radius * (0.92 - 0.1 * i)
            blend = (0.010 if finger != "thumb" else 0.012) if i == 0 else 0.003
            parts.append(
                Loft(tuple(points[i]), tuple(points[i + 1]), ((0, a, a), (1, b, b)), f"{side}_{finger}", blend, up)
            )
    return parts


def parts() -> list[Loft]:
    """All lofts; those of one group are joined before groups are joined with each other."""
    return [*_trunk(), *_head(), *_leg(1), *_leg(-1), *_arm(1), *_arm(-1)]


def join(a: Array, b: Array, blend: float) -> Array:
    """Union of two fields with a rounded seam (polynomial smooth minimum)."""
    if blend <= 0:
        return np.minimum(a, b)
    h = np.clip(0.5 + 0.5 * (b - a) / blend, 0, 1)
    return b * (1 - h) + a * h - blend * h * (1 - h)
