"""The motion file: what one body does over time, read by every tab that moves something.

An ``.npz`` without pickled objects. Axes: x right, y up, z towards the viewer; metres, radians, seconds. The pose of a
frame is that of SMPL-X: joint j turns by ``rotations[t, j]`` (axis-angle) relative to its parent about its rest place,
then everything moves by ``transl[t]``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from models.bodies.joints import NAMES, PARENTS
from models.geometry.rotations import axis_angle_to_matrix
from models.geometry.skinning import chain_transforms
from models.runtime.errors import InputError
from models.runtime.safe_load import load_npz
from models.runtime.threads import one_thread

VERSION = 1
_FIELDS = ("rotations", "transl", "betas", "fps", "names", "parents", "rest_joints", "times", "seen")


@dataclass(frozen=True)
class Motion:
    """A clip of one body.

    rotations (T, J, 3) axis-angle, transl (T, 3), betas (B,), names and parents (J), rest_joints (J, 3) of this body's
    shape, times (T,) seconds of the source, seen (T,) whether the body was measured in that frame. In the files this
    studio writes J is 55 and the names are SMPL-X's. ``skin`` names a GLB of the skinned body beside the file, if any.
    ``camera`` (T, 4) is fx, fy, cx, cy in pixels of the picture in whose camera the places hold, with (cx, cy) its
    middle; (0, 4) for a motion that no camera has seen.
    """

    rotations: np.ndarray
    transl: np.ndarray
    betas: np.ndarray
    fps: float
    rest_joints: np.ndarray
    times: np.ndarray
    seen: np.ndarray
    names: tuple[str, ...] = NAMES
    parents: tuple[int, ...] = PARENTS
    skin: str = ""
    camera: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))

    def __len__(self) -> int:
        return len(self.rotations)

    def matrices(self) -> np.ndarray:
        """Local rotations (T, J, 3, 3)."""
        return axis_angle_to_matrix(torch.from_numpy(np.asarray(self.rotations, np.float64))).numpy()

    def world(self) -> np.ndarray:
        """Transforms (T, J, 4, 4) of the joints' frames."""
        with one_thread():
            turned = torch.from_numpy(self.matrices())
            rest = torch.from_numpy(np.asarray(self.rest_joints, np.float64)).expand(len(turned), -1, -1)
            placed, _ = chain_transforms(turned, rest, self.parents)
        placed = placed.numpy().copy()
        placed[:, :, :3, 3] += np.asarray(self.transl, np.float64)[:, None]
        return placed

    def joints(self) -> np.ndarray:
        """Joint positions (T, J, 3) in metres."""
        return self.world()[:, :, :3, 3]


def write_motion(path: Path, motion: Motion) -> Path:
    """Writes the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        version=np.int64(VERSION),
        rotations=np.asarray(motion.rotations, np.float32),
        transl=np.asarray(motion.transl, np.float32),
        betas=np.asarray(motion.betas, np.float32),
        fps=np.float64(motion.fps),
        names=np.array(motion.names),
        parents=np.array(motion.parents, np.int64),
        rest_joints=np.asarray(motion.rest_joints, np.float32),
        times=np.asarray(motion.times, np.float64),
        seen=np.asarray(motion.seen, bool),
        skin=np.array(motion.skin),
        camera=np.asarray(motion.camera, np.float64),
    )
    return path


def read_motion(path: Path) -> Motion:
    """Reads a motion file.

    Raises:
        InputError: not a motion file, or its arrays do not fit together.
    """
    stored = load_npz(path)
    missing = [name for name in _FIELDS if name not in stored]
    if missing:
        raise InputError(f"{path.name} is not a motion file of this studio: it has no {', '.join(missing)}")
    rotations = stored["rotations"]
    frames, joints = rotations.shape[:2] if rotations.ndim == 3 else (0, 0)
    shapes = {
        "rotations": (frames, joints, 3),
        "transl": (frames, 3),
        "names": (joints,),
        "parents": (joints,),
        "rest_joints": (joints, 3),
        "times": (frames,),
        "seen": (frames,),
    }
    camera = stored.get("camera", np.zeros((0, 4)))
    if camera.shape not in ((0, 4), (frames, 4)):
        raise InputError(f"{path.name}: camera is {camera.shape}, which does not fit its other arrays")
    for name, shape in shapes.items():
        if stored[name].shape != shape or not frames:
            raise InputError(f"{path.name}: {name} is {stored[name].shape}, which does not fit its other arrays")
    return Motion(
        rotations=rotations,
        transl=stored["transl"],
        betas=stored["betas"],
        fps=float(stored["fps"]),
        rest_joints=stored["rest_joints"],
        times=stored["times"],
        seen=stored["seen"],
        names=tuple(str(n) for n in stored["names"]),
        parents=tuple(int(p) for p in stored["parents"]),
        skin=str(stored["skin"]) if "skin" in stored else "",
        camera=camera,
    )
