"""The mouth of one person in the head's own frame: how it rests, and where lips and jaw go for a set of mouth curves.

Person space: origin between the mouth's corners, x along the eyes, y down the face, z away from the camera, the
distance of the outer eye corners being 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.geometry.similarity import umeyama
from pipelines.tracking import face_points as mp

WIDEST = 0.31  # opening of the inner lips at curve value 1, in eye distances (about 28 mm)
UPPER_SHARE = 0.26  # of the opening is the upper lip's, the rest the jaw's
CHIN_SHARE = 0.72  # of the lower lip's way the chin goes along
CLOSED_SHARE = 0.25  # of the clip's frames, those with the smallest opening, tell how the mouth rests
RELAXED = (0.16, 0.045)  # most by which a mouth that closes gets narrower and its corners lower
UPPER_FOLLOWS, LOWER_FOLLOWS = 0.8, 0.95  # how much of a closing inner lip's way its outer line goes along
MEETING = 0.38  # where parted lips meet on closing, from the upper to the lower one


@dataclass(frozen=True)
class HeadPose:
    """Person space to picture: ``p = scale * rotation @ x + shift`` (3-D, the picture's z dropped)."""

    scale: float
    rotation: np.ndarray
    shift: np.ndarray

    def project(self, points: np.ndarray) -> np.ndarray:
        """(K, 3) person space -> (K, 2) pixels."""
        return self.scale * points @ self.rotation[:2].T + self.shift[:2]

    def direct(self, vectors: np.ndarray) -> np.ndarray:
        """Differences (K, 3) -> (K, 2) pixels."""
        return self.scale * vectors @ self.rotation[:2].T

    def unproject(self, points: np.ndarray) -> np.ndarray:
        """(K, 3) picture landmarks -> person space."""
        return (points - self.shift) @ self.rotation / self.scale


@dataclass(frozen=True)
class Person:
    """``shape`` (468, 3): the resting face in person space; its lips closed, although perhaps never seen so."""

    shape: np.ndarray

    @property
    def half_width(self) -> float:
        """Half the resting mouth's width."""
        return float(self.shape[mp.CORNERS[1], 0] - self.shape[mp.CORNERS[0], 0]) / 2


def person_frame(points: np.ndarray) -> HeadPose:
    """The pose of landmarks (468, 3) pixels by their own eyes, forehead and chin."""
    across = points[mp.EYES[1]] - points[mp.EYES[0]]
    scale = float(np.linalg.norm(across))
    x = across / scale
    down = points[mp.CHIN] - points[mp.FOREHEAD]
    y = down - x * (down @ x)
    y /= np.linalg.norm(y)
    origin = points[list(mp.CORNERS)].mean(axis=0)
    return HeadPose(scale, np.stack([x, y, np.cross(x, y)], axis=1), origin)


def learn_person(points: np.ndarray) -> Person:
    """The person of measured faces (F, 468, 3): the median of the frames with the mouth most closed, closed fully."""
    openings = mp.opening(points)
    count = max(1, min(60, round(CLOSED_SHARE * len(points))))
    calm = np.argsort(openings, kind="stable")[:count]
    shapes = np.stack([person_frame(points[i].astype(float)).unproject(points[i].astype(float)) for i in calm])
    return Person(closed(np.median(shapes, axis=0)))


def closed(shape: np.ndarray) -> np.ndarray:
    """The same face with its lips just touching: both inner lips come to their meeting line, the outer ones follow."""
    shape = shape.copy()
    upper, lower = shape[list(mp.UPPER_INNER)], shape[list(mp.LOWER_INNER)]
    gap = np.maximum(lower[:, 1] - upper[:, 1], 0.0)
    parted = float(gap.max())
    down, up = MEETING * gap, (1 - MEETING) * gap
    for index, (top, bottom, shift_down, shift_up) in enumerate(
        zip(mp.UPPER_INNER, mp.LOWER_INNER, down, up, strict=True)
    ):
        shape[top, 1] = shape[bottom, 1] = upper[index, 1] + shift_down
        if 0 < index < len(mp.UPPER_INNER) - 1:
            # Lips that a smile or a sound had stretched thin grow fuller as they meet.
            shape[mp.UPPER_OUTER[index], 1] += UPPER_FOLLOWS * shift_down
            shape[mp.LOWER_OUTER[index], 1] -= LOWER_FOLLOWS * shift_up
    if parted > 0.02:  # a smile relaxes when the lips meet: narrower, its corners lower
        narrower, lower_by = min(RELAXED[0], 1.5 * parted), min(RELAXED[1], 0.42 * parted)
        half = (shape[mp.CORNERS[1], 0] - shape[mp.CORNERS[0], 0]) / 2
        for lip in mp.LIPS:
            shape[lip, 1] += lower_by * min(1.0, abs(shape[lip, 0]) / half) ** 2
            shape[lip, 0] *= 1.0 - narrower
    return shape


def head_pose(person: Person, points: np.ndarray) -> HeadPose:
    """How the head stands in a frame with landmarks (468, 3) pixels, from what speech does not move."""
    still = list(mp.SKULL)
    fit = umeyama(person.shape[still], points[still].astype(float))
    base = list(mp.NOSE_BASE)
    pose = HeadPose(fit.scale, fit.rotation, fit.translation)
    drift = points[base, :2].mean(axis=0) - pose.project(person.shape[base]).mean(axis=0)
    return HeadPose(pose.scale, pose.rotation, pose.shift + np.append(drift, 0.0))


@dataclass(frozen=True)
class MouthTarget:
    """``lips`` (468, 3) in person space, only lip rows meant; ``drop`` how far the lower lip is from rest, downwards;
    ``aperture`` of the inner lips; ``tongue`` 0..1; ``rounded`` 0..1 for lips pushed forward."""

    lips: np.ndarray
    drop: float
    aperture: float
    tongue: float
    rounded: float


def mouth_target(person: Person, curves: np.ndarray, strength: float = 1.0) -> MouthTarget:
    """Where the lips go for one frame's curves (6,), ``strength`` scaling how far they open."""
    opening, width, closure, tuck, tongue, _ = (float(v) for v in curves)
    opening = float(np.clip(opening * strength, 0.0, 1.25))
    if opening < 0.03:
        opening = 0.0
    aperture = opening * WIDEST
    lips = person.shape.copy()
    half = person.half_width
    inner_half = float(np.abs(lips[[78, 308], 0]).mean())
    across = np.clip(lips[:, 0] / half, -1.0, 1.0)
    rounded = float(np.clip(-width, 0.0, 1.0))
    # Lips pushed forward touch at their sides: the opening is a small round one in the middle.
    lens_inner = (1 - np.clip(lips[:, 0] / inner_half, -1.0, 1.0) ** 2) ** (0.65 + 0.6 * rounded)
    lens_outer = 1 - 0.85 * across**2
    raise_by, drop_by = UPPER_SHARE * aperture, (1 - UPPER_SHARE) * aperture
    stretch = 1.0 + (0.09 * width if width > 0 else 0.30 * width) - 0.09 * opening
    plump = 1.0 + (-0.10 * width if width > 0 else -0.26 * width) - 0.10 * closure
    for group, sign, lens, by in (
        (mp.UPPER_OUTER, -1, lens_outer, 0.8 * raise_by),
        (mp.UPPER_INNER, -1, lens_inner, raise_by),
        (mp.LOWER_INNER, 1, lens_inner, drop_by),
        (mp.LOWER_OUTER, 1, lens_outer, drop_by),
    ):
        inner = mp.UPPER_INNER if sign < 0 else mp.LOWER_INNER
        for place, index in enumerate(group):
            if index in mp.CORNERS or index in (78, 308):
                continue
            seam = person.shape[inner[place], 1]
            lips[index, 1] = seam + plump * (person.shape[index, 1] - seam) + sign * by * lens[index]
    # The lower lip slips under the upper teeth: up, and thinner.
    for place, index in enumerate(mp.LOWER_OUTER[1:-1], 1):
        lips[index, 1] -= tuck * 0.030 * lens_outer[index]
        lips[mp.LOWER_INNER[place], 1] += tuck * 0.004 * lens_inner[mp.LOWER_INNER[place]]
        lips[mp.UPPER_INNER[place], 1] -= tuck * 0.026 * lens_inner[mp.UPPER_INNER[place]]
        lips[mp.UPPER_OUTER[place], 1] -= tuck * 0.018 * lens_outer[mp.UPPER_OUTER[place]]
    for index in mp.LIPS:
        lips[index, 0] *= stretch
    for index in (*mp.CORNERS, 78, 308):
        lips[index, 1] = person.shape[index, 1] + 0.16 * aperture
    gap = float(lips[mp.INNER_BOTTOM, 1] - lips[mp.INNER_TOP, 1])
    return MouthTarget(lips, drop_by - 0.02 * tuck, max(gap, 0.0), tongue, rounded)
