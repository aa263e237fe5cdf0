"""The point cloud files of a prediction; made again with other filter options without computing depth again."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipelines.base import Output
from pipelines.export.glb import write_scene_glb
from pipelines.export.ply import write_points_ply
from pipelines.scene.fusion import Cloud, fuse
from pipelines.scene.options import FilterOptions
from pipelines.scene.prediction import Prediction

_CAMERA_SIZE = 0.03  # depth of a camera's wires, as a share of the scene's extent


def refilter(prediction: Path, out_dir: Path, options: FilterOptions) -> list[Output]:
    """Writes scene.glb and points.ply anew into ``out_dir`` from a saved prediction.

    Raises:
        InputError: the file is no prediction, or the filter leaves no point.
    """
    loaded = Prediction.load(prediction)
    return write_cloud(loaded, fuse(loaded, options), Path(out_dir), options)


def write_cloud(prediction: Prediction, cloud: Cloud, out_dir: Path, options: FilterOptions) -> list[Output]:
    """Writes scene.glb (upright, with cameras) and points.ply (in the prediction's own coordinates)."""
    height, width = prediction.sizes[0]
    cameras = (prediction.extrinsics, prediction.intrinsics, (int(width), int(height)))
    write_scene_glb(
        out_dir / "scene.glb",
        cloud.points,
        cloud.colors,
        cameras if options.show_cameras else None,
        _CAMERA_SIZE * options.camera_size,
        upright(prediction.extrinsics, cloud.points),
    )
    write_points_ply(out_dir / "points.ply", cloud.points, cloud.colors)
    return [
        Output("scene", "scene.glb", "model3d", "Point cloud with cameras"),
        Output("points", "points.ply", "data", "Points (PLY)"),
    ]


def upright(extrinsics: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(4, 4) from the world to a y-up one: up is where the pictures' tops point on average, the mean viewing direction
    becomes -z, and the median of the points (P, 3) the origin. extrinsics (N, 3, 4) world-to-camera."""
    up = -extrinsics[:, 1, :3].mean(0)
    up /= np.linalg.norm(up) + 1e-12
    right = np.cross(extrinsics[:, 2, :3].mean(0), up)
    if np.linalg.norm(right) < 1e-6:
        right = extrinsics[0, 0, :3] - up * (up @ extrinsics[0, 0, :3])
    right /= np.linalg.norm(right) + 1e-12
    R = np.stack([right, up, np.cross(right, up)])
    transform = np.eye(4)
    transform[:3, :3] = R
    transform[:3, 3] = -np.median(points @ R.T, axis=0)
    return transform
