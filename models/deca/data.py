"""The small data files that belong to DECA: topology with UV layout, landmark embedding, displacement base, masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.bodies.flame import LandmarkEmbedding
from models.runtime.errors import WeightsInvalid
from models.runtime.safe_load import load_npz, load_pickled_npy

TEMPLATE, MASK = "head_template.obj", "uv_face_eye_mask.png"
_IMAGE_STARTS = {".png": b"\x89PNG", ".jpg": b"\xff\xd8\xff"}


@dataclass(frozen=True)
class DecaFiles:
    """Where the installed files lie; the last two may be None. Picklable, so that it travels to a GPU worker."""

    networks: Path
    flame: Path
    data: Path
    dense: Path | None = None
    albedo: Path | None = None

    @property
    def key(self) -> str:
        """Names what a cache may keep: other files, or files that were replaced, are another model."""
        parts = [p for p in (self.networks, self.flame, self.data / TEMPLATE, self.albedo) if p is not None]
        stamps = [f"{p.name}@{p.stat().st_mtime_ns:x}" for p in parts]
        return f"deca/{'+'.join(stamps)}"


def embedding(folder: Path) -> LandmarkEmbedding:
    """The landmark embedding of a data folder, as published or as an npz. Raises WeightsInvalid."""
    packed = folder / "landmark_embedding.npz"
    return LandmarkEmbedding.load(packed if packed.exists() else packed.with_suffix(".npy"))


def fixed_displacement(folder: Path) -> np.ndarray:
    """(S, S) metres that are added to every displacement map. Raises WeightsInvalid."""
    packed = folder / "fixed_displacement_256.npz"
    found = load_npz(packed).get("fixed") if packed.exists() else load_pickled_npy(packed.with_suffix(".npy"))
    array = np.asarray(found)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.dtype.kind != "f":
        raise WeightsInvalid(f"fixed_displacement_256 is {array.shape} {array.dtype}, expected a square of numbers")
    return array.astype(np.float32)


def validate(folder: Path) -> None:
    """Raises WeightsInvalid unless the folder holds what DECA needs, of any head."""
    embedding(folder)
    fixed_displacement(folder)
    try:
        words = {line.split(" ", 1)[0] for line in (folder / TEMPLATE).read_text(encoding="ascii").splitlines()}
    except UnicodeDecodeError as error:
        raise WeightsInvalid(f"{TEMPLATE} is not a text file") from error
    if missing := {"v", "vt", "f"} - words:
        raise WeightsInvalid(f"{TEMPLATE} has no {' and no '.join(sorted(missing))} lines: a mesh with UV is needed")
    for name in (MASK, "uv_face_mask.png", "mean_texture.jpg"):
        path = folder / name
        with path.open("rb") as file:
            if not file.read(4).startswith(_IMAGE_STARTS[path.suffix]):
                raise WeightsInvalid(f"{name} is not a picture of that kind")
