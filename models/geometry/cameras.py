"""Pinhole cameras as numpy arrays, with OpenCV axes: x right, y down, z forward.

``extrinsics`` are world-to-camera, (..., 3, 4) or (..., 4, 4): ``x_camera = R @ x_world + t``. ``intrinsics`` are
(..., 3, 3) in pixels. The centre of the top-left pixel is (0, 0) unless ``centre=0.5`` says that it is (0.5, 0.5), as
COLMAP has it. Depth is the camera's z, not the distance along the ray. float32 stays float32, anything else is float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.floating]

# OpenCV camera axes <-> OpenGL / glTF camera axes (x right, y up, z backward); its own inverse.
FLIP_YZ = np.diag([1.0, -1.0, -1.0, 1.0])


def _floating(value: ArrayLike) -> Array:
    array = np.asarray(value)
    return array if array.dtype == np.float32 else array.astype(np.float64, copy=False)


def homogeneous(transform: ArrayLike) -> Array:
    """(..., 3, 4) or (..., 4, 4) -> (..., 4, 4)."""
    transform = _floating(transform)
    if transform.shape[-2:] == (4, 4):
        return transform
    if transform.shape[-2:] != (3, 4):
        raise ValueError(f"a transform is (..., 3, 4) or (..., 4, 4), not {transform.shape}")
    bottom = np.broadcast_to(np.array([0, 0, 0, 1], transform.dtype), (*transform.shape[:-2], 1, 4))
    return np.concatenate([transform, bottom], axis=-2)


def rigid(rotation: ArrayLike, translation: ArrayLike) -> Array:
    """Rotation (..., 3, 3) and translation (..., 3) -> (..., 3, 4)."""
    return np.concatenate([_floating(rotation), _floating(translation)[..., None]], axis=-1)


def invert_rigid(transform: ArrayLike) -> Array:
    """Inverse of rotation-and-translation matrices: extrinsics <-> camera-to-world. The shape is kept."""
    transform = _floating(transform)
    Rt = np.swapaxes(transform[..., :3, :3], -1, -2)
    inverse = rigid(Rt, -(Rt @ transform[..., :3, 3:])[..., 0])
    return homogeneous(inverse) if transform.shape[-2] == 4 else inverse


def compose(a: ArrayLike, b: ArrayLike) -> Array:
    """``a @ b`` of affine transforms; (..., 3, 4) when both are, else (..., 4, 4)."""
    a, b = _floating(a), _floating(b)
    product = homogeneous(a) @ homogeneous(b)
    return product[..., :3, :] if a.shape[-2] == b.shape[-2] == 3 else product


def transform_points(transform: ArrayLike, points: ArrayLike) -> Array:
    """Points (..., N, 3) through affine transforms (..., 3 or 4, 4) -> (..., N, 3)."""
    transform, points = _floating(transform), _floating(points)
    return _turned(transform[..., :3, :3], points) + transform[..., None, :3, 3]


def _turned(matrix: Array, vectors: Array) -> Array:
    """Matrices (..., A, B) times row vectors (..., N, B) -> (..., N, A).

    Multiplied as columns: a long thin matrix from the left is many times slower in the usual libraries.
    """
    return np.swapaxes(matrix @ np.swapaxes(vectors, -1, -2), -1, -2)


def camera_centers(extrinsics: ArrayLike) -> Array:
    """Where the cameras stand in the world. (..., 3|4, 4) -> (..., 3)."""
    return invert_rigid(extrinsics)[..., :3, 3]


def look_at(eye: ArrayLike, target: ArrayLike, up: ArrayLike = (0.0, 1.0, 0.0)) -> Array:
    """Extrinsics (3, 4) of a camera at ``eye`` that looks at ``target`` with ``up`` (world) upwards in the image.

    Raises:
        ValueError: eye and target agree, or the view is along ``up``.
    """
    eye, target, up = (np.asarray(v, dtype=np.float64) for v in (eye, target, up))
    forward = target - eye
    right = np.cross(forward, up)
    if np.linalg.norm(right) <= 1e-9 * np.linalg.norm(forward) * np.linalg.norm(up) or not np.any(forward):
        raise ValueError("look_at needs a view direction that is not along up")
    forward /= np.linalg.norm(forward)
    right /= np.linalg.norm(right)
    R = np.stack([right, np.cross(forward, right), forward])
    return rigid(R, -R @ eye)


def focal_from_fov(fov: ArrayLike, size: ArrayLike) -> Array:
    """Focal length in pixels from a full field of view in radians across ``size`` pixels."""
    return _floating(size) / (2 * np.tan(_floating(fov) / 2))


def fov_from_focal(focal: ArrayLike, size: ArrayLike) -> Array:
    """Full field of view in radians across ``size`` pixels."""
    return 2 * np.arctan(_floating(size) / (2 * _floating(focal)))


def intrinsics_matrix(fx: ArrayLike, fy: ArrayLike, cx: ArrayLike, cy: ArrayLike) -> Array:
    """Pinhole matrices (..., 3, 3) from focal lengths and principal point in pixels, any broadcastable shapes."""
    fx, fy, cx, cy = np.broadcast_arrays(*(_floating(v) for v in (fx, fy, cx, cy)))
    K = np.zeros((*fx.shape, 3, 3), dtype=np.result_type(fx, fy, cx, cy))
    K[..., 0, 0], K[..., 1, 1], K[..., 0, 2], K[..., 1, 2], K[..., 2, 2] = fx, fy, cx, cy, 1
    return K


def intrinsics_from_fov(fov_x: float, width: int, height: int, centre: float = 0.0) -> Array:
    """Square pixels, principal point in the middle of the image, horizontal ``fov_x`` in radians -> (3, 3)."""
    focal = focal_from_fov(fov_x, width)
    return intrinsics_matrix(focal, focal, width / 2 - 0.5 + centre, height / 2 - 0.5 + centre)


def resize_intrinsics(intrinsics: ArrayLike, scale_x: float, scale_y: float, centre: float = 0.0) -> Array:
    """Intrinsics of the image resized by ``new / old`` factors, with the corners of the image kept in place."""
    K = _floating(intrinsics).copy()
    half = 0.5 - centre  # distance of the pixel coordinate from the one that scales about the image corner
    for row, scale in ((0, scale_x), (1, scale_y)):
        K[..., row, :2] *= scale
        K[..., row, 2] = (K[..., row, 2] + half) * scale - half
    return K


def crop_intrinsics(intrinsics: ArrayLike, left: float, top: float) -> Array:
    """Intrinsics of the image whose top-left pixel was at (left, top) before the crop."""
    K = _floating(intrinsics).copy()
    K[..., 0, 2] -= left
    K[..., 1, 2] -= top
    return K


def pixel_grid(height: int, width: int, centre: float = 0.0) -> Array:
    """Pixel positions (H, W, 2) as (u, v)."""
    v, u = np.mgrid[0:height, 0:width].astype(np.float64)
    return np.stack([u, v], axis=-1) + centre


def project(points: ArrayLike, extrinsics: ArrayLike, intrinsics: ArrayLike) -> tuple[Array, Array]:
    """World points (..., N, 3) -> pixels (..., N, 2) and depth (..., N).

    Points at depth 0 give non-finite pixels and points behind the camera have negative depth: mask by the depth.
    """
    camera = transform_points(extrinsics, points)
    K = _floating(intrinsics)
    depth = camera[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        plane = camera / depth[..., None]
        return (plane @ np.swapaxes(K, -1, -2))[..., :2], depth


def unproject_pixels(
    pixels: ArrayLike, depth: ArrayLike, intrinsics: ArrayLike, extrinsics: ArrayLike | None = None
) -> Array:
    """Pixels (..., N, 2) at depth (..., N) -> points (..., N, 3), in the world, or the camera without extrinsics."""
    pixels, depth = _floating(pixels), _floating(depth)
    matrix, shift = np.linalg.inv(_floating(intrinsics)), None
    if extrinsics is not None:  # turned while they are nine numbers, not afterwards as N rays
        pose = invert_rigid(extrinsics)
        matrix, shift = pose[..., :3, :3] @ matrix, pose[..., None, :3, 3]
    points = (_turned(matrix[..., :, :2], pixels) + matrix[..., None, :, 2]) * depth[..., None]
    return points if shift is None else points + shift


def unproject(
    depth: ArrayLike, intrinsics: ArrayLike, extrinsics: ArrayLike | None = None, centre: float = 0.0
) -> Array:
    """Depth maps (..., H, W) -> points (..., H, W, 3), in the world, or in the camera when ``extrinsics`` is None."""
    depth = _floating(depth)
    height, width = depth.shape[-2:]
    pixels = pixel_grid(height, width, centre).reshape(-1, 2).astype(depth.dtype)
    flat = depth.reshape(*depth.shape[:-2], height * width)
    return unproject_pixels(pixels, flat, intrinsics, extrinsics).reshape(*depth.shape, 3)


def flip_camera_axes(camera_to_world: ArrayLike) -> Array:
    """Camera-to-world (..., 3|4, 4) between OpenCV and OpenGL/glTF camera axes; the world stays. Its own inverse."""
    pose = _floating(camera_to_world)
    return pose @ FLIP_YZ.astype(pose.dtype)


def flip_world_axes(points: ArrayLike) -> Array:
    """Points (..., 3) between a y-down z-forward world (OpenCV) and a y-up z-backward one (glTF). Its own inverse."""
    points = _floating(points)
    return points * np.array([1, -1, -1], points.dtype)


def relative_pose(extrinsics_a: ArrayLike, extrinsics_b: ArrayLike) -> Array:
    """``T_b_a``: takes points of camera a's frame to camera b's, (..., 3, 4) (or 4x4 when both inputs are)."""
    return compose(extrinsics_b, invert_rigid(extrinsics_a))


def rotation_angle_error(a: ArrayLike, b: ArrayLike) -> Array:
    """Degrees between the rotations of two transforms or rotation matrices, (..., 3|4, 3|4) -> (...)."""
    A, B = (np.asarray(v, dtype=np.float64)[..., :3, :3] for v in (a, b))
    r = np.swapaxes(A, -1, -2) @ B
    v = np.stack([r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]], axis=-1)
    return np.degrees(np.arctan2(np.linalg.norm(v, axis=-1), np.trace(r, axis1=-2, axis2=-1) - 1))


def translation_angle_error(a: ArrayLike, b: ArrayLike) -> Array:
    """Degrees between the translation directions of two transforms (..., 3|4, 4) or vectors (..., 3) -> (...).

    A zero vector has no direction: its error is 0 against another zero vector and 90 against anything else.
    """
    u, v = (np.asarray(t, dtype=np.float64) for t in (a, b))
    u, v = (t[..., :3, 3] if t.shape[-1] == 4 else t for t in (u, v))
    zu, zv = (~np.any(t, axis=-1) for t in (u, v))
    angle = np.degrees(np.arctan2(np.linalg.norm(np.cross(u, v), axis=-1), np.sum(u * v, axis=-1)))
    return np.where(zu & zv, 0.0, np.where(zu | zv, 90.0, angle))


def upright_alignment(extrinsics: ArrayLike, points: ArrayLike | None = None) -> Array:
    """World to a y-up frame (4, 4) in which floors lie level, for people to look at.

    Up is the mean of the cameras' own up directions (people hold cameras level), the first camera looks along -z, and
    the median of ``points`` (N, 3), or of the camera centres without points, becomes the origin. Scale is kept.
    """
    E = np.asarray(extrinsics, dtype=np.float64)
    up = -E[:, 1, :3].sum(axis=0)
    forward = E[0, 2, :3]
    if np.linalg.norm(up) < 1e-3 * len(E) or np.linalg.norm(np.cross(up, forward)) < 1e-3 * np.linalg.norm(up):
        up = -E[0, 1, :3]  # cameras all around, or looking straight down: the first one decides
    y = up / np.linalg.norm(up)
    x = np.cross(forward, y)
    x /= np.linalg.norm(x)
    R = np.stack([x, y, np.cross(x, y)])
    middle = np.median(camera_centers(E) if points is None or len(np.asarray(points)) == 0 else points, axis=0)
    return homogeneous(rigid(R, -R @ middle))
