"""How people stand against gravity: how the camera is pitched, and bodies that lean only because depth was misjudged.

The landmark network looks at one person in a cut-out. It cannot know how the camera is held, and what it says of depth
tips whole bodies towards the camera or away from it by up to 25 degrees. Two things are known better: people who stand
or walk are upright, and people who are equally tall and stand on one floor are the smaller in the picture the nearer
their feet are to the horizon. Axes as in ``solve``: x right, y up, z to the viewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipelines.body.clip import Track
from pipelines.body.root import focal_length
from pipelines.body.smooth import smooth, stiffness

Array = np.ndarray
SHOULDERS, HIPS, KNEES, ANKLES, HEELS_AND_TOES = [11, 12], [23, 24], [25, 26], [27, 28], [29, 30, 31, 32]
STRAIGHT_LEG = (0.90, 0.97)  # of the way from hip to ankle by way of the knee that is left without it
BENT_HIP, TILTED = (0.35, 0.7), (0.2, 0.45)  # radians between trunk and legs, and against the picture's vertical
UPRIGHT_CUTOFF, UPRIGHT_PULL = 0.4, 0.02  # Hz below which a lean is a misjudgement; the weight of no lean at all
PITCHES = np.radians(np.arange(-30, 30.5, 0.5))
PITCH_SPREAD, SIZE_SPREAD, TALL_SPREAD = np.radians(8), 0.06, 0.08  # of pitches, of one person's size, among people
CAMERA_SHARE, CAMERA_SPREAD = np.log(1.4 / 1.5), 0.45  # of the heights of shoulders and cameras, in logarithms
LEAST_PITCH = np.radians(3.0)  # below which a camera is held level
LOOKS = 12  # frames of one person count for no more than this many


def standing(track: Track) -> Array:
    """How surely the person stands or walks upright in each frame, (T,) in 0..1: one leg is straight, the trunk is in
    line with it, and both are upright in the picture."""
    world, seen = track.world, track.visibility
    hips, shoulders, ankles = (world[:, part].mean(axis=1) for part in (HIPS, SHOULDERS, ANKLES))
    legs = []
    for side in (0, 1):
        hip, knee, ankle = (world[:, part[side]] for part in (HIPS, KNEES, ANKLES))
        way = np.linalg.norm(knee - hip, axis=1) + np.linalg.norm(ankle - knee, axis=1)
        legs.append(np.linalg.norm(ankle - hip, axis=1) / np.maximum(way, 1e-6))
    bend = _angle(shoulders - hips, hips - ankles)
    axis = (track.picture[:, SHOULDERS].mean(axis=1) - track.picture[:, ANKLES].mean(axis=1)) * (1, -1)
    tilt = np.abs(np.arctan2(axis[:, 0], axis[:, 1]))
    known = seen[:, SHOULDERS + HIPS + KNEES + ANKLES].min(axis=1)
    sure = _ramp(np.maximum(*legs), *STRAIGHT_LEG) * (1 - _ramp(bend, *BENT_HIP)) * (1 - _ramp(tilt, *TILTED))
    return sure * _ramp(known, 0.4, 0.7) * track.seen


def camera_pitch(tracks: Sequence[Track]) -> float:
    """How far the camera looks down, in radians; 0 where people do not tell.

    Of somebody who stands on the floor, the height in the picture over the distance of the feet from the horizon is
    that of the person over that of the camera (Hoiem, Efros and Hebert, "Putting objects in perspective", 2008): the
    same in all frames, nearly so for all people, and not far from one, since most cameras are held by people. The pitch
    that agrees best is chosen, small ones being likelier.
    """
    sizes = [s for s in (_sizes(t) for t in tracks) if s is not None]
    if not sizes:
        return 0.0
    width, height = tracks[0].size
    horizons = height / 2 - focal_length((width, height)) * np.tan(PITCHES)
    cost = (PITCHES / PITCH_SPREAD) ** 2
    means, looks = [], []
    for feet, tall, weight in sizes:
        under = feet - horizons[:, None]
        share = np.log(tall / np.maximum(under, 0.1 * tall))  # (pitches, frames)
        mean = share @ weight / weight.sum()
        spread = (share - mean[:, None]) ** 2 @ weight / weight.sum()
        cost += min(weight.sum(), LOOKS) * spread / SIZE_SPREAD**2
        means.append(mean)
        looks.append(min(weight.sum(), 1.0))
    middle = np.average(means, axis=0, weights=looks)
    cost += min(1.0, sum(looks)) * ((middle - CAMERA_SHARE) / CAMERA_SPREAD) ** 2
    # Children, and people on steps, are outliers: their share of the cost stops growing.
    cost += np.array(looks) @ np.log1p((np.array(means) - middle) ** 2 / TALL_SPREAD**2)
    pitch = float(PITCHES[cost.argmin()])
    return pitch if abs(pitch) >= LEAST_PITCH else 0.0


def upright(track: Track, pitch: float = 0.0) -> Track:
    """The track turned about the picture's x axis, frame by frame, so that who stands does so along the vertical.

    ``pitch`` of the camera in radians. The correction changes slowly, and goes on while the person bends or sits.
    """
    sure = standing(track)
    if not sure.any():
        return track
    axis = track.world[:, SHOULDERS].mean(axis=1) - track.world[:, ANKLES].mean(axis=1)
    lean = np.arctan2(axis[:, 2], axis[:, 1]) - pitch
    stiff = stiffness(0.5, track.fps, UPRIGHT_CUTOFF)
    lean = smooth(np.where(sure > 0, lean, 0), sure, stiff, np.zeros_like(lean), UPRIGHT_PULL)
    turns = np.stack([turn(-angle) for angle in lean])
    hips = track.world[:, HIPS].mean(axis=1, keepdims=True)
    return replace(track, world=(track.world - hips) @ turns.transpose(0, 2, 1) + hips)


def turn(angle: float) -> Array:
    """Rotation (3, 3) about the x axis: y towards z."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0, 0], [0, c, -s], [0, s, c]])


def level_axes(pitch: float) -> Array:
    """Rotation (3, 3) from the axes of a camera that looks down by ``pitch`` radians to level ones."""
    return turn(-pitch)


def _sizes(track: Track) -> tuple[Array, Array, Array] | None:
    """Where the feet are and how tall the person is from there to the shoulders, in pixels down the picture, and the
    weights of the frames in which they stand; None where they never do."""
    weight = standing(track)
    feet = track.picture[:, HEELS_AND_TOES, 1].max(axis=1)
    tall = feet - track.picture[:, SHOULDERS, 1].mean(axis=1)
    good = (weight > 0.05) & (tall > 1)
    return (feet[good], tall[good], weight[good]) if good.any() else None


def _angle(a: Array, b: Array) -> Array:
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.arccos(np.clip((a * b).sum(axis=-1) / np.maximum(lengths, 1e-9), -1, 1))


def _ramp(value: Array, low: float, high: float) -> Array:
    return np.clip((value - low) / (high - low), 0, 1)
