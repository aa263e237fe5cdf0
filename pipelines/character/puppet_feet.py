"""Feet that stand: when they do so in a motion, the way of the root that lets them, and the knees that follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve

_LOW = 0.09  # of the leg's length above its lowest that a standing foot may be
_SLOW = 0.55  # leg lengths a second that it may move
_SHORTEST_SECONDS, _GAP_SECONDS = 0.1, 0.07
_EASE_SECONDS = 0.13  # over which a foot leaves its place and comes to it
_GIVE = 1.02  # a leg's stretch where its foot would otherwise lose its place


@dataclass(frozen=True)
class Contact:
    """A foot standing from frame ``first`` to ``last``, inclusive."""

    side: str
    first: int
    last: int


@dataclass(frozen=True)
class Steps:
    """Where the ankles want to be (T,) complex, relative to the root."""

    right: NDArray[np.complex128]
    left: NDArray[np.complex128]

    def of(self, side: str) -> NDArray[np.complex128]:
        return self.left if side == "left" else self.right


def find_contacts(feet: Mapping[str, NDArray], leg: float, fps: float) -> tuple[Contact, ...]:
    """When feet stand. ``feet`` by side: ankle and toe (T, 2, 3), y up; ``leg`` its length in the same unit."""
    count = len(next(iter(feet.values())))
    floor = np.percentile(np.minimum(*(f[:, :, 1] for f in feet.values())), 5, axis=0)
    found = []
    for side, foot in feet.items():
        smooth = gaussian_filter1d(foot, max(0.03 * fps, 0.1), axis=0, mode="nearest")
        speed = np.linalg.norm(np.gradient(smooth, axis=0) if count > 1 else 0 * smooth, axis=2).min(1) * fps
        low = (foot[:, :, 1] - floor).min(1) < _LOW * leg
        standing = low & (speed < _SLOW * leg)
        found += [Contact(side, a, b) for a, b in _runs(standing, round(_GAP_SECONDS * fps), _SHORTEST_SECONDS * fps)]
    return tuple(found)


def _runs(flags: NDArray[np.bool_], gap: int, shortest: float) -> list[tuple[int, int]]:
    """Runs of True (first, last), those ``gap`` apart joined, those shorter than ``shortest`` left out."""
    edges = np.flatnonzero(np.diff(np.r_[0, flags.astype(int), 0]))
    joined: list[list[int]] = []
    for first, stop in zip(edges[::2], edges[1::2], strict=True):
        if joined and first - joined[-1][1] - 1 <= gap:
            joined[-1][1] = int(stop) - 1
        else:
            joined.append([int(first), int(stop) - 1])
    return [(a, b) for a, b in joined if b - a + 1 >= min(shortest, len(flags))]


def walk(
    steps: Steps,
    contacts: tuple[Contact, ...],
    wander: NDArray[np.complex128],
    heights: Mapping[str, NDArray],
    ground: Mapping[str, float],
    move: bool,
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """The root's way (T,) and the place of each contact, from one least-squares problem per axis.

    The root moves as in ``wander`` while standing feet keep to one place each, at their ``ground``; other feet are as
    high above it as ``heights`` says. ``move`` False holds the root's x still and lets feet slide.
    """
    x = _axis(steps, contacts if move else (), wander.real, np.real, None, None)
    y = _axis(steps, contacts, wander.imag, np.imag, ground, heights)
    root = x[0] + 1j * y[0]
    anchors = y[1] * 1j + (x[1] if move else np.zeros(len(contacts)))
    return root, anchors


def _axis(
    steps: Steps,
    contacts: tuple[Contact, ...],
    wander: NDArray[np.float64],
    part: Callable[[NDArray], NDArray],
    ground: Mapping[str, float] | None,
    heights: Mapping[str, NDArray] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One axis: unknown are the root (T) and the contacts' places (K). The vertical has ``ground`` and ``heights``."""
    count, number = len(wander), len(contacts)
    rows: list[NDArray] = []
    columns: list[NDArray] = []
    values: list[NDArray] = []
    right: list[NDArray] = []
    total = 0

    def add(indices: list[NDArray], factors: list[float], wanted: NDArray, weight: float) -> None:
        nonlocal total
        size = len(wanted)
        own = np.arange(total, total + size)
        for index, factor in zip(indices, factors, strict=True):
            rows.append(own)
            columns.append(index)
            values.append(np.full(size, factor * weight))
        right.append(wanted * weight)
        total += size

    frames = np.arange(count)
    add([frames[1:], frames[:-1]], [1.0, -1.0], np.diff(wander), 1.0)
    add([frames], [1.0], wander - wander[0], 0.02 if ground is None else 1e-3)
    for k, contact in enumerate(contacts):
        own = np.arange(contact.first, contact.last + 1)
        add([own, np.full(len(own), count + k)], [1.0, -1.0], -part(steps.of(contact.side))[own], 3.0)
        if ground is not None:
            add([np.array([count + k])], [1.0], np.array([ground[contact.side]]), 1000.0)
    if ground is not None and heights is not None:
        for side, height in heights.items():
            add([frames], [1.0], ground[side] - height - part(steps.of(side)), 0.15)
    matrix = coo_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (total, count + number)
    ).tocsr()
    solved = spsolve((matrix.T @ matrix).tocsc(), matrix.T @ np.concatenate(right))
    return solved[:count], solved[count:]


def hold(
    wish: NDArray[np.complex128],
    root: NDArray[np.complex128],
    side: str,
    contacts: tuple[Contact, ...],
    anchors: NDArray[np.complex128],
    fps: float,
) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """Where an ankle goes (T,), relative to the root, and how firmly it stands (T,) from 0 to 1."""
    frames = np.arange(len(wish))
    ease = max(_EASE_SECONDS * fps, 1.0)
    shift = np.zeros(len(wish), complex)
    total = np.zeros(len(wish))
    firm = np.zeros(len(wish))
    for contact, anchor in zip(contacts, anchors, strict=True):
        if contact.side != side:
            continue
        outside = np.maximum(contact.first - frames, frames - contact.last).clip(0)
        near = np.clip(1 - outside / ease, 0, 1)
        near = near * near * (3 - 2 * near)
        inside = outside == 0
        weight = np.where(inside, 1e6, near)
        held = np.clip(frames, contact.first, contact.last)
        shift += weight * (anchor - root[held] - wish[held])
        total += weight
        firm = np.maximum(firm, near)
    moved = shift / np.maximum(total, 1e-9) * np.where(total > 0, firm, 0)
    return wish + moved, firm


def bend(
    to_foot: NDArray[np.complex128], upper: NDArray[np.float64], lower: NDArray[np.float64], side: float
) -> tuple[NDArray[np.complex128], NDArray[np.complex128], NDArray[np.float64], NDArray[np.float64]]:
    """Directions of thigh and shin (T,), and their lengths, that bring the foot there: the law of cosines.

    A foot out of reach draws the leg out by 2 % at most.
    """
    reach = np.maximum(np.abs(to_foot), 1e-6)
    give = np.clip(reach / (upper + lower), 1, _GIVE)
    upper, lower = upper * give, lower * give
    far = np.clip(reach, np.abs(upper - lower) + 1e-6, (upper + lower) * (1 - 1e-9))
    cosine = np.clip((upper**2 + far**2 - lower**2) / (2 * upper * far), -1, 1)
    straight = to_foot / reach
    first = straight * np.exp(1j * side * np.arccos(cosine))
    knee = upper * first
    second = straight * far - knee
    return first, second / np.maximum(np.abs(second), 1e-9), upper, lower
