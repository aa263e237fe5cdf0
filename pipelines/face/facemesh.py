"""From 468 landmarks to a head in metres: pose, camera, vertices in head axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.geometry.cameras import intrinsics_from_fov
from models.geometry.similarity import umeyama
from pipelines.face.canonical import CanonicalFace, canonical_face, pupils
from pipelines.tracking.face_points import SKULL

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FaceLens:
    """The camera that is assumed: intrinsics (3, 3) in pixels of a picture ``size`` (width, height)."""

    intrinsics: Array
    size: tuple[int, int]

    @property
    def focal(self) -> Array:
        """(2,) pixels."""
        return np.diag(self.intrinsics)[:2]

    @property
    def centre(self) -> Array:
        """Principal point (2,) in pixels."""
        return self.intrinsics[:2, 2]

    @classmethod
    def assumed(cls, width: int, height: int, fov_degrees: float, focal_px: float | None = None) -> FaceLens:
        """From a known focal length in pixels, or a field of view along the longer side."""
        long = max(width, height)
        K = intrinsics_from_fov(np.radians(fov_degrees), long, long)
        focal = focal_px or float(K[0, 0])
        return cls(np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]]), (width, height))


@dataclass(frozen=True)
class HeadFit:
    """One face, measured.

    ``camera`` (468, 3) metres in camera axes (x right, y down, z forward), which project onto the landmarks exactly;
    ``head`` (468, 3) the same in head axes; ``extrinsics`` (4, 4) from head to camera; ``scale`` metres of the unit
    face: the factor that makes the canonical face as large as this one.
    """

    camera: Array
    head: Array
    extrinsics: Array
    scale: float

    @property
    def angles(self) -> tuple[float, float, float]:
        """Yaw (to the picture's right), pitch (up) and roll (clockwise) of the face in degrees."""
        forward = self.extrinsics[:3, :3] @ (0, 0, 1.0)
        side = self.extrinsics[:3, :3] @ (1.0, 0, 0)
        yaw = np.degrees(np.arctan2(forward[0], -forward[2]))
        pitch = np.degrees(np.arctan2(-forward[1], np.hypot(forward[0], forward[2])))
        roll = np.degrees(np.arctan2(side[1], side[0]))
        return float(yaw), float(pitch), float(roll)

    def vertices(self, face: CanonicalFace | None = None) -> Array:
        """All vertices of the mesh (V, 3) in head axes."""
        return (face or canonical_face()).complete(self.head)

    def in_camera(self, head_points: NDArray[np.floating]) -> Array:
        """Head axes (N, 3) -> camera axes."""
        return head_points @ self.extrinsics[:3, :3].T + self.extrinsics[:3, 3]


def fit_head(landmarks: NDArray[np.floating], lens: FaceLens, pupil_distance: float) -> HeadFit:
    """Places a face in space.

    Args:
        landmarks: (468, 3) pixels; z grows away from the camera, in the scale of x.
        lens: the camera.
        pupil_distance: metres between the pupils, which sets the size and with it the distance.
    """
    points = np.asarray(landmarks, np.float64)[:468]
    K = lens.intrinsics
    right, left = pupils(points)
    per_pixel = pupil_distance / max(float(np.linalg.norm(left - right)), 1e-6)  # metres
    eyes = (right[2] + left[2]) / 2
    # Depth of every point under the pinhole; at the eyes a pixel is ``per_pixel`` wide.
    depth = np.maximum(K[0, 0] * per_pixel + (points[:, 2] - eyes) * per_pixel, 0.02)
    rays = np.stack(
        [(points[:, 0] - K[0, 2]) / K[0, 0], (points[:, 1] - K[1, 2]) / K[1, 1], np.ones(len(points))], axis=-1
    )
    camera = rays * depth[:, None]
    canonical = canonical_face().positions
    weights = np.zeros(len(canonical))
    weights[list(SKULL)] = 1.0
    fit = umeyama(canonical, camera, weights)
    head = (camera - fit.translation) @ fit.rotation
    origin = pupils(head).mean(axis=0)
    head -= origin
    extrinsics = np.eye(4)
    extrinsics[:3, :3] = fit.rotation
    extrinsics[:3, 3] = fit.translation + fit.rotation @ origin
    return HeadFit(camera, head, extrinsics, fit.scale)
