"""Engine ``da3`` on long scenes: overlapping parts, joined by what they share and by places seen again.

Memory depends on the size of a part, not on the length: parts wait on disk, and the prediction keeps a number of views
spread over the whole scene. Parts already on disk are not computed again.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.geometry.similarity import Similarity
from models.runtime.errors import InputError
from pipelines.base import Event, Progress, RunContext
from pipelines.export.npz import read_npz, write_npz
from pipelines.media.image import read_image, write_image
from pipelines.scene.da3_inference import Da3Settings
from pipelines.scene.da3_network import Checkpoint, compute_views
from pipelines.scene.da3_preprocess import join, process_one
from pipelines.scene.frames import WorkingPhoto
from pipelines.scene.options import Da3Options
from pipelines.scene.prediction import VERIFIED, Prediction
from pipelines.scene.state import SceneState
from pipelines.scene.streaming import (
    accumulate,
    align_parts,
    between,
    close_loops,
    find_loops,
    loop_windows,
    points_of,
    split,
)

AT_ONCE = 120  # views up to which a scene is computed in one piece
PART = 60  # views of a part otherwise
KEPT = 120  # views of a long scene that the prediction holds
MOST_LOOPS = 8
ALIKE = 0.97  # likeness of thumbnails from which a place counts as seen again
_THUMB = (16, 12)


@dataclass(frozen=True)
class Part:
    """One part's results: depth and confidence (M, H, W), extrinsics (M, 3, 4), intrinsics (M, 3, 3)."""

    depth: NDArray[np.float32]
    conf: NDArray[np.float32]
    extrinsics: NDArray[np.float64]
    intrinsics: NDArray[np.float64]

    def points(self, frames: slice) -> NDArray[np.float64]:
        """World points (m, H, W, 3) of some of its frames."""
        return points_of(self.depth[frames], self.intrinsics[frames], self.extrinsics[frames])

    def __getitem__(self, frames: slice) -> Part:
        return Part(self.depth[frames], self.conf[frames], self.extrinsics[frames], self.intrinsics[frames])


@dataclass
class _Job:
    photos: list[WorkingPhoto]
    checkpoint: Checkpoint
    settings: Da3Settings
    folder: Path
    ctx: RunContext

    def pictures(self, frames: list[int]) -> tuple[list[NDArray[np.uint8]], list[tuple[int, int]]]:
        """Frames at the network's size, and the sizes they had."""
        found, sizes = [], []
        for i in frames:
            rgb = read_image(self.photos[i].path, self.ctx.settings.limits)
            found.append(process_one(rgb, None, self.settings.resolution, self.settings.method)[0])
            sizes.append(rgb.shape[:2])
        return found, sizes

    def compute(self, frames: list[int]) -> Part:
        """The network on some frames together."""
        pictures, sizes = self.pictures(frames)
        batch = join([(p, None) for p in pictures], sizes)
        found = compute_views(batch, self.checkpoint, self.settings, self.ctx.settings)
        return Part(found.depth, found.conf - 1, found.extrinsics[:, :3].astype(float), found.intrinsics.astype(float))

    def part(self, index: int, frames: list[int]) -> Part:
        """A part, from disk where it was computed before."""
        path = self.folder / f"{index:04d}.npz"
        if not path.is_file():
            found = self.compute(frames)
            write_npz(path, vars(found), level=0)
            return found
        return Part(**read_npz(path))


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
    job = _Job(photos, checkpoint, settings, ctx.out_dir / "work" / "parts", ctx)
    job.folder.mkdir(parents=True, exist_ok=True)
    steps: list[Similarity] = []
    before: Part | None = None
    yield Progress("network", 0, len(photos), checkpoint.variant)
    for k, (start, end) in enumerate(parts):
        part = job.part(k, list(range(start, end)))
        if before is not None:
            shared = parts[k - 1][1] - start
            tail, head = slice(len(before.depth) - shared, None), slice(0, shared)
            steps.append(_join(before[tail], part[head]))
        before = part
        yield Progress("network", end, len(photos), checkpoint.variant)
        ctx.check()
    if options.loop_closing and len(parts) > 2:
        steps = yield from _closed(job, parts, steps, state)
    state.summary["parts"] = len(parts)
    return (yield from _gathered(job, parts, [Similarity(1.0, np.eye(3), np.zeros(3)), *accumulate(steps)], ctx))


def _join(earlier: Part, later: Part) -> Similarity:
    """The later part's world onto the earlier one's, by frames that both hold."""
    everything = slice(None)
    return align_parts(earlier.points(everything), earlier.conf, later.points(everything), later.conf)


def _closed(
    job: _Job, parts: list[tuple[int, int]], steps: list[Similarity], state: SceneState
) -> Generator[Event, None, list[Similarity]]:
    """Looks for places seen again, measures how their parts lie, and spreads what does not fit."""
    found = find_loops(descriptors(job), alike=ALIKE)
    loops = []
    chosen = [(later, earlier) for later, earlier, _ in found][:MOST_LOOPS]
    windows = loop_windows(parts, chosen)
    yield Progress("loops", 0, len(windows))
    for n, (a, a0, a1, b, b0, b1) in enumerate(windows):
        if abs(a - b) > 1:
            both = job.compute([*range(a0, a1), *range(b0, b1)])
            ends = []
            for index, first, last, own in ((a, a0, a1, slice(0, a1 - a0)), (b, b0, b1, slice(a1 - a0, None))):
                start = parts[index][0]
                part = Part(**read_npz(job.folder / f"{index:04d}.npz"))[first - start : last - start]
                ends.append(_join(both[own], part))
            # both parts onto the window: from the one of the later frame to the one of the earlier
            loops.append((a, b, between(ends[0].inverse(), ends[1].inverse())))
        yield Progress("loops", n + 1, len(windows))
        job.ctx.check()
    state.summary["loops"] = len(loops)
    return close_loops(steps, loops) if loops else steps


def descriptors(job: _Job) -> NDArray[np.float32]:
    """Unit vectors (N, D) that are alike for pictures that look alike: small pictures without their mean."""
    rows = []
    for photo in job.photos:
        small = cv2.resize(read_image(photo.path, job.ctx.settings.limits), _THUMB, interpolation=cv2.INTER_AREA)
        small = small.astype(np.float32).ravel()
        small -= small.mean()
        rows.append(small / max(float(np.linalg.norm(small)), 1e-6))
    return np.stack(rows)


def _gathered(
    job: _Job, parts: list[tuple[int, int]], placed: list[Similarity], ctx: RunContext
) -> Generator[Event, None, Prediction]:
    """Evenly chosen views of all parts in the first part's world."""
    count = len(job.photos)
    kept = np.unique(np.linspace(0, count - 1, min(KEPT, count)).round().astype(int))
    folder = ctx.out_dir / "photos"
    folder.mkdir(exist_ok=True)
    rows: list[tuple] = []
    for k, (start, end) in enumerate(parts):
        fresh = start if k == 0 else parts[k - 1][1]
        own = [int(i) for i in kept if fresh <= i < end]
        if not own:
            continue
        part, where = Part(**read_npz(job.folder / f"{k:04d}.npz")), placed[k]
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
