"""Cameras that move around a mesh or a point cloud, the frames they see, and the video of those frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.geometry.cameras import camera_centers, intrinsics_from_fov, look_at
from models.runtime.errors import InputError
from pipelines.media.video import VideoWriter
from pipelines.render.shading import Camera, Lights, Picture, point_spacing, render_mesh, render_points

Frame = NDArray[np.uint8]

_FOV = np.radians(40)


def bounding_sphere(points: ArrayLike, percent: float = 99.0) -> tuple[NDArray[np.float64], float]:
    """Centre (3,) and radius that hold ``percent`` of the points (N, 3); strays do not count.

    Raises:
        InputError: no finite points.
    """
    points = np.asarray(points, dtype=np.float64)
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) == 0:
        raise InputError("There is nothing to look at: the result holds no points.")
    points = points[:: -(-len(points) // 200_000)]
    tail = (100 - percent) / 2
    low, high = np.percentile(points, [tail, 100 - tail], axis=0)
    centre = (low + high) / 2
    radius = float(np.percentile(np.linalg.norm(points - centre, axis=1), percent))
    return centre, radius if radius > 0 else 1.0


def orbit(
    points: ArrayLike,
    count: int,
    size: tuple[int, int],
    elevation: float = 12.0,
    up: ArrayLike = (0.0, 1.0, 0.0),
    start: float = 0.0,
    zoom: float = 1.0,
) -> list[Camera]:
    """One full turn around points (N, 3): ``count`` cameras, ``size`` (width, height), angles in degrees.

    The first camera looks along -z from ``start`` degrees about ``up``; the points fill the picture at zoom 1.
    """
    centre, radius = bounding_sphere(points)
    width, height = size
    up = np.asarray(up, np.float64) / np.linalg.norm(up)
    front = np.array([0, 0, 1.0]) if abs(up[2]) < 0.9 else np.array([0, 1.0, 0])
    front = front - (front @ up) * up
    front /= np.linalg.norm(front)
    side = np.cross(up, front)
    half = np.arctan(np.tan(_FOV / 2) * min(1.0, height / width))
    distance = radius / np.sin(half) / zoom
    K = intrinsics_from_fov(_FOV, width, height)
    rise = np.radians(elevation)
    cameras = []
    for k in range(count):
        turn = np.radians(start) + 2 * np.pi * k / count
        ring = np.cos(turn) * front + np.sin(turn) * side
        eye = centre + distance * (np.cos(rise) * ring + np.sin(rise) * up)
        cameras.append(Camera(look_at(eye, centre, up), K, width, height))
    return cameras


def sway(
    reference: Camera, target: ArrayLike, count: int, degrees: float = 12.0, rise: float = 3.0, back: float = 1.0
) -> list[Camera]:
    """A closed swing around the view of one camera: sideways by ``degrees``, up and down by ``rise``.

    For scenes seen from within, where a full turn would show the outside of the walls. ``back`` is the distance to the
    ``target`` (3,) as a part of the reference camera's own.
    """
    target = np.asarray(target, np.float64)
    E = np.asarray(reference.extrinsics, np.float64)
    right, down = E[0, :3], E[1, :3]
    arm = (camera_centers(E) - target) * back
    cameras = []
    for k in range(count):
        phase = 2 * np.pi * k / count
        a, b = np.radians(degrees) * np.sin(phase), np.radians(rise) * np.sin(2 * phase)
        length = np.linalg.norm(arm)
        moved = arm + length * (np.tan(a) * right - np.tan(b) * down)
        moved *= length / np.linalg.norm(moved)
        pose = look_at(target + moved, target, -down)
        cameras.append(Camera(pose, reference.intrinsics, reference.width, reference.height))
    return cameras


def cloud_frames(
    cameras: Iterable[Camera],
    points: ArrayLike,
    colors: NDArray[np.uint8],
    radius: float | None = None,
    background: tuple[int, int, int] = (255, 255, 255),
    supersample: int = 2,
) -> Iterator[Picture]:
    """The cloud from each camera; discs of ``radius`` world units, by default from the spacing of the points."""
    points = np.asarray(points, np.float32)
    radius = point_spacing(points) if radius is None else radius
    for camera in cameras:
        yield render_points(camera, points, colors, radius, background, supersample=supersample)


def mesh_frames(
    cameras: Iterable[Camera],
    vertices: ArrayLike,
    faces: NDArray[np.integer],
    background: tuple[int, int, int] = (255, 255, 255),
    **look: object,
) -> Iterator[Picture]:
    """The lit mesh from each camera; ``look`` as in ``render_mesh`` (colors, texture, uv, normals, supersample)."""
    vertices = np.asarray(vertices, np.float64)
    lights = look.pop("lights", Lights())
    for camera in cameras:
        yield render_mesh(camera, vertices, faces, background=background, lights=lights, **look)


def write_video(path: Path, pictures: Iterable[Picture], fps: Fraction | float = 24, crf: float = 20) -> Path:
    """H.264 of the pictures' colours, written as they come; the file appears when it is whole.

    Raises:
        InputError: no pictures.
    """
    iterator = iter(pictures)
    first = next(iterator, None)
    if first is None:
        raise InputError("There are no frames to write.")
    height, width = first.color.shape[:2]
    with VideoWriter(path, fps, (width, height), crf=crf) as writer:
        writer.write(first.color)
        for picture in iterator:
            writer.write(picture.color)
    return Path(path)
