"""3D Gaussian splats: the PLY of the original method and the compact ``.splat`` of web viewers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.export.ply import write_table
from pipelines.media.atomic import replacing

SH_C0 = 0.28209479177387814  # 1 / (2 sqrt(pi)), the constant spherical harmonic


@dataclass(frozen=True)
class Gaussians:
    """N splats in the world.

    ``means`` (N, 3); ``scales`` (N, 3) standard deviations in world units; ``quaternions`` (N, 4) wxyz; ``opacities``
    (N,) in 0..1; ``sh`` (N, K, 3) spherical-harmonic colours, K = 1, 4, 9 or 16, the constant one first.
    """

    means: NDArray[np.floating]
    scales: NDArray[np.floating]
    quaternions: NDArray[np.floating]
    opacities: NDArray[np.floating]
    sh: NDArray[np.floating]

    def __len__(self) -> int:
        return len(self.means)

    @classmethod
    def from_points(cls, points: ArrayLike, colors: ArrayLike, radius: ArrayLike, opacity: float = 0.95) -> Gaussians:
        """Round splats from a point cloud: colours (N, 3) uint8, radius a number or (N,) in world units."""
        points = np.asarray(points, dtype=np.float32).reshape(-1, 3)
        count = len(points)
        return cls(
            means=points,
            scales=np.broadcast_to(np.asarray(radius, np.float32).reshape(-1, 1), (count, 3)).copy(),
            quaternions=np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
            opacities=np.full(count, opacity, np.float32),
            sh=((np.asarray(colors, np.float32)[:, None, :3] / 255 - 0.5) / SH_C0),
        )


def write_splat_ply(path: Path, gaussians: Gaussians) -> Path:
    """The training format: logarithms of scales, logits of opacities, wxyz; higher harmonics channel by channel."""
    g = gaussians
    opacity = np.clip(np.asarray(g.opacities, np.float64), 1e-7, 1 - 1e-7)
    rest = np.swapaxes(np.asarray(g.sh)[:, 1:], 1, 2).reshape(len(g), -1)  # (N, 3 * (K - 1))
    columns = {
        **dict(zip("xyz", np.asarray(g.means).T, strict=True)),
        **dict.fromkeys(("nx", "ny", "nz"), np.zeros(len(g))),
        **{f"f_dc_{i}": np.asarray(g.sh)[:, 0, i] for i in range(3)},
        **{f"f_rest_{i}": rest[:, i] for i in range(rest.shape[1])},
        "opacity": np.log(opacity / (1 - opacity)),
        **{f"scale_{i}": np.log(np.maximum(np.asarray(g.scales)[:, i], 1e-12)) for i in range(3)},
        **{f"rot_{i}": np.asarray(g.quaternions)[:, i] for i in range(4)},
    }
    table = np.empty(len(g), dtype=[(name, "<f4") for name in columns])
    for name, column in columns.items():
        table[name] = column
    return write_table(path, table)


def write_splat(path: Path, gaussians: Gaussians) -> Path:
    """32 bytes per splat, the largest and most opaque first so that a stream shows them first.

    Position and scale as float32, RGBA as bytes, quaternion wxyz as ``128 + 128 q`` bytes; view-dependent
    colour is left out.
    """
    g = gaussians
    opacity = np.asarray(g.opacities, np.float64)
    order = np.argsort(-np.prod(np.asarray(g.scales, np.float64), axis=1) * opacity, kind="stable")
    table = np.empty(len(g), dtype=[("p", "<f4", 3), ("s", "<f4", 3), ("c", "u1", 4), ("q", "u1", 4)])
    table["p"], table["s"] = g.means, g.scales
    color = np.concatenate([0.5 + SH_C0 * np.asarray(g.sh)[:, 0], opacity[:, None]], axis=1)
    table["c"] = np.clip(np.round(color * 255), 0, 255)
    q = np.asarray(g.quaternions, np.float64)
    q = q / np.maximum(np.linalg.norm(q, axis=1, keepdims=True), 1e-12)
    table["q"] = np.clip(np.round(q * 128 + 128), 0, 255)
    with replacing(path) as temporary, temporary.open("wb") as file:
        table[order].tofile(file)
    return Path(path)
