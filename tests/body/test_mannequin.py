"""The mannequin: complete, closed, symmetrical, and driven by the SMPL-X layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from assets.mannequin_shape import JOINTS
from models.bodies.joints import INDEX
from models.bodies.mannequin import FILE, SHAPES, load
from models.bodies.smplx import BodyPose, Smplx


def test_file_is_small_and_mesh_is_closed() -> None:
    body = load().data
    assert FILE.stat().st_size < 1_000_000
    edges = np.sort(np.concatenate([body.faces[:, [0, 1]], body.faces[:, [1, 2]], body.faces[:, [2, 0]]]), axis=1)
    _, count = np.unique(edges, axis=0, return_counts=True)
    assert (count % 2 == 0).all()
    corners = body.v_template[body.faces]
    assert (
        np.einsum("fc,fc->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6 > 0.05
    )  # m^3, outwards
    np.testing.assert_allclose(body.weights.sum(axis=1), 1, atol=1e-5)


def test_joints_come_out_of_the_mesh() -> None:
    body = load().data
    joints = body.J_regressor @ body.v_template
    np.testing.assert_allclose(joints, JOINTS - [0, 0.945, 0], atol=3e-3)


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_shapes_move_joints_with_the_mesh(shape: int) -> None:
    layer = Smplx(load().data)
    betas = torch.zeros(1, 10)
    betas[0, shape] = 1.0
    moved = layer.shaped(betas, None, 1)[0] - layer.shaped(None, None, 1)[0]
    assert 1e-3 < float(moved.norm(dim=1).max()) < 0.15


def test_an_elbow_moves_the_forearm_alone() -> None:
    layer = Smplx(load().data)
    body_pose = torch.zeros(1, 21, 3)
    body_pose[0, INDEX["left_elbow"] - 1, 1] = -1.2
    with torch.inference_mode():
        rest = layer(BodyPose(torch.zeros(1, 3), torch.zeros(1, 63))).vertices[0]
        bent = layer(BodyPose(torch.zeros(1, 3), body_pose.flatten(1))).vertices[0]
    gap = (bent - rest).norm(dim=1)
    assert float(gap[rest[:, 0] < 0.30].max()) < 1e-3
    assert float(gap[rest[:, 0] > 0.62].min()) > 0.1
