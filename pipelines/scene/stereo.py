"""A rectified pair: the same sweep along the rows, with exact calibration where it is given."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from models.geometry.cameras import intrinsics_matrix
from models.runtime.errors import InputError
from pipelines.base import Event, Progress, RunContext
from pipelines.media.image import read_image, write_image
from pipelines.scene.consistency import connected
from pipelines.scene.fill import fill_holes
from pipelines.scene.frames import WorkingPhoto
from pipelines.scene.matches import features, matched
from pipelines.scene.options import SceneOptions, StereoOptions
from pipelines.scene.prediction import FILLED, VERIFIED, Prediction
from pipelines.scene.state import SceneState
from pipelines.scene.sweep import PlaneFamily, SweepSettings, sweep_view

_STEP = 0.5  # pixels of disparity between planes
_ROW_ERROR = 2.0  # largest vertical distance of matches in a rectified pair, pixels
_LEFT_RIGHT = 1.0  # largest difference of the two views' disparities, pixels
_LEAST = 0.5  # smallest disparity plus offset: farther is called as far as this
_GUESSED_FOCAL = 1.2  # in picture widths, where the focal length is not given
_SWEEP = SweepSettings(radius=2, keep=1, p1=8, p2=160)


@dataclass(frozen=True)
class Disparity:
    """``disparity`` (H, W) float32 in pixels, everywhere; ``conf`` (H, W) float32 and ``filled`` (H, W) bool as in
    ``Prediction``."""

    disparity: np.ndarray
    conf: np.ndarray
    filled: np.ndarray


def stereo_prediction(
    photos: list[WorkingPhoto], options: SceneOptions, ctx: RunContext, state: SceneState
) -> Generator[Event, None, Prediction]:
    """Depth of both views. Metres where focal length and baseline are given, else relative.

    Raises:
        InputError: the photos differ in size, or their rows do not match.
    """
    yield Progress("stereo", 0, 3)
    if len(photos) != 2 or photos[0].size != photos[1].size:
        raise InputError("A rectified pair needs two readable photos of the same size, left and right")
    left, right = (read_image(p.path, ctx.settings.limits) for p in photos)
    given, scale = options.stereo, photos[0].scale
    low, high = disparity_range(left, right, given, scale)
    yield Progress("stereo", 1, 3)
    ctx.check()
    views = match_pair(left, right, low, high, options.sfm.fill_holes)
    yield Progress("stereo", 2, 3)
    height, width = left.shape[:2]
    doffs = given.doffs * scale
    metric = given.focal_px > 0 and given.baseline_m > 0
    focal = given.focal_px * scale or _GUESSED_FOCAL * width
    baseline = given.baseline_m or 1.0
    if not metric:
        state.warnings.append("Without focal length and baseline the depth has no unit and is right up to a scale")
    depth = [
        np.where(v.conf > 0, focal * baseline / np.maximum(v.disparity + doffs, _LEAST), 0).astype(np.float32)
        for v in views
    ]
    centre = (width - 1) / 2
    intrinsics = np.stack(
        [intrinsics_matrix(focal, focal, c, (height - 1) / 2) for c in (centre - doffs / 2, centre + doffs / 2)]
    )
    extrinsics = np.tile(np.eye(3, 4), (2, 1, 1))
    extrinsics[1, 0, 3] = -baseline
    (ctx.out_dir / "photos").mkdir(exist_ok=True)
    for i, image in enumerate((left, right)):
        write_image(ctx.out_dir / "photos" / f"{i:04d}.jpg", image)
    conf = np.stack([v.conf for v in views])
    state.summary |= {
        "photos": 2,
        "registered": 2,
        "metric": metric,
        "confident_share": round(float((conf >= VERIFIED).mean()), 4),
    }
    yield Progress("stereo", 3, 3)
    return Prediction(
        np.stack(depth),
        conf,
        np.stack([v.filled for v in views]),
        extrinsics,
        intrinsics,
        np.stack([left, right]),
        tuple(p.name for p in photos),
        np.full((2, 2), (height, width)),
        metric,
    )


def disparity_range(left: np.ndarray, right: np.ndarray, options: StereoOptions, scale: float) -> tuple[float, float]:
    """Smallest and largest disparity (left x minus right x) to search, from feature matches with some room.

    Raises:
        InputError: too few matches, or they lie on different rows.
    """
    a, b = matched(*(features(image, 4000) for image in (left, right)))
    if len(a) < 16:
        raise InputError("Too few matches between the two photos; a stereo pair shows the same scene from two places")
    shift = a - b
    level = np.abs(shift[:, 1]) < _ROW_ERROR
    if level.mean() < 0.5:
        raise InputError(
            "The rows of the two photos do not match, so this is no rectified pair; "
            "switch `rectified` off and the cameras are found from the photos"
        )
    low, high = np.percentile(shift[level, 0], [1, 99])
    room = 0.15 * (high - low) + 2
    low, high = low - room, high + room
    if options.doffs:
        low = max(low, _LEAST - options.doffs * scale)
    if options.max_disparity:
        high = options.max_disparity * scale
    if high <= low:
        raise InputError("The largest disparity is smaller than what matches show; leave it at 0 to estimate it")
    return float(low), float(high)


def match_pair(
    left: np.ndarray, right: np.ndarray, low: float, high: float, fill: bool = True
) -> tuple[Disparity, Disparity]:
    """Disparity of both photos (H, W, 3) uint8, checked against each other; gaps filled from what surrounds them."""
    grey = [cv2.cvtColor(i, cv2.COLOR_RGB2GRAY).astype(np.float32) for i in (left, right)]
    family = PlaneFamily(np.array([0.0, 0.0, 1.0]), np.arange(low, high + _STEP, _STEP))

    def sweep(i: int) -> tuple[np.ndarray, np.ndarray]:
        direction = np.array([[-1.0 if i == 0 else 1.0, 0.0, 0.0]])
        found = sweep_view(grey[i], [grey[1 - i]], np.eye(3)[None], direction, family, _SWEEP)
        return found.inverse, found.score

    with ThreadPoolExecutor(2) as pool:
        (d0, s0), (d1, s1) = pool.map(sweep, (0, 1))
    return (
        _checked(d0, d1, -1, s0, left, fill),
        _checked(d1, d0, 1, s1, right, fill),
    )


def _checked(
    own: np.ndarray, other: np.ndarray, direction: int, score: np.ndarray, image: np.ndarray, fill: bool
) -> Disparity:
    h, w = own.shape
    x = np.arange(w, dtype=np.float32)[None] + direction * own
    back = cv2.remap(other, x, np.repeat(np.arange(h, dtype=np.float32)[:, None], w, 1), cv2.INTER_NEAREST)
    good = (x >= 0) & (x <= w - 1) & (np.abs(back - own) <= _LEFT_RIGHT)
    shifted = np.where(good, own - own.min() + 10.0, 0).astype(np.float32)  # positive, so that 0 can mean none
    good &= connected(shifted, good, max(16, own.size // 4000), 0.08)
    conf = np.where(good, VERIFIED + 0.5 * score * VERIFIED, 0).astype(np.float32)
    if not fill:
        return Disparity(own, conf, np.zeros_like(good))
    # fill_holes works on depth; any decreasing function of disparity will do, and it interpolates its inverse
    offset = 1.0 - float(own.min())
    closed, _ = fill_holes(np.where(good, 1.0 / (own + offset), 0).astype(np.float32), image, h + w, 1)
    disparity = np.where(good, own, 1.0 / np.maximum(closed, 1e-9) - offset).astype(np.float32)
    filled = ~good & (closed > 0)
    return Disparity(disparity, np.where(filled, FILLED, conf).astype(np.float32), filled)
