"""A drawn figure: a picture cut out along its outline, and sixteen joints in it.

The joints carry the names of AnimatedDrawings' ``char_cfg.yaml``. "left" and "right" are the figure's own sides; a
figure that looks at the viewer has its right hand on the left of the picture. ``neck`` lies in the middle of the head,
``torso`` at the top of the chest, ``hand`` and ``foot`` near the ends of the limbs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from models.runtime.errors import InputError

PARENT_OF = {
    "root": None,
    "hip": "root",
    "torso": "hip",
    "neck": "torso",
    "right_shoulder": "torso",
    "right_elbow": "right_shoulder",
    "right_hand": "right_elbow",
    "left_shoulder": "torso",
    "left_elbow": "left_shoulder",
    "left_hand": "left_elbow",
    "right_hip": "root",
    "right_knee": "right_hip",
    "right_foot": "right_knee",
    "left_hip": "root",
    "left_knee": "left_hip",
    "left_foot": "left_knee",
}
JOINTS = tuple(PARENT_OF)
JOINT = {name: index for index, name in enumerate(JOINTS)}
PARENTS = tuple(-1 if parent is None else JOINT[parent] for parent in PARENT_OF.values())
SMALLEST_SIDE = 48  # pixels a figure must be high to have limbs that can be moved
_LARGEST_FILE = 100_000
_OUTSIDE = 0.25  # of the picture's size that a joint may lie beyond its border


@dataclass(frozen=True)
class Figure:
    """A picture (H, W, 4) uint8 RGBA with straight alpha, and its joints (16, 2) as x, y in pixels."""

    rgba: NDArray[np.uint8]
    joints: NDArray[np.float64]

    def at(self, name: str) -> NDArray[np.float64]:
        """One joint's (x, y)."""
        return self.joints[JOINT[name]]

    @property
    def height(self) -> int:
        """Height in pixels of what is not transparent."""
        rows = np.flatnonzero((self.rgba[..., 3] > 127).any(1))
        return int(rows[-1] - rows[0] + 1) if len(rows) else 0

    def moved(self, name: str, x: float, y: float) -> Figure:
        """The figure with one joint elsewhere; ``root`` and ``hip`` go together, as they are one place."""
        joints = self.joints.copy()
        for each in ("root", "hip") if name in ("root", "hip") else (name,):
            joints[JOINT[each]] = x, y
        return replace(self, joints=joints)

    def scaled(self, factor: float) -> Figure:
        """The figure at another size, blended with premultiplied colours so that the rim stays clean."""
        height, width = (max(1, round(side * factor)) for side in self.rgba.shape[:2])
        flat = self.rgba.astype(np.float32)
        flat[..., :3] *= flat[..., 3:] / 255
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        flat = cv2.resize(flat, (width, height), interpolation=method).clip(0, 255)
        alpha = np.maximum(flat[..., 3:], 1e-3)
        colours = np.where(flat[..., 3:] > 0.5, flat[..., :3] * 255 / alpha, 0).clip(0, 255)
        rgba = np.concatenate([colours, flat[..., 3:]], axis=2)
        ratio = np.array([width, height]) / self.rgba.shape[1::-1]
        return Figure(np.rint(rgba).astype(np.uint8), (self.joints + 0.5) * ratio - 0.5)


def named(joints: NDArray[np.floating]) -> dict[str, tuple[float, float]]:
    """Joints (16, 2) by name."""
    return {name: (float(x), float(y)) for name, (x, y) in zip(JOINTS, joints, strict=True)}


def from_named(places: Mapping[str, tuple[float, float]]) -> NDArray[np.float64]:
    """Joints (16, 2) from places by name; ``hip`` and ``root`` stand in for each other.

    Raises:
        InputError: one is missing; the message names it.
    """
    known = dict(places)
    for one, other in (("root", "hip"), ("hip", "root")):
        if one not in known and other in known:
            known[one] = known[other]
    missing = [name for name in JOINTS if name not in known]
    if missing:
        raise InputError(f"The figure lacks the joints {', '.join(missing)}; a figure has {', '.join(JOINTS)}")
    joints = np.array([known[name] for name in JOINTS], np.float64)
    if not np.isfinite(joints).all():
        raise InputError("A joint's place is not a finite number")
    return joints


def check_joints(joints: NDArray[np.floating], shape: tuple[int, ...]) -> None:
    """Refuses joints that cannot belong to a picture of ``shape`` (H, W, ...).

    Raises:
        InputError: far outside the picture, or bones without length.
    """
    size = np.array(shape[1::-1])
    beyond = [
        n
        for n, p in zip(JOINTS, joints, strict=True)
        if (p < -_OUTSIDE * size).any() or (p > (1 + _OUTSIDE) * size).any()
    ]
    if beyond:
        raise InputError(
            f"The joints {', '.join(beyond)} lie far outside the picture of {size[0]}x{size[1]}; do they belong to it?"
        )
    for name, parent in PARENT_OF.items():
        if parent is None or name == "hip":
            continue
        if np.linalg.norm(joints[JOINT[name]] - joints[JOINT[parent]]) < 1:
            raise InputError(f"The joints {name} and {parent} lie on the same place; move one of them")


def read_char_cfg(path: Path) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Joints (16, 2) and the picture's (height, width) of an AnimatedDrawings ``char_cfg.yaml``.

    Raises:
        InputError: not such a file, or a joint is missing.
    """
    if path.stat().st_size > _LARGEST_FILE:
        raise InputError(f"{path.name} is too large for a char_cfg.yaml")
    try:
        stored = yaml.safe_load(path.read_text(encoding="utf-8"))
        places = {str(j["name"]): (float(j["loc"][0]), float(j["loc"][1])) for j in stored["skeleton"]}
        size = int(stored["height"]), int(stored["width"])
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"{path.name} is not a char_cfg.yaml: it needs height, width and a skeleton of joints with name and loc"
        ) from error
    return from_named(places), size


def write_char_cfg(path: Path, figure: Figure) -> Path:
    """Writes the joints as AnimatedDrawings reads them."""
    height, width = figure.rgba.shape[:2]
    skeleton = [
        {"loc": [round(float(x)), round(float(y))], "name": name, "parent": PARENT_OF[name]}
        for name, (x, y) in zip(JOINTS, figure.joints, strict=True)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"height": height, "width": width, "skeleton": skeleton}), encoding="utf-8")
    return path
