"""How far predicted bodies lie from true ones, as SMPLer-X is judged: per-vertex and per-joint errors in millimetres.

Every function takes one sample: vertices (V, 3) or joints (J, 3) in metres. ``PA`` means after the similarity that fits
best (Procrustes), which is allowed to be no mirror image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from models.bodies.joints import INDEX, PICKED_VERTICES

Array = np.ndarray
MILLIMETRES = 1000.0
_TIPS = {"left": PICKED_VERTICES[11:16], "right": PICKED_VERTICES[16:21]}
_FINGERS = ("thumb", "index", "middle", "ring", "pinky")


@dataclass(frozen=True)
class Parts:
    """Which vertices belong to hands and face, and the regressor of the 14 joints (14, V)."""

    left_hand: Array
    right_hand: Array
    face: Array
    joints14: Array


def procrustes(a: Array, b: Array) -> tuple[float, Array, Array]:
    """Scale, rotation (3, 3) and translation (3,) that take points ``a`` (N, 3) nearest to ``b``."""
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    covariance = (a - mean_a).T @ (b - mean_b) / len(a)
    u, s, vt = np.linalg.svd(covariance)
    rotation = vt.T @ u.T
    if np.linalg.det(rotation) < 0:
        s[-1] = -s[-1]
        vt[2] = -vt[2]
        rotation = vt.T @ u.T
    scale = float(s.sum() / np.var(a, axis=0).sum())
    return scale, rotation, mean_b - scale * rotation @ mean_a


def aligned(a: Array, b: Array) -> Array:
    """Points ``a`` (N, 3) after the similarity that takes them nearest to ``b``."""
    scale, rotation, translation = procrustes(a, b)
    return scale * a @ rotation.T + translation


def error_mm(a: Array, b: Array) -> float:
    """Mean distance in millimetres."""
    return float(np.sqrt(((a - b) ** 2).sum(axis=1)).mean() * MILLIMETRES)


def hand_joints(vertices: Array, regressor: Array, side: str) -> Array:
    """The 21 joints of a hand: wrist, then thumb to little finger with three joints and the tip each."""
    tips = dict(zip(_FINGERS, _TIPS[side], strict=True))
    joints = regressor @ vertices
    rows = [joints[INDEX[f"{side}_wrist"]]]
    for finger in _FINGERS:
        rows += [joints[INDEX[f"{side}_{finger}{k}"]] for k in (1, 2, 3)]
        rows.append(vertices[tips[finger]])
    return np.stack(rows)


def humandata_errors(found: Array, true: Array, regressor: Array, parts: Parts) -> Mapping[str, float]:
    """All errors reported for HumanData sets, by the original's names.

    The point both bodies are moved to (pelvis, wrists, neck) is regressed from the posed vertices, as it was there.
    """
    out: dict[str, float] = {}
    areas = {
        "all": (slice(None), "pelvis"),
        "l_hand": (parts.left_hand, "left_wrist"),
        "r_hand": (parts.right_hand, "right_wrist"),
        "face": (parts.face, "neck"),
    }
    for name, (ids, anchor) in areas.items():
        a, b = found[ids], true[ids]
        out[f"pa_mpvpe_{name}"] = error_mm(aligned(a, b), b)
        row = regressor[INDEX[anchor]]
        out[f"mpvpe_{name}"] = error_mm(a - row @ found, b - row @ true)
    a, b = parts.joints14 @ found, parts.joints14 @ true
    out["pa_mpjpe_body"] = error_mm(aligned(a, b), b)
    for side, short in (("left", "l_hand"), ("right", "r_hand")):
        a, b = hand_joints(found, regressor, side), hand_joints(true, regressor, side)
        out[f"pa_mpjpe_{short}"] = error_mm(aligned(a, b), b)
    for name in ("pa_mpvpe", "mpvpe", "pa_mpjpe"):
        out[f"{name}_hand"] = (out[f"{name}_l_hand"] + out[f"{name}_r_hand"]) / 2
    return out
