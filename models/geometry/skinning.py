"""Linear blend skinning of parametric bodies as small torch functions (Loper et al. 2015, section 3).

A body is a template plus blend shapes, joints regressed from its vertices, and a tree of rotations carried to the
vertices by weights. Lengths are in the template's unit (metres for the bodies used here); B is the batch, V vertices,
J joints. ``parents[0]`` is -1 and every other joint comes after its parent.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def blend_shapes(coefficients: Tensor, directions: Tensor) -> Tensor:
    """Vertex offsets: coefficients (B, K), directions (V, 3, K) -> (B, V, 3)."""
    return torch.einsum("bk,vck->bvc", coefficients, directions)


def joints_from_vertices(regressor: Tensor, vertices: Tensor) -> Tensor:
    """Joint positions as weighted vertex means: regressor (J, V), vertices (B, V, 3) -> (B, J, 3)."""
    return torch.einsum("jv,bvc->bjc", regressor, vertices)


def pose_feature(rotations: Tensor) -> Tensor:
    """What pose blend shapes are driven by: ``R - I`` of all joints but the root, row-major.

    (B, J, 3, 3) -> (B, 9 * (J - 1)).
    """
    eye = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
    return (rotations[:, 1:] - eye).flatten(1)


def pose_offsets(rotations: Tensor, directions: Tensor) -> Tensor:
    """Pose-dependent vertex offsets: rotations (B, J, 3, 3), directions (9 * (J - 1), 3 * V) -> (B, V, 3)."""
    return (pose_feature(rotations) @ directions).unflatten(-1, (-1, 3))


def chain_transforms(rotations: Tensor, joints: Tensor, parents: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Carries local rotations down the tree.

    Args:
        rotations: (B, J, 3, 3) of each joint relative to its parent.
        joints: (B, J, 3) rest positions.
    Returns:
        World transforms of the joints (B, J, 4, 4), which place each joint's own frame, and the same relative to the
        rest pose (B, J, 4, 4), which move rest-pose vertices.
    """
    parents = [int(p) for p in parents]
    if (
        len(parents) != rotations.shape[1]
        or any(p >= i for i, p in enumerate(parents))
        or min(parents[1:], default=0) < 0
    ):
        raise ValueError("parents must name one earlier joint for every joint but the first")
    offsets = joints.clone()
    if len(parents) > 1:
        offsets[:, 1:] = joints[:, 1:] - joints[:, parents[1:]]
    top = torch.cat([rotations, offsets[..., None]], dim=-1)  # (B, J, 3, 4)
    bottom = top.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*top.shape[:2], 1, 4)
    local = torch.cat([top, bottom], dim=-2)
    chain = [local[:, 0]]
    for joint, parent in enumerate(parents[1:], start=1):
        chain.append(chain[parent] @ local[:, joint])
    world = torch.stack(chain, dim=1)  # (B, J, 4, 4)
    moved = world[..., :3, 3] - (world[..., :3, :3] @ joints[..., None])[..., 0]
    relative = torch.cat([torch.cat([world[..., :3, :3], moved[..., None]], dim=-1), bottom], dim=-2)
    return world, relative


def skin(vertices: Tensor, weights: Tensor, transforms: Tensor) -> Tensor:
    """Moves vertices (B, V, 3) by blends of joint transforms (B, J, 4, 4), weights (V, J) -> (B, V, 3)."""
    blended = torch.einsum("vj,bjrc->bvrc", weights, transforms[..., :3, :])  # (B, V, 3, 4)
    return (blended[..., :3] @ vertices[..., None])[..., 0] + blended[..., 3]


def lbs(
    shaped: Tensor,
    rotations: Tensor,
    regressor: Tensor,
    parents: Sequence[int],
    weights: Tensor,
    pose_directions: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """From the shaped rest body to the posed one.

    Args:
        shaped: (B, V, 3) template plus identity and expression offsets.
        rotations: (B, J, 3, 3) local rotations.
        regressor: (J, V).
        weights: (V, J), rows summing to 1.
        pose_directions: (9 * (J - 1), 3 * V) or None.
    Returns:
        Vertices (B, V, 3), posed joints (B, J, 3), and the transforms relative to rest (B, J, 4, 4).
    """
    joints = joints_from_vertices(regressor, shaped)
    posed = shaped if pose_directions is None else shaped + pose_offsets(rotations, pose_directions)
    world, relative = chain_transforms(rotations, joints, parents)
    return skin(posed, weights, relative), world[..., :3, 3], relative
