"""Rotations against scipy, and the properties that hold for every rotation."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from models.geometry import rotations as rot

ORDERS = ["".join(o) for o in itertools.product("XYZ", repeat=3) if o[0] != o[1] and o[1] != o[2]]
ORDERS += [o.lower() for o in ORDERS]

finite = st.floats(-1, 1, allow_nan=False, width=64)
directions = st.tuples(finite, finite, finite).map(np.array).filter(lambda v: np.linalg.norm(v) > 1e-2)
angles = st.one_of(
    st.floats(0, np.pi), st.sampled_from([0.0, 1e-9, 1e-4, 1e-2, np.pi - 1e-9, np.pi - 1e-4, np.pi, np.pi / 2])
)


@st.composite
def axis_angles(draw: st.DrawFn) -> torch.Tensor:
    v = draw(directions)
    return torch.from_numpy(v / np.linalg.norm(v) * draw(angles))


def assert_same(a: torch.Tensor, b: torch.Tensor | np.ndarray, tolerance: float = 1e-9) -> None:
    np.testing.assert_allclose(a.numpy(), np.asarray(b), atol=tolerance, rtol=0)


@given(axis_angles())
def test_axis_angle_to_matrix_is_rodrigues(v: torch.Tensor) -> None:
    R = rot.axis_angle_to_matrix(v)
    assert_same(R, Rotation.from_rotvec(v.numpy()).as_matrix())
    assert_same(R @ R.T, np.eye(3))
    assert torch.linalg.det(R) > 0


@given(axis_angles())
@example(torch.tensor([np.pi, 0.0, 0.0], dtype=torch.float64))
@example(torch.zeros(3, dtype=torch.float64))
def test_axis_angle_round_trip_by_rotation(v: torch.Tensor) -> None:
    R = rot.axis_angle_to_matrix(v)
    back = rot.matrix_to_axis_angle(R)
    assert back.norm() <= np.pi + 1e-9
    assert_same(rot.axis_angle_to_matrix(back), R)
    if v.norm() < np.pi - 1e-6:
        assert_same(back, v, 1e-7)


@given(axis_angles())
def test_quaternion_agrees_with_scipy_and_returns(v: torch.Tensor) -> None:
    q = rot.axis_angle_to_quaternion(v)
    R = rot.quaternion_to_matrix(q)
    assert_same(R, rot.axis_angle_to_matrix(v))
    assert_same(rot.quaternion_to_matrix(3.7 * q), R)
    again = rot.matrix_to_quaternion(R)
    assert again[0] >= 0
    assert_same(rot.quaternion_to_matrix(again), R)
    xyzw = rot.wxyz_to_xyzw(q)
    assert_same(R, Rotation.from_quat(xyzw.numpy()).as_matrix())
    assert_same(rot.xyzw_to_wxyz(xyzw), q, 0)


@given(axis_angles(), axis_angles(), axis_angles())
def test_quaternion_product_composes_and_associates(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> None:
    qa, qb, qc = (rot.axis_angle_to_quaternion(v) for v in (a, b, c))
    product = rot.quaternion_multiply(qa, qb)
    assert_same(rot.quaternion_to_matrix(product), rot.axis_angle_to_matrix(a) @ rot.axis_angle_to_matrix(b))
    assert_same(rot.quaternion_multiply(product, qc), rot.quaternion_multiply(qa, rot.quaternion_multiply(qb, qc)))
    identity = rot.quaternion_multiply(qa, rot.quaternion_conjugate(qa))
    assert_same(identity, [1, 0, 0, 0])
    assert_same(rot.quaternion_apply(qa, b), rot.axis_angle_to_matrix(a) @ b)


@given(axis_angles())
def test_float32_stays_accurate_at_both_ends(v: torch.Tensor) -> None:
    R = rot.axis_angle_to_matrix(v.float())
    assert R.dtype == torch.float32
    assert_same(R.double(), rot.axis_angle_to_matrix(v), 1e-6)
    again = rot.axis_angle_to_matrix(rot.matrix_to_axis_angle(R))
    assert_same(again.double(), R.double(), 2e-6)


@pytest.mark.parametrize("row_major", [True, False])
@given(axis_angles(), st.floats(0.1, 10), st.floats(-3, 3))
def test_6d_round_trip_ignores_length_and_shear(row_major: bool, v: torch.Tensor, length: float, shear: float) -> None:
    R = rot.axis_angle_to_matrix(v)
    six = rot.matrix_to_rotation_6d(R, row_major)
    assert_same(rot.rotation_6d_to_matrix(six, row_major), R)
    columns = R[:, :2].clone()
    columns[:, 1] += shear * columns[:, 0]
    columns *= length
    stretched = columns.reshape(-1) if row_major else columns.T.reshape(-1)
    assert_same(rot.rotation_6d_to_matrix(stretched, row_major), R)


def test_6d_orders_name_the_same_columns() -> None:
    R = torch.arange(9.0).view(3, 3)
    assert rot.matrix_to_rotation_6d(R, row_major=True).tolist() == [0, 1, 3, 4, 6, 7]
    assert rot.matrix_to_rotation_6d(R, row_major=False).tolist() == [0, 3, 6, 1, 4, 7]


@pytest.mark.parametrize("order", ORDERS)
@settings(max_examples=25)
@given(euler=st.tuples(*[st.one_of(st.floats(-np.pi, np.pi), st.sampled_from([0, np.pi / 2, -np.pi / 2, np.pi]))] * 3))
def test_euler_agrees_with_scipy_and_returns(order: str, euler: tuple[float, float, float]) -> None:
    R = rot.euler_to_matrix(torch.tensor(euler, dtype=torch.float64), order)
    assert_same(R, Rotation.from_euler(order, euler).as_matrix())
    assert_same(rot.euler_to_matrix(rot.matrix_to_euler(R, order), order), R)


@pytest.mark.parametrize("order", ["XxY", "XXY", "XYYZ", "ab", "Xyz"])
def test_nonsense_euler_orders_are_refused(order: str) -> None:
    with pytest.raises(ValueError, match="Euler"):
        rot.euler_to_matrix(torch.zeros(3), order)


@given(axis_angles(), axis_angles(), st.floats(0, 1))
def test_slerp_moves_at_constant_speed(a: torch.Tensor, b: torch.Tensor, t: float) -> None:
    qa, qb = rot.axis_angle_to_quaternion(a), rot.axis_angle_to_quaternion(b)
    Ra, Rb, Rt = (rot.quaternion_to_matrix(q) for q in (qa, qb, rot.slerp(qa, qb, t)))
    whole = rot.geodesic_distance(Ra, Rb)
    assert_same(rot.geodesic_distance(Ra, Rt), whole * t, 1e-6)
    assert_same(rot.geodesic_distance(Rt, Rb), whole * (1 - t), 1e-6)


@given(axis_angles(), axis_angles())
def test_geodesic_distance_is_the_angle(a: torch.Tensor, b: torch.Tensor) -> None:
    R = rot.axis_angle_to_matrix(b)
    assert_same(rot.geodesic_distance(R, R @ rot.axis_angle_to_matrix(a)), a.norm(), 1e-7)


@given(axis_angles())
def test_nearest_rotation_projects_and_keeps_rotations(v: torch.Tensor) -> None:
    R = rot.axis_angle_to_matrix(v)
    assert_same(rot.nearest_rotation(R), R)
    assert_same(rot.nearest_rotation(2.5 * R), R)
    assert torch.linalg.det(rot.nearest_rotation(-R)) > 0


def test_gradients_are_finite_at_zero_and_everything_batches() -> None:
    v = torch.zeros(2, 3, 3, dtype=torch.float64, requires_grad=True)
    R = rot.axis_angle_to_matrix(v)
    assert R.shape == (2, 3, 3, 3)
    total = rot.matrix_to_axis_angle(R).sum() + rot.quaternion_to_axis_angle(rot.axis_angle_to_quaternion(v)).sum()
    (gradient,) = torch.autograd.grad(total, v)
    np.testing.assert_allclose(gradient.numpy(), 2.0, atol=1e-12)


@given(axis_angles())
@settings(max_examples=20)
def test_gradient_of_the_round_trip_is_the_identity(v: torch.Tensor) -> None:
    if v.norm() > 3:
        return
    jacobian = torch.autograd.functional.jacobian(lambda x: rot.matrix_to_axis_angle(rot.axis_angle_to_matrix(x)), v)
    assert_same(jacobian, np.eye(3), 1e-5)


def test_parity_with_recorded_converters(parity_dir: Path) -> None:
    data = {
        k: torch.from_numpy(v)
        for k, v in np.load(parity_dir / "deca/golden/rotation.npz").items()
        if v.dtype.kind == "f"
    }
    R = rot.euler_to_matrix(data["euler"], "XYZ")
    assert_same(R, data["matrix"], 2e-6)
    assert_same(rot.axis_angle_to_matrix(data["axis"]), data["axis_matrix"], 2e-6)
    assert_same(rot.axis_angle_to_matrix(data["euler"]), data["rodrigues"], 2e-6)
    q = rot.matrix_to_quaternion(R)
    assert_same((q * data["matrix_quat"]).sum(-1).abs(), np.ones(len(q)), 2e-6)
