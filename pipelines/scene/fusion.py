"""One coloured point cloud out of the depth maps of all views."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.geometry.cameras import unproject
from models.runtime.errors import InputError
from pipelines.scene.exposure import even_gains, evened
from pipelines.scene.options import FilterOptions
from pipelines.scene.prediction import VERIFIED, Prediction

_NEARLY = 16  # grey levels from pure black or white that still count as background


@dataclass(frozen=True)
class Cloud:
    """``points`` (P, 3) float32 world coordinates, ``colors`` (P, 3) uint8, ``conf`` (P,) float32."""

    points: np.ndarray
    colors: np.ndarray
    conf: np.ndarray

    def __len__(self) -> int:
        return len(self.points)


def fuse(prediction: Prediction, options: FilterOptions) -> Cloud:
    """Joins all views: keeps confirmed depth, cuts by confidence, averages what falls into one cell, keeps the budget.

    Raises:
        InputError: the filter leaves no point, or names a view that is not there.
    """
    wrong = [v for v in options.views if not 1 <= v <= len(prediction)]
    if wrong:
        raise InputError(f"There is no view {wrong[0]}; this scene has views 1 to {len(prediction)}")
    chosen = sorted({v - 1 for v in options.views}) or range(len(prediction))
    gains = even_gains(prediction) if options.even_colors and len(prediction) > 1 else None
    parts = [_points_of(prediction, i, options, None if gains is None else gains[i]) for i in chosen]
    points, colors, conf, size = (np.concatenate(p) for p in zip(*parts, strict=True))
    if len(points) == 0:
        raise InputError("No point passes this filter; lower the confidence cut or keep the background colours")
    if options.confidence_percentile > 0:
        keep = conf >= np.percentile(conf, options.confidence_percentile)
        points, colors, conf, size = points[keep], colors[keep], conf[keep], size[keep]
    if options.voxel > 0:
        points, colors, conf = thin(points, colors, conf, float(np.median(size)) * options.voxel)
    if len(points) > options.point_budget:
        chosen = np.random.default_rng(0).permutation(len(points))[: options.point_budget]
        chosen.sort()
        points, colors, conf = points[chosen], colors[chosen], conf[chosen]
    return Cloud(points.astype(np.float32), colors.astype(np.uint8), conf.astype(np.float32))


def _points_of(
    prediction: Prediction, i: int, options: FilterOptions, gain: np.ndarray | None
) -> tuple[np.ndarray, ...]:
    depth, conf, image = prediction.view(i)
    keep = (depth > 0) & ((conf > 0) if options.include_filled else (conf >= VERIFIED))
    if options.background in ("drop_black", "drop_both"):
        keep &= image.max(-1) >= _NEARLY
    if options.background in ("drop_white", "drop_both"):
        keep &= image.min(-1) <= 255 - _NEARLY
    points = unproject(depth.astype(np.float64), prediction.intrinsics[i], prediction.extrinsics[i])[keep]
    colors = image[keep] if gain is None else evened(image, gain)[keep]
    return points, colors, conf[keep], depth[keep] / prediction.intrinsics[i, 0, 0]


def thin(
    points: np.ndarray, colors: np.ndarray, conf: np.ndarray, cell: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One point per cubic cell of side ``cell``: confidence-weighted means. points (P, 3), colors (P, 3), conf (P,)."""
    low = points.min(0)
    index = np.floor((points - low) / max(cell, 1e-12)).astype(np.int64)
    extent = index.max(0) + 1
    key = (index[:, 0] * extent[1] + index[:, 1]) * extent[2] + index[:, 2]
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    weight = np.maximum(conf[order], 1e-3).astype(np.float64)
    total = np.add.reduceat(weight, starts)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values[order] * weight[:, None], starts) / total[:, None]

    return mean(points), np.rint(mean(colors.astype(np.float64))), np.maximum.reduceat(conf[order], starts)
