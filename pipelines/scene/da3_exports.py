"""Depth Anything 3's result files under their original rules: GLB, NPZ, depth and feature pictures, COLMAP, splats."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from models.depth_anything_3.gaussians import Gaussians as NetworkGaussians
from models.geometry.cameras import homogeneous, transform_points, unproject_pixels
from models.runtime.errors import InputError
from pipelines.export.colmap import Camera, Points, PosedImage, SparseModel
from pipelines.export.glb import write_scene_glb
from pipelines.export.npz import write_npz
from pipelines.export.splat import Gaussians
from pipelines.scene.da3_inference import Da3Views

DARK, BRIGHT = 16, 240  # grey levels below and from which a pixel counts as plain background
FEW = 10  # valid pixels up to which a depth picture has no range
GAP = 8  # pixels of white between the parts of a joined picture
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
BORDER = 8 / 256  # share of each side that splats are trimmed by
SHADES = 256  # colours of the depth map
FAR_QUANTILE = 0.9  # splats farther than this share of their view are dropped


@dataclass(frozen=True)
class CloudRules:
    """Which pixels become points."""

    max_points: int = 1_000_000
    confidence: float = 1.05
    percentile: float = 40.0
    ensured_percentile: float = 90.0
    drop_black: bool = False
    drop_white: bool = False


@dataclass(frozen=True)
class Da3Cloud:
    """World points (P, 3) float32, colours (P, 3) uint8, and the alignment (4, 4) to the viewer's frame."""

    points: NDArray[np.float32]
    colors: NDArray[np.uint8]
    alignment: NDArray[np.float64]


def without_background(
    conf: NDArray[np.floating], images: NDArray[np.uint8], rules: CloudRules
) -> NDArray[np.floating]:
    """Confidence with plain black or white pixels set to 1, the lowest."""
    conf = conf.copy()
    if rules.drop_black:
        conf[(images < DARK).all(-1)] = 1.0
    if rules.drop_white:
        conf[(images >= BRIGHT).all(-1)] = 1.0
    return conf


def confidence_threshold(conf: NDArray[np.floating], rules: CloudRules) -> float:
    """The larger of the fixed and the percentile threshold, but never above the percentile that must be kept."""
    wanted, ensured = (float(v) for v in np.percentile(conf, [rules.percentile, rules.ensured_percentile]))
    return min(max(rules.confidence, wanted), ensured)


def viewer_alignment(points: NDArray[np.floating], first_extrinsics: NDArray[np.floating]) -> NDArray[np.float64]:
    """World to the viewer (4, 4): the first camera's frame turned y-up, the median point at the origin."""
    turned = FLIP @ homogeneous(first_extrinsics).astype(np.float64)
    shift = np.eye(4)
    if len(points):
        rows = turned[:3, :3] @ points.T.astype(np.float64)  # medians of contiguous rows are twice as fast
        shift[:3, 3] = -(np.median(rows, axis=1) + turned[:3, 3])
    return shift @ turned


def points_above(views: Da3Views, conf: NDArray[np.floating], threshold: float) -> tuple[NDArray, NDArray, NDArray]:
    """World points, colours and pixels (view, row, column) of valid depth with enough confidence."""
    points, colors, pixels = [], [], []
    for i, depth in enumerate(views.depth):
        keep = np.isfinite(depth) & (depth > 0) & (conf[i] >= threshold)
        rows, columns = np.nonzero(keep)
        places = np.stack([columns, rows], axis=1)
        world = unproject_pixels(places, depth[keep].astype(np.float64), views.intrinsics[i], views.extrinsics[i])
        points.append(world.astype(np.float32))
        colors.append(views.images[i][keep])
        pixels.append(np.stack([np.full(len(rows), i), rows, columns], axis=1))
    return np.concatenate(points), np.concatenate(colors), np.concatenate(pixels)


def need_cameras(views: Da3Views, what: str) -> None:
    """Raises InputError for variants without cameras or confidence."""
    if views.conf is None or views.extrinsics is None or views.intrinsics is None:
        raise InputError(f"{what} needs cameras and confidence, which metric and mono models do not give")


def cloud(views: Da3Views, rules: CloudRules, random: np.random.RandomState | None = None) -> Da3Cloud:
    """The coloured point cloud of all views; ``random`` thins it to the budget."""
    need_cameras(views, "A point cloud")
    conf = without_background(views.conf, views.images, rules)
    points, colors, _ = points_above(views, conf, confidence_threshold(conf, rules))
    alignment = viewer_alignment(points, views.extrinsics[0])
    finite = np.isfinite(points).all(1)
    points, colors = points[finite], colors[finite]
    if len(points) > rules.max_points:
        chosen = (random or np.random.RandomState(0)).choice(len(points), rules.max_points, replace=False)
        points, colors = points[chosen], colors[chosen]
    return Da3Cloud(points, colors, alignment)


def write_glb(
    path: Path, views: Da3Views, found: Da3Cloud, show_cameras: bool = True, camera_size: float = 0.03
) -> Path:
    """``scene.glb``: raw colour bytes as the original writes them, one wire frame per camera."""
    height, width = views.depth.shape[1:]
    # moved to the viewer's frame first: the size of the wires follows the extent seen there
    points = transform_points(found.alignment, found.points)
    moved = homogeneous(views.extrinsics) @ np.linalg.inv(found.alignment)
    cameras = (moved, views.intrinsics, (width, height)) if show_cameras else None
    return write_scene_glb(path, points, found.colors, cameras, camera_size, linear=False)


def npz_fields(views: Da3Views, mini: bool) -> dict[str, NDArray]:
    """Fields of ``results.npz``: rounded depth and confidence, cameras, and the pictures unless ``mini``."""
    fields: dict[str, NDArray] = {} if mini else {"image": views.images}
    fields["depth"] = np.round(views.depth, 8 if mini else 6)
    if views.conf is not None:
        fields["conf"] = np.round(views.conf, 2)
    if views.extrinsics is not None:
        fields |= {"extrinsics": views.extrinsics, "intrinsics": views.intrinsics}
    return fields


def write_results(path: Path, views: Da3Views, mini: bool) -> Path:
    """``exports/npz/results.npz`` or ``exports/mini_npz/results.npz``."""
    return write_npz(path, npz_fields(views, mini))


@lru_cache(maxsize=1)
def _spectral_table() -> NDArray[np.float64]:
    from matplotlib import colormaps  # loads slowly

    return colormaps["Spectral"](np.arange(SHADES))[:, :3]


def spectral(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Values in [0, 1] (..., H, W) -> colours (..., H, W, 3) in [0, 1]."""
    return _spectral_table()[_shade(values)]


def _shade(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Which of the map's colours stands for a value in [0, 1]."""
    return np.minimum(values * SHADES, SHADES - 1).astype(np.uint8)


def depth_colours(depth: NDArray[np.floating], limits: tuple[float, float] | None = None) -> NDArray[np.float64]:
    """Depth (H, W) -> colours (H, W, 3) in [0, 1]: inverse depth between its 2nd and 98th percentile, near is red.

    ``limits`` is a fixed range of inverse depth.
    """
    return spectral(_nearness(depth, limits))


def _nearness(depth: NDArray[np.floating], limits: tuple[float, float] | None) -> NDArray[np.floating]:
    """Depth (H, W) as 0 (nearest) to 1 (farthest), linear in inverse depth."""
    valid = depth > 0
    inverse = np.zeros_like(depth)
    inverse[valid] = 1.0 / depth[valid]
    if limits is None:
        few = int(valid.sum()) <= FEW
        low, high = (0.0, 0.0) if few else (float(v) for v in np.percentile(inverse[valid], [2, 98]))
    else:
        low, high = limits
    if low == high:
        low, high = low - 1e-6, high + 1e-6
    return 1 - ((inverse - low) / (high - low)).clip(0, 1)


def depth_picture(depth: NDArray[np.floating]) -> NDArray[np.uint8]:
    """``depth_colours`` as bytes, truncated."""
    return (_spectral_table() * 255).astype(np.uint8)[_shade(_nearness(depth, None))]


def log_depth_limits(depth: torch.Tensor) -> tuple[float, float]:
    """Logarithms of the 1 % quantile of positive depth and the 99 % quantile of all depth, any shape."""
    positive = depth[depth > 0]
    if not len(positive):
        return 0.0, 1.0
    return float(torch.quantile(positive, 0.01).log()), float(torch.quantile(depth.flatten(), 0.99).log())


def log_depth_colours(depth: torch.Tensor, limits: tuple[float, float] | None = None) -> torch.Tensor:
    """Depth panel of splat videos: depth (B, H, W) -> (B, 3, H, W), logarithm between ``log_depth_limits``."""
    near, far = limits or log_depth_limits(depth)
    scaled = (depth.clamp(min=1e-10).log() - near) / max(far - near, 1e-6)
    return torch.from_numpy(spectral(scaled.clamp(0, 1).numpy())).float().permute(0, 3, 1, 2)


def joined(first: torch.Tensor, second: torch.Tensor, axis: int) -> torch.Tensor:
    """Two pictures (3, H, W) side by side (``axis`` 2) or stacked (1), with a white gap."""
    shape = list(first.shape)
    shape[axis] = GAP
    return torch.cat([first, torch.ones(shape), second], dim=axis)


def feature_colours(features: torch.Tensor) -> torch.Tensor:
    """Features (N, h, w, C) -> colours (N, h, w, 3): three principal components of all views, each clipped at its 10th
    and 90th percentile. Signs, and so each channel's direction, are arbitrary."""
    flat = features.flatten(0, 2).float()
    mean = flat.mean(0, keepdim=True)
    _, _, basis = torch.pca_lowrank(flat - mean, q=min(16, *flat.shape), center=False)
    parts = (flat - mean) @ basis[:, :3]
    low, high = torch.quantile(parts, 0.1, dim=0), torch.quantile(parts, 0.9, dim=0)
    return ((parts - low) / (high - low).clamp(min=1e-12)).clamp(0, 1).view(*features.shape[:3], 3)


def feature_picture(image: NDArray[np.uint8], colours: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The picture beside its feature colours, (H, 2 W, 3)."""
    height, width = image.shape[:2]
    enlarged = cv2.resize((colours * 255).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.concatenate([image, enlarged], axis=1)


def colmap_model(views: Da3Views, names: list[str], percentile: float = 40.0) -> SparseModel:
    """One pinhole camera per picture at its original size; every point is seen by the picture it came from."""
    need_cameras(views, "A COLMAP model")
    height, width = views.depth.shape[1:]
    threshold = float(np.percentile(views.conf, percentile))
    xyz, rgb, pixels = points_above(views, views.conf, threshold)
    cameras, images, tracks = {}, {}, []
    for i, name in enumerate(names):
        full_height, full_width = views.sizes[i].tolist()
        scale = np.array([full_width / width, full_height / height])
        K = views.intrinsics[i].astype(np.float64)
        lens = (K[0, 0] * scale[0], K[1, 1] * scale[1], K[0, 2] * scale[0], K[1, 2] * scale[1])
        cameras[i + 1] = Camera(i + 1, "PINHOLE", full_width, full_height, tuple(float(v) for v in lens))
        own = np.flatnonzero(pixels[:, 0] == i)
        at = (pixels[own][:, [2, 1]] * scale).astype(np.int64)  # whole pixels, as the original stores them
        tracks += [np.array([[i + 1, k]]) for k in range(len(own))]
        images[i + 1] = PosedImage.from_extrinsics(i + 1, views.extrinsics[i], i + 1, name, at, own + 1)
    return SparseModel(cameras, images, Points.make(xyz, rgb, tracks=tracks))


@dataclass(frozen=True)
class SplatRules:
    """Which splats go into a file: every k-th view, how far into each view (share of its pixels by depth, 1 for all but
    the farthest, above 1 for all), all harmonics or the constant ones, and whether the scene is centred and scaled."""

    every: int = 1
    far: float = FAR_QUANTILE
    harmonics: bool = False
    normalise: bool = False


def splats(gaussians: NetworkGaussians, depth: NDArray[np.floating], rules: SplatRules | None = None) -> Gaussians:
    """The network's splats of one batch for a PLY; depth (N, H, W) says where each view's splats lie.

    Borders are trimmed. Normalising puts the median splat at the origin and most splats within -1 to 1.
    """
    rules = rules or SplatRules()
    views, height, width = depth.shape
    keep = np.zeros(depth.shape, bool)
    rows, columns = int(height * BORDER), int(width * BORDER)
    keep[:: rules.every, rows : height - rows, columns : width - columns] = True
    if rules.far <= 1:
        limit = torch.quantile(torch.from_numpy(depth).reshape(views, -1), rules.far, dim=1).numpy()
        keep &= depth < limit[:, None, None]
    chosen = torch.from_numpy(keep.reshape(-1))
    means, scales, rotations, opacity, harmonics = (
        part[0].float().cpu()[chosen]
        for part in (
            gaussians.means,
            gaussians.scales,
            gaussians.rotations,
            gaussians.opacities,
            gaussians.harmonics,
        )
    )
    if rules.normalise and len(means):
        means = means - means.median(dim=0).values
        size = means.abs().quantile(0.95, dim=0).max()
        means, scales = means / size, scales / size
    sh = harmonics.transpose(1, 2)  # (G, 9, 3)
    parts = (means, scales, rotations, opacity, sh if rules.harmonics else sh[:, :1])
    return Gaussians(*(part.numpy() for part in parts))
