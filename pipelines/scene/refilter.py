"""The point cloud files of a prediction; made again with other filter options without computing depth again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh

from pipelines.base import Output
from pipelines.scene.fusion import Cloud, fuse
from pipelines.scene.options import FilterOptions
from pipelines.scene.prediction import Prediction


def refilter(prediction: Path, out_dir: Path, options: FilterOptions) -> list[Output]:
    """Writes scene.glb and points.ply anew into ``out_dir`` from a saved prediction.

    Raises:
        InputError: the file is no prediction, or the filter leaves no point.
    """
    outputs, _ = write_cloud(Prediction.load(prediction), Path(out_dir), options)
    return outputs


def write_cloud(prediction: Prediction, out_dir: Path, options: FilterOptions) -> tuple[list[Output], int]:
    """Fuses and writes scene.glb and points.ply; returns the outputs and the number of points."""
    cloud = fuse(prediction, options)
    scene = trimesh.Scene([trimesh.PointCloud(upright(prediction.extrinsics, cloud)[0], cloud.colors)])
    scene.export(out_dir / "scene.glb")
    trimesh.PointCloud(cloud.points, cloud.colors).export(out_dir / "points.ply")
    return [
        Output("scene", "scene.glb", "model3d", "Point cloud with cameras"),
        Output("points", "points.ply", "data", "Points (PLY)"),
    ], len(cloud)


def upright(extrinsics: np.ndarray, cloud: Cloud) -> tuple[np.ndarray, np.ndarray]:
    """The cloud's points turned into a y-up world, and the (4, 4) transform that did it.

    Up is where the cameras' tops point on average, the mean viewing direction becomes -z, the median point the origin.
    """
    up = -extrinsics[:, 1, :3].mean(0)
    up /= np.linalg.norm(up) + 1e-12
    forward = extrinsics[:, 2, :3].mean(0)
    right = np.cross(forward, up)
    if np.linalg.norm(right) < 1e-6:
        right = extrinsics[0, 0, :3]
    right /= np.linalg.norm(right)
    R = np.stack([right, up, np.cross(right, up)])
    transform = np.eye(4)
    transform[:3, :3] = R
    transform[:3, 3] = -R @ np.median(cloud.points, axis=0)
    return (cloud.points @ R.T + transform[:3, 3]).astype(np.float32), transform
