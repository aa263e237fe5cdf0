"""The outer form of Pip, the studio's own drawn character, as a signed field, and its joints.

Metres; x to the character's left, y up from the floor, z to the front; arms held out. A big head on a small body: about
three heads high. Negative values of the field lie inside.
"""

from __future__ import annotations

import numpy as np

from assets.mannequin_shape import Loft, join

Array = np.ndarray
SIDES = (("left", 1), ("right", -1))
HEAD = (0.0, 0.985, 0.0)  # the middle of the skull
HEAD_HALF = (0.186, 0.172, 0.172)
SEAMS = {
    "head": 0.012,
    "hair": 0.0,
    "leg": 0.022,
    "arm": 0.026,
    "cuff": 0.0,
    "shorts": 0.0,
    "shoe": 0.004,
    "hood": 0.006,
}


def joints() -> dict[str, tuple[float, float, float]]:
    """Rest places by SMPL-X's names."""
    middle = {
        "pelvis": (0, 0.405, 0),
        "spine1": (0, 0.46, -0.004),
        "spine2": (0, 0.54, -0.006),
        "spine3": (0, 0.62, -0.008),
        "neck": (0, 0.785, -0.006),
        "head": (0, 0.835, 0.0),
    }
    side = {
        "hip": (0.062, 0.375, 0.0),
        "knee": (0.068, 0.215, 0.006),
        "ankle": (0.072, 0.068, -0.004),
        "foot": (0.078, 0.025, 0.065),
        "collar": (0.02, 0.735, -0.004),
        "shoulder": (0.098, 0.725, -0.004),
        "elbow": (0.222, 0.725, -0.006),
        "wrist": (0.335, 0.725, -0.004),
        "middle1": (0.385, 0.725, -0.004),
        "thumb1": (0.352, 0.72, 0.022),
    }
    both = {f"{name}_{n}": (x * s, y, z) for name, s in SIDES for n, (x, y, z) in side.items()}
    return middle | both


def ball(centre, half, group: str, blend: float = 0.0, cut: bool = False) -> Loft:
    """An ellipsoid."""
    x, y, z = centre
    return Loft(
        (x, y - 1e-3, z), (x, y + 1e-3, z), ((0, half[0], half[2]), (1, half[0], half[2])), group, blend, cut=cut,
        cap=half[1],
    )  # fmt: skip


def lock(points, widths, group: str = "hair", blend: float = 0.012) -> list[Loft]:
    """A strand through points (N, 3), round, tapering with ``widths`` (N,)."""
    parts = []
    for a, b, wa, wb in zip(points[:-1], points[1:], widths[:-1], widths[1:], strict=True):
        across = (0.0, 0.0, 1.0) if abs(b[2] - a[2]) < 0.9 * np.linalg.norm(np.subtract(b, a)) else (1.0, 0.0, 0.0)
        parts.append(Loft(tuple(a), tuple(b), ((0, wa, wa), (1, wb, wb)), group, blend, across))
    return parts


def _head() -> list[Loft]:
    parts = [
        ball(HEAD, HEAD_HALF, "head"),
        ball((0, 0.905, 0.035), (0.128, 0.088, 0.112), "head", 0.06),  # jaw
        ball((0, 0.922, 0.163), (0.011, 0.009, 0.016), "head", 0.012),  # nose
        Loft((0, 0.76, -0.006), (0, 0.86, -0.002), ((0, 0.042, 0.04), (1, 0.04, 0.04)), "head", 0.03),
    ]
    for _, s in SIDES:
        parts += [
            ball((s * 0.092, 0.898, 0.098), (0.046, 0.04, 0.045), "head", 0.05),  # cheeks
        ]
    return parts


def _skull_front(x: float, y: float) -> float:
    """The z of the skull's front at x, y."""
    share = 1 - (x / HEAD_HALF[0]) ** 2 - ((y - HEAD[1]) / HEAD_HALF[1]) ** 2
    return HEAD_HALF[2] * float(np.sqrt(max(share, 0.0)))


def _hair() -> list[Loft]:
    _, y, z = HEAD
    parts = [
        ball((0, y + 0.016, z - 0.012), (0.212, 0.196, 0.2), "hair"),
        ball((0, 0.93, -0.09), (0.17, 0.13, 0.115), "hair", 0.06),  # the back of the head
    ]
    # Fringe: strands from the crown over the forehead, their tips apart and close to the skull.
    for tx, ty in ((-0.148, 0.985), (-0.100, 1.008), (-0.048, 1.016), (0.004, 1.000), (0.056, 1.018), (0.104, 1.004),
                   (0.150, 0.985)):  # fmt: skip
        tz = _skull_front(tx, ty) + 0.013
        root = (0.45 * tx + 0.01, 1.128, 0.092)
        high = (0.72 * tx + 0.004, 1.098, 0.150 - 1.2 * tx * tx)
        low = (0.92 * tx, 0.5 * (1.098 + ty), _skull_front(0.92 * tx, 0.5 * (1.098 + ty)) + 0.017)
        parts += lock((root, high, low, (tx, ty, tz)), (0.046, 0.040, 0.030, 0.0145), blend=0.012)
    for _, s in SIDES:
        # Locks before the ears.
        parts += lock(
            ((s * 0.168, 1.06, 0.075), (s * 0.193, 0.955, 0.082), (s * 0.186, 0.865, 0.09), (s * 0.168, 0.80, 0.098)),
            (0.046, 0.04, 0.028, 0.008),
        )
        # Bunches: bound high, swinging out, back and down.
        parts += lock(
            (
                (s * 0.205, 1.085, -0.05),
                (s * 0.278, 1.090, -0.075),
                (s * 0.338, 1.020, -0.10),
                (s * 0.352, 0.935, -0.11),
                (s * 0.330, 0.865, -0.11),
                (s * 0.352, 0.815, -0.10),
            ),
            (0.04, 0.068, 0.080, 0.068, 0.042, 0.014),
            "bunch",
            0.02,
        )
        parts.append(ball((s * 0.212, 1.088, -0.052), (0.028, 0.047, 0.047), "tie"))
    # One strand that will not lie down.
    parts += lock(
        ((0.01, 1.165, 0.0), (0.03, 1.235, 0.015), (0.075, 1.265, 0.035), (0.11, 1.245, 0.05)),
        (0.022, 0.02, 0.014, 0.005),
        blend=0.02,
    )
    return parts


def _body() -> list[Loft]:
    rows = (
        (0.415, 0.122, 0.100), (0.45, 0.124, 0.102), (0.52, 0.114, 0.093), (0.60, 0.106, 0.086),
        (0.67, 0.100, 0.080), (0.73, 0.086, 0.068), (0.77, 0.058, 0.052),
    )  # fmt: skip
    low, high = rows[0][0], rows[-1][0]
    knots = tuple(((y - low) / (high - low), a, b, 0.0, 0.0) for y, a, b in rows)
    parts = [
        Loft((0, low, 0), (0, high, 0), knots, "trunk", 0.0, cap=0.02),
        ball((0, 0.435, 0.0), (0.133, 0.036, 0.110), "trunk", 0.012),  # the jumper's hem
    ]
    # The hood lies round the neck and on the back.
    parts += [
        Loft((-0.085, 0.755, 0.0), (0.085, 0.755, 0.0), ((0, 0.036, 0.045), (0.5, 0.04, 0.075), (1, 0.036, 0.045)),
             "hood", 0.02, (0, 1, 0)),
        ball((0, 0.725, -0.092), (0.095, 0.062, 0.046), "hood", 0.03),
    ]  # fmt: skip
    parts.append(ball((0, 0.392, 0), (0.122, 0.06, 0.100), "shorts"))
    return parts


def _leg(name: str, s: int) -> list[Loft]:
    at = {n: np.array(joints()[f"{name}_{n}"]) for n in ("hip", "knee", "ankle")}
    thigh = ((0, 0.060, 0.066), (0.5, 0.052, 0.056), (1, 0.044, 0.047))
    shin = ((0, 0.044, 0.047), (0.35, 0.045, 0.048), (1, 0.036, 0.038))
    trouser = ((0, 0.070, 0.082), (0.5, 0.074, 0.080), (0.95, 0.078, 0.080), (1, 0.074, 0.076))
    hem = at["hip"] + 0.72 * (at["knee"] - at["hip"])
    return [
        Loft(tuple(at["hip"]), tuple(at["knee"]), thigh, f"{name}_leg", 0.03),
        Loft(tuple(at["knee"]), tuple(at["ankle"]), shin, f"{name}_leg", 0.02),
        Loft(tuple(at["hip"] + (0, 0.015, 0)), tuple(hem), trouser, f"{name}_shorts", 0.02, cap=0.012),
        ball(at["ankle"] + (0, 0.062, 0.0), (0.044, 0.014, 0.046), f"{name}_leg", 0.004),  # the sock's cuff
        Loft((s * 0.072, 0.042, -0.05), (s * 0.080, 0.036, 0.098),
             ((0, 0.042, 0.040), (0.35, 0.047, 0.046), (0.7, 0.054, 0.041), (1, 0.050, 0.034)), f"{name}_shoe", 0.0),
        Loft((s * 0.072, 0.05, -0.006), (s * 0.071, 0.098, -0.006), ((0, 0.046, 0.05), (1, 0.045, 0.048)),
             f"{name}_shoe", 0.02, cap=0.008),
        Loft((s * 0.072, 0.014, -0.058), (s * 0.080, 0.014, 0.108),
             ((0, 0.044, 0.014), (0.4, 0.049, 0.014), (0.75, 0.057, 0.014), (1, 0.050, 0.014)), f"{name}_shoe", 0.006),
    ]  # fmt: skip


def _arm(name: str, s: int) -> list[Loft]:
    at = {n: np.array(joints()[f"{name}_{n}"]) for n in ("shoulder", "elbow", "wrist")}
    up = (0.0, 1.0, 0.0)
    upper = ((0, 0.050, 0.052), (0.5, 0.046, 0.047), (1, 0.043, 0.044))
    lower = ((0, 0.043, 0.044), (0.6, 0.048, 0.049), (0.92, 0.052, 0.053), (1, 0.046, 0.048))
    cuff = ((0, 0.036, 0.038), (1, 0.034, 0.036))
    hand = ((0, 0.022, 0.026), (0.35, 0.028, 0.038), (0.7, 0.026, 0.040), (1, 0.018, 0.027))
    wrist = at["wrist"]
    return [
        Loft(tuple(at["shoulder"]), tuple(at["elbow"]), upper, f"{name}_arm", 0.02, up),
        Loft(tuple(at["elbow"]), tuple(np.add(wrist, (-s * 0.022, 0, 0))), lower, f"{name}_arm", 0.02, up, cap=0.01),
        Loft(tuple(np.add(wrist, (-s * 0.022, 0, 0))), tuple(np.add(wrist, (s * 0.004, 0, 0))), cuff,
             f"{name}_cuff", 0.0, up, cap=0.006),
        Loft(tuple(wrist), tuple(np.add(wrist, (s * 0.082, 0, 0))), hand, f"{name}_hand", 0.0, up),
        Loft(tuple(np.add(wrist, (s * 0.014, -0.006, 0.016))), tuple(np.add(wrist, (s * 0.048, -0.008, 0.05))),
             ((0, 0.015, 0.016), (1, 0.0125, 0.013)), f"{name}_hand", 0.014, up),
    ]  # fmt: skip


def parts() -> list[Loft]:
    """All lofts; those of one group are joined before groups are joined with each other."""
    limbs = [loft for name, s in SIDES for loft in (*_leg(name, s), *_arm(name, s))]
    return [*_body(), *_head(), *_hair(), *limbs]


def field_of_groups(points: Array, margin: float = 0.08) -> dict[str, Array]:
    """Each group's own field at points (N, 3), 0.3 far away."""
    fields: dict[str, Array] = {}
    for part in parts():
        low, high = part.bounds(margin)
        near = ((points >= low) & (points <= high)).all(axis=1)
        field = fields.setdefault(part.group, np.full(len(points), 0.3))
        if near.any():
            field[near] = join(field[near], part.field(points[near]), part.blend)
    fields["hair"] = open_to_face(fields["hair"], points)
    return fields


def open_to_face(hair: Array, points: Array) -> Array:
    """Cuts the cap of hair away before the face, but not the strands that hang into it."""
    x, y, z = points.T
    # The hair line: from below the ears over the temples to the forehead.
    line = z - np.interp(y, [0.80, 0.93, 1.0, 1.045, 1.085, 1.11], [-0.02, 0.055, 0.09, 0.128, 0.165, 0.30])
    strands = np.full(len(points), 0.3)
    for part in _hair():
        if part.group == "hair" and part.cap == 0:
            low, high = part.bounds(0.05)
            near = ((points >= low) & (points <= high)).all(axis=1)
            if near.any():
                strands[near] = join(strands[near], part.field(points[near]), part.blend)
    cap = np.maximum(hair, np.maximum(0.75 * line, np.where(z < 0.03, 0.812, 0.845) + 0.12 * np.abs(x) - y))
    return join(cap, strands, 0.006)


def total_field(fields: dict[str, Array]) -> Array:
    """The whole body."""
    total = fields["trunk"].copy()
    for group, field in fields.items():
        if group != "trunk":
            total = join(total, field, SEAMS.get(group.split("_")[-1], 0.0))
    return total
