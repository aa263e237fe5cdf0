"""Rotations as torch tensors: axis-angle, matrices, quaternions, 6D, Euler angles; any leading batch shape.

Quaternions are (w, x, y, z) unless a name says xyzw; ``q`` and ``-q`` are the same rotation. Matrices act on column
vectors: ``y = R @ x``. Angles are radians. Every conversion is differentiable, also at the zero rotation.
"""

from __future__ import annotations

import torch
from torch import Tensor

_AXES = {"X": 0, "Y": 1, "Z": 2}
_SMALL = 1e-4  # squared angle below which Taylor series replace quotients; their error is far below float32


def skew(v: Tensor) -> Tensor:
    """Cross-product matrices: ``skew(v) @ x == cross(v, x)``. (..., 3) -> (..., 3, 3)."""
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], dim=-1).unflatten(-1, (3, 3))


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """Rodrigues' formula, ``R = I + a K + b K^2``. (..., 3) -> (..., 3, 3)."""
    t2 = axis_angle.square().sum(-1)  # (...)
    small = t2 < _SMALL
    theta = torch.where(small, torch.ones_like(t2), t2).sqrt()  # the untaken branch must have a finite gradient
    a = torch.where(small, 1 - t2 / 6 + t2.square() / 120, theta.sin() / theta)
    half = (theta / 2).sin() / theta
    b = torch.where(small, 0.5 - t2 / 24 + t2.square() / 720, 2 * half.square())
    K = skew(axis_angle)
    eye = torch.eye(3, dtype=K.dtype, device=K.device)
    return eye + a[..., None, None] * K + b[..., None, None] * (K @ K)


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """The shortest axis-angle, length in [0, pi]; accurate near 0 and near pi. (..., 3, 3) -> (..., 3)."""
    return quaternion_to_axis_angle(matrix_to_quaternion(matrix))


def axis_angle_to_quaternion(axis_angle: Tensor) -> Tensor:
    """(..., 3) -> unit quaternions (..., 4) wxyz."""
    t2 = axis_angle.square().sum(-1, keepdim=True)
    small = t2 < _SMALL
    theta = torch.where(small, torch.ones_like(t2), t2).sqrt()
    w = torch.where(small, 1 - t2 / 8 + t2.square() / 384, (theta / 2).cos())
    s = torch.where(small, 0.5 - t2 / 48 + t2.square() / 3840, (theta / 2).sin() / theta)
    return torch.cat([w, s * axis_angle], dim=-1)


def quaternion_to_axis_angle(quaternion: Tensor) -> Tensor:
    """Quaternions of any positive length, (..., 4) wxyz -> shortest axis-angle (..., 3), length in [0, pi]."""
    q = positive_real(normalize(quaternion))
    w, v = q[..., :1], q[..., 1:]
    s2 = v.square().sum(-1, keepdim=True)
    small = s2 < _SMALL
    s = torch.where(small, torch.ones_like(s2), s2).sqrt()
    # angle / sin(angle / 2): arcsin series for small angles, atan2 (good at both ends) elsewhere
    factor = torch.where(small, 2 + s2 / 3 + 3 * s2.square() / 20, 2 * torch.atan2(s, w) / s)
    return factor * v


def normalize(v: Tensor, eps: float = 1e-12) -> Tensor:
    """Vectors (..., C) scaled to unit length; the length is kept from falling below ``eps``."""
    return torch.nn.functional.normalize(v, dim=-1, eps=eps)


def positive_real(quaternion: Tensor) -> Tensor:
    """The same rotations with w >= 0. (..., 4) wxyz -> (..., 4)."""
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def wxyz_to_xyzw(quaternion: Tensor) -> Tensor:
    """Moves the real part last. (..., 4) -> (..., 4)."""
    return quaternion[..., [1, 2, 3, 0]]


def xyzw_to_wxyz(quaternion: Tensor) -> Tensor:
    """Moves the real part first. (..., 4) -> (..., 4)."""
    return quaternion[..., [3, 0, 1, 2]]


def quaternion_to_matrix(quaternion: Tensor) -> Tensor:
    """Quaternions of any non-zero length, (..., 4) wxyz -> (..., 3, 3)."""
    w, x, y, z = quaternion.unbind(-1)
    s = 2 / quaternion.square().sum(-1)
    rows = [
        1 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y),
        s * (x * y + w * z), 1 - s * (x * x + z * z), s * (y * z - w * x),
        s * (x * z - w * y), s * (y * z + w * x), 1 - s * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """Unit quaternions with w >= 0, well conditioned for every angle. (..., 3, 3) -> (..., 4) wxyz.

    The sums and differences of a rotation matrix's entries are the entries of ``4 q q^T``; each row of that matrix is a
    multiple of q, and the row with the largest diagonal entry (Shepperd's choice) is the best conditioned one.
    """
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = matrix.flatten(-2).unbind(-1)
    wx, wy, wz = m21 - m12, m02 - m20, m10 - m01
    xy, xz, yz = m01 + m10, m02 + m20, m12 + m21
    outer = torch.stack(
        [
            1 + m00 + m11 + m22, wx, wy, wz,
            wx, 1 + m00 - m11 - m22, xy, xz,
            wy, xy, 1 - m00 + m11 - m22, yz,
            wz, xz, yz, 1 - m00 - m11 + m22,
        ],
        dim=-1,
    ).unflatten(-1, (4, 4))  # fmt: skip
    best = outer.diagonal(dim1=-2, dim2=-1).argmax(-1)  # (...)
    row = outer.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    return positive_real(normalize(row))


def quaternion_multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product: the rotation b followed by a. (..., 4) wxyz each -> (..., 4)."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        dim=-1,
    )


def quaternion_conjugate(quaternion: Tensor) -> Tensor:
    """The inverse rotation of unit quaternions. (..., 4) wxyz -> (..., 4)."""
    return quaternion * quaternion.new_tensor([1.0, -1.0, -1.0, -1.0])


def quaternion_apply(quaternion: Tensor, points: Tensor) -> Tensor:
    """Points (..., 3) turned by unit quaternions (..., 4) wxyz -> (..., 3)."""
    w, v = quaternion[..., :1], quaternion[..., 1:]
    v, points = torch.broadcast_tensors(v, points)
    t = 2 * torch.linalg.cross(v, points, dim=-1)
    return points + w * t + torch.linalg.cross(v, t, dim=-1)


def slerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """Spherical interpolation along the shorter arc; ``t`` in [0, 1] broadcasts against (...).

    Args:
        a, b: unit quaternions (..., 4) wxyz.
    """
    t = torch.as_tensor(t, dtype=a.dtype, device=a.device)[..., None]
    b = torch.where((a * b).sum(-1, keepdim=True) < 0, -b, b)
    chord, span = (b - a).norm(dim=-1, keepdim=True), (b + a).norm(dim=-1, keepdim=True)
    omega = 2 * torch.atan2(chord, span)  # keeps its digits where acos(dot) loses them
    near = omega < 1e-3
    safe = torch.where(near, torch.ones_like(omega), omega)
    wa = torch.where(near, 1 - t, ((1 - t) * safe).sin() / safe.sin())
    wb = torch.where(near, t.expand_as(omega), (t * safe).sin() / safe.sin())
    return normalize(wa * a + wb * b)


def _gram_schmidt(a1: Tensor, a2: Tensor) -> Tensor:
    """Two 3-vectors (..., 3) -> rotation with them as (orthonormalised) first two columns (..., 3, 3)."""
    b1 = normalize(a1)
    b2 = normalize(a2 - (b1 * a2).sum(-1, keepdim=True) * b1)
    return torch.stack([b1, b2, torch.linalg.cross(b1, b2, dim=-1)], dim=-1)


def rotation_6d_to_matrix(d6: Tensor, row_major: bool = True) -> Tensor:
    """The continuous 6D form of Zhou et al. 2019 (section B): the first two *columns* of R. (..., 6) -> (..., 3, 3).

    Args:
        row_major: True reads the six numbers as a row-major 3x2 matrix, so the columns are ``d6[0::2]`` and
            ``d6[1::2]``; False reads one column after the other, ``d6[:3]`` and ``d6[3:]``.
    """
    if row_major:
        return _gram_schmidt(d6[..., 0::2], d6[..., 1::2])
    return _gram_schmidt(d6[..., :3], d6[..., 3:])


def matrix_to_rotation_6d(matrix: Tensor, row_major: bool = True) -> Tensor:
    """The first two columns of (..., 3, 3) as six numbers; orders as in ``rotation_6d_to_matrix``."""
    columns = matrix[..., :2]  # (..., 3, 2)
    return columns.flatten(-2) if row_major else columns.transpose(-1, -2).flatten(-2)


def nearest_rotation(matrix: Tensor) -> Tensor:
    """The proper rotation nearest in Frobenius norm (orthogonal Procrustes). (..., 3, 3) -> (..., 3, 3)."""
    u, _, vh = torch.linalg.svd(matrix)
    sign = torch.linalg.det(u @ vh).sign()
    flip = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], dim=-1)  # (..., 3)
    return (u * flip[..., None, :]) @ vh


def axis_rotation(axis: str, angle: Tensor) -> Tensor:
    """Rotations about one coordinate axis, ``axis`` in "XYZ". (...) -> (..., 3, 3)."""
    i = _AXES[axis.upper()]
    v = torch.zeros(*angle.shape, 3, dtype=angle.dtype, device=angle.device)
    return axis_angle_to_matrix(v.index_copy(-1, torch.tensor([i], device=angle.device), angle[..., None]))


def _order(order: str) -> tuple[str, bool]:
    if len(order) != 3 or any(c.upper() not in _AXES for c in order) or order[0] == order[1] or order[1] == order[2]:
        raise ValueError(f"not an Euler order: {order!r}")
    if order.isupper():
        return order, True
    if order.islower():
        return order.upper(), False
    raise ValueError(f"an Euler order is all upper case (intrinsic) or all lower case (extrinsic): {order!r}")


def euler_to_matrix(angles: Tensor, order: str = "XYZ") -> Tensor:
    """Three angles (..., 3) in the order of the letters -> (..., 3, 3).

    Upper case is intrinsic (turning axes): "XYZ" is ``Rx(a) @ Ry(b) @ Rz(c)``. Lower case is extrinsic (fixed axes):
    "xyz" is ``Rz(c) @ Ry(b) @ Rx(a)``.
    """
    axes, intrinsic = _order(order)
    first, second, third = (axis_rotation(axis, angle) for axis, angle in zip(axes, angles.unbind(-1), strict=True))
    return first @ second @ third if intrinsic else third @ second @ first


def matrix_to_euler(matrix: Tensor, order: str = "XYZ") -> Tensor:
    """Euler angles that rebuild the matrix, also in gimbal lock. (..., 3, 3) -> (..., 3), order as ``euler_to_matrix``.

    The middle angle lies in [-pi/2, pi/2], or [0, pi] when the first and third axes agree.
    """
    axes, intrinsic = _order(order)
    if not intrinsic:
        axes = axes[::-1]
    i, j = _AXES[axes[0]], _AXES[axes[1]]
    k = 3 - i - j
    s = 1.0 if (j - i) % 3 == 1 else -1.0  # parity of (i, j, k)
    proper = axes[0] == axes[2]
    if proper:
        first = torch.atan2(matrix[..., j, i], -s * matrix[..., k, i])
    else:
        first = torch.atan2(-s * matrix[..., j, k], matrix[..., k, k])
    # What is left after undoing the first turn has two well-conditioned angles, whatever the first came out as.
    rest = axis_rotation(axes[0], -first) @ matrix
    if proper:
        second = torch.atan2(-s * rest[..., k, i], rest[..., i, i])
        third = torch.atan2(-s * rest[..., j, k], rest[..., j, j])
    else:
        second = torch.atan2(s * rest[..., i, k], rest[..., k, k])
        third = torch.atan2(s * rest[..., j, i], rest[..., j, j])
    angles = [first, second, third] if intrinsic else [third, second, first]
    return torch.stack(angles, dim=-1)


def geodesic_distance(a: Tensor, b: Tensor) -> Tensor:
    """Angle in [0, pi] of the rotation between two matrices, accurate at both ends. (..., 3, 3) each -> (...)."""
    r = a.transpose(-1, -2) @ b
    v = torch.stack([r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]], dim=-1)
    return torch.atan2(v.norm(dim=-1), r.diagonal(dim1=-2, dim2=-1).sum(-1) - 1)
