"""From 468 landmarks to a head in metres: pose, camera, vertices in head axes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from models.blaze.face import LEFT_EYE_OUTER, RIGHT_EYE_OUTER
from models.geometry.cameras import intrinsics_from_fov
from models.geometry.similarity import umeyama
from pipelines.face.canonical import CanonicalFace, canonical_face, pupils
from pipelines.face.cranium import Shell, grown
from pipelines.tracking.face_points import SKULL
from pipelines.tracking.networks import BlazeNetworks
from pipelines.tracking.regions import Region

LEAST_PERSON = 0.4  # mean confidence over the landmarks from which the mask is believed
EYES_OF_68 = (36, 45)  # their outer corners
BUST = 3.4  # sides of the square about head and shoulders, in faces
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

    def project(self, points: NDArray[np.floating]) -> Array:
        """Camera axes (..., 3) -> pixels (..., 2)."""
        return points[..., :2] / points[..., 2:] * self.focal + self.centre

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
    face: the factor that makes the canonical face as large as this one; ``shell`` the person's own skull and neck,
    the canonical ones unless measured.
    """

    camera: Array
    head: Array
    extrinsics: Array
    scale: float
    shell: Shell | None = None

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
        return (face or canonical_face()).complete(self.head, shell=self.shell)

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


def with_silhouette(fit: HeadFit, lens: FaceLens, mask: NDArray[np.float32]) -> HeadFit:
    """The head with hair and skull as large as the person's mask (H, W) 0..1 shows them."""
    shell = canonical_face().shell(fit.head)
    return replace(fit, shell=grown(shell, fit.extrinsics, lens.project, fit.scale, mask))


def head_region(landmarks: NDArray[np.floating]) -> Region:
    """The square of a photo in which a person is told from the background: head and shoulders, upright or turned by
    quarters with a photo that lies on its side. ``landmarks`` (468 or 68, 2+) in pixels."""
    low, high = landmarks[:, :2].min(axis=0), landmarks[:, :2].max(axis=0)
    x, y = (low + high) / 2
    right, left = (RIGHT_EYE_OUTER, LEFT_EYE_OUTER) if len(landmarks) >= 468 else EYES_OF_68
    across = landmarks[left, :2] - landmarks[right, :2]
    quarters = round(float(np.arctan2(across[1], across[0])) / (np.pi / 2))
    return Region(float(x), float(y), BUST * float((high - low).max()), quarters * np.pi / 2)


def person_mask(
    networks: BlazeNetworks, photo: NDArray[np.uint8], landmarks: NDArray[np.floating]
) -> NDArray[np.float32] | None:
    """How surely each pixel (H, W) of a photo shows the person whose face has these landmarks; 0 far from it.

    None where the network takes not even the face for a person: an animal, a doll, a drawing.
    """
    region = head_region(landmarks)
    small = cv2.erode(networks.person_mask(photo, region), np.ones((3, 3)))  # rather none than the background
    side = small.shape[0]
    at = np.clip(region.to_unit(landmarks[:, :2]) * side, 0, side - 1).astype(int)
    if small[at[:, 1], at[:, 0]].mean() < LEAST_PERSON:
        return None
    turned = region.axes.T * (side / region.side)
    start = turned @ (0.5 - region.x, 0.5 - region.y) + side / 2 - 0.5
    to_small = np.concatenate([turned, start[:, None]], axis=1)
    size = (photo.shape[1], photo.shape[0])
    return cv2.warpAffine(small, to_small, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
