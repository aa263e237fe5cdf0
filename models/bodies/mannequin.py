"""The studio's own body: free of any licence, in the format of SMPL-X, so that everything works before SMPL-X is there.

55 joints with the names, order and rest frame of SMPL-X (T-pose, x left, y up, z front, metres), ten shape directions
(size, legs, arms, trunk, shoulders, hips, head, hands, feet, girth), no expressions and no pose corrections. Made by
``assets/make_mannequin.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from models.bodies.joints import JOINTS, PARENTS
from models.bodies.smplx import SmplxData
from models.runtime.safe_load import load_npz

FILE = Path(__file__).resolve().parents[2] / "assets" / "mannequin.npz"
SHAPES = ("size", "legs", "arms", "trunk", "shoulders", "hips", "head", "hands", "feet", "girth")
_STEP = 5e-5  # metres per count of a stored coordinate
_ORIGIN = np.array([0.0, 0.945, 0.0])  # the file's y counts from the floor, the body's from the pelvis
_DIRECTION_STEP = 1e-3
_WEIGHT_STEPS = 255
_INFLUENCES = 4


@dataclass(frozen=True)
class Mannequin:
    """``data`` drives ``Smplx``; ``colors`` (V, 3) uint8: skin, hair, clothes; ``floor`` is the y of the soles."""

    data: SmplxData
    colors: np.ndarray
    floor: float


def quantize(
    vertices: np.ndarray,
    faces: np.ndarray,
    weights: np.ndarray,
    directions: np.ndarray,
    regressor: np.ndarray,
    colors: np.ndarray,
) -> dict[str, np.ndarray]:
    """What the file holds, from metres and shares: small integers, and the regressor's entries that are not zero."""
    kept = np.argsort(-weights, axis=1, kind="stable")[:, :_INFLUENCES]
    share = np.take_along_axis(weights, kept, axis=1)
    rows, columns = np.nonzero(regressor)
    return {
        "vertices": np.rint((vertices - _ORIGIN) / _STEP).astype(np.int16),
        "faces": faces.astype(np.uint16),
        "joints_of": kept.astype(np.uint8),
        "weights_of": np.rint(share * _WEIGHT_STEPS).astype(np.uint8),
        "directions": np.clip(np.rint(directions / _DIRECTION_STEP), -127, 127).astype(np.int8),
        "regressor_at": np.stack([rows, columns]).astype(np.uint16),
        "regressor": regressor[rows, columns].astype(np.float32),
        "colors": colors.astype(np.uint8),
    }


@cache
def load(path: Path = FILE) -> Mannequin:
    """The mannequin; read once."""
    stored = load_npz(path)
    vertices = (stored["vertices"] * _STEP).astype(np.float32)
    count = len(vertices)
    weights = np.zeros((count, JOINTS), np.float32)
    np.put_along_axis(weights, stored["joints_of"].astype(np.int64), stored["weights_of"].astype(np.float32), axis=1)
    weights /= weights.sum(axis=1, keepdims=True)
    regressor = np.zeros((JOINTS, count), np.float32)
    regressor[tuple(stored["regressor_at"].astype(np.int64))] = stored["regressor"]
    identity = stored["directions"].astype(np.float32) * _DIRECTION_STEP
    data = SmplxData(
        v_template=vertices,
        faces=stored["faces"].astype(np.int64),
        shapedirs=np.concatenate([identity, np.zeros((count, 3, 10), np.float32)], axis=2),
        identity=identity.shape[2],
        posedirs=np.zeros((0, 3 * count), np.float32),
        J_regressor=regressor,
        weights=weights,
        parents=PARENTS,
        hand_means=np.zeros((2, 45), np.float32),
        landmarks={},
    )
    return Mannequin(data, stored["colors"], float(vertices[:, 1].min()))
