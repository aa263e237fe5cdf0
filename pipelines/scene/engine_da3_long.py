"""Engine ``da3`` on long scenes: overlapping parts, joined by what they share and by places seen again.

Memory depends on the size of a part, not on the length: parts wait on disk, and the prediction keeps a number of views
spread over the whole scene. Parts already on disk are not computed again, also those that an earlier, stopped run over
the same frames left in its own folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.depth_anything_3.checkpoint import WEIGHTS
from models.geometry.similarity import Similarity
from models.runtime.errors import InputError
from pipelines.base import Event, Progress, RunContext
from pipelines.export.npz import read_npz, write_npz
from pipelines.media.image import read_image, write_image
from pipelines.scene import place_network
from pipelines.scene.da3_inference import Da3Settings
from pipelines.scene.da3_network import Checkpoint, compute_views
from pipelines.scene.da3_preprocess import join, process_one
from pipelines.scene.frames import WorkingPhoto
from pipelines.scene.options import Da3Options
from pipelines.scene.places import candidates, describe_frames, proven, small_tokens
from pipelines.scene.prediction import VERIFIED, Prediction
from pipelines.scene.state import SceneState
from pipelines.scene.streaming import (
    accumulate,
    align_parts,
    between,
    close_loops,
    loop_windows,
    points_of,
    split,
)

AT_ONCE = 120  # views up to which a scene is computed in one piece
PART = 60  # views of a part otherwise
KEPT = 120  # views of a long scene that the prediction holds
JOINED = 150_000  # pixels by which two parts are laid onto each other
MOST_LOOPS = 12
DESCRIBED = 32  # frames in one call of the network that describes places
MISFIT = 0.15  # of the depth: median distance beyond which a loop's frames do not lie on the parts they come from


@dataclass(frozen=True)
class Part:
    """One part's results: depth and confidence (M, H, W), extrinsics (M, 3, 4), intrinsics (M, 3, 3), and tokens
    (M, T, C) that tell places apart, or an empty array."""

    depth: NDArray[np.float32]
    conf: NDArray[np.float32]
    extrinsics: NDArray[np.float64]
    intrinsics: NDArray[np.float64]
    tokens: NDArray[np.float16]

    def points(self) -> NDArray[np.float64]:
        """World points (M, H, W, 3)."""
        return points_of(self.depth, self.intrinsics, self.extrinsics)

    def __getitem__(self, frames: slice) -> Part:
        return Part(*(value[frames] for value in vars(self).values()))

    def thinned(self) -> Part:
        """Every so many pixels of every frame, about ``JOINED`` in all."""
        step = max(1, int(np.ceil(np.sqrt(self.depth.size / JOINED))))
        K = self.intrinsics / np.array([step, step, 1])[:, None]
        return replace(self, depth=self.depth[:, ::step, ::step], conf=self.conf[:, ::step, ::step], intrinsics=K)


@dataclass
class _Job:
    photos: list[WorkingPhoto]
    parts: list[tuple[int, int]]
    checkpoint: Checkpoint
    settings: Da3Settings
    folder: Path
    ctx: RunContext
    token_layer: int | None  # block whose tokens describe places; None where no loops are sought

    def picture(self, frame: int) -> NDArray[np.uint8]:
        return read_image(self.photos[frame].path, self.ctx.settings.limits)

    def pictures(self, frames: list[int]) -> tuple[list[NDArray[np.uint8]], list[tuple[int, int]]]:
        """Frames at the network's size, and the sizes they had."""
        found, sizes = [], []
        for i in frames:
            rgb = self.picture(i)
            found.append(process_one(rgb, None, self.settings.resolution, self.settings.method)[0])
            sizes.append(rgb.shape[:2])
        return found, sizes

    def compute(self, frames: list[int], token_layer: int | None = None) -> Part:
        """The network on some frames together."""
        pictures, sizes = self.pictures(frames)
        batch = join([(p, None) for p in pictures], sizes)
        layers = () if token_layer is None else (token_layer,)
        settings = replace(self.settings, request=replace(self.settings.request, feature_layers=layers))
        found = compute_views(batch, self.checkpoint, settings, self.ctx.settings)
        tokens = np.zeros((len(frames), 0, 0), np.float16) if not layers else small_tokens(found.features[token_layer])
        E, K = found.extrinsics[:, :3].astype(float), found.intrinsics.astype(float)
        return Part(found.depth, found.conf - 1, E, K, tokens)

    def part(self, index: int) -> Part:
        """A part, from disk where it was computed before."""
        path = self.folder / f"{index:04d}.npz"
        if not path.is_file():
            found = self.compute(list(range(*self.parts[index])), self.token_layer)
            write_npz(path, vars(found), level=0)
            return found
        return Part(**read_npz(path))

    def fresh(self, index: int) -> int:
        """The first frame of a part that the one before does not hold."""
        return self.parts[index - 1][1] if index else 0

    def tokens(self) -> Iterator[NDArray[np.float16]]:
        """Of all frames in order, part by part."""
        for k, (start, _) in enumerate(self.parts):
            yield read_npz(self.folder / f"{k:04d}.npz", ("tokens",))["tokens"][self.fresh(k) - start :]


def _fingerprint(
    photos: list[WorkingPhoto], parts: list[tuple[int, int]], checkpoint: Checkpoint, settings: Da3Settings, layer: int
) -> str:
    """Names the frames' content and everything else that parts depend on."""
    digest = hashlib.sha256()
    for photo in photos:
        digest.update(hashlib.sha256(photo.path.read_bytes()).digest())
    weights = (checkpoint.folder / WEIGHTS).stat()
    model = [checkpoint.variant, checkpoint.precision, weights.st_size, weights.st_mtime_ns]
    request = settings.request
    how = [settings.resolution, settings.method, request.ray_poses, request.strategy, layer]
    digest.update(json.dumps([model, how, parts]).encode())
    return digest.hexdigest()[:32]


def _adopt(folder: Path, runs: Path) -> int:
    """Links parts of the same fingerprint that other runs left; returns how many."""
    count = 0
    for path in sorted(runs.glob(f"*/work/parts/{folder.name}/*.npz")):
        with suppress(FileExistsError, FileNotFoundError, OSError):  # a run may be deleted meanwhile
            os.link(path, folder / path.name)
            count += 1
    return count


def part_size(options: Da3Options, count: int) -> tuple[int, int]:
    """Views per part and shared views; the whole scene at once where it is short.

    Raises:
        InputError: the overlap is not smaller than a part.
    """
    size = options.chunk or (PART if count > AT_ONCE else count)
    overlap = options.overlap or size // 2
    if count > size and not 0 < overlap < size:
        raise InputError(f"An overlap of {overlap} views does not fit parts of {size}; choose a smaller overlap")
    return size, overlap


def infer_long(
    photos: list[WorkingPhoto],
    checkpoint: Checkpoint,
    settings: Da3Settings,
    options: Da3Options,
    ctx: RunContext,
    state: SceneState,
) -> Generator[Event, None, Prediction]:
    """All frames, part by part, as one prediction of evenly chosen views.

    Raises:
        InputError: splats or features are wanted, which belong to one part each.
    """
    if settings.request.gaussians or settings.request.feature_layers:
        raise InputError("Splats and features are made for scenes computed at once: use fewer frames or a larger chunk")
    size, overlap = part_size(options, len(photos))
    parts = split(len(photos), size, overlap)
    layer = checkpoint.last_single_view_block if options.loop_closing and len(parts) > 2 else None
    name = _fingerprint(photos, parts, checkpoint, settings, -1 if layer is None else layer)
    job = _Job(photos, parts, checkpoint, settings, ctx.out_dir / "work" / "parts" / name, ctx, layer)
    job.folder.mkdir(parents=True, exist_ok=True)
    adopted = _adopt(job.folder, ctx.settings.runs_dir)
    steps: list[Similarity] = []
    before: Part | None = None
    note = f"{checkpoint.variant}, {adopted} parts from an earlier run" if adopted else checkpoint.variant
    yield Progress("network", 0, len(photos), note)
    for k, (start, end) in enumerate(parts):
        part = job.part(k)
        if before is not None:
            shared = parts[k - 1][1] - start
            steps.append(_join(before[len(before.depth) - shared :], part[:shared]))
        before = part
        yield Progress("network", end, len(photos), note)
        ctx.check()
    before = None
    if layer is not None:
        steps = yield from _closed(job, steps, state)
    state.summary["parts"] = len(parts)
    if adopted:
        state.summary["parts_from_earlier_run"] = adopted
    return (yield from _gathered(job, [Similarity(1.0, np.eye(3), np.zeros(3)), *accumulate(steps)], ctx))


def _join(earlier: Part, later: Part) -> Similarity:
    """The later part's world onto the earlier one's, by frames that both hold."""
    earlier, later = earlier.thinned(), later.thinned()
    return align_parts(earlier.points(), earlier.conf, later.points(), later.conf)


def _misfit(earlier: Part, later: Part, fit: Similarity) -> float:
    """Median distance of points that should be the same, relative to their depth."""
    earlier, later = earlier.thinned(), later.thinned()
    away = np.linalg.norm(earlier.points() - fit.apply(later.points()), axis=-1)
    return float(np.median(away / np.maximum(earlier.depth, 1e-9)))


def _closed(job: _Job, steps: list[Similarity], state: SceneState) -> Generator[Event, None, list[Similarity]]:
    """Looks for places seen again, measures how their parts lie, and spreads what does not fit."""
    yield Progress("loops", 0, MOST_LOOPS)
    gap = job.parts[0][1] - job.parts[0][0]
    if job.ctx.weights.installed(place_network.WEIGHTS):
        descriptions = yield from _described(job)
        state.weights.append(place_network.WEIGHTS)
        pairs = candidates(descriptions, gap, place_network.ALIKE)
    else:
        pairs = candidates(describe_frames(job.tokens, len(job.photos)), gap)
    loops = []
    for n, pair in enumerate(proven(pairs, job.picture, MOST_LOOPS, gap // 2), start=1):
        loop = _measured(job, pair)
        if loop is not None:
            loops.append(loop)
        yield Progress("loops", n, MOST_LOOPS)
        job.ctx.check()
    state.summary["loops"] = len(loops)
    return close_loops(steps, loops) if loops else steps


def _described(job: _Job) -> Generator[Event, None, NDArray[np.float32]]:
    """Every frame by SALAD, (N, D)."""
    path, count, rows = job.ctx.weights.path(place_network.WEIGHTS), len(job.photos), []
    for first in range(0, count, DESCRIBED):
        frames = range(first, min(first + DESCRIBED, count))
        pictures = np.stack([place_network.squeezed(job.picture(i)) for i in frames])
        rows.append(place_network.describe_photos(pictures, path, job.ctx.settings))
        yield Progress("places", frames.stop, count)
        job.ctx.check()
    return np.concatenate(rows)


def _measured(job: _Job, pair: tuple[int, int]) -> tuple[int, int, Similarity] | None:
    """How the parts of two frames of one place lie to each other, from the network's view of both places together; None
    where they are neighbours, or where that view contradicts the parts."""
    ((a, a0, a1, b, b0, b1),) = loop_windows(job.parts, [pair])
    if abs(a - b) < 2:
        return None
    both = job.compute([*range(a0, a1), *range(b0, b1)])
    ends = []
    for index, first, last, seen in ((a, a0, a1, both[: a1 - a0]), (b, b0, b1, both[a1 - a0 :])):
        start = job.parts[index][0]
        part = job.part(index)[first - start : last - start]
        fit = _join(seen, part)
        if _misfit(seen, part, fit) > MISFIT:
            return None
        ends.append(fit)
    # both parts onto the window: from the one of the later frame to the one of the earlier
    return a, b, between(ends[0].inverse(), ends[1].inverse())


def _gathered(job: _Job, placed: list[Similarity], ctx: RunContext) -> Generator[Event, None, Prediction]:
    """Evenly chosen views of all parts in the first part's world."""
    count = len(job.photos)
    kept = np.unique(np.linspace(0, count - 1, min(KEPT, count)).round().astype(int))
    folder = ctx.out_dir / "photos"
    folder.mkdir(exist_ok=True)
    rows: list[tuple] = []
    for k, (start, end) in enumerate(job.parts):
        own = [int(i) for i in kept if job.fresh(k) <= i < end]
        if not own:
            continue
        part, where = job.part(k), placed[k]
        pictures, _ = job.pictures(own)
        height, width = part.depth.shape[1:]
        for i, picture in zip(own, pictures, strict=True):
            top, left = (round((a - b) / 2) for a, b in zip(picture.shape[:2], (height, width), strict=True))
            picture = picture[top : top + height, left : left + width]
            write_image(folder / f"{len(rows):04d}.jpg", picture)
            E = where.apply_extrinsics(part.extrinsics[i - start])
            depth = part.depth[i - start] * np.float32(where.scale)
            rows.append((depth, part.conf[i - start], E, part.intrinsics[i - start], picture, job.photos[i].name))
        yield Progress("gather", len(rows), len(kept))
        ctx.check()
    depth, conf, E, K, images, names = zip(*rows, strict=True)
    K = np.stack(K)
    K[:, :2, 2] -= 0.5
    found = Prediction(
        depth=np.stack(depth),
        conf=(1 - (1 - VERIFIED) / (1 + np.stack(conf))).astype(np.float32),
        filled=np.zeros((len(rows), *depth[0].shape), bool),
        extrinsics=np.stack(E),
        intrinsics=K,
        images=np.stack(images),
        names=names,
        sizes=np.tile(np.array(depth[0].shape, np.int64), (len(rows), 1)),
        metric=job.checkpoint.metric,
    )
    bad = ~np.isfinite(found.depth) | (found.depth <= 0)
    return replace(found, depth=np.where(bad, 0, found.depth), conf=np.where(bad, 0, found.conf).astype(np.float32))


def is_long(count: int, options: Da3Options, checkpoint: Checkpoint) -> bool:
    """Whether so many views are computed in parts."""
    return checkpoint.multi_view and count > part_size(options, count)[0]
