"""Measures the Scene pipeline's engine ``sfm`` against what is known of its subjects.

``python -m benchmarks.scene_sfm [castle DIR] [room] [motorcycle]`` prints one line per number with its bound. The
castle's photos are not part of this project (openMVG's Sceaux Castle, 1024 px wide); the others ship with it or its
packages.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from models.geometry.cameras import camera_centers
from models.geometry.similarity import umeyama
from models.runtime.settings import Limits, Settings
from pipelines.base import Inputs, Result, RunContext, run
from pipelines.media.image import write_image
from pipelines.scene.options import SceneOptions
from pipelines.scene.pipeline import ScenePipeline
from pipelines.scene.prediction import VERIFIED, Prediction

ROOM = Path(__file__).resolve().parents[1] / "examples" / "scene" / "room"
CASTLE_FOCAL = 2905.88 / 2832  # of the originals, per pixel of width
MOTORCYCLE_FOCAL, MOTORCYCLE_BASELINE, MOTORCYCLE_DOFFS = 994.978, 0.193001, 31.086  # as scikit-image states them
MOTORCYCLE_WIDTH = 480


@dataclass(frozen=True)
class Number:
    """One measured number and its bound; ``at_least`` tells on which side it has to lie."""

    name: str
    value: float
    bound: float
    at_least: bool = False

    @property
    def holds(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        return f"{'ok  ' if self.holds else 'MISS'} {self.name}: {self.value:.4g} ({sign} {self.bound:g})"


class _NoWeights:
    """Stands in for the weights store: nothing is installed, so the embedded engine runs."""

    def installed(self, key: str) -> bool:
        del key
        return False


@dataclass(frozen=True)
class Outcome:
    """A finished job: its result, prediction, folder and seconds."""

    result: Result
    prediction: Prediction
    folder: Path
    seconds: float


def reconstruct(files: Sequence[Path], options: SceneOptions, folder: Path) -> Outcome:
    """Runs the whole job in this process, in an empty folder."""
    folder.mkdir(parents=True, exist_ok=True)
    context = RunContext(folder, Settings(limits=Limits()), None, _NoWeights())
    start = time.perf_counter()
    events = run(ScenePipeline(), Inputs({"photos": tuple(files)}), options, context)
    while True:
        try:
            next(events)
        except StopIteration as end:
            seconds = time.perf_counter() - start
            return Outcome(end.value, Prediction.load(folder / "prediction.npz"), folder, seconds)


def abs_rel(depth: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean(np.abs(depth - truth) / truth))


def castle(photos: Path, folder: Path) -> list[Number]:
    files = sorted(photos.glob("*.jpg"))
    done = reconstruct(files, SceneOptions(engine="sfm"), folder)
    summary, p = done.result.summary, done.prediction
    width = cv2.imread(str(files[0])).shape[1]
    middle = range(len(p) // 2 - 1, len(p) // 2 + 2)
    share = [float((p.view(i)[1] >= VERIFIED).mean()) for i in middle]
    sky = [float((p.view(i)[0][: len(p.view(i)[0]) // 8] > 0).mean()) for i in middle]
    return [
        Number("castle: views registered", summary["registered"], len(files), True),
        Number("castle: reprojection error, px", summary["reprojection_px"], 0.6),
        Number("castle: focal error", abs(summary["focal_px"] / (CASTLE_FOCAL * width) - 1), 0.03),
        Number("castle: seconds", done.seconds, 120),
        Number("castle: fused points", summary["points"], 300_000, True),
        Number("castle: confident share of the middle views", float(np.mean(share)), 0.6, True),
        Number("castle: depth in the top eighth (sky) of the middle views", max(sky), 0.005),
    ]


def motorcycle_images(folder: Path) -> tuple[list[Path], np.ndarray]:
    """The pair as files, and the left view's true disparity (H, W) at 480 pixels' width, 0 where unknown."""
    from skimage.data import stereo_motorcycle

    left, right, disparity = stereo_motorcycle()
    folder.mkdir(parents=True, exist_ok=True)
    files = [write_image(folder / f"{n}.png", i) for n, i in (("left", left), ("right", right))]
    scale = MOTORCYCLE_WIDTH / left.shape[1]
    known = np.where(np.isfinite(disparity), disparity, 0).astype(np.float32)
    size = (MOTORCYCLE_WIDTH, round(left.shape[0] * scale))
    return files, cv2.resize(known, size, interpolation=cv2.INTER_NEAREST) * np.float32(scale)


def motorcycle_rectified(folder: Path) -> list[Number]:
    files, disparity = motorcycle_images(folder / "pair")
    stereo = {
        "rectified": True,
        "focal_px": MOTORCYCLE_FOCAL,
        "baseline_m": MOTORCYCLE_BASELINE,
        "doffs": MOTORCYCLE_DOFFS,
    }
    options = SceneOptions(engine="sfm", stereo=stereo, sfm={"depth_side": MOTORCYCLE_WIDTH})
    depth = reconstruct(files, options, folder / "run").prediction.depth[0]
    known = disparity > 0
    scale = MOTORCYCLE_WIDTH / 741
    truth = MOTORCYCLE_FOCAL * MOTORCYCLE_BASELINE / (disparity[known] / scale + MOTORCYCLE_DOFFS)
    found = np.maximum(depth[known], 1e-6)
    ratio = np.maximum(found / truth, truth / found)
    return [
        Number("motorcycle rectified: AbsRel, all pixels", abs_rel(found, truth), 0.038),
        Number("motorcycle rectified: delta 1", float((ratio < 1.25).mean()), 0.925, True),
    ]


def motorcycle_unposed(folder: Path) -> list[Number]:
    """Scored as 1 / disparity after the affine alignment of inverse depth that pays for unknown scale and offset."""
    files, disparity = motorcycle_images(folder / "pair")
    options = SceneOptions(engine="sfm", sfm={"depth_side": MOTORCYCLE_WIDTH})
    p = reconstruct(files, options, folder / "run").prediction
    i = p.names.index("left.png")
    known = disparity > 0
    seen = known & (p.conf[i] >= VERIFIED)
    inverse = 1 / p.depth[i][seen].astype(np.float64)
    basis = np.stack([inverse, np.ones_like(inverse)], 1)
    fitted = basis @ np.linalg.lstsq(basis, disparity[seen].astype(np.float64), rcond=None)[0]
    error = abs_rel(1 / np.maximum(fitted, 1e-3), 1 / disparity[seen])
    return [
        Number("motorcycle unposed: AbsRel, consistent pixels", error, 0.06),
        Number("motorcycle unposed: consistent share", float(seen.sum() / known.sum()), 0.75, True),
    ]


def room(folder: Path, files: Sequence[Path] | None = None) -> list[Number]:
    """The rendered room against its exact cameras and depth."""
    from examples.room import photo_views, render_room

    truth = json.loads((ROOM / "cameras.json").read_text())
    files = list(files or sorted((ROOM / "photos").glob("*.jpg")))
    p = reconstruct(files, SceneOptions(engine="sfm"), folder).prediction
    which = [truth["names"].index(name) for name in p.names]
    exact = np.array(truth["extrinsics"])[which]
    rotation, translation, scale = pose_errors(p.extrinsics, exact)
    errors = []
    for i in sorted({0, len(p) // 2, len(p) - 1}):
        _, depth = render_room(photo_views()[which[i]], supersample=1)
        found, conf, _ = p.view(i)
        sure = conf >= VERIFIED
        expected = cv2.resize(depth, found.shape[::-1], interpolation=cv2.INTER_NEAREST)
        errors.append(np.abs(found[sure] * scale - expected[sure]) / expected[sure])
    return [
        Number("room: views registered", len(p), len(files), True),
        Number("room: relative rotation error, degrees", rotation, 0.5),
        Number("room: position error, share of the path's extent", translation, 0.01),
        Number("room: AbsRel, confident pixels", float(np.mean(np.concatenate(errors))), 0.03),
    ]


def pose_errors(found: np.ndarray, exact: np.ndarray) -> tuple[float, float, float]:
    """Mean relative rotation error in degrees over all pairs, mean position error as a share of the extent of the
    cameras after similarity alignment, and the scale of that alignment. (N, 3, 4) each."""
    from models.geometry.cameras import relative_pose, rotation_angle_error

    n = len(found)
    turns = [
        float(rotation_angle_error(relative_pose(found[a], found[b]), relative_pose(exact[a], exact[b])))
        for a in range(n)
        for b in range(a + 1, n)
    ]
    here, there = camera_centers(found), camera_centers(exact)
    fit = umeyama(here, there)
    off = np.linalg.norm(fit.apply(here) - there, axis=1)
    extent = np.linalg.norm(there.max(0) - there.min(0))
    return float(np.mean(turns)), float(off.mean() / extent), float(fit.scale)


def main(arguments: Sequence[str]) -> int:
    wanted = list(arguments) or ["room", "motorcycle"]
    numbers: list[Number] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if "castle" in wanted:
            numbers += castle(Path(wanted[wanted.index("castle") + 1]), folder / "castle")
        if "room" in wanted:
            numbers += room(folder / "room")
        if "motorcycle" in wanted:
            numbers += motorcycle_rectified(folder / "rectified") + motorcycle_unposed(folder / "unposed")
    for number in numbers:
        print(number)
    return 0 if all(n.holds for n in numbers) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
