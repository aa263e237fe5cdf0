"""Raw head outputs -> 3D Gaussians in world axes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.depth_anything_3.cameras import invert_rigid
from models.geometry.rotations import matrix_to_quaternion, quaternion_to_matrix, wxyz_to_xyzw, xyzw_to_wxyz

SCALE_RANGE = (1e-5, 30.0)
SCALE_UNIT = 0.1
SH_BANDS = (1, 3, 5)
SH_GAINS = (1.0, 0.025, 0.00625)  # higher bands start small
SH1 = 0.4886025119029199
SH2 = (1.0925484305920792, 0.31539156525252005, 0.5462742152960396)


@dataclass(frozen=True)
class Gaussians:
    """Splats ordered by view, row, column: ``means`` and ``scales`` (B, G, 3), ``rotations`` (B, G, 4) for a wxyz
    renderer, ``harmonics`` (B, G, 3, 9) in the usual real basis of splatting, ``opacities`` (B, G)."""

    means: Tensor
    scales: Tensor
    rotations: Tensor
    harmonics: Tensor
    opacities: Tensor


def pixel_centers(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Pixel centres (H, W, 2) as x, y in an image plane [0, 1]^2."""
    y, x = ((torch.arange(n, device=device) + 0.5) / n for n in (height, width))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def unit_rays(points: Tensor, intrinsics: Tensor, camera_to_world: Tensor) -> Tensor:
    """World directions of unit length (..., H, W, 3) through points (..., H, W, 2) of the image plane [0, 1]^2.

    ``intrinsics`` (..., 3, 3) belong to that plane; ``camera_to_world`` (..., 3|4, 4).
    """
    direction = torch.cat([points, torch.ones_like(points[..., :1])], dim=-1)
    direction = torch.einsum("...ij,...hwj->...hwi", intrinsics.inverse(), direction)
    direction = direction / direction.norm(dim=-1, keepdim=True)
    return torch.einsum("...ij,...hwj->...hwi", camera_to_world[..., :3, :3], direction)


def world_quaternions(quaternions: Tensor, camera_to_world: Tensor) -> Tensor:
    """Orientations of splats taken from camera to world axes, (..., 4) each, camera_to_world (..., 3, 3).

    The weights were trained with component orders that do not agree, and this repeats them: the last raw component is
    moved first, the four are read as x, y, z, w, and the result, in that order with w >= 0, is what the renderer reads
    as w, x, y, z.
    """
    R = camera_to_world @ quaternion_to_matrix(xyzw_to_wxyz(quaternions[..., [3, 0, 1, 2]]))
    return wxyz_to_xyzw(matrix_to_quaternion(R))


def band_rotations(rotation: Tensor) -> tuple[Tensor, Tensor]:
    """How the coefficients of bands 1 and 2 change when a colour function turns with ``rotation`` (..., 3, 3).

    Returns (..., 3, 3) and (..., 5, 5) acting on column vectors of coefficients. Band 1 is a vector v with
    f(d) = v d, band 2 a symmetric traceless matrix M with f(d) = d' M d; they turn to R v and R M R'.
    """
    e = rotation.new_zeros
    vectors = e(3, 3)  # [coefficient, axis]: the basis -y, z, -x
    vectors[0, 1], vectors[1, 2], vectors[2, 0] = -1, 1, -1
    band1 = vectors @ rotation @ vectors.T
    a, b, c = SH2
    basis = e(5, 3, 3)  # a xy, -a yz, b (2 z^2 - x^2 - y^2), -a xz, c (x^2 - y^2)
    for k, (i, j), gain in ((0, (0, 1), a), (1, (1, 2), -a), (3, (0, 2), -a)):
        basis[k, i, j] = basis[k, j, i] = gain / 2
    basis[2] = torch.diag(rotation.new_tensor([-b, -b, 2 * b]))
    basis[4] = torch.diag(rotation.new_tensor([c, -c, 0.0]))
    turned = torch.einsum("...ia,kab,...jb->...kij", rotation, basis, rotation)
    length = basis.square().sum((1, 2))  # the basis is orthogonal
    return band1, torch.einsum("jab,...kab->...jk", basis, turned) / length[:, None]


def rotate_harmonics(harmonics: Tensor, rotation: Tensor) -> Tensor:
    """Coefficients (B, N, G, 3, 9) of every view's splats turned by that view's rotation (B, N, 3, 3)."""
    band1, band2 = (m.transpose(-1, -2)[:, :, None] for m in band_rotations(rotation))
    flat, one, two = harmonics.split(SH_BANDS, dim=-1)
    return torch.cat([flat, one @ band1, two @ band2], dim=-1)


def make_gaussians(
    raw: Tensor,
    density: Tensor,
    depth: Tensor,
    extrinsics: Tensor,
    intrinsics: Tensor,
    pose_scale: Tensor | float = 1.0,
) -> Gaussians:
    """One splat per pixel.

    Args:
        raw: (B, N, H, W, 37) offsets in pixels (2), scale (3), quaternion (4), harmonics (3 x 9), depth offset (1).
        density: (B, N, H, W), used as opacity.
        depth: (B, N, H, W), read as distance along the ray.
        extrinsics: world-to-camera (B, N, 3|4, 4).
        intrinsics: (B, N, 3, 3) in pixels.
        pose_scale: multiplies camera centres and depths, scalar or (B,).
    """
    B, N, H, W = depth.shape
    factor = torch.as_tensor(pose_scale, dtype=depth.dtype, device=depth.device).reshape(-1, 1, 1)
    offset, scale, quaternion, harmonics, shift = raw.split([2, 3, 4, sum(SH_BANDS) * 3, 1], dim=-1)
    depth = (depth[..., None] + shift) * factor[..., None, None]  # (B, N, H, W, 1)
    camera_to_world = invert_rigid(extrinsics)
    R, centre = camera_to_world[..., :3, :3], camera_to_world[..., :3, 3] * factor
    pixel = depth.new_tensor([1 / W, 1 / H])
    K = torch.cat([intrinsics[..., :2, :] * pixel[:, None], intrinsics[..., 2:, :]], dim=-2)  # of the plane [0, 1]^2
    rays = unit_rays(pixel_centers(H, W, depth.device) + offset * pixel, K, camera_to_world)
    low, high = SCALE_RANGE
    unit = SCALE_UNIT * (K[..., :2, :2].inverse() @ pixel).sum(-1)  # (B, N)
    scales = (low + (high - low) * scale.sigmoid()) * depth * unit[..., None, None, None]
    quaternion = quaternion / (quaternion.norm(dim=-1, keepdim=True) + 1e-8)
    rotations = world_quaternions(quaternion, R[:, :, None, None])
    gains = torch.cat([depth.new_full((n,), g) for n, g in zip(SH_BANDS, SH_GAINS, strict=True)])
    harmonics = rotate_harmonics(harmonics.reshape(B, N, H * W, 3, -1) * gains, R)
    return Gaussians(
        means=(centre[..., None, None, :] + rays * depth).reshape(B, -1, 3),
        scales=scales.reshape(B, -1, 3),
        rotations=rotations.reshape(B, -1, 4),
        harmonics=harmonics.reshape(B, -1, 3, sum(SH_BANDS)),
        opacities=density.reshape(B, -1),
    )
