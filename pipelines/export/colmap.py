"""COLMAP sparse models, text and binary, read and written without COLMAP.

Poses are world-to-camera with OpenCV axes, quaternions wxyz. COLMAP puts the centre of the top-left pixel at
(0.5, 0.5); ``Camera.matrix`` and ``Camera.from_matrix`` convert to and from the (0, 0) used elsewhere here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.geometry.cameras import intrinsics_matrix, rigid
from models.runtime.errors import InputError
from pipelines.media.atomic import replacing

# name, number in binary files, number of parameters
_MODELS = (
    ("SIMPLE_PINHOLE", 0, 3),
    ("PINHOLE", 1, 4),
    ("SIMPLE_RADIAL", 2, 4),
    ("RADIAL", 3, 5),
    ("OPENCV", 4, 8),
    ("OPENCV_FISHEYE", 5, 8),
    ("FULL_OPENCV", 6, 12),
    ("FOV", 7, 5),
    ("SIMPLE_RADIAL_FISHEYE", 8, 4),
    ("RADIAL_FISHEYE", 9, 5),
    ("THIN_PRISM_FISHEYE", 10, 12),
)
_BY_NAME = {name: (number, count) for name, number, count in _MODELS}
_BY_NUMBER = {number: (name, count) for name, number, count in _MODELS}
_ONE_FOCAL = {"SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL"}
_PERSPECTIVE = {"SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV"}
_PARTS = ("cameras", "images", "points3D")


@dataclass(frozen=True)
class Camera:
    """One lens. ``params`` as COLMAP orders them: focal length(s), principal point, distortion."""

    id: int
    model: str
    width: int
    height: int
    params: tuple[float, ...]

    def _perspective(self) -> None:
        if self.model not in _PERSPECTIVE:
            raise InputError(
                f"COLMAP camera model {self.model} is not supported; undistort the images first "
                f"(`colmap image_undistorter`) or use one of {', '.join(sorted(_PERSPECTIVE))}"
            )

    def matrix(self, centre: float = 0.0) -> NDArray[np.float64]:
        """Intrinsics (3, 3), the centre of the top-left pixel being (centre, centre). Distortion is left out."""
        self._perspective()
        p = self.params
        fx, fy, cx, cy = (p[0], p[0], p[1], p[2]) if self.model in _ONE_FOCAL else p[:4]
        return intrinsics_matrix(fx, fy, cx - 0.5 + centre, cy - 0.5 + centre)

    @property
    def distortion(self) -> NDArray[np.float64]:
        """OpenCV's k1, k2, p1, p2."""
        self._perspective()
        tail = self.params[3:] if self.model in _ONE_FOCAL else self.params[4:]
        return np.array([*tail, *[0.0] * (4 - len(tail))])

    @classmethod
    def from_matrix(
        cls,
        id: int,
        intrinsics: ArrayLike,
        width: int,
        height: int,
        distortion: ArrayLike | None = None,
        centre: float = 0.0,
    ) -> Camera:
        """A PINHOLE camera, or OPENCV with distortion k1, k2, p1, p2."""
        K = np.asarray(intrinsics, dtype=np.float64)
        params = [K[0, 0], K[1, 1], K[0, 2] + 0.5 - centre, K[1, 2] + 0.5 - centre]
        if distortion is None:
            return cls(id, "PINHOLE", width, height, tuple(map(float, params)))
        return cls(id, "OPENCV", width, height, tuple(map(float, [*params, *np.asarray(distortion).ravel()[:4]])))


@dataclass(frozen=True)
class PosedImage:
    """One registered picture: pose, camera, 2D points (M, 2) and the ids of their 3D points (M,), -1 for none."""

    id: int
    quaternion: tuple[float, float, float, float]
    translation: tuple[float, float, float]
    camera_id: int
    name: str
    xys: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))
    point_ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def extrinsics(self) -> NDArray[np.float64]:
        """(3, 4) world-to-camera."""
        import torch  # only here, so that a pipeline's options can be listed without it

        from models.geometry.rotations import quaternion_to_matrix

        R = quaternion_to_matrix(torch.tensor(self.quaternion, dtype=torch.float64)).numpy()
        return rigid(R, self.translation)

    @classmethod
    def from_extrinsics(
        cls,
        id: int,
        extrinsics: ArrayLike,
        camera_id: int,
        name: str,
        xys: ArrayLike | None = None,
        point_ids: ArrayLike | None = None,
    ) -> PosedImage:
        import torch

        from models.geometry.rotations import matrix_to_quaternion

        E = np.asarray(extrinsics, dtype=np.float64)
        q = matrix_to_quaternion(torch.from_numpy(E[:3, :3].copy())).tolist()
        xys = np.zeros((0, 2)) if xys is None else np.asarray(xys, dtype=np.float64).reshape(-1, 2)
        ids = np.full(len(xys), -1, np.int64) if point_ids is None else np.asarray(point_ids, dtype=np.int64)
        return cls(id, tuple(q), tuple(E[:3, 3].tolist()), camera_id, name, xys, ids)


@dataclass(frozen=True)
class Points:
    """3D points: ``ids`` (P,), ``xyz`` (P, 3), ``rgb`` (P, 3) uint8, ``errors`` (P,) pixels.

    ``tracks`` (T, 2) holds (image id, index of its 2D point) of all points one after the other; point i owns the rows
    ``starts[i]:starts[i + 1]``, ``starts`` being (P + 1,).
    """

    ids: NDArray[np.int64]
    xyz: NDArray[np.float64]
    rgb: NDArray[np.uint8]
    errors: NDArray[np.float64]
    tracks: NDArray[np.int64]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def make(
        cls,
        xyz: ArrayLike,
        rgb: ArrayLike,
        errors: ArrayLike | None = None,
        tracks: list[NDArray[np.integer]] | None = None,
        ids: ArrayLike | None = None,
    ) -> Points:
        """Points with ids 1.. unless given; ``tracks`` is one (L, 2) array per point."""
        xyz = np.asarray(xyz, dtype=np.float64).reshape(-1, 3)
        count = len(xyz)
        tracks = tracks if tracks is not None else [np.zeros((0, 2), np.int64)] * count
        rows = np.concatenate([np.zeros((0, 2), np.int64), *(np.asarray(t).reshape(-1, 2) for t in tracks)])
        return cls(
            np.arange(1, count + 1) if ids is None else np.asarray(ids, dtype=np.int64),
            xyz,
            np.asarray(rgb, dtype=np.uint8).reshape(-1, 3),
            np.zeros(count) if errors is None else np.asarray(errors, dtype=np.float64),
            rows.astype(np.int64),
            np.concatenate([[0], np.cumsum([len(np.asarray(t).reshape(-1, 2)) for t in tracks])]).astype(np.int64),
        )


@dataclass(frozen=True)
class SparseModel:
    """Cameras by id, images by id in the order of the file, and the points."""

    cameras: dict[int, Camera]
    images: dict[int, PosedImage]
    points: Points


def find_model(folder: Path) -> Path:
    """The folder with a model's files: ``folder`` itself, its ``sparse/0`` or its ``sparse``.

    Raises:
        InputError: there is none.
    """
    for candidate in (Path(folder), Path(folder) / "sparse" / "0", Path(folder) / "sparse"):
        if any((candidate / f"cameras{suffix}").is_file() for suffix in (".bin", ".txt")):
            return candidate
    raise InputError(f"{Path(folder).name} holds no COLMAP model: cameras.bin or cameras.txt is missing")


def read_model(folder: Path) -> SparseModel:
    """Reads a model folder, binary where there is one, else text. Rig and frame files of newer versions add nothing
    that the images do not say and are not needed.

    Raises:
        InputError: files are missing, cut short, not of this format, or disagree with each other.
    """
    folder = find_model(folder)
    binary = (folder / "cameras.bin").is_file()
    suffix = ".bin" if binary else ".txt"
    missing = [f"{part}{suffix}" for part in _PARTS[:2] if not (folder / f"{part}{suffix}").is_file()]
    if missing:
        raise InputError(f"The COLMAP model lacks {', '.join(missing)}")
    try:
        cameras = (_binary_cameras if binary else _text_cameras)(folder / f"cameras{suffix}")
        images = (_binary_images if binary else _text_images)(folder / f"images{suffix}")
        path = folder / f"points3D{suffix}"
        empty = Points.make(np.zeros((0, 3)), np.zeros((0, 3)))
        points = (_binary_points if binary else _text_points)(path) if path.is_file() else empty
    except (struct.error, ValueError, IndexError, KeyError, OverflowError, UnicodeDecodeError) as error:
        raise InputError(f"The COLMAP model in {folder.name} is damaged or of an unknown version: {error}") from error
    orphans = [image.name for image in images.values() if image.camera_id not in cameras]
    if orphans:
        raise InputError(f"The COLMAP model has no camera for {', '.join(orphans[:3])}")
    return SparseModel(cameras, images, points)


def write_model(folder: Path, model: SparseModel, binary: bool = True) -> list[Path]:
    """Writes cameras, images and points3D into ``folder``; returns the files."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    makers = (_pack_cameras, _pack_images, _pack_points) if binary else (_print_cameras, _print_images, _print_points)
    written = []
    for part, make in zip(_PARTS, makers, strict=True):
        path = folder / f"{part}{'.bin' if binary else '.txt'}"
        with replacing(path) as temporary:
            temporary.write_bytes(make(model))
        written.append(path)
    return written


class _Cursor:
    """Reads little-endian values one after the other; ``struct.error`` where the file ends early."""

    def __init__(self, path: Path) -> None:
        self.data = path.read_bytes()
        self.at = 0

    def read(self, layout: str) -> tuple:
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values

    def rows(self, dtype: list[tuple[str, str]], count: int) -> NDArray[np.void]:
        table = np.frombuffer(self.data, dtype=dtype, count=count, offset=self.at) if count else np.zeros(0, dtype)
        self.at += table.nbytes
        return table

    def text(self) -> str:
        end = self.data.index(b"\0", self.at)
        value = self.data[self.at : end].decode("utf-8")
        self.at = end + 1
        return value


def _binary_cameras(path: Path) -> dict[int, Camera]:
    cursor, cameras = _Cursor(path), {}
    for _ in range(cursor.read("Q")[0]):
        camera_id, number, width, height = cursor.read("IiQQ")
        name, count = _BY_NUMBER[number]
        cameras[camera_id] = Camera(camera_id, name, width, height, cursor.read(f"{count}d"))
    return cameras


def _binary_images(path: Path) -> dict[int, PosedImage]:
    cursor, images = _Cursor(path), {}
    for _ in range(cursor.read("Q")[0]):
        image_id, *pose, camera_id = cursor.read("I7dI")
        name = cursor.text()
        (count,) = cursor.read("Q")
        rows = cursor.rows([("x", "<f8"), ("y", "<f8"), ("id", "<i8")], count)
        xys = np.stack([rows["x"], rows["y"]], axis=-1)
        images[image_id] = PosedImage(
            image_id, tuple(pose[:4]), tuple(pose[4:]), camera_id, name, xys, rows["id"].astype(np.int64)
        )
    return images


def _binary_points(path: Path) -> Points:
    cursor, rows, tracks = _Cursor(path), [], []
    for _ in range(cursor.read("Q")[0]):
        *head, length = cursor.read("Q3d3BdQ")
        rows.append(head)
        track = cursor.rows([("image", "<u4"), ("index", "<u4")], length)
        tracks.append(np.stack([track["image"], track["index"]], axis=-1))
    table = np.array(rows, dtype=np.float64).reshape(-1, 8)
    return Points.make(table[:, 1:4], table[:, 4:7], table[:, 7], tracks, table[:, 0])


def _pack_cameras(model: SparseModel) -> bytes:
    parts = [struct.pack("<Q", len(model.cameras))]
    for c in model.cameras.values():
        number, count = _BY_NAME[c.model]
        parts.append(struct.pack(f"<IiQQ{count}d", c.id, number, c.width, c.height, *c.params))
    return b"".join(parts)


def _pack_images(model: SparseModel) -> bytes:
    parts = [struct.pack("<Q", len(model.images))]
    for i in model.images.values():
        parts.append(struct.pack("<I7dI", i.id, *i.quaternion, *i.translation, i.camera_id))
        parts.append(i.name.encode("utf-8") + b"\0" + struct.pack("<Q", len(i.xys)))
        rows = np.empty(len(i.xys), dtype=[("p", "<f8", 2), ("id", "<i8")])
        rows["p"], rows["id"] = i.xys, i.point_ids
        parts.append(rows.tobytes())
    return b"".join(parts)


def _pack_points(model: SparseModel) -> bytes:
    p = model.points
    parts = [struct.pack("<Q", len(p))]
    lengths = np.diff(p.starts)
    head = np.empty(len(p), dtype=[("id", "<u8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("n", "<u8")])
    head["id"], head["xyz"], head["rgb"], head["error"], head["n"] = p.ids, p.xyz, p.rgb, p.errors, lengths
    tracks = p.tracks.astype("<u4")
    for i in range(len(p)):
        parts.append(head[i].tobytes())
        parts.append(tracks[p.starts[i] : p.starts[i + 1]].tobytes())
    return b"".join(parts)


def _lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return [line.strip() for line in text.split("\n") if not line.startswith("#")]


def _text_cameras(path: Path) -> dict[int, Camera]:
    cameras = {}
    for words in (line.split() for line in _lines(path) if line):
        camera_id, model, params = int(words[0]), words[1], tuple(float(w) for w in words[4:])
        if len(params) != _BY_NAME[model][1]:
            raise ValueError(f"camera {camera_id} has {len(params)} parameters, {model} takes {_BY_NAME[model][1]}")
        cameras[camera_id] = Camera(camera_id, model, int(words[2]), int(words[3]), params)
    return cameras


def _text_images(path: Path) -> dict[int, PosedImage]:
    images = {}
    lines = iter(_lines(path))
    for line in lines:
        if not line:
            continue
        words = line.split(maxsplit=9)  # the name comes last and may hold blanks
        pose = [float(w) for w in words[1:8]]
        table = np.array(next(lines, "").split(), dtype=np.float64).reshape(-1, 3)
        image_id = int(words[0])
        images[image_id] = PosedImage(
            image_id,
            tuple(pose[:4]),
            tuple(pose[4:]),
            int(words[8]),
            words[9],
            table[:, :2].copy(),
            table[:, 2].astype(np.int64),
        )
    return images


def _text_points(path: Path) -> Points:
    rows, tracks = [], []
    for words in (line.split() for line in _lines(path) if line):
        rows.append([float(w) for w in words[:8]])
        tracks.append(np.array(words[8:], dtype=np.int64).reshape(-1, 2))
    table = np.array(rows, dtype=np.float64).reshape(-1, 8)
    return Points.make(table[:, 1:4], table[:, 4:7], table[:, 7], tracks, table[:, 0])


def _words(values: ArrayLike) -> str:
    return " ".join(repr(float(v)) for v in np.asarray(values).ravel())


def _print_cameras(model: SparseModel) -> bytes:
    lines = ["# CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]"]
    lines += [f"{c.id} {c.model} {c.width} {c.height} {_words(c.params)}" for c in model.cameras.values()]
    return ("\n".join(lines) + "\n").encode()


def _print_images(model: SparseModel) -> bytes:
    lines = ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME", "# POINTS2D[] as X Y POINT3D_ID"]
    for i in model.images.values():
        lines.append(f"{i.id} {_words(i.quaternion)} {_words(i.translation)} {i.camera_id} {i.name}")
        lines.append(" ".join(f"{_words(xy)} {p}" for xy, p in zip(i.xys, i.point_ids, strict=True)))
    return ("\n".join(lines) + "\n").encode()


def _print_points(model: SparseModel) -> bytes:
    p = model.points
    lines = ["# POINT3D_ID X Y Z R G B ERROR TRACK[] as (IMAGE_ID POINT2D_IDX)"]
    for i in range(len(p)):
        rgb = " ".join(map(str, p.rgb[i].tolist()))
        track = " ".join(map(str, p.tracks[p.starts[i] : p.starts[i + 1]].ravel().tolist()))
        lines.append(f"{p.ids[i]} {_words(p.xyz[i])} {rgb} {float(p.errors[i])!r} {track}".rstrip())
    return ("\n".join(lines) + "\n").encode()
