"""Square, possibly rotated regions of a picture: cutting them out, mapping points back, and the rules that place them.

Pixel coordinates are continuous, x right, y down; angles are clockwise on the screen, in radians.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from math import atan2, cos, hypot, pi, sin

import cv2
import numba
import numpy as np

from models.blaze.decode import Detections

POSITIONS = 32  # sampling positions per pixel in each direction, as in OpenCV's fixed-point maps


class Border(Enum):
    """What lies outside the picture: black, or its edge pixels carried on."""

    ZERO = cv2.BORDER_CONSTANT
    REPLICATE = cv2.BORDER_REPLICATE


@dataclass(frozen=True)
class Region:
    """A square of a picture, sides in pixels; unit coordinates run from 0 to 1 along its own axes.

    ``mirror`` flips the unit x axis, for networks that know one side of the body only.
    """

    x: float
    y: float
    side: float
    angle: float = 0.0
    mirror: bool = False

    @property
    def axes(self) -> np.ndarray:
        """(2, 2) whose columns are the unit axes in pixels, without the size."""
        flip = -1.0 if self.mirror else 1.0
        c, s = cos(self.angle), sin(self.angle)
        return np.array([[flip * c, -s], [flip * s, c]])

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The upright box x0, y0, x1, y1 about the region's corners."""
        half = self.side / 2 * (abs(cos(self.angle)) + abs(sin(self.angle)))
        return self.x - half, self.y - half, self.x + half, self.y + half

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Unit points (..., 2 or 3) in pixels; a third coordinate is scaled by the side."""
        points = np.asarray(points)
        plane = (points[..., :2] - 0.5) @ (self.axes.T * self.side) + (self.x, self.y)
        return np.concatenate([plane, points[..., 2:] * self.side], axis=-1)

    def to_unit(self, points: np.ndarray) -> np.ndarray:
        """Pixel points (..., 2 or 3) in unit coordinates: the inverse of ``to_image``."""
        points = np.asarray(points)
        plane = (points[..., :2] - (self.x, self.y)) @ (self.axes / self.side) + 0.5
        return np.concatenate([plane, points[..., 2:] / self.side], axis=-1)

    def turn_to_image(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors (..., 3) from the region's axes to the picture's: turned about z, not scaled."""
        vectors = np.asarray(vectors)
        return np.concatenate([vectors[..., :2] @ self.axes.T, vectors[..., 2:]], axis=-1)

    def scaled(self, factor: float) -> Region:
        """The same region with its side multiplied."""
        return replace(self, side=self.side * factor)

    def cut(self, image: np.ndarray, size: int, border: Border) -> np.ndarray:
        """The region as (size, size, C) uint8, bilinear; output pixel i samples unit coordinate i / size.

        Sampling positions are rounded to 1/32 pixel and blended in fixed point. The networks are that sensitive: with
        finer arithmetic their answers move by up to 3 % of the shoulder width.
        """
        axes, corner = self.axes * (self.side * POSITIONS), self.to_image(np.zeros(2)) * POSITIONS
        whole, part = _positions(axes, corner, size)
        return cv2.remap(image, whole, part, cv2.INTER_LINEAR, borderMode=border.value, borderValue=(0, 0, 0))


@numba.njit(nogil=True, cache=True)
def _positions(axes, corner, size):  # pragma: no cover - compiled
    """OpenCV's fixed-point maps, (size, size, 2) int16 and (size, size) uint16, of the places ``axes`` (2, 2) times
    column / size and row / size plus ``corner`` (2,), counted in 1/POSITIONS of a pixel."""
    whole = np.empty((size, size, 2), np.int16)
    part = np.empty((size, size), np.uint16)
    for i in range(size):
        down = i / size
        x0, y0 = axes[0, 1] * down + corner[0], axes[1, 1] * down + corner[1]
        for j in range(size):
            right = j / size
            x = np.int64(np.rint(axes[0, 0] * right + x0))
            y = np.int64(np.rint(axes[1, 0] * right + y0))
            whole[i, j, 0] = min(max(x // POSITIONS, -32768), 32767)
            whole[i, j, 1] = min(max(y // POSITIONS, -32768), 32767)
            part[i, j] = (y % POSITIONS) * POSITIONS + x % POSITIONS
    return whole, part


def whole_picture(image: np.ndarray) -> Region:
    """The square about the picture's middle that just holds all of it."""
    height, width = image.shape[:2]
    return Region(width / 2, height / 2, float(max(height, width)))


def detections_to_image(found: Detections, region: Region) -> Detections:
    """Detections in unit coordinates of an unrotated ``region`` as pixels of the picture."""
    boxes = region.to_image(found.boxes.reshape(-1, 2, 2)).reshape(-1, 4)
    return Detections(boxes, region.to_image(found.keypoints), found.scores)


def direction(start: np.ndarray, end: np.ndarray) -> float:
    """Clockwise angle in -pi..pi of the line from ``start`` to ``end`` (2,), 0 pointing right."""
    return atan2(float(end[1] - start[1]), float(end[0] - start[0]))


def _upright(angle: float) -> float:
    """``angle`` brought into -pi..pi."""
    return (angle + pi) % (2 * pi) - pi


def face_region(box: np.ndarray, eye_right: np.ndarray, eye_left: np.ndarray) -> Region:
    """Where the face landmark network looks: 1.5 times the box's long side, the line between the eyes level.

    ``box`` (4,) in pixels is a detection's or that of the landmarks of the frame before; eyes (2,) are the person's.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    return Region((x0 + x1) / 2, (y0 + y1) / 2, 1.5 * max(x1 - x0, y1 - y0), direction(eye_right, eye_left))


def pose_region(centre: np.ndarray, end: np.ndarray) -> Region:
    """Where the pose network looks: the body's circle times 1.25, its axis from ``centre`` to ``end`` pointing up."""
    radius = hypot(float(end[0] - centre[0]), float(end[1] - centre[1]))
    return Region(float(centre[0]), float(centre[1]), 2.5 * radius, _upright(direction(centre, end) + pi / 2))


def palm_region(box: np.ndarray, wrist: np.ndarray, middle: np.ndarray) -> Region:
    """Where the hand network looks after a palm detection: fingers up, moved half a palm towards them, side x2.6."""
    x0, y0, x1, y1 = (float(v) for v in box)
    angle = _upright(direction(wrist, middle) + pi / 2)
    shift = -0.5 * (y1 - y0)
    x, y = (x0 + x1) / 2 - shift * sin(angle), (y0 + y1) / 2 + shift * cos(angle)
    return Region(x, y, 2.6 * max(x1 - x0, y1 - y0), angle)


PALM_POINTS = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)


def hand_region(points: np.ndarray) -> Region:
    """Where the hand network looks after a hand (21, 2+) was seen in the frame before.

    The box of wrist, thumb and the two lower joints of each finger, in axes where the wrist points up at the knuckles,
    moved a tenth towards the fingers and doubled.
    """
    points = np.asarray(points)[:, :2].astype(float)
    knuckles = (points[5] + points[13] + 2 * points[9]) / 4
    angle = _upright(direction(points[0], knuckles) + pi / 2)
    turned = Region(0.0, 0.0, 1.0, angle)
    own = turned.to_unit(points[list(PALM_POINTS)])
    low, high = own.min(axis=0), own.max(axis=0)
    width, height = high - low
    middle = turned.to_image((low + high) / 2 + (0.0, -0.1 * height))
    return Region(float(middle[0]), float(middle[1]), 2.0 * float(max(width, height)), angle)


def eye_region(outer: np.ndarray, inner: np.ndarray, mirror: bool) -> Region:
    """Where the iris network looks: 2.3 eye widths about the eye's middle, corners level; left eyes are mirrored.

    ``outer`` and ``inner`` (2,) are the eye's corners in pixels.
    """
    width = hypot(float(inner[0] - outer[0]), float(inner[1] - outer[1]))
    angle = direction(inner, outer) if mirror else direction(outer, inner)
    return Region(float(outer[0] + inner[0]) / 2, float(outer[1] + inner[1]) / 2, 2.3 * width, angle, mirror)
