"""HumanData files: tables of people in pictures with SMPL-X parameters and key points, as SMPLer-X is trained on."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.bodies.joints import JOINTS_137
from models.runtime.errors import InputError
from models.runtime.safe_load import read_npy
from pipelines.body.boxes import process
from pipelines.body.sampling import decompress
from pipelines.body.training.targets import CameraModel, Truth

Array = np.ndarray
EYEBALLS = {67: 56, 68: 57}  # these files name the eyes the other way round
COLUMNS = np.array([EYEBALLS.get(i, j) for i, j in enumerate(JOINTS_137)])
POINTS_2D = ("keypoints2d", "keypoints2d_smplx", "keypoints2d_smpl", "keypoints2d_original")
POINTS_3D = ("keypoints3d_cam", "keypoints3d", "keypoints3d_smplx", "keypoints3d_smpl", "keypoints3d_original")
# Sets whose pictures were all made by one camera: focal lengths, principal point.
CAMERAS = {"gta_human2": (1158.0337, (960.0, 540.0)), "synbody": (540.0, (640.0, 360.0))}
FLAT_HANDS = ("bedlam",)  # sets fitted with straight resting hands
BOX_RATIO = 1.2 * 0.833  # these boxes come with room around the person


@dataclass(frozen=True)
class Entry:
    """One person of one picture. ``points`` (137, 3) pixels and confidence, ``joints`` (137, 3) metres or None,
    ``known`` (137, 1) which of both exist; boxes x, y, w, h or None; ``shape_known`` whether betas are SMPL-X's."""

    image: Path
    size: tuple[int, int]
    box: Array
    truth: Truth
    shape_known: bool
    points: Array
    joints: Array | None
    known: Array
    parts: Mapping[str, Array | None]


class HumanData:
    """One file; entries are made when asked for. ``hand_means`` (2, 45) are the body model's resting hands."""

    def __init__(self, path: Path, images: Path, hand_means: Array, every: int = 1) -> None:
        """Reads the tables and leaves out people without a usable box or with joints that are not numbers.

        Raises:
            InputError: not a HumanData file; the message says what is missing.
        """
        self.path, self.images, self.hand_means = path, images, hand_means
        self.tables = _read(path)
        missing = [n for n in ("image_path", "bbox_xywh") if n not in self.tables]
        kinds = [n for n in ("smplx", "smplh", "smpl") if n in self.tables]
        if missing or not kinds:
            raise InputError(f"{path.name} is no HumanData file: it has no {', '.join(missing) or 'smplx parameters'}")
        self.kind = kinds[0]
        self.points, mask2 = self._points(POINTS_2D)
        self.joints, mask3 = self._points(POINTS_3D)
        if self.points is None:
            raise InputError(f"{path.name} holds no two-dimensional key points")
        self.known = (mask2 if mask3 is None else mask2 * mask3)[COLUMNS].astype(np.float32)[:, None]
        self.camera = next((_camera(c) for n, c in CAMERAS.items() if path.name.startswith(n)), None)
        self.rows = [row for row in range(0, len(self.tables["image_path"]), every) if self._usable(row)]
        if not self.rows:
            raise InputError(f"{path.name} holds nobody that could be used")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Entry:
        row = self.rows[index]
        joints = None if self.joints is None else self.joints[row][COLUMNS, :3].astype(np.float32)
        return Entry(
            image=self.images / str(self.tables["image_path"][row]),
            size=self._size(row),
            box=np.asarray(self.tables["bbox_xywh"][row][:4], np.float32),
            truth=self._truth(row),
            shape_known=self.kind == "smplx",
            points=self.points[row][COLUMNS, :3].astype(np.float32),
            joints=joints,
            known=self.known,
            parts={n: self._part(n, row) for n in ("lhand", "rhand", "face")},
        )

    def _points(self, names: tuple[str, ...]) -> tuple[Any, Any]:
        name = next((n for n in names if n in self.tables), None)
        if name is None:
            return None, None
        values, mask = self.tables[name], self.tables.get(f"{name}_mask")
        if mask is None:
            return values, np.ones(values.shape[1])
        packed = bool(self.tables.get("__keypoints_compressed__", False)) or values.shape[1] != len(mask)
        return (decompress(values, mask) if packed else values), np.asarray(mask)

    def _usable(self, row: int) -> bool:
        size = self._size(row)
        if process(np.asarray(self.tables["bbox_xywh"][row][:4], float), size, BOX_RATIO) is None:
            return False
        return self.joints is None or bool(np.isfinite(self.joints[row][COLUMNS]).all())

    def _size(self, row: int) -> tuple[int, int]:
        """Width and height of the picture."""
        meta = self.tables.get("meta", {})
        if "height" in meta and "width" in meta:
            return int(meta["width"][row]), int(meta["height"][row])
        from PIL import Image

        with Image.open(self.images / str(self.tables["image_path"][row])) as picture:
            return picture.size

    def _part(self, name: str, row: int) -> Array | None:
        boxes = self.tables.get(f"{name}_bbox_xywh")
        return None if boxes is None or boxes[row][-1] <= 0 else np.asarray(boxes[row][:4], np.float32)

    def _truth(self, row: int) -> Truth:
        table = self.tables[self.kind]

        def read(name: str, width: int) -> Array | None:
            return None if name not in table else np.asarray(table[name][row], np.float32).ravel()[:width]

        hands = [read(f"{side}_hand_pose", 45) for side in ("left", "right")]
        if self.path.name.startswith(FLAT_HANDS):
            hands = [None if h is None else h - mean for h, mean in zip(hands, self.hand_means, strict=True)]
        shape = read("betas_neutral", 10) if "betas_neutral" in table else read("betas", 10)
        if self.kind != "smplx" or shape is None:  # SMPL's shapes mean nothing on this body
            shape = np.zeros(10, np.float32)
        root, body = read("global_orient", 3), read("body_pose", 63)
        if root is None or body is None or len(body) < 63:
            raise InputError(f"{self.path.name}: {self.kind} has no global_orient and body_pose of 21 joints")
        moved = read("transl", 3)
        jaw, expression = read("jaw_pose", 3), read("expression", 10)
        return Truth(root, body, shape, np.zeros(3, np.float32) if moved is None else moved, *hands, jaw, expression)


def _camera(values: tuple[float, tuple[float, float]]) -> CameraModel:
    focal, principal = values
    return CameraModel(np.array([focal, focal]), np.array(principal))


def _read(path: Path) -> dict[str, Any]:
    """All tables of the file; the pickled ones through the reader that knows data alone."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                name.removesuffix(".npy"): _unboxed(read_npy(io.BytesIO(archive.read(name)), f"{path.name}: {name}"))
                for name in archive.namelist()
            }
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path.name} cannot be read as a HumanData file: {error}") from error


def _unboxed(value: Any) -> Any:
    """Arrays without dimensions as what they hold."""
    return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value
