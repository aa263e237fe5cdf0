"""Cameras from predicted rays: a robust homography per view, split into rotation and intrinsics.

A pixel's ray direction is ``d = R K^-1 p`` up to scale, so the map from the image plane to directions is a homography.
Everything here is batched over views and trials; least-squares problems are solved through their 9x9 normal matrices
in double precision, whose assembly is one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.depth_anything_3.cameras import invert_rigid

TRIALS = 100
SAMPLE = 8
CONFIDENT_SHARE = 0.3  # trials draw from this share of the most confident pixels
INLIER_ERROR = 0.2  # in the plane z = 1 of the directions
MAX_REFIT = 8000
REFIT_SHARE = 0.95
MIN_Z = 1e-4
SCORE_CHUNK = 4096  # pixels scored at once: the trials' residuals stay in cache


@dataclass(frozen=True)
class RayCameras:
    """``camera_to_world`` (V, 3, 4); ``focal`` and ``principal`` (V, 2) as x, y where the image plane is [0, 2]^2."""

    camera_to_world: Tensor
    focal: Tensor
    principal: Tensor

    @property
    def extrinsics(self) -> Tensor:
        """World-to-camera (V, 3, 4)."""
        return invert_rigid(self.camera_to_world)

    def intrinsics(self, size: tuple[int, int]) -> Tensor:
        """(V, 3, 3) in pixels of images of ``size`` (H, W)."""
        half = self.focal.new_tensor([size[1] / 2, size[0] / 2])
        K = torch.zeros(*self.focal.shape[:-1], 3, 3, dtype=self.focal.dtype, device=self.focal.device)
        K[..., [0, 1], [0, 1]] = self.focal * half
        K[..., [0, 1], [2, 2]] = self.principal * half
        K[..., 2, 2] = 1
        return K


def draw_samples(pixels: int, generator: torch.Generator | None = None, device: torch.device | None = None) -> Tensor:
    """Indices (TRIALS, SAMPLE) into the pixels of a view sorted by falling confidence; all views share them."""
    pool = max(SAMPLE, int(pixels * CONFIDENT_SHARE))
    draws = [torch.randperm(pool, generator=generator, device=device)[:SAMPLE] for _ in range(TRIALS)]
    return torch.stack(draws)


def image_plane(rows: int, columns: int, device: torch.device | None = None) -> Tensor:
    """Cell centres (rows * columns, 2) as x, y of an image plane spanning [-1, 1]^2, row by row."""
    y, x = (torch.linspace(-1 + 1 / n, 1 - 1 / n, n, device=device) for n in (rows, columns))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1)


def cameras_from_rays(
    rays: Tensor, confidence: Tensor, samples: Tensor | None = None, generator: torch.Generator | None = None
) -> RayCameras:
    """One camera per view.

    Args:
        rays: (V, h, w, 6) direction (any length) and camera centre per pixel, world axes.
        confidence: (V, h, w), positive.
        samples: (trials, 8) indices as from ``draw_samples``, which draws them otherwise.
        generator: decides all draws.
    Source: arXiv 2511.10647, section 3.1, with RANSAC around the homography.
    """
    rows, columns = rays.shape[1:3]
    if samples is None:
        samples = draw_samples(rows * columns, generator, rays.device)
    direction, centre = rays.flatten(1, 2).float().split(3, dim=-1)  # (V, P, 3)
    z = direction[..., 2:]
    usable = z.abs() > MIN_Z
    weight = confidence.flatten(1).float() * usable[..., 0]  # (V, P)
    target = torch.where(usable, direction[..., :2] / z, direction[..., :2])
    source = image_plane(rows, columns, rays.device)  # (P, 2)
    candidates = weight.argsort(dim=1, descending=True)[:, samples.to(rays.device)]  # (V, trials, 8)
    trial_target = (
        target.unsqueeze(1).expand(-1, len(samples), -1, -1).gather(2, candidates[..., None].expand(-1, -1, -1, 2))
    )
    trial_weight = weight.unsqueeze(1).expand(-1, len(samples), -1).gather(2, candidates)
    trials = fit_homography(source[candidates], trial_target, trial_weight)  # (V, trials, 3, 3)
    fits = []
    for homographies, goal, w in zip(trials.float(), target, weight, strict=True):
        best = homographies[inlier_scores(homographies, source, goal, w).argmax()]
        chosen = _refit_subset(inliers(best[None], source, goal)[0], w, generator)
        fits.append(fit_homography(source[chosen], goal[chosen], w[chosen]))
    H = torch.stack(fits)  # (V, 3, 3)
    H = H * torch.where(torch.linalg.det(H) < 0, -1.0, 1.0)[:, None, None]
    R, L = ql(H)
    L = L / L[:, 2:, 2:]
    place = (centre * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)  # (V, 3)
    camera_to_world = torch.cat([R.to(place.dtype), place[..., None]], dim=-1)
    focal = 1 / L.diagonal(dim1=-2, dim2=-1)[:, :2]
    # The offsets stand in the last row of the lower factor, and the plane is moved from [-1, 1] to [0, 2].
    return RayCameras(camera_to_world, focal.to(place.dtype), (L[:, 2, :2] + 1).to(place.dtype))


def fit_homography(source: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted direct linear transform (Hartley & Zisserman, algorithm 4.1, without normalisation), H[2, 2] = 1.

    Points (..., P, 2) each and weights (..., P) -> (..., 3, 3) double. The two rows a point contributes,
    ``w [-s, 0, u s]`` and ``w [0, -s, v s]`` with s = (x, y, 1), have a normal matrix made of four weighted moments of
    s; its eigenvector of the smallest eigenvalue is the solution.
    """
    s = torch.cat([source, torch.ones_like(source[..., :1])], dim=-1).double()  # (..., P, 3)
    u, v = target.double().unbind(-1)
    c = weight.double()
    gains = torch.stack([c, c * u, c * v, c * (u * u + v * v)], dim=-2)  # (..., 4, P)
    outer = (s[..., :, None] * s[..., None, :]).flatten(-2)  # (..., P, 9)
    S, Su, Sv, Sr = (gains @ outer).unflatten(-1, (3, 3)).unbind(-3)
    o = torch.zeros_like(S)
    normal = torch.cat(
        [torch.cat([S, o, -Su], dim=-1), torch.cat([o, S, -Sv], dim=-1), torch.cat([-Su, -Sv, Sr], dim=-1)], dim=-2
    )
    H = torch.linalg.eigh(normal).eigenvectors[..., 0].unflatten(-1, (3, 3))
    return H / H[..., 2:, 2:]


def inliers(homographies: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Which points (P, 2) a homography (T, 3, 3) takes nearer than ``INLIER_ERROR`` to their target: (T, P)."""
    s = torch.cat([source, torch.ones_like(source[:, :1])], dim=1).T  # (3, P)
    x, y, z = (homographies.flatten(0, 1) @ s).unflatten(0, (-1, 3)).unbind(1)  # (T, P)
    # |x/z - u|^2 + |y/z - v|^2 < e^2, multiplied by z^2
    x = torch.addcmul(x, z, target[:, 0], value=-1).square_()
    y = torch.addcmul(y, z, target[:, 1], value=-1)
    return x.addcmul_(y, y) < z.square_().mul_(INLIER_ERROR**2)


def inlier_scores(homographies: Tensor, source: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Summed weight (P,) of the inliers of every homography (T, 3, 3): (T,)."""
    score = weight.new_zeros(len(homographies))
    for i in range(0, len(source), SCORE_CHUNK):
        part = slice(i, i + SCORE_CHUNK)
        score += inliers(homographies, source[part], target[part]).to(weight.dtype) @ weight[part]
    return score


def _refit_subset(inlier: Tensor, weight: Tensor, generator: torch.Generator | None) -> Tensor:
    """Indices of the inliers (P,) used for the final fit: all, or a draw from the most confident ones."""
    chosen = inlier.nonzero()[:, 0]
    if len(chosen) <= MAX_REFIT:
        return chosen
    ranked = chosen[weight[chosen].argsort(descending=True)]
    ranked = ranked[: max(int(len(ranked) * REFIT_SHARE), MAX_REFIT)]
    return ranked[torch.randperm(len(ranked), generator=generator, device=ranked.device)[:MAX_REFIT]]


def ql(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Orthogonal times lower triangular with a positive diagonal, (..., 3, 3) each, by QR of the reversed columns."""
    Q, R = torch.linalg.qr(matrix.flip(-1))
    Q, L = Q.flip(-1), R.flip(-2, -1)
    sign = L.diagonal(dim1=-2, dim2=-1).sign()
    return Q * sign[..., None, :], L * sign[..., :, None]
