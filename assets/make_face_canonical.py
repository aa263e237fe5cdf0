"""Makes the canonical face: `python -m assets.make_face_canonical MEDIA... [--out FILE]` from photos and videos.

Landmarks of faces that look into the camera are aligned and averaged, made symmetric, and given closed lips. The
surface is unrolled about a vertical axis, triangulated by Delaunay, and opened at the eyes and the mouth; eyes and an
inner mouth are put behind the openings.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import Delaunay

from models.geometry.similarity import umeyama
from models.runtime.cache import ModelCache
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from pipelines.export.npz import write_npz
from pipelines.face.canonical import FILE, LEFT_EYE_RING, MOUTH_RING, OVAL_RING, PUPILS_APART, RIGHT_EYE_RING
from pipelines.media.image import read_image
from pipelines.media.sniff import sniff
from pipelines.media.video import VideoReader
from pipelines.tracking.face_points import LOWER_INNER, UPPER_INNER, yaw_and_pitch
from pipelines.tracking.face_tracker import FaceTracker
from pipelines.tracking.networks import BlazeNetworks
from pipelines.tracking.options import FaceOptions

MOST_YAW, MOST_PITCH = 9.0, 14.0  # degrees
EVERY, MOST_FRAMES = 12, 40
ROUNDS = 8
CORNER_SHIFT = 0.72
CAVITY = ((0.0, 1.0, 0.002), (0.5, 1.0, 0.0045), (1.0, 0.97, 0.007), (0.5, 0.7, 0.009))  # height, width, depth
BAG_CENTRE, BAG_RADIUS = (0.105, 0.105), 0.095


def predictions(media: list[Path], tracker: FaceTracker, settings: Settings) -> Iterator[np.ndarray]:
    """Landmarks (468, 3) of frontal faces, x right, y up, z towards the camera."""
    for path in media:
        if sniff(path).kind == "image":
            images: Iterator[np.ndarray] = iter([read_image(path, settings.limits)])
        else:
            frames = islice(VideoReader(path, settings.limits), 0, EVERY * MOST_FRAMES, EVERY)
            images = (frame.rgb for frame in frames)
        for image in images:
            for face in tracker.find_faces(image)[:1]:
                yaw, pitch = yaw_and_pitch(face.landmarks[:468])
                if abs(yaw) < MOST_YAW and abs(pitch) < MOST_PITCH:
                    yield face.landmarks[:468] * (1, -1, -1)


def eye_centres(points: np.ndarray) -> np.ndarray:
    return np.stack([points[list(RIGHT_EYE_RING)].mean(0), points[list(LEFT_EYE_RING)].mean(0)])


def average(shapes: list[np.ndarray]) -> np.ndarray:
    """Generalised Procrustes mean (468, 3), pupils level and ``PUPILS_APART`` apart."""
    mean = shapes[0]
    for _ in range(ROUNDS):
        mean = np.mean([umeyama(shape, mean).apply(shape) for shape in shapes], axis=0)
    return mean


def mirror_pairs(points: np.ndarray) -> np.ndarray:
    """For every landmark the one on the other side (468,)."""
    flipped = points * (-1, 1, 1)
    moved = flipped
    for _ in range(4):
        distance = np.linalg.norm(moved[:, None] - points[None], axis=-1)
        _, pairs = linear_sum_assignment(distance**2)
        moved = umeyama(flipped, points[pairs]).apply(flipped)
    if not np.array_equal(pairs[pairs], np.arange(len(points))):
        raise SystemExit("the landmarks are no mirror images of each other; add more frontal faces")
    return pairs


def neutral(mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric, upright face in metres with closed lips, and the mirror pairs."""
    start = mean - eye_centres(mean).mean(0)
    pairs = mirror_pairs(start)
    flipped = start[pairs] * (-1, 1, 1)
    points = (start + umeyama(flipped, start).apply(flipped)) / 2
    across = points - points[pairs]  # all along one axis now: the face's own left and right
    axis = across[np.abs(np.linalg.norm(across, axis=1)).argmax()]
    axis *= np.sign(axis[0]) / np.linalg.norm(axis)
    plane = (points[10] - points[152]) - axis * ((points[10] - points[152]) @ axis)
    up = plane / np.linalg.norm(plane)
    points = points @ np.stack([axis, up, np.cross(axis, up)], axis=1)
    points -= eye_centres(points).mean(0)
    points *= PUPILS_APART / np.linalg.norm(np.diff(eye_centres(points), axis=0))
    points = (points + points[pairs] * (-1, 1, 1)) / 2
    for upper, lower in zip(UPPER_INNER[1:-1], LOWER_INNER[1:-1], strict=True):
        points[[upper, lower]] = points[[upper, lower]].mean(0)
    return points, pairs


def unroll(points: np.ndarray, opened: np.ndarray) -> np.ndarray:
    """Texture coordinates (N, 2) in 0..1, origin bottom left: angle about a vertical axis, and height."""
    axis_z = points[:, 2].min() - 0.005
    angle = np.arctan2(opened[:, 0], (opened[:, 2] - axis_z) * 1.15)
    flat = np.stack([angle * 0.092, opened[:, 1]], axis=-1)
    low, high = flat.min(0), flat.max(0)
    scale = 0.94 / (high - low).max()
    return np.stack([0.5 + flat[:, 0] * scale, 0.515 + (flat[:, 1] - (low[1] + high[1]) / 2) * scale], axis=-1)


def triangulate(uv: np.ndarray) -> np.ndarray:
    """Triangles (F, 3), seen counter-clockwise from the front, without the openings and nothing outside the oval."""
    corners = Delaunay(uv).simplices
    inside = np.ones(len(corners), bool)
    for ring in (RIGHT_EYE_RING, LEFT_EYE_RING, MOUTH_RING):
        inside &= ~np.isin(corners, ring).all(axis=1)
    inside &= ~np.isin(corners, OVAL_RING).all(axis=1)
    corners = corners[inside]
    a, b, c = (uv[corners[:, i]] for i in range(3))
    turn = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    corners[turn < 0] = corners[turn < 0][:, ::-1]
    return corners


def disc(ring: list[int], centre: int) -> list[tuple[int, int, int]]:
    return [(ring[i], ring[(i + 1) % len(ring)], centre) for i in range(len(ring))]


def counter_clockwise(ring: tuple[int, ...], uv: np.ndarray) -> list[int]:
    p = uv[list(ring)]
    area = (p[:, 0] * np.roll(p[:, 1], -1) - np.roll(p[:, 0], -1) * p[:, 1]).sum()
    return list(ring if area > 0 else ring[::-1])


def build(mean: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of the file: positions, triangles, texture coordinates, and how added vertices hang on landmarks."""
    points, pairs = neutral(mean)
    opened = points.copy()  # lips apart, so that the openings are open in the texture
    for upper, lower in zip(UPPER_INNER[1:-1], LOWER_INNER[1:-1], strict=True):
        gap = 0.0016 * (1 - (points[upper, 0] / points[308, 0]) ** 2) + 0.0004
        opened[upper, 1] += gap
        opened[lower, 1] -= gap
    for corner, upper, lower in ((78, 191, 95), (308, 415, 324)):  # nearer to the lips' ends than anything else
        opened[corner] += CORNER_SHIFT * (opened[[upper, lower]].mean(0) - opened[corner])
    uv = unroll(points, opened)
    faces = triangulate(uv).tolist()
    extra_uv: list[np.ndarray] = []
    rings: list[list[int]] = []
    count = len(points)
    for ring in (RIGHT_EYE_RING, LEFT_EYE_RING):
        ordered = counter_clockwise(ring, uv)
        own = list(range(count, count + len(ordered)))
        faces += disc(own, count + len(ordered))
        extra_uv += [*uv[ordered], uv[ordered].mean(0)]
        rings.append(ordered)
        count += len(ordered) + 1
    ordered = counter_clockwise(MOUTH_RING, uv)
    angles = 2 * np.pi * (np.arange(len(ordered)) / len(ordered))
    start = ordered.index(308)
    angles = angles - angles[start]
    layers = len(CAVITY)
    for layer in range(layers):
        radius = BAG_RADIUS * (1 - layer / layers)
        circle = np.stack([np.cos(angles), np.sin(angles)], axis=-1) * radius
        extra_uv += list(circle + BAG_CENTRE)
    extra_uv.append(np.array(BAG_CENTRE))
    size = len(ordered)
    for layer in range(layers - 1):
        for i in range(size):
            j = (i + 1) % size
            a, b = count + layer * size + i, count + layer * size + j
            faces += [(a, b, b + size), (a, b + size, a + size)]
    faces += disc(list(range(count + (layers - 1) * size, count + layers * size)), count + layers * size)
    return {
        "positions": points.astype(np.float32),
        "uv": np.concatenate([uv, np.stack(extra_uv)]).astype(np.float32),
        "faces": np.array(faces, np.int16),
        "pairs": pairs.astype(np.int16),
        "right_eye": np.array(rings[0], np.int16),
        "left_eye": np.array(rings[1], np.int16),
        "mouth": np.array(ordered, np.int16),
        "cavity": np.array(CAVITY, np.float32),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("media", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=FILE)
    given = parser.parse_args()
    settings = Settings()
    networks = BlazeNetworks(ModelCache.from_settings(settings), WeightsStore(settings))
    # One mean per file, so that a long video counts no more than a photo.
    tracker, shapes = FaceTracker(networks, FaceOptions(smoothing=None)), []
    for path in given.media:
        found = list(predictions([path], tracker, settings))
        if found:
            shapes.append(average(found))
    if not shapes:
        raise SystemExit("no face looks into the camera in these files")
    arrays = build(average(shapes))
    write_npz(given.out, arrays, level=9)
    print(f"{len(shapes)} files, {len(arrays['faces'])} triangles, {given.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
