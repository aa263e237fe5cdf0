"""How good scenes come out on a folder with known truth: pose AUC, clouds, depth. ``python -m benchmarks.da3_eval``.

The truth is a ``cameras.json`` (names, extrinsics world-to-camera, intrinsics with the first pixel's centre at (0, 0))
beside ``photos``, and depth in metres as ``depth/<name>.npy``. Without a folder the rendered room of the examples is
used, whose depth is drawn anew.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.depth_anything_3.alignment import align_cameras
from models.geometry.cameras import unproject
from models.runtime.cache import ModelCache
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from pipelines import registry
from pipelines.base import Inputs, RunContext, run
from pipelines.scene.metrics import (
    AUC_LIMITS,
    CloudErrors,
    DepthErrors,
    cloud_errors,
    depth_errors,
    pose_errors,
    voxel_means,
)
from pipelines.scene.options import SceneOptions
from pipelines.scene.prediction import Prediction
from studio import forms

ROOM = Path(__file__).resolve().parent.parent / "examples" / "scene" / "room"
VOXEL, THRESHOLD = 0.02, 0.05  # metres


@dataclass(frozen=True)
class Truth:
    """Photos with their names, extrinsics (N, 3, 4), intrinsics (N, 3, 3) or one (3, 3); depth (H, W) by number."""

    photos: tuple[Path, ...]
    names: tuple[str, ...]
    extrinsics: NDArray[np.float64]
    intrinsics: NDArray[np.float64]
    depth: Callable[[int], NDArray[np.floating]]


@dataclass(frozen=True)
class Report:
    """Figures of one run; lengths in the unit of the truth after one similarity that aligns the cameras."""

    engine: str
    views: int
    auc: dict[str, float]
    cloud: CloudErrors
    depth: DepthErrors


def room() -> Truth:
    """The room of the examples; depth is rendered at need."""
    from examples.room import photo_views, render_room

    stored = json.loads((ROOM / "cameras.json").read_text(encoding="utf-8"))
    views = photo_views(len(stored["names"]), stored["width"], stored["height"])
    return Truth(
        tuple(ROOM / "photos" / name for name in stored["names"]),
        tuple(stored["names"]),
        np.array(stored["extrinsics"])[:, :3],
        np.array(stored["intrinsics"]),
        lambda i: render_room(views[i], supersample=1)[1],
    )


def read_truth(folder: Path) -> Truth:
    """A folder as described at the top."""
    stored = json.loads((folder / "cameras.json").read_text(encoding="utf-8"))
    names = tuple(stored["names"])
    return Truth(
        tuple(folder / "photos" / name for name in names),
        names,
        np.array(stored["extrinsics"])[:, :3],
        np.array(stored["intrinsics"]),
        lambda i: np.load(folder / "depth" / f"{names[i]}.npy", allow_pickle=False),
    )


def predict(truth: Truth, options: SceneOptions, settings: Settings, out: Path) -> tuple[str, Prediction]:
    """Runs the Scene pipeline; the engine's name and what it found."""
    context = RunContext(out, settings, ModelCache.from_settings(settings), WeightsStore(settings))
    steps = run(registry.get("scene"), Inputs({"photos": truth.photos}), options, context)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value.engine, Prediction.load(out / "prediction.npz")


def evaluate(engine: str, found: Prediction, truth: Truth, voxel: float = VOXEL, near: float = THRESHOLD) -> Report:
    """Compares a prediction with the truth, view by view of the same name."""
    index = [truth.names.index(name) for name in found.names]
    E = truth.extrinsics[index]
    similarity = align_cameras(found.extrinsics, E)
    ours, theirs, depths, wanted = [], [], [], []
    for row, i in enumerate(index):
        depth, _, _ = found.view(row)
        true = truth.depth(i)
        scale = (depth.shape[1] / true.shape[1], depth.shape[0] / true.shape[0])
        small = cv2.resize(true.astype(np.float32), depth.shape[::-1], interpolation=cv2.INTER_NEAREST)
        K = truth.intrinsics[i if truth.intrinsics.ndim == 3 else ...].copy()
        K[:2] *= np.array(scale)[:, None]
        K[:2, 2] += (np.array(scale) - 1) / 2
        mine = unproject(depth.astype(np.float64), found.intrinsics[row], found.extrinsics[row])[depth > 0]
        ours.append(similarity.apply(mine))
        theirs.append(unproject(small.astype(np.float64), K, E[row])[small > 0])
        depths.append(depth * similarity.scale)
        wanted.append(small)
    clouds = [voxel_means(np.concatenate(c), voxel) for c in (ours, theirs)]
    errors = pose_errors(found.extrinsics, E)
    return Report(
        engine,
        len(found),
        {f"auc{limit}": errors.auc(limit) for limit in AUC_LIMITS},
        cloud_errors(*clouds, near),
        depth_errors(depths, wanted, fit_scale=False),
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.da3_eval", description="Scenes against the truth.")
    parser.add_argument("--folder", type=Path, help="cameras.json, photos/ and depth/; without it the rendered room")
    parser.add_argument("--engine", default="auto", help="auto, da3 or sfm")
    parser.add_argument("--views", type=int, default=0, help="only the first views; 0 takes all")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="an option of the pipeline")
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    parser.add_argument("--device", default="auto")
    given = parser.parse_args(arguments)
    truth = read_truth(given.folder) if given.folder else room()
    if given.views:
        n = given.views
        truth = Truth(truth.photos[:n], truth.names[:n], truth.extrinsics[:n], truth.intrinsics, truth.depth)
    values = dict(item.split("=", 1) for item in given.set) | {"engine": given.engine}
    options = forms.build(SceneOptions, values)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(weights_dir=given.weights, workspace_dir=Path(folder), device=given.device)
        report = evaluate(*predict(truth, options, settings, Path(folder)), truth)
    figures = asdict(report) | {"overall": report.cloud.overall, "f_score": report.cloud.f_score}
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
