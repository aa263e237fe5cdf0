"""How far joints bend: each rotation is split into a twist about the bone and a swing, both bounded.

Rotations are R = swing * twist, the twist about the bone's rest direction first; the swing is an axis-angle
perpendicular to it, measured along two rest axes. Rest pose and axes are SMPL-X's: arms out to the sides, x left, y up,
z front. Angles in radians. Values follow the ranges given in clinical goniometry tables, a little widened.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from models.bodies.joints import INDEX, NAMES
from models.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, matrix_to_quaternion

X, Y, Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
Range = tuple[float, float]
FINGERS = ("index", "middle", "ring", "pinky")


@dataclass(frozen=True)
class Limit:
    """Bounds of the twist about ``bone`` and of the swing's parts along ``first`` and ``second``."""

    bone: tuple[float, float, float]
    first: tuple[float, float, float]
    second: tuple[float, float, float]
    twist: Range
    swing1: Range
    swing2: Range


def _spine(bend: float, turn: float) -> Limit:
    return Limit(Y, X, Z, (-turn, turn), (-bend * 0.7, bend), (-bend * 0.6, bend * 0.6))


def _left() -> dict[str, Limit]:
    """Left limbs; the right ones are their mirror images."""
    table = {
        "hip": Limit(Y, X, Z, (-0.9, 0.9), (-2.3, 0.7), (-0.7, 1.2)),
        "knee": Limit(Y, X, Z, (-0.35, 0.35), (-0.05, 2.6), (-0.12, 0.12)),
        "ankle": Limit(Y, X, Z, (-0.6, 0.6), (-0.6, 0.95), (-0.5, 0.5)),
        "foot": Limit(Z, X, Y, (-0.2, 0.2), (-0.9, 0.6), (-0.2, 0.2)),
        "collar": Limit(X, Y, Z, (-0.2, 0.2), (-0.55, 0.45), (-0.35, 0.65)),
        "shoulder": Limit(X, Y, Z, (-1.7, 1.7), (-2.4, 1.2), (-1.9, 1.75)),
        "elbow": Limit(X, Y, Z, (-1.6, 1.6), (-2.65, 0.06), (-0.12, 0.12)),
        "wrist": Limit(X, Y, Z, (-0.7, 0.7), (-0.7, 0.7), (-1.4, 1.3)),
        "eye": Limit(Z, X, Y, (-0.1, 0.1), (-0.5, 0.5), (-0.7, 0.7)),
        "thumb1": Limit(X, Y, Z, (-0.9, 0.9), (-0.9, 1.0), (-0.9, 0.7)),
        "thumb2": Limit(X, Y, Z, (-0.5, 0.5), (-0.6, 1.0), (-0.9, 0.5)),
        "thumb3": Limit(X, Y, Z, (-0.3, 0.3), (-0.4, 1.4), (-0.9, 0.4)),
    }
    for finger in FINGERS:
        table[f"{finger}1"] = Limit(X, Y, Z, (-0.3, 0.3), (-0.45, 0.45), (-1.65, 0.5))
        table[f"{finger}2"] = Limit(X, Y, Z, (-0.12, 0.12), (-0.12, 0.12), (-1.95, 0.1))
        table[f"{finger}3"] = Limit(X, Y, Z, (-0.12, 0.12), (-0.12, 0.12), (-1.5, 0.15))
    return table


def _mirrored(limit: Limit) -> Limit:
    """Across the body's middle plane: turns about x stay, those about y and z change sign."""

    def turned(axis: tuple[float, float, float], bounds: Range) -> Range:
        return bounds if axis == X else (-bounds[1], -bounds[0])

    return Limit(
        limit.bone,
        limit.first,
        limit.second,
        turned(limit.bone, limit.twist),
        turned(limit.first, limit.swing1),
        turned(limit.second, limit.swing2),
    )


LIMITS: dict[str, Limit] = {
    "spine1": _spine(0.7, 0.35),
    "spine2": _spine(0.6, 0.4),
    "spine3": _spine(0.6, 0.5),
    "neck": _spine(0.6, 0.75),
    "head": _spine(0.65, 0.75),
    "jaw": Limit(Z, X, Y, (-0.1, 0.1), (-0.05, 0.6), (-0.15, 0.15)),
    **{f"left_{name}": limit for name, limit in _left().items()},
    **{f"right_{name}": _mirrored(limit) for name, limit in _left().items()},
}


@cache
def _tables() -> tuple[Tensor, Tensor, Tensor]:
    """Frames (55, 3, 3) with rows bone, first, second; lower and upper bounds (55, 3). The pelvis is free."""
    frames = torch.eye(3, dtype=torch.float64).repeat(len(NAMES), 1, 1)
    low = torch.full((len(NAMES), 3), -4.0, dtype=torch.float64)
    high = torch.full((len(NAMES), 3), 4.0, dtype=torch.float64)
    for name, limit in LIMITS.items():
        j = INDEX[name]
        frames[j] = torch.tensor([limit.bone, limit.first, limit.second], dtype=torch.float64)
        low[j] = torch.tensor([limit.twist[0], limit.swing1[0], limit.swing2[0]], dtype=torch.float64)
        high[j] = torch.tensor([limit.twist[1], limit.swing1[1], limit.swing2[1]], dtype=torch.float64)
    return frames, low, high


def split(rotation: Tensor, joints: list[int]) -> Tensor:
    """Rotations (..., J, 3, 3) of ``joints`` -> (..., J, 3): twist, and the swing along the two axes."""
    frames = _tables()[0][joints]
    q = matrix_to_quaternion(rotation)
    along = (q[..., 1:] * frames[:, 0]).sum(-1)
    angle = 2 * torch.atan2(along, q[..., 0])
    angle = torch.atan2(angle.sin(), angle.cos())
    twist = axis_angle_to_matrix(frames[:, 0] * angle[..., None])
    swing = matrix_to_axis_angle(rotation @ twist.transpose(-1, -2))
    return torch.stack([angle, (swing * frames[:, 1]).sum(-1), (swing * frames[:, 2]).sum(-1)], dim=-1)


def compose(parts: Tensor, joints: list[int]) -> Tensor:
    """The inverse of ``split``."""
    frames = _tables()[0][joints]
    twist = axis_angle_to_matrix(frames[:, 0] * parts[..., :1])
    swing = axis_angle_to_matrix(frames[:, 1] * parts[..., 1:2] + frames[:, 2] * parts[..., 2:])
    return swing @ twist


def clamp(rotation: Tensor, joints: list[int]) -> Tensor:
    """Rotations (..., J, 3, 3) float64 brought within the joints' limits; those within stay as they are."""
    _, low, high = _tables()
    parts = split(rotation, joints)
    kept = torch.minimum(torch.maximum(parts, low[joints]), high[joints])
    outside = (kept != parts).any(-1)[..., None, None]
    return torch.where(outside, compose(kept, joints), rotation)


def excess(rotation: Tensor) -> Tensor:
    """How far rotations (T, 55, 3, 3) lie beyond their limits, (T, 55) radians; 0 within."""
    _, low, high = _tables()
    parts = split(rotation, list(range(len(NAMES))))
    beyond = torch.maximum(low - parts, parts - high).clamp(min=0)
    beyond[..., 0, :] = 0
    return beyond.amax(-1)
