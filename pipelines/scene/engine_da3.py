"""Engine ``da3``: depth and cameras of all photos from one network, a single photo included."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.depth_anything_3.metric import CANONICAL_FOCAL
from models.depth_anything_3.network import Request
from models.geometry.cameras import (
    camera_centers,
    crop_intrinsics,
    focal_from_fov,
    homogeneous,
    intrinsics_matrix,
    resize_intrinsics,
)
from models.runtime.errors import InputError
from pipelines.base import Event, Progress, RunContext
from pipelines.media.image import read_image, write_image
from pipelines.scene import sfm
from pipelines.scene.da3_files import save_views
from pipelines.scene.da3_inference import Da3Settings, Da3Views
from pipelines.scene.da3_network import Checkpoint, check_request, choose_checkpoint, compute_views
from pipelines.scene.da3_preprocess import Processed, join, process_one
from pipelines.scene.engine_da3_long import infer_long, is_long
from pipelines.scene.frames import WorkingPhoto, copy_frames, copy_photos
from pipelines.scene.inputs import SceneSource
from pipelines.scene.options import Da3Options, SceneOptions
from pipelines.scene.prediction import VERIFIED, Prediction
from pipelines.scene.state import SceneState

PHOTO_SIDE = 1600  # pixels of the working copies, unless the network sees more
ALONE = 1.0  # confidence of depth from variants that state none
SPARSE = 20_000  # points that stand for the sparse ones of a COLMAP model
APART = 1.15  # distance of photos shown side by side, in widths of the view


@dataclass(frozen=True)
class Views:
    """Processed photos of one job with their working copies; ``extrinsics`` (N, 3, 4) of known cameras or None."""

    photos: tuple[WorkingPhoto, ...]
    batch: Processed
    extrinsics: NDArray[np.float64] | None = None


def check(source: SceneSource) -> None:
    """Every kind of input will do, a single photo included."""
    del source


def weights_of(options: SceneOptions, ctx: RunContext) -> tuple[str, ...]:
    """The weights a job uses. Raises WeightsMissing, or InputError for what the chosen variant cannot do."""
    chosen = _checkpoint(options.da3, ctx)
    check_request(chosen, options.da3.export_feat, wants_splats(options.da3), options.da3.use_ray_pose)
    return (chosen.variant,)


def wants_splats(options: Da3Options) -> bool:
    """Splats are made when asked for, or when a file of them is."""
    return options.infer_gs or any(name.startswith("gs_") for name in options.exports)


def _checkpoint(options: Da3Options, ctx: RunContext) -> Checkpoint:
    return choose_checkpoint(options.variant, ctx.weights, options.precision)


def infer(source: SceneSource, options: SceneOptions, ctx: RunContext) -> Iterator[Event]:
    """Computes the prediction and leaves it, with the scene's state, in the run folder."""
    state = SceneState(engine="da3", kind=source.kind, warnings=list(source.warnings))
    checkpoint = _checkpoint(options.da3, ctx)
    work = ctx.out_dir / "work"
    photos = yield from read_photos(source, options, ctx, state)
    if not photos:
        why = f" ({state.warnings[-1]})" if state.warnings else ""
        raise InputError(f"None of the photos could be read; use JPEG, PNG, WEBP or TIFF images{why}")
    state.summary["photos"] = len(photos)
    settings = request_of(options.da3)
    if source.kind != "colmap" and is_long(len(photos), options.da3, checkpoint):
        prediction = yield from infer_long(photos, checkpoint, settings, options.da3, ctx, state)
        prediction = in_metres(prediction, options.da3, state)
    else:
        views = yield from gather(source, photos, options, ctx, state, checkpoint)
        yield Progress("network", 0, len(views.photos), checkpoint.variant)
        found = compute_views(views.batch, checkpoint, settings, ctx.settings, views.extrinsics)
        ctx.check()
        yield Progress("network", len(views.photos), len(views.photos), checkpoint.variant)
        prediction = to_prediction(found, views, checkpoint, options.da3, state)
        if options.da3.exports or options.da3.export_feat or wants_splats(options.da3):
            save_views(work / "da3.npz", found)
    describe(prediction, checkpoint, state)
    prediction.save(ctx.out_dir / "prediction.npz")
    state.save(work)


def request_of(options: Da3Options) -> Da3Settings:
    """The options in the network's terms."""
    request = Request(
        ray_poses=options.use_ray_pose,
        strategy=options.ref_view_strategy,
        feature_layers=options.export_feat,
        gaussians=wants_splats(options),
    )
    return Da3Settings(options.process_res, options.process_res_method, options.align_to_input_ext_scale, request)


def gather(
    source: SceneSource,
    photos: list[WorkingPhoto],
    options: SceneOptions,
    ctx: RunContext,
    state: SceneState,
    checkpoint: Checkpoint,
) -> Generator[Event, None, Views]:
    """Brings photos to the network's size and finds the cameras that are known."""
    extrinsics, lenses, grids = None, None, [None] * len(photos)
    given = source.kind == "colmap" and options.da3.known_cameras and checkpoint.multi_view
    if given and wants_splats(options.da3):
        state.warnings.append("Splats live among estimated cameras: the cameras of the COLMAP folder were not used")
        given = False
    if given:
        photos, extrinsics, lenses, grids = yield from known_cameras(source, photos, ctx, state)
    elif not checkpoint.multi_view:
        lenses = [assumed_lens(photo, options.da3.fov_degrees) for photo in photos]
        guessed = [photo.name for photo in photos if photo.focal_px is None]
        if guessed:
            state.warnings.append(
                f"{checkpoint.variant} gives no cameras: a horizontal field of view of {options.da3.fov_degrees:g} "
                f"degrees was assumed for {', '.join(guessed[:4])}{' and others' if len(guessed) > 4 else ''}"
            )
    settings = request_of(options.da3)
    processed, sizes = [], []
    yield Progress("photos", 0, len(photos))
    for i, photo in enumerate(photos):
        rgb = sfm.undistort(read_image(photo.path, ctx.settings.limits), grids[i])
        if grids[i] is not None:
            write_image(photo.path, rgb)
        lens = None if lenses is None else lenses[i]
        processed.append(process_one(rgb, lens, settings.resolution, settings.method))
        sizes.append(rgb.shape[:2])
        yield Progress("photos", i + 1, len(photos))
        ctx.check()
    batch = join(processed, sizes)
    shown = ctx.out_dir / "photos"
    shown.mkdir(exist_ok=True)
    whole = settings.method.endswith("resize") and len({image.shape for image, _ in processed}) == 1
    for i, photo in enumerate(photos):
        if whole:
            shutil.copyfile(photo.path, shown / f"{i:04d}.jpg")
        else:  # cropped, so that the copy must be too
            write_image(shown / f"{i:04d}.jpg", batch.images[i])
    return Views(tuple(photos), batch, extrinsics)


def read_photos(
    source: SceneSource, options: SceneOptions, ctx: RunContext, state: SceneState
) -> Generator[Event, None, list[WorkingPhoto]]:
    """Working copies of the photos or of chosen frames."""
    folder, limits = ctx.out_dir / "work" / "images", ctx.settings.limits
    side = max(PHOTO_SIDE, options.da3.process_res)
    photos: list[WorkingPhoto] = []
    if source.kind == "video":
        copying = copy_frames(source.video, options.video, folder, side, limits, photos)
    else:
        copying = copy_photos(source.photos, source.names, folder, side, limits, photos)
    for said in copying:
        if isinstance(said, str):
            state.warnings.append(said)
        else:
            yield said
        ctx.check()
    return photos


def known_cameras(
    source: SceneSource, photos: list[WorkingPhoto], ctx: RunContext, state: SceneState
) -> Generator[
    Event, None, tuple[list[WorkingPhoto], NDArray[np.float64], list[NDArray[np.float64]], list[NDArray | None]]
]:
    """The photos a COLMAP model names, in its order, with extrinsics (N, 3, 4), intrinsics (3, 3) in pixels of the
    working copies counted from the photo's corner, and the grids that undistort them."""
    result, names = yield from sfm.read_model(source.model, ctx.out_dir / "work" / "sfm", ctx.cancelled, least=1)
    by_name = {p.name: p for p in photos} | {Path(p.name).name: p for p in photos}
    found, missing = [], []
    for row, index in enumerate(result.index):
        photo = by_name.get(names[index]) or by_name.get(Path(names[index]).name)
        if photo is None:
            missing.append(names[index])
        else:
            found.append((row, photo))
    if not found:
        raise InputError(f"The COLMAP model names photos that are not there: {', '.join(missing[:5])}")
    if missing:
        state.warnings.append(f"{len(missing)} photos of the COLMAP model are not there: {', '.join(missing[:5])}")
    lenses = []
    for row, photo in found:
        scale = (photo.size[0] / result.sizes[row][0], photo.size[1] / result.sizes[row][1])
        lenses.append(crop_intrinsics(resize_intrinsics(result.intrinsics[row], *scale), -0.5, -0.5))
    rows = [row for row, _ in found]
    state.summary["registered"] = len(found)
    return [p for _, p in found], result.extrinsics[rows], lenses, [result.grids[row] for row in rows]


def assumed_lens(photo: WorkingPhoto, fov_degrees: float) -> NDArray[np.float64]:
    """Intrinsics (3, 3) of a photo counted from its corner: EXIF focal length, else the assumed angle."""
    width, height = photo.size
    focal = photo.focal_px or float(focal_from_fov(np.radians(fov_degrees), width))
    return intrinsics_matrix(focal, focal, width / 2, height / 2)


def to_prediction(
    found: Da3Views, views: Views, checkpoint: Checkpoint, options: Da3Options, state: SceneState
) -> Prediction:
    """The network's results in the form every engine leaves: confidence in 0.5..1, pixels counted from their centres,
    metres where they are known."""
    depth, conf = found.depth.copy(), squashed(found.conf, found.depth.shape)
    K = found.intrinsics if found.intrinsics is not None else views.batch.intrinsics
    metric = checkpoint.metric
    if not checkpoint.multi_view:
        if metric:
            focal = (K[:, 0, 0] + K[:, 1, 1]) / 2
            depth *= (focal / CANONICAL_FOCAL)[:, None, None].astype(np.float32)
        E = side_by_side(depth, K)
        if len(depth) > 1:
            state.warnings.append(
                f"{checkpoint.variant} looks at each photo by itself, so the photos are shown side by side; use "
                "da3-small or larger to join them into one scene"
            )
    else:
        E = homogeneous(found.extrinsics)[:, :3].astype(np.float64)
        if views.extrinsics is not None and options.align_to_input_ext_scale:
            metric = False  # the unit is that of the given cameras
    broken = ~np.isfinite(depth) | (depth <= 0)
    if found.sky is not None and options.sky == "drop" and not found.sky.all():
        broken |= found.sky
    depth[broken], conf[broken] = 0, 0
    prediction = Prediction(
        depth=depth,
        conf=conf,
        filled=np.zeros(depth.shape, bool),
        extrinsics=E,
        intrinsics=crop_intrinsics(K.astype(np.float64), 0.5, 0.5),
        images=found.images,
        names=tuple(p.name for p in views.photos),
        sizes=np.tile(np.array(depth.shape[1:], np.int64), (len(depth), 1)),
        metric=metric,
    )
    return in_metres(prediction, options, state) if checkpoint.multi_view else prediction


def in_metres(prediction: Prediction, options: Da3Options, state: SceneState) -> Prediction:
    """The prediction at the scale that a known distance gives, if one is given."""
    factor = scale_from_distance(prediction.extrinsics, options.first_to_last_m, state)
    if factor == 1.0:
        return prediction
    E = prediction.extrinsics.copy()
    E[:, :, 3] *= factor
    return replace(prediction, depth=prediction.depth * np.float32(factor), extrinsics=E, metric=True)


def squashed(conf: NDArray[np.floating] | None, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The network's confidence, from 1 upwards, as 0.5..1 in the same order; all alike where there is none."""
    if conf is None:
        return np.full(shape, ALONE, np.float32)
    return (1 - (1 - VERIFIED) / np.maximum(conf, 1)).astype(np.float32)


def side_by_side(depth: NDArray[np.floating], K: NDArray[np.floating]) -> NDArray[np.float64]:
    """World-to-camera (N, 3, 4) of photos that know nothing of each other: in a row, a view's width apart."""
    widths = [np.median(d) * d.shape[1] / k[0, 0] * APART for d, k in zip(depth, K, strict=True)]
    places = np.concatenate([[0.0], np.cumsum([(a + b) / 2 for a, b in pairwise(widths)])])
    E = np.tile(np.eye(4)[:3], (len(depth), 1, 1))
    E[:, 0, 3] = -places
    return E


def scale_from_distance(extrinsics: NDArray[np.floating], metres: float, state: SceneState) -> float:
    """Factor to metres from the known distance between the first and the last camera; 1 without it."""
    if metres <= 0:
        return 1.0
    centers = camera_centers(extrinsics)
    now = float(np.linalg.norm(centers[-1] - centers[0]))
    spread = float(np.linalg.norm(centers - centers.mean(0), axis=1).max(initial=0.0))
    if now <= 1e-6 * max(spread, 1e-12):
        state.warnings.append("The first and the last camera stand at one place, so their distance gives no scale")
        return 1.0
    return metres / now


def describe(prediction: Prediction, checkpoint: Checkpoint, state: SceneState) -> None:
    """Summary numbers, and points that stand for the sparse ones in a COLMAP model."""
    state.summary["model"] = checkpoint.variant
    state.summary.setdefault("registered", len(prediction))
    state.summary["focal_px"] = round(float(prediction.intrinsics[0, 0, 0]), 2)
    state.summary["metric"] = prediction.metric
    state.points, state.colors = sparse_points(prediction, SPARSE)


def sparse_points(prediction: Prediction, count: int) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """About ``count`` points (P, 3) of the more certain half of all pixels, with colours (P, 3) uint8."""
    known = prediction.conf[prediction.depth > 0]
    if not len(known):
        return np.zeros((0, 3)), np.zeros((0, 3), np.uint8)
    random = np.random.default_rng(0)
    each = max(1, count // len(prediction))
    points, colors = [], []
    for i, depth in enumerate(prediction.depth):
        rows, columns = np.nonzero((depth > 0) & (prediction.conf[i] >= np.median(known)))
        pick = random.permutation(len(rows))[:each]
        rows, columns = rows[pick], columns[pick]
        K, E = prediction.intrinsics[i], homogeneous(prediction.extrinsics[i])
        rays = np.linalg.inv(K) @ np.stack([columns, rows, np.ones(len(rows))])
        camera = np.concatenate([rays * depth[rows, columns], np.ones((1, len(rows)))])
        points.append((np.linalg.inv(E) @ camera)[:3].T)
        colors.append(prediction.images[i][rows, columns])
    return np.concatenate(points), np.concatenate(colors)
