"""Engine ``sfm``: cameras from structure from motion, depth from plane sweeps that other views confirm."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from models.geometry.cameras import resize_intrinsics
from models.runtime.errors import InputError, WeightsMissing
from pipelines.base import Event, Progress, RunContext
from pipelines.media.image import read_image, write_image
from pipelines.scene import sfm
from pipelines.scene.consistency import confirm_all, connected, partners_of
from pipelines.scene.dense import View, facing_planes, sweep_all
from pipelines.scene.fill import fill_holes
from pipelines.scene.frames import WorkingPhoto, copy_frames, copy_photos, fit
from pipelines.scene.ground import estimate_up, find_ground, sweep_ground
from pipelines.scene.inputs import SceneSource
from pipelines.scene.options import SceneOptions, SfmOptions
from pipelines.scene.pairs import EXHAUSTIVE_UP_TO, choose_pairs, views_that_help
from pipelines.scene.prediction import FILLED, VERIFIED, Prediction
from pipelines.scene.sparse import triangulate, visible_points
from pipelines.scene.state import SceneState
from pipelines.scene.stereo import stereo_prediction
from pipelines.scene.surface import Layer, join
from pipelines.scene.sweep import SweepSettings

_BLURRED = 0.004
_FEWEST_POINTS = 16
_BEYOND = 1.5  # times the farthest sparse point: small pieces behind that are not believed
_INFINITE = 1.5  # inverse depth, in that of the farthest plane, below which something counts as infinitely far
_FAR = 10.0  # times the farthest sparse points: what lies behind them is cheap to search in inverse depth

ONE_PHOTO = (
    "One photo is not enough for engine sfm: it measures depth by comparing views, so it needs at least two photos of "
    "the same place from different spots, and it never invents depth. Once a Depth Anything 3 checkpoint is installed "
    "(Models tab, or `python -m studio weights get da3-small`) this tab also turns a single photo into depth"
)


@dataclass(frozen=True)
class Registered:
    """Undistorted photos at depth resolution with their cameras, and what is known of the depth range of each."""

    names: tuple[str, ...]
    images: tuple[np.ndarray, ...]
    extrinsics: np.ndarray
    intrinsics: np.ndarray
    points: np.ndarray
    colors: np.ndarray
    visible: tuple[np.ndarray, ...]


def check(source: SceneSource) -> None:
    """Refuses before any work what this engine cannot do. Raises WeightsMissing for a single photo."""
    if source.kind != "video" and len(source.photos) == 1:
        raise WeightsMissing(ONE_PHOTO)


def infer(source: SceneSource, options: SceneOptions, ctx: RunContext) -> Iterator[Event]:
    """Computes the prediction and leaves it, with the scene's state, in the run folder."""
    state = SceneState(engine="sfm", kind=source.kind, warnings=list(source.warnings))
    limits = ctx.settings.limits
    work = ctx.out_dir / "work"
    photos: list[WorkingPhoto] = []
    side = options.sfm.depth_side if source.kind == "stereo" else options.sfm.photo_side
    if source.kind == "video":
        copying = copy_frames(source.video, options.video, work / "images", side, limits, photos)
    else:
        copying = copy_photos(source.photos, source.names, work / "images", side, limits, photos)
    for said in copying:
        if isinstance(said, str):
            state.warnings.append(said)
        else:
            yield said
        ctx.check()
    check_count(photos, state.warnings)
    if source.kind == "stereo":
        prediction = yield from stereo_prediction(photos, options, ctx, state)
    else:
        views = yield from _cameras(source, photos, options, ctx, state)
        prediction = yield from _depth(views, options.sfm, ctx, state)
    prediction.save(ctx.out_dir / "prediction.npz")
    state.save(work)


def check_count(photos: list[WorkingPhoto], warnings: list[str]) -> None:
    why = f" ({warnings[-1]})" if warnings else ""
    if len(photos) == 1:
        raise InputError(f"Only {photos[0].name} could be read; at least two photos of one place are needed{why}")
    if not photos:
        raise InputError(f"None of the photos could be read; use JPEG, PNG, WEBP or TIFF images{why}")
    if all(p.sharpness < _BLURRED for p in photos):
        raise InputError(
            "The photos are too blurred to find anything to match; use sharp photos of something with visible texture"
        )


def _groups(photos: list[WorkingPhoto], options: SfmOptions, video: bool) -> tuple[sfm.CameraGroup, ...]:
    """Photos that share a camera: by size and EXIF focal length, or as the options say."""
    largest = max(max(p.size) for p in photos)
    sizes = {p.size for p in photos}
    if options.cameras == "shared" and len(sizes) > 1:
        raise InputError("Photos of different sizes cannot share one camera; choose intrinsics `auto` or `per_photo`")
    groups: dict[object, list[WorkingPhoto]] = {}
    for i, photo in enumerate(photos):
        if options.cameras == "per_photo":
            key: object = i
        elif video or options.cameras == "shared":
            key = photo.size
        else:
            key = (photo.size, None if photo.focal_px is None else round(photo.focal_px / largest, 2))
        groups.setdefault(key, []).append(photo)
    return tuple(
        sfm.CameraGroup(
            tuple(p.path.name for p in members),
            members[0].size,
            options.focal_px * members[0].scale or members[0].focal_px,
        )
        for members in groups.values()
    )


def _pairs(photos: list[WorkingPhoto], options: SfmOptions, video: bool, limits: object) -> tuple[tuple[int, int], ...]:
    kind = options.pairing
    if kind == "auto":
        kind = "sequential" if video else ("exhaustive" if len(photos) <= EXHAUSTIVE_UP_TO else "similar")
    thumbnails = None
    if kind == "similar":
        thumbnails = [cv2.resize(read_image(p.path, limits), (64, 64), interpolation=cv2.INTER_AREA) for p in photos]
    return choose_pairs(kind, len(photos), thumbnails)


def _cameras(
    source: SceneSource, photos: list[WorkingPhoto], options: SceneOptions, ctx: RunContext, state: SceneState
) -> Generator[Event, None, Registered]:
    """Finds the cameras (or reads a COLMAP model) and writes the undistorted photos."""
    work = ctx.out_dir / "work"
    if source.kind == "colmap":
        result, model_names = yield from sfm.read_model(source.model, work / "sfm", ctx.cancelled)
        by_name = {p.name: p for p in photos} | {Path(p.name).name: p for p in photos}
        pairs = [(by_name.get(n) or by_name.get(Path(n).name), n) for n in (model_names[i] for i in result.index)]
        missing = [n for photo, n in pairs if photo is None]
        if missing:
            raise InputError(f"The COLMAP model names photos that are not there: {', '.join(missing[:5])}")
        chosen = [photo for photo, _ in pairs]
    else:
        job = sfm.SfmJob(
            images=work / "images",
            names=tuple(p.path.name for p in photos),
            groups=_groups(photos, options.sfm, source.kind == "video"),
            pairs=_pairs(photos, options.sfm, source.kind == "video", ctx.settings.limits),
            max_features=options.sfm.max_features,
            mapper=options.sfm.mapper,
            refine_focal=len(photos) > 2,
            refine_distortion=len(photos) > 2,
            seed=options.sfm.seed,
        )
        result = yield from sfm.solve(job, work / "sfm", ctx.cancelled, tuple(p.name for p in photos))
        chosen = [photos[i] for i in result.index]
        left_out = [p.name for i, p in enumerate(photos) if i not in set(result.index.tolist())]
        if left_out:
            state.warnings.append(
                f"{len(left_out)} of {len(photos)} photos could not be placed and were left out: "
                f"{', '.join(left_out[:8])}{' and others' if len(left_out) > 8 else ''}"
            )
    state.summary["photos"] = len(photos)
    state.summary["registered"] = len(chosen)
    state.summary["reprojection_px"] = round(result.reprojection_px, 3)
    state.summary["sparse_points"] = len(result.points)
    images, intrinsics = [], []
    yield Progress("undistort", 0, len(chosen))
    (ctx.out_dir / "photos").mkdir(exist_ok=True)
    for n, photo in enumerate(chosen):
        rgb = sfm.undistort(read_image(photo.path, ctx.settings.limits), result.grids[n])
        write_image(ctx.out_dir / "photos" / f"{n:04d}.jpg", rgb)
        small = fit(rgb, options.sfm.depth_side)
        scale = (small.shape[1] / rgb.shape[1], small.shape[0] / rgb.shape[0])
        camera = result.intrinsics[n]
        if source.kind == "colmap":  # the model counts in pixels of the originals
            camera = resize_intrinsics(camera, rgb.shape[1] / result.sizes[n][0], rgb.shape[0] / result.sizes[n][1])
        images.append(small)
        intrinsics.append(resize_intrinsics(camera, *scale))
        yield Progress("undistort", n + 1, len(chosen))
    state.summary["focal_px"] = round(float(result.intrinsics[0][0, 0]), 2)
    K = np.stack(intrinsics)
    points, colors = result.points, result.colors
    if len(points) < _FEWEST_POINTS:  # a model of cameras alone
        points, colors = triangulate(images, result.extrinsics, K)
        if len(points) < _FEWEST_POINTS:
            raise InputError(
                "The photos do not fit the cameras of the COLMAP model: hardly any match agrees with them; "
                "use the photos the model was made from"
            )
        state.summary["sparse_points"] = len(points)
        result = replace(result, seen_image=np.zeros(0, np.int64), seen_point=np.zeros(0, np.int64))
    sizes = np.array([image.shape[:2] for image in images])
    visible = visible_points(points, result.seen_image, result.seen_point, result.extrinsics, K, sizes)
    return Registered(
        tuple(p.name for p in chosen),
        tuple(images),
        result.extrinsics,
        K,
        points,
        colors,
        visible,
    )


def _depth(
    views: Registered, options: SfmOptions, ctx: RunContext, state: SceneState
) -> Generator[Event, None, Prediction]:
    """Sweeps every view, keeps what others confirm, fills what is surrounded."""
    sources = views_that_help(views.extrinsics, views.visible, views.points, options.source_views)
    planned = [
        View(
            cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32),
            views.extrinsics[n],
            views.intrinsics[n],
            *depth_range(views.extrinsics[n], views.points[views.visible[n]]),
        )
        for n, image in enumerate(views.images)
    ]
    n = len(planned)
    sizes = np.array([v.grey.shape for v in planned], np.int64)
    canvas = (n, *sizes.max(0))
    facing, score = np.zeros(canvas, np.float32), np.zeros(canvas, np.float32)
    yield Progress("depth", 0, n)
    plan = partial(facing_planes, count=options.planes)
    for done, (i, found) in enumerate(sweep_all(planned, sources, plan, SweepSettings()), 1):
        h, w = sizes[i]
        # the last planes collect what has no parallax at all: clouds, mostly
        facing[i, :h, :w] = np.where(found.inverse > _INFINITE / planned[i].far, 1.0 / found.inverse, 0)
        score[i, :h, :w] = found.score
        yield Progress("depth", done, n)
        ctx.check()
    yield Progress("ground")
    below = find_ground(planned, sources, estimate_up(views.extrinsics), ctx.check) if n >= 3 else None
    level, level_score = np.zeros(canvas, np.float32), np.zeros(canvas, np.float32)
    if below is not None:
        ctx.check()
        for i, (d, s) in enumerate(zip(*sweep_ground(planned, sources, below, ctx.check), strict=True)):
            h, w = sizes[i]
            level[i, :h, :w], level_score[i, :h, :w] = d, s
    yield Progress("consistency", 0, n)
    asked = partners_of(sources)
    cameras = (views.intrinsics, views.extrinsics)
    confirmed = confirm_all(facing, sizes, *cameras, asked)
    everyone = [np.array([j for j in range(n) if j != i], np.int64) for i in range(n)]
    grounded = None if below is None else confirm_all(level, sizes, *cameras, everyone, enough=1)
    depth, conf, filled = np.zeros(canvas, np.float32), np.zeros(canvas, np.float32), np.zeros(canvas, bool)
    images = np.zeros((*canvas, 3), np.uint8)
    for i in range(n):
        h, w = sizes[i]
        part = (i, slice(0, h), slice(0, w))
        images[part] = views.images[i]
        floor = None if grounded is None else Layer.cut(grounded, level_score, part)
        depth[part], conf[part], empty = join(Layer.cut(confirmed, score, part), floor, views.images[i])
        stray = stray_far(depth[part], planned[i].far / _FAR)
        depth[part][stray] = conf[part][stray] = 0
        if options.fill_holes:
            reach = max(4, round(0.04 * max(h, w)))
            depth[part], filled[part] = fill_holes(depth[part], views.images[i], reach, 6, ~(empty | stray))
        yield Progress("consistency", i + 1, n)
        ctx.check()
    conf[filled] = FILLED
    state.summary["confident_share"] = round(float((conf >= VERIFIED).sum() / (sizes[:, 0] * sizes[:, 1]).sum()), 4)
    state.points, state.colors = views.points, views.colors
    return Prediction(depth, conf, filled, views.extrinsics, views.intrinsics, images, views.names, sizes)


def stray_far(depth: np.ndarray, farthest: float) -> np.ndarray:
    """Small pieces well behind the farthest sparse point: clouds and reflections that match between views by chance."""
    beyond = depth > _BEYOND * farthest
    pieces = connected(np.where(beyond, depth, 0).astype(np.float32), beyond, depth.size // 80, 0.03)
    return beyond & ~pieces


def depth_range(extrinsics: np.ndarray, points: np.ndarray) -> tuple[float, float]:
    """Nearest and farthest depth to search from the sparse points (P, 3) that one view saw."""
    depth = points @ extrinsics[2, :3] + extrinsics[2, 3]
    depth = depth[depth > 0]
    if len(depth) == 0:
        return 0.5, 100.0
    low, high = np.percentile(depth, [1, 99])
    return float(0.6 * low), float(_FAR * high)
