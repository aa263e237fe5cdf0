"""Where DECA looks: landmarks from a file, from the embedded networks or from FAN, and the crop they lead to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from models.runtime.cache import ModelCache, ModelSpec
from models.runtime.errors import InputError, WeightsMissing
from models.runtime.gpu import gpu
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from pipelines.base import RunContext
from pipelines.face.crop import FaceBox, crop_transform, warp, whole_transform
from pipelines.face.options import DecaOptions, FaceOptions
from pipelines.tracking.face_measure import choose_faces, measure_photo
from pipelines.tracking.face_points import to_68

if TYPE_CHECKING:
    from face_alignment import FaceAlignment

Image = NDArray[np.uint8]
FAN_WEIGHTS = ("face-alignment-2dfan4", "s3fd")
NO_FACE = "No face was found; use a picture in which a face is in sight, or give a landmark file for it"


@dataclass(frozen=True)
class Found:
    """A face to crop: its 68 landmarks (68, 2) in pixels, or None where the whole picture is taken, and its crop
    (3, 224, 224) float32 in [0, 1] with the transform (3, 3) from the picture's pixels to the crop's."""

    points: NDArray[np.floating] | None
    crop: NDArray[np.float32]
    tform: NDArray[np.float64]


def chosen_detector(which: str, weights: WeightsStore) -> str:
    """``blaze`` or ``fan``. Raises WeightsMissing when FAN was asked for and is not installed."""
    missing = [name for name in FAN_WEIGHTS if not weights.installed(name)]
    if which == "fan" and missing:
        raise WeightsMissing(
            f"The detector FAN needs {', '.join(missing)}: open the Models tab or run "
            f"`python -m studio weights get {missing[0]}`, or take the embedded detector"
        )
    return "blaze" if which == "blaze" or missing else "fan"


def find_faces(path: Path, photo: Image, side_car: Path | None, options: FaceOptions, ctx: RunContext) -> list[Found]:
    """The faces of a photo, chosen as the options say, from left to right.

    Raises:
        InputError: none, none of that number, or a landmark file that cannot be read.
        WeightsMissing: the detector asked for is not installed.
    """
    deca = options.deca
    if not deca.crop:
        tform = whole_transform(*photo.shape[:2])
        return [Found(None, _planes(warp(photo, tform)), tform)]
    if side_car is not None:
        return [cropped(photo, read_landmarks(side_car), deca)]
    if chosen_detector(deca.detector, ctx.weights) == "fan":
        folder = ctx.weights.path(FAN_WEIGHTS[0]).parents[1]
        points = fan_landmarks(folder, ctx.weights.path(FAN_WEIGHTS[1]), ctx.settings, photo)
        points = _chosen(points, options.faces, options.face_number)
        return [cropped(photo, p, deca) for p in points]
    tracks = choose_faces(measure_photo(path, ctx, cut=True), options.faces, options.face_number)
    return [cropped_mesh(photo, track.points[0], deca) for track in tracks]


def cropped_mesh(photo: Image, mesh: NDArray[np.floating], deca: DecaOptions) -> Found:
    """The crop for embedded landmarks (468, 3): by the box of 68 of them, or by that of all, a detector's face box."""
    points = to_68(mesh)
    return cropped(photo, points, deca, FaceBox.of_points(mesh) if deca.crop_rule == "bbox" else None)


def cropped(photo: Image, points: NDArray[np.floating], deca: DecaOptions, box: FaceBox | None = None) -> Found:
    """The crop for landmarks (68, 2)."""
    around = FaceBox.of_points(points) if box is None else FaceBox(box.left, box.top, box.right, box.bottom, "bbox")
    if not around.size * deca.scale >= 2:
        raise InputError("The landmarks lie all in one spot; they must be pixels of the photo")
    tform = crop_transform(around, deca.scale)
    return Found(points, _planes(warp(photo, tform)), tform)


def _planes(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def read_landmarks(path: Path) -> NDArray[np.float64]:
    """68 landmarks (68, 2) in pixels: rows of x and y in a ``.txt``, or ``pt3d_68`` in a MATLAB file.

    Raises:
        InputError: not readable, or not 68 points.
    """
    try:
        if path.suffix.lower() == ".mat":
            table = np.asarray(loadmat(path, variable_names=["pt3d_68"])["pt3d_68"], np.float64).T
        else:
            table = np.loadtxt(path, dtype=np.float64, ndmin=2, delimiter=None, encoding="utf-8")
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError, MatReadError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name} holds no landmarks: rows of x and y, or pt3d_68 in a .mat file") from error
    if table.ndim != 2 or table.shape[0] != 68 or table.shape[1] < 2 or not np.isfinite(table).all():
        raise InputError(f"{path.name} holds {table.shape} numbers instead of 68 rows of x and y")
    return table[:, :2]


def _chosen(points: list[NDArray[np.floating]], which: str, number: int) -> list[NDArray[np.floating]]:
    """Faces as the options say, counted from the left."""
    if not points:
        raise InputError(NO_FACE)
    ordered = sorted(points, key=lambda p: float(np.median(p[:, 0])))
    if which == "largest":
        return [max(ordered, key=lambda p: float(np.ptp(p[:, 1])))]
    if which == "number":
        if number > len(ordered):
            raise InputError(f"There is no face {number}; {len(ordered)} found, counted from the left")
        return [ordered[number - 1]]
    return ordered


@gpu(duration=30)
def fan_landmarks(folder: Path, detector: Path, settings: Settings, photo: Image) -> list[NDArray[np.floating]]:
    """68 landmarks (68, 2) of every face by face-alignment; ``folder`` holds ``checkpoints/2DFAN4-...``."""
    cache = ModelCache.shared(settings)
    with cache.use(_fan_spec(folder, detector)) as network:
        found = network.get_landmarks_from_image(photo)
    return [np.asarray(points, np.float64)[:, :2] for points in found or []]


def _fan_spec(folder: Path, detector: Path) -> ModelSpec:
    def load(device: torch.device) -> FaceAlignment:
        # Made only here: its constructor would download what it does not find.
        import face_alignment

        before = torch.hub.get_dir()
        torch.hub.set_dir(str(folder))
        try:
            keywords: dict[str, Any] = {"face_detector_kwargs": {"path_to_detector": str(detector)}}
            return face_alignment.FaceAlignment(
                face_alignment.LandmarksType.TWO_D, device=str(device), flip_input=False, compile=False, **keywords
            )
        finally:
            torch.hub.set_dir(before)

    return ModelSpec(key="face-alignment", load=load, bytes=190_000_000)
