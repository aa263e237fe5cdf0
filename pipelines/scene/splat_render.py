"""Gaussian splats as pictures: our own tile rasteriser on CPU, gsplat where it is installed and a CUDA device is used.

Splats are projected with the local linear approximation of the pinhole camera and blended front to back.
Source: Kerbl et al. 2023, sections 4-6; Zwicker et al. 2001, equations 23-31.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

import numba
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from models.geometry.rotations import quaternion_to_matrix
from models.runtime.errors import EngineUnavailable
from pipelines.export.splat import SH_C0, Gaussians

NEAR = 0.01
BLUR = 0.3  # square pixels added to every footprint, so that none falls between pixels
MOST_OPAQUE = 0.999
FAINTEST = 1 / 255
ENOUGH = 1e-4  # transmittance at which a pixel is finished
TILE = 16
SIGMAS = 3.0
SH1 = 0.4886025119029199
SH2 = (1.0925484305920792, -1.0925484305920792, 0.31539156525252005, -1.0925484305920792, 0.5462742152960396)


@dataclass(frozen=True)
class Picture:
    """``color`` (H, W, 3) and ``alpha`` (H, W) in 0..1, not yet on a background; ``depth`` (H, W) expected depth."""

    color: NDArray[np.float32]
    alpha: NDArray[np.float32]
    depth: NDArray[np.float32]


@dataclass(frozen=True)
class _Footprints:
    """Splats on the picture, nearest first: centres (G, 2) pixels, inverse covariances (G, 3) as xx, xy, yy, radii (G,)
    pixels, depths (G,), colours (G, 3), opacities (G,)."""

    centers: NDArray[np.float32]
    conics: NDArray[np.float32]
    radii: NDArray[np.float32]
    depths: NDArray[np.float32]
    colors: NDArray[np.float32]
    opacities: NDArray[np.float32]


def harmonic_colors(sh: NDArray[np.floating], directions: NDArray[np.floating]) -> NDArray[np.float64]:
    """Colours (G, 3) of coefficients (G, K, 3), K = 1, 4 or 9, seen along unit directions (G, 3); never negative."""
    x, y, z = directions.T
    basis = [np.full_like(x, SH_C0)]
    if sh.shape[1] >= 4:
        basis += [-SH1 * y, SH1 * z, -SH1 * x]
    if sh.shape[1] >= 9:
        products = (x * y, y * z, 2 * z * z - x * x - y * y, x * z, x * x - y * y)
        basis += [gain * p for gain, p in zip(SH2, products, strict=True)]
    return np.maximum(np.einsum("kg,gkc->gc", np.stack(basis), sh[:, : len(basis)]) + 0.5, 0.0)


def covariances(scales: NDArray[np.floating], quaternions: NDArray[np.floating]) -> NDArray[np.float64]:
    """(G, 3, 3) of splats with standard deviations (G, 3) along axes turned by wxyz quaternions (G, 4)."""
    R = quaternion_to_matrix(torch.from_numpy(np.asarray(quaternions, np.float64))).numpy()
    M = R * np.asarray(scales, np.float64)[:, None, :]
    return M @ np.swapaxes(M, 1, 2)


def _project(g: Gaussians, E: NDArray, K: NDArray, width: int, height: int) -> _Footprints:
    R, t = E[:3, :3], E[:3, 3]
    camera = np.asarray(g.means, np.float64) @ R.T + t
    seen = camera[:, 2] >= NEAR
    camera = camera[seen]
    x, y, z = camera.T
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    spare = 0.3 * np.array([width / fx, height / fy]) / 2  # how far beyond the picture the approximation is trusted
    u = np.clip(x / z, -(cx / fx + spare[0]), (width - cx) / fx + spare[0])
    v = np.clip(y / z, -(cy / fy + spare[1]), (height - cy) / fy + spare[1])
    J = np.zeros((len(camera), 2, 3))
    J[:, 0, 0], J[:, 0, 2] = fx / z, -fx * u / z
    J[:, 1, 1], J[:, 1, 2] = fy / z, -fy * v / z
    T = J @ R
    S = T @ covariances(g.scales[seen], g.quaternions[seen]) @ np.swapaxes(T, 1, 2)
    S[:, 0, 0] += BLUR
    S[:, 1, 1] += BLUR
    det = S[:, 0, 0] * S[:, 1, 1] - S[:, 0, 1] ** 2
    half = (S[:, 0, 0] + S[:, 1, 1]) / 2
    radii = np.ceil(SIGMAS * np.sqrt(half + np.sqrt(np.maximum(0.01, half**2 - det))))
    centers = np.stack([fx * x / z + cx, fy * y / z + cy], axis=1)
    keep = (det > 0) & (radii > 0)
    keep &= (centers + radii[:, None] > 0).all(1) & (centers - radii[:, None] < [width, height]).all(1)
    keep = np.flatnonzero(keep)[np.argsort(z[keep], kind="stable")]
    place = -R.T @ t
    away = np.asarray(g.means, np.float64)[seen][keep] - place
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    parts = (
        centers[keep],
        np.stack([S[keep, 1, 1], -S[keep, 0, 1], S[keep, 0, 0]], axis=1) / det[keep, None],
        radii[keep],
        z[keep],
        harmonic_colors(np.asarray(g.sh, np.float64)[seen][keep], away),
        np.asarray(g.opacities)[seen][keep],
    )
    return _Footprints(*(np.ascontiguousarray(p, np.float32) for p in parts))


@numba.njit(cache=True)
def _fill_tiles(first, last, columns, starts):
    """Splat numbers per tile, in order; ``starts`` (tiles + 1,) is filled with where each tile's begin."""
    for g in range(len(first)):
        for ty in range(first[g, 1], last[g, 1]):
            for tx in range(first[g, 0], last[g, 0]):
                starts[ty * columns + tx + 1] += 1
    for i in range(len(starts) - 1):
        starts[i + 1] += starts[i]
    at = starts[:-1].copy()
    members = np.empty(starts[-1], np.int32)
    for g in range(len(first)):
        for ty in range(first[g, 1], last[g, 1]):
            for tx in range(first[g, 0], last[g, 0]):
                tile = ty * columns + tx
                members[at[tile]] = g
                at[tile] += 1
    return members


@numba.njit(cache=True, parallel=True, fastmath=False)
def _blend(members, starts, columns, centers, conics, depths, colors, opacities, out):
    """Fills ``out`` (H, W, 5): colour, alpha, depth, each weighted by opacity and what is in front."""
    height, width = out.shape[:2]
    for tile in numba.prange(len(starts) - 1):
        y0, x0 = tile // columns * TILE, tile % columns * TILE
        for y in range(y0, min(y0 + TILE, height)):
            for x in range(x0, min(x0 + TILE, width)):
                left = np.float32(1.0)
                for m in range(starts[tile], starts[tile + 1]):
                    g = members[m]
                    dx = centers[g, 0] - (x + np.float32(0.5))
                    dy = centers[g, 1] - (y + np.float32(0.5))
                    power = np.float32(0.5) * (conics[g, 0] * dx * dx + conics[g, 2] * dy * dy) + conics[g, 1] * dx * dy
                    if power < 0:
                        continue
                    alpha = min(np.float32(MOST_OPAQUE), opacities[g] * np.exp(-power))
                    if alpha < FAINTEST:
                        continue
                    rest = left * (1 - alpha)
                    if rest <= ENOUGH:
                        break
                    share = alpha * left
                    for c in range(3):
                        out[y, x, c] += share * colors[g, c]
                    out[y, x, 4] += share * depths[g]
                    left = rest
                out[y, x, 3] = 1 - left


def render(gaussians: Gaussians, extrinsics: ArrayLike, intrinsics: ArrayLike, size: tuple[int, int]) -> Picture:
    """One view. ``extrinsics`` world-to-camera (3|4, 4), ``intrinsics`` (3, 3) in pixels counted from the corner,
    ``size`` (width, height)."""
    width, height = size
    found = _project(gaussians, np.asarray(extrinsics, np.float64), np.asarray(intrinsics, np.float64), width, height)
    out = np.zeros((height, width, 5), np.float32)
    columns, rows = -(-width // TILE), -(-height // TILE)
    last = np.array([columns, rows])
    low = np.clip(np.floor((found.centers - found.radii[:, None]) / TILE), 0, last).astype(np.int32)
    high = np.clip(np.ceil((found.centers + found.radii[:, None]) / TILE), 0, last).astype(np.int32)
    starts = np.zeros(columns * rows + 1, np.int64)
    members = _fill_tiles(low, high, columns, starts)
    _blend(members, starts, columns, found.centers, found.conics, found.depths, found.colors, found.opacities, out)
    alpha = out[..., 3]
    return Picture(out[..., :3], alpha, out[..., 4] / np.maximum(alpha, 1e-10))


def gsplat_ready(device: torch.device) -> bool:
    """Whether splats can be drawn on that device by the gsplat package."""
    return device.type == "cuda" and find_spec("gsplat") is not None


def render_many(
    gaussians: Gaussians,
    extrinsics: NDArray[np.floating],
    intrinsics: NDArray[np.floating],
    size: tuple[int, int],
    device: torch.device | None = None,
) -> Iterator[Picture]:
    """Views (M, 3|4, 4), (M, 3, 3) one by one; by gsplat where ``device`` allows it."""
    if device is not None and gsplat_ready(device):
        yield from _by_gsplat(gaussians, extrinsics, intrinsics, size, device)
        return
    for E, K in zip(extrinsics, intrinsics, strict=True):
        yield render(gaussians, E, K, size)


def _by_gsplat(
    g: Gaussians, extrinsics: NDArray, intrinsics: NDArray, size: tuple[int, int], device: torch.device
) -> Iterator[Picture]:
    try:
        from gsplat import rasterization
    except (ImportError, RuntimeError) as error:
        raise EngineUnavailable(
            f"The gsplat package cannot be used here ({error}); uninstall it or repair it"
        ) from error
    parts = [torch.as_tensor(p, dtype=torch.float32, device=device) for p in (g.means, g.quaternions, g.scales)]
    opacity, sh = (torch.as_tensor(p, dtype=torch.float32, device=device) for p in (g.opacities, g.sh))
    degree = {1: 0, 4: 1, 9: 2, 16: 3}[sh.shape[1]]
    for E, K in zip(extrinsics, intrinsics, strict=True):
        view = np.eye(4, dtype=np.float32)
        view[:3] = E[:3]
        drawn, alpha, _ = rasterization(
            *parts,
            opacity,
            sh,
            torch.from_numpy(view)[None].to(device),
            torch.as_tensor(K, dtype=torch.float32, device=device)[None],
            *size,
            sh_degree=degree,
            render_mode="RGB+ED",
        )
        picture = drawn[0].cpu().numpy()
        yield Picture(picture[..., :3], alpha[0, ..., 0].cpu().numpy(), picture[..., 3])
