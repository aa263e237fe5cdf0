"""What a scene engine leaves behind: depth, confidence and cameras of every view, in one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.runtime.errors import InputError
from models.runtime.safe_load import load_npz

VERIFIED = 0.5  # confidence from which on a depth was measured and confirmed by other views
FILLED = 0.2  # confidence of what was filled in


@dataclass(frozen=True)
class Prediction:
    """N views on one canvas of H x W pixels; views that are smaller fill its top-left corner.

    ``depth`` (N, H, W) float32 along the camera's z, 0 where nothing is known; ``conf`` (N, H, W) float32 in 0..1:
    0 empty, below 0.5 filled in, from 0.5 on measured and confirmed; ``filled`` (N, H, W) bool;
    ``extrinsics`` (N, 3, 4) world-to-camera and ``intrinsics`` (N, 3, 3) float64 with OpenCV axes and the centre of
    the first pixel at (0, 0); ``images`` (N, H, W, 3) uint8 RGB; ``names``: the photos' names; ``sizes`` (N, 2) the
    used (height, width) of each view; ``metric``: lengths are metres, else the scale is arbitrary.
    """

    depth: np.ndarray
    conf: np.ndarray
    filled: np.ndarray
    extrinsics: np.ndarray
    intrinsics: np.ndarray
    images: np.ndarray
    names: tuple[str, ...]
    sizes: np.ndarray
    metric: bool = False

    def __len__(self) -> int:
        return len(self.depth)

    def view(self, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Depth, confidence and image of one view without the empty part of the canvas."""
        h, w = self.sizes[i]
        return self.depth[i, :h, :w], self.conf[i, :h, :w], self.images[i, :h, :w]

    def save(self, path: Path) -> Path:
        """Writes an uncompressed npz that needs no pickling to read."""
        with Path(path).open("wb") as file:
            np.savez(
                file,
                depth=self.depth.astype(np.float32, copy=False),
                conf=self.conf.astype(np.float32, copy=False),
                filled=self.filled,
                extrinsics=self.extrinsics,
                intrinsics=self.intrinsics,
                images=self.images,
                names=np.array(self.names, dtype=np.str_),
                sizes=self.sizes,
                metric=np.array(self.metric),
            )
        return Path(path)

    @classmethod
    def load(cls, path: Path) -> Prediction:
        """Reads what ``save`` wrote.

        Raises:
            InputError: the file lacks an array or its shapes do not fit together.
        """
        data = load_npz(Path(path))
        missing = {"depth", "conf", "extrinsics", "intrinsics", "images", "names"} - set(data)
        if missing:
            raise InputError(f"{Path(path).name} is no scene prediction: it lacks {', '.join(sorted(missing))}")
        depth = data["depth"]
        n, h, w = depth.shape if depth.ndim == 3 else (0, 0, 0)
        shapes = {"conf": (n, h, w), "extrinsics": (n, 3, 4), "intrinsics": (n, 3, 3), "images": (n, h, w, 3)}
        for name, shape in shapes.items():
            if n == 0 or data[name].shape != shape:
                raise InputError(f"{Path(path).name} is no scene prediction: {name} has shape {data[name].shape}")
        return cls(
            depth=depth,
            conf=data["conf"],
            filled=data["filled"] if "filled" in data else np.zeros((n, h, w), bool),
            extrinsics=data["extrinsics"],
            intrinsics=data["intrinsics"],
            images=data["images"],
            names=tuple(str(v) for v in data["names"]),
            sizes=data["sizes"] if "sizes" in data else np.full((n, 2), (h, w)),
            metric=bool(data["metric"]) if "metric" in data else False,
        )
