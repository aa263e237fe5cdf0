"""The rest of the head behind the face: skull and neck as one sheet from the face's outline to the end of the neck.

The sheet is a ring of meridians, two per landmark of the outline. Seen from the middle of the head its directions are
laid out by a stereographic projection (Möbius plane) whose poles are the face and the neck, so that meridians and
rings cross at right angles and never meet; its distance from the middle is that of a skull and a neck joined smoothly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

Array = NDArray[np.float64]
# The canonical head in metres, in head axes.
MIDDLE = np.array([0.0, 0.005, -0.075])
SKULL_CENTRE, SKULL_RADII = np.array([0.0, 0.018, -0.078]), np.array([0.077, 0.106, 0.099])
NECK_CENTRE, NECK_RADIUS, NECK_END = np.array([0.0, 0.0, -0.089]), 0.0525, -0.178
JOINED = 9.0  # exponent of the smooth maximum
FACE_POLE, NECK_POLE = (0.0, -0.25, 1.0), (0.0, -1.0, -0.08)
RINGS = 14  # from the outline to the rim of the neck, the outline not counted
CAP = (0.55, 0.02)  # further rings that close the neck, as shares of the rim's radius
RIM = 0.42  # radius of the neck's rim in the projection
FADE = 2.2  # how fast the sheet forgets the outline's own shape
GROWN = (0.94, 1.28)  # how much smaller or larger than the canonical skull hair and skull may be
DIRECTIONS = 72
CALM = 2.5  # directions over which the silhouette is smoothed
HAIRLINE = 0.035  # metres over which hair begins
UNSEEN = 1.04  # growth where the picture ends before the person does
INNER = 0.6  # of the expected silhouette's radius, from which its true edge is sought outwards
QUICK = 0.3  # of the way to the neck over which the growth sets in
BELOW, ABOVE = -0.6, 0.35  # height of a direction from which the silhouette counts, and counts in full


def _unit(vector: tuple[float, float, float]) -> Array:
    return np.asarray(vector, np.float64) / np.linalg.norm(vector)


def _plane() -> tuple[Array, Array, Array]:
    """Axes of the projection: u, v, and the pole."""
    pole = _unit(FACE_POLE)
    u = np.array([1.0, 0.0, 0.0])
    return u, np.cross(pole, u), pole


def _flatten(directions: Array) -> NDArray[np.complex128]:
    u, v, pole = _plane()
    return (directions @ u + 1j * (directions @ v)) / np.maximum(1 - directions @ pole, 1e-9)


def _unflatten(z: NDArray[np.complex128]) -> Array:
    u, v, pole = _plane()
    square = np.abs(z) ** 2
    parts = 2 * z.real[..., None] * u + 2 * z.imag[..., None] * v + (square - 1)[..., None] * pole
    return parts / (square + 1)[..., None]


def _exit(directions: Array, centre: Array, radii: Array) -> Array:
    """Distance from ``MIDDLE`` at which rays leave an ellipsoid that it lies in."""
    d, o = directions / radii, (MIDDLE - centre) / radii
    a, b, c = (d * d).sum(-1), d @ o, o @ o - 1
    return (-b + np.sqrt(b * b - a * c)) / np.maximum(a, 1e-12)


def reach(directions: Array) -> Array:
    """Distance of the canonical skull and neck from ``MIDDLE`` along unit directions (..., 3)."""
    skull = _exit(directions, SKULL_CENTRE, SKULL_RADII)
    down = np.maximum(-directions[..., 1], 1e-6)
    neck = _exit(directions, NECK_CENTRE, np.array([NECK_RADIUS, 1e3, NECK_RADIUS]))
    neck = np.where(directions[..., 1] < 0, np.minimum(neck, (MIDDLE[1] - NECK_END) / down), 0)
    # Where the neck ends its plane is the surface; elsewhere the larger of the two, without an edge between them.
    return (skull**JOINED + neck**JOINED) ** (1 / JOINED)


@dataclass(frozen=True)
class Sheet:
    """Positions (R, 2N, 3) of the rings behind an outline of N points, the outline not included; ``faces`` (F, 3) with
    the outline as 0..N-1 and the rings after it; ``along`` (R,) 0..1 from the outline to the neck's rim, then more."""

    positions: Array
    faces: NDArray[np.int64]
    along: Array

    @property
    def fade(self) -> Array:
        """(R,) how much of the outline's movement each ring follows."""
        return np.clip(1 - self.along, 0, 1) ** FADE


def doubled(outline: NDArray[np.floating]) -> Array:
    """A closed outline (N, D) with a point in the middle of every side (2N, D)."""
    points = np.asarray(outline, np.float64)
    middles = (points + np.roll(points, -1, axis=0)) / 2
    return np.stack([points, middles], axis=1).reshape(-1, points.shape[1])


def _strips(count: int, rings: int) -> list[tuple[int, int, int]]:
    """Triangles from an outline of ``count`` points over rings of twice as many; the outline runs clockwise."""
    faces, many = [], 2 * count
    for i in range(count):
        j = (i + 1) % count
        a, b, c = count + 2 * i, count + 2 * i + 1, count + 2 * j
        faces += [(i, b, a), (i, j, b), (j, c, b)]
    for ring in range(rings - 1):
        for i in range(many):
            a, b = count + ring * many + i, count + ring * many + (i + 1) % many
            faces += [(a, b, a + many), (b, b + many, a + many)]
    return faces


def sheet_behind(outline: Array) -> Sheet:
    """The sheet behind the canonical outline (N, 3), which runs clockwise seen from the front."""
    away = doubled(outline) - MIDDLE
    distance = np.linalg.norm(away, axis=1)
    start = away / distance[:, None]
    neck = _flatten(_unit(NECK_POLE)[None])[0]
    plane = np.log(_flatten(start) - neck)
    turn = np.unwrap(plane.imag)
    along = np.linspace(0, 1, RINGS + 1)[1:]
    for _ in range(3):  # until the rings lie equally far apart on the longest way, over the crown
        way = MIDDLE + _on_meridians(neck, plane.real[:1], turn[:1], along)[:, 0]
        length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(way, axis=0, prepend=outline[:1]), axis=1))])
        along = np.interp(np.linspace(0, length[-1], RINGS + 1)[1:], length, np.concatenate([[0], along]))
    directions = _on_meridians(neck, plane.real, turn, along)
    unit = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    ratio = 1 + (distance / reach(start) - 1) * np.clip(1 - along, 0, 1)[:, None] ** FADE
    positions = MIDDLE + unit * (reach(unit) * ratio)[..., None]
    rim = positions[-1] - NECK_CENTRE
    rim *= NECK_RADIUS / np.linalg.norm(rim[:, [0, 2]], axis=1, keepdims=True)
    rim[:, 1] = NECK_END
    positions[-1] = NECK_CENTRE + rim
    lids = [NECK_CENTRE + rim * (share, 1, share) for share in CAP]
    positions = np.concatenate([positions, lids])
    along = np.concatenate([along, 1 + np.arange(1, len(CAP) + 1) / RINGS])
    return Sheet(positions, np.array(_strips(len(outline), len(along)), np.int64), along)


def _on_meridians(neck: complex, start: Array, turn: Array, along: Array) -> Array:
    """Places relative to ``MIDDLE`` (R, N, 3) on skull and neck at shares (R,) of the way of N meridians."""
    radius = start + along[:, None] * (np.log(RIM) - start)
    directions = _unflatten(neck + np.exp(radius + 1j * turn))
    return directions * reach(directions)[..., None]


@dataclass(frozen=True)
class Shell:
    """The sheet of one person: ``positions`` (R, 2N, 3) metres in head axes, made for the ``outline`` (N, 3)."""

    positions: Array
    outline: Array
    fade: Array

    def behind(self, outline: NDArray[np.floating]) -> Array:
        """(2RN, 3) for an outline (N, 3) that has moved."""
        moved = doubled(np.asarray(outline, np.float64) - self.outline) * self.fade[:, None, None]
        return (self.positions + moved).reshape(-1, 3)

    def scaled(self, factor: float) -> Shell:
        """Grown about the origin, the middle between the pupils."""
        return replace(self, positions=self.positions * factor, outline=self.outline * factor)


def hairy(positions: Array) -> Array:
    """How much canonical places (..., 3) of the sheet lie where hair grows, 0..1: above and behind the plane from the
    hairline over the ears to the nape."""
    y, z = positions[..., 1], positions[..., 2]
    return _smooth((0.69 * (y - 0.06) - 0.72 * z) / HAIRLINE + 0.5)


def grown(
    shell: Shell, to_camera: Array, project: Callable[[Array], Array], scale: float, mask: NDArray[np.float32]
) -> Shell:
    """The shell with hair and skull as large as the person's silhouette in a photo shows them.

    Args:
        to_camera: (4, 4) from head to camera axes.
        project: camera axes (..., 3) -> pixels (..., 2).
        scale: of the head against the canonical one.
        mask: (H, W) 0..1, how surely a pixel shows the person.
    """
    middle = MIDDLE * scale
    away = shell.positions - middle

    def pixels(points: Array) -> Array:
        return project(points @ to_camera[:3, :3].T + to_camera[:3, 3])

    height = (away / np.linalg.norm(away, axis=-1, keepdims=True))[..., 1]
    counts = _smooth((height - BELOW) / (ABOVE - BELOW)) * _smooth((1 - shell.fade ** (1 / FADE)) / QUICK)[:, None]
    place = pixels(shell.positions) - pixels(middle)
    radius, angle = np.hypot(place[..., 0], place[..., 1]), np.arctan2(place[..., 1], place[..., 0])
    step = 2 * np.pi / DIRECTIONS
    bins = np.floor(angle / step).astype(int) % DIRECTIONS
    expected = np.zeros(DIRECTIONS)
    np.maximum.at(expected, bins, radius)
    at = np.arange(DIRECTIONS)
    expected = np.interp(at, at[expected > 0], expected[expected > 0], period=DIRECTIONS)
    found = _edges(mask, pixels(middle), (np.arange(DIRECTIONS) + 0.5) * step, expected)
    ratio = np.where(np.isfinite(found), np.clip(found / expected, *GROWN), UNSEEN)
    ratio = gaussian_filter1d(ratio, CALM, mode="wrap")
    share = 0.6 + 0.4 * np.minimum(radius / np.maximum(expected[bins], 1e-6), 1)
    own = np.interp(angle / step - 0.5, at, ratio, period=DIRECTIONS)
    return replace(shell, positions=middle + away * (1 + (own - 1) * counts * share)[..., None])


def _smooth(t: Array) -> Array:
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def _edges(mask: NDArray[np.float32], centre: Array, angles: Array, expected: Array) -> Array:
    """Radius (D,) in pixels at which rays leave the mask for the first time; nan where that is not to be seen."""
    share = np.linspace(INNER, GROWN[1] * 1.05, 80)
    ray = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    at = np.rint(centre + ray[:, None] * (expected[:, None] * share)[..., None]).astype(int)  # (D, T, 2)
    inside = ((at >= 0) & (at < mask.shape[::-1])).all(axis=-1)
    at = np.clip(at, 0, np.array(mask.shape[::-1]) - 1)
    person = mask[at[..., 1], at[..., 0]] >= 0.5
    outside = ~person & inside
    first = outside.argmax(axis=1)
    cut = (~inside).argmax(axis=1)
    seen = outside.any(axis=1) & (first > 0) & (inside.all(axis=1) | (first < cut))
    everywhere = person.all(axis=1) & inside.all(axis=1)  # long hair, a hat: as far as it may go
    edge = np.where(everywhere, share[-1], share[first])
    return np.where(seen | everywhere, edge * expected, np.nan)
