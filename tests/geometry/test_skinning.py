"""Linear blend skinning: rest pose, rigid motion, a chain worked out by hand, recorded values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.geometry import skinning
from models.geometry.rotations import axis_angle_to_matrix

PARENTS = (-1, 0, 1, 1, 3)


def body(seed: int) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    regressor = torch.rand(5, 30, generator=g, dtype=torch.float64)
    weights = torch.rand(30, 5, generator=g, dtype=torch.float64)
    return {
        "shaped": torch.randn(2, 30, 3, generator=g, dtype=torch.float64),
        "regressor": regressor / regressor.sum(1, keepdim=True),
        "weights": weights / weights.sum(1, keepdim=True),
        "pose_directions": 0.01 * torch.randn(36, 90, generator=g, dtype=torch.float64),
        "pose": torch.randn(2, 5, 3, generator=g, dtype=torch.float64),
    }


@given(st.integers(0, 10_000))
def test_rest_pose_moves_nothing_and_the_root_turns_everything(seed: int) -> None:
    parts = body(seed)
    pose = parts.pop("pose")
    eye = torch.eye(3, dtype=torch.float64).expand(2, 5, 3, 3)
    vertices, joints, relative = skinning.lbs(rotations=eye, parents=PARENTS, **parts)
    torch.testing.assert_close(vertices, parts["shaped"])
    torch.testing.assert_close(relative, torch.eye(4, dtype=torch.float64).expand(2, 5, 4, 4))
    rotations = axis_angle_to_matrix(pose)
    turned = rotations.clone()
    turned[:, 0] = eye[:, 0]
    v0, j0, _ = skinning.lbs(rotations=turned, parents=PARENTS, **parts)
    v1, _, _ = skinning.lbs(rotations=rotations, parents=PARENTS, **parts)
    root = j0[:, :1]
    torch.testing.assert_close((v0 - root) @ rotations[:, 0].mT + root, v1)
    torch.testing.assert_close(joints, skinning.joints_from_vertices(parts["regressor"], parts["shaped"]))


def test_a_straight_arm_bends_where_it_should() -> None:
    joints = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]])
    rotations = axis_angle_to_matrix(torch.tensor([[[0.0, 0, 0], [0, 0, np.pi / 2], [0, 0, np.pi / 2]]]))
    world, relative = skinning.chain_transforms(rotations, joints, (-1, 0, 1))
    torch.testing.assert_close(world[0, :, :3, 3], torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0]]))
    hand = skinning.skin(torch.tensor([[[3.0, 0, 0]]]), torch.tensor([[0.0, 0, 1]]), relative)
    torch.testing.assert_close(hand[0, 0], torch.tensor([0.0, 1, 0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("parents", [(-1, 0, 3, 1, 2), (-1, 0, 1), (-1, -1, 1, 1, 1), (-1, 1, 0, 0, 0)])
def test_impossible_trees_are_refused(parents: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="parents"):
        skinning.chain_transforms(torch.eye(3).expand(1, 5, 3, 3), torch.zeros(1, 5, 3), parents)


def test_blend_shapes_sum_their_directions() -> None:
    directions = torch.randn(4, 3, 2)
    offsets = skinning.blend_shapes(torch.tensor([[2.0, -1.0]]), directions)
    torch.testing.assert_close(offsets[0], 2 * directions[..., 0] - directions[..., 1])


def test_parity_with_recorded_skinning(parity_dir: Path) -> None:
    data = np.load(parity_dir / "deca/golden/lbs_small.npz", allow_pickle=False)
    t = {k: torch.from_numpy(data[k]) for k in data.files if k != "meta"}
    shaped = t["v_template"] + skinning.blend_shapes(t["betas"], t["shapedirs"])
    rotations = axis_angle_to_matrix(t["pose"].unflatten(-1, (5, 3)))
    vertices, joints, _ = skinning.lbs(
        shaped, rotations, t["J_regressor"], t["parents"].tolist(), t["weights"], t["posedirs"]
    )
    torch.testing.assert_close(vertices, t["verts"], atol=1e-6, rtol=0)
    torch.testing.assert_close(joints, t["joints"], atol=1e-6, rtol=0)
