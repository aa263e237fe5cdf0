"""Heads that can be posed anew after a run: turned, with another expression, without measuring anything again.

Every engine leaves one such head per face as ``heads/face_NN.npz``. Head axes: metres, x to the picture's right, y up,
z out of the face.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.export.npz import read_npz, write_npz
from pipelines.render.shading import Camera
from pipelines.render.textured import TexturedMesh

Floats = NDArray[np.floating]
Image = NDArray[np.uint8]
FOLDER = "heads"
FACING = np.diag([1.0, -1.0, -1.0])  # head axes as seen by a camera in front
DISTANCE = 0.75  # metres from the camera to the middle of the head
MARGIN = 1.16  # of the head's size
GREY = (236, 238, 237)
MOST = 1.5  # of a shape, however many sliders add to it
_ARRAYS = ("vertices", "faces", "uv", "texture", "morphs", "weights", "own", "names", "engine", "number")


@dataclass(frozen=True)
class Look:
    """How a head shall be seen. Angles in degrees: ``yaw`` to the picture's right, ``pitch`` up, ``roll`` clockwise.

    ``strength`` scales the expression of the photo (0 is the face at rest), ``added`` puts further shapes on top, by
    name, 1 being the whole shape.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    strength: float = 1.0
    added: Mapping[str, float] = field(default_factory=dict)

    @property
    def rotation(self) -> NDArray[np.float64]:
        """(3, 3) from head axes to the axes of a camera in front."""
        y, p, r = np.radians([self.yaw, self.pitch, self.roll])
        turn = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
        nod = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
        tilt = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
        return tilt @ FACING @ nod @ turn


@dataclass(frozen=True)
class PosableHead:
    """A finished head.

    vertices (V, 3) at rest; faces (F, 3) seen counter-clockwise; uv (F, 3, 2) per corner, origin bottom left; texture
    (S, S, 3) uint8; names of the K shapes; morphs (K, V, 3) their offsets at weight 1; weights (K,) the photo's
    expression; own (V, 3) what that expression has beyond the shapes.
    """

    engine: str
    number: int
    vertices: Floats
    faces: NDArray[np.integer]
    uv: Floats
    texture: Image
    names: tuple[str, ...]
    morphs: Floats
    weights: Floats
    own: Floats

    def posed(self, look: Look) -> NDArray[np.float64]:
        """Vertices (V, 3) with the expression of a look. Names that this head has no shape for do nothing."""
        weights = self.weights * look.strength
        added = np.array([look.added.get(name, 0.0) for name in self.names])
        moved = np.tensordot(np.clip(weights + added, 0, MOST), self.morphs.astype(np.float64), axes=1)
        return self.vertices + moved + self.own * look.strength

    @cached_property
    def frame(self) -> tuple[NDArray[np.float64], float]:
        """Middle (3,) and size in metres of what a picture of the head should show, whatever its pose."""
        low, high = self.vertices.min(axis=0), self.vertices.max(axis=0)
        return (low + high) / 2, float((high - low).max())

    def picture(self, look: Look, size: int = 480, samples: int = 1) -> Image:
        """The head alone (size, size, 3) as seen with a look; ``samples`` per pixel and axis."""
        place = (self.frame, look.rotation, size, samples)
        return portrait(self.posed(look), self.faces, self.uv, self.texture, *place)

    def save(self, path: Path) -> Path:
        arrays = {
            "vertices": self.vertices.astype(np.float32),
            "faces": self.faces.astype(np.int32),
            "uv": self.uv.astype(np.float32),
            "texture": self.texture,
            "morphs": self.morphs.astype(np.float16),
            "weights": self.weights.astype(np.float32),
            "own": self.own.astype(np.float32),
            "names": np.array(self.names),
            "engine": np.array(self.engine),
            "number": np.array(self.number),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_npz(path, arrays, level=1)

    @classmethod
    def load(cls, path: Path) -> PosableHead:
        """Raises InputError for a file that is no such head."""
        a = read_npz(path, _ARRAYS)
        names = tuple(str(n) for n in a["names"])
        floats = {name: a[name].astype(np.float64) for name in ("vertices", "uv", "weights", "own")}
        return cls(str(a["engine"]), int(a["number"]), faces=a["faces"].astype(np.int64), texture=a["texture"],
                   names=names, morphs=a["morphs"].astype(np.float32), **floats)  # fmt: skip


def portrait(
    vertices: Floats,
    faces: NDArray[np.integer],
    uv: Floats,
    texture: Image,
    frame: tuple[Floats, float],
    rotation: Floats,
    size: int,
    samples: int,
    shared: bool = True,
) -> Image:
    """A textured head (V, 3) by itself, in a camera that looks at the middle of ``frame``.

    ``shared`` as in ``TexturedMesh.draw``.
    """
    middle, span = frame
    extrinsics = np.eye(4)
    extrinsics[:3, :3] = rotation
    extrinsics[:3, 3] = (0, 0, DISTANCE) - rotation @ middle
    focal = size * DISTANCE / (span * MARGIN)
    K = np.array([[focal, 0, (size - 1) / 2], [0, focal, (size - 1) / 2], [0, 0, 1.0]])
    camera = Camera(extrinsics, K, size, size)
    return TexturedMesh(faces, uv, texture).draw(vertices, camera, GREY, samples, shared)
