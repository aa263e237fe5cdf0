"""Engine ``smplerx``: each person's crop through SMPLer-X, many crops together, into SMPL-X parameters.

People are found and followed by the embedded detector, so that numbers stay with people; boxes then pass the original's
gates and suppression.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from models.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from models.runtime.cache import ModelCache, ModelSpec
from models.runtime.errors import WeightsMissing
from models.runtime.gpu import gpu
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from models.smplerx import checkpoint
from models.smplerx.camera import full_frame_camera
from pipelines.base import Event, Progress, RunContext
from pipelines.body.boxes import crop, from_pose, large_enough, process, suppress
from pipelines.body.clip import VIEWER
from pipelines.body.figures import BodyModel
from pipelines.body.options import BodyOptions, SmplerxOptions
from pipelines.body.people import Person
from pipelines.body.root import focal_length
from pipelines.body.smooth import smooth, stiffness
from pipelines.body.source import Source, chosen_detector
from pipelines.export.motion import Motion
from pipelines.media.video import Frame
from pipelines.tracking.body_tracker import PoseTracker
from pipelines.tracking.networks import BlazeNetworks
from pipelines.tracking.options import FollowOptions, PoseOptions

Array = np.ndarray
SIZES = ("h32-correct", "h32", "l32", "b32", "s32")  # largest first
PARTS = ("global_orient", "body_pose", "jaw_pose", "left_hand_pose", "right_hand_pose", "betas", "expression", "transl")
REPORT_EVERY = 5


@dataclass(frozen=True)
class Look:
    """One person in one frame: the processed crop box x, y, w, h and the box x0, y0, x1, y1 as found."""

    frame: int
    time: float
    box: Array
    found: Array


@dataclass
class _Seen:
    looks: list[Look] = field(default_factory=list)
    rows: list[dict[str, Array]] = field(default_factory=list)


def chosen_weights(options: SmplerxOptions, weights: WeightsStore) -> tuple[str, ...]:
    """Ids of the checkpoint and the body. Raises WeightsMissing when the size asked for is not installed."""
    if options.variant == "auto":
        sizes = [size for size in SIZES if weights.installed(f"smplerx-{size}")]
    else:
        sizes = [options.variant] if weights.installed(f"smplerx-{options.variant}") else []
    if not sizes:
        wanted = "s32" if options.variant == "auto" else options.variant
        raise WeightsMissing(
            f"SMPLer-X {wanted} is not installed: open the Models tab or run "
            f"`python -m studio weights get smplerx-{wanted}`"
        )
    return (f"smplerx-{sizes[0]}", "smplx-neutral")


def spec_of(path: Path, weights_id: str) -> ModelSpec:
    """How the cache opens a checkpoint."""
    return ModelSpec(key=f"smplerx/{weights_id}", load=lambda device: checkpoint.load(path, device))


@gpu(duration=60)
def regress(path: Path, weights_id: str, settings: Settings, crops: Array) -> dict[str, Array]:
    """SMPL-X parameters (B, ...) of crops (B, 512, 384, 3) float32 0..255, in camera axes.

    ``path`` is the checkpoint of ``weights_id``; all arguments travel to a worker process on ZeroGPU.
    """
    cache = ModelCache.shared(settings)

    def run(network: torch.nn.Module, chunk: int) -> dict[str, Array]:
        device = next(network.parameters()).device
        parts: list[dict[str, Array]] = []
        for start in range(0, len(crops), chunk):
            batch = torch.from_numpy(crops[start : start + chunk]).to(device).permute(0, 3, 1, 2) / 255
            with torch.inference_mode():
                pose = network(batch).pose
            parts.append({name: getattr(pose, name).float().cpu().numpy() for name in PARTS})
        return {name: np.concatenate([p[name] for p in parts]) for name in PARTS}

    return cache.run_chunked(spec_of(path, weights_id), run, len(crops))


def infer(
    source: Source, model: BodyModel, options: BodyOptions, ctx: RunContext, warnings: list[str]
) -> Generator[Event, None, tuple[list[Person], int]]:
    """Detection, crops and network in one streaming pass; returns the people and the number of frames."""
    weights_id = chosen_weights(options.smplerx, ctx.weights)[0]
    checkpoint_path = ctx.weights.path(weights_id)
    follow = FollowOptions(limit=options.people.limit)
    detector = chosen_detector(options.people, ctx)
    tracker = PoseTracker(BlazeNetworks(ctx.cache, ctx.weights), PoseOptions(follow=follow, smoothing=None), detector)
    held: list[Frame] = []

    def watched() -> Iterator[Frame]:
        for frame in source.frames(ctx.settings.limits):
            held.append(frame)
            yield frame

    seen: dict[int, _Seen] = {}
    waiting: list[tuple[int, Look, Array]] = []
    frames, total = 0, source.expected
    yield Progress("regress", 0, total)

    def flush() -> None:
        if waiting:
            out = regress(checkpoint_path, weights_id, ctx.settings, np.stack([c for _, _, c in waiting]))
            for i, (number, look, _) in enumerate(waiting):
                seen.setdefault(number, _Seen()).looks.append(look)
                seen[number].rows.append({name: out[name][i] for name in PARTS})
            waiting.clear()

    for found in tracker.stream(watched()):
        frame = held.pop()
        frames = frame.index + 1
        people = [(p.track, from_pose(p.pose.landmarks, p.pose.visibility), p.pose.score) for p in found.people]
        for number, box in gated(people, source.size, options):
            crop_box = process(np.array([*box[:2], *(box[2:] - box[:2])]), source.size)
            if crop_box is None:
                continue
            look = Look(frame.index, frame.time, crop_box, box)
            waiting.append((number, look, crop(frame.rgb, crop_box)))
            if len(waiting) >= options.smplerx.batch:
                flush()
        if frame.index % REPORT_EVERY == 0:
            yield Progress("regress", frames, max(frames, total), f"{len(people)} people")
        ctx.check()
    flush()
    strength = 0.0 if source.info is None else options.motion.smoothing
    made = [_person(number, s, source, model, strength) for number, s in sorted(seen.items())]
    return [p for p in made if len(p.motion) >= 1], frames


def gated(
    people: list[tuple[int, Array, float]], size: tuple[int, int], options: BodyOptions
) -> list[tuple[int, Array]]:
    """Numbers and boxes that pass the original's suppression and size gate; one only in single-person mode."""
    if not people:
        return []
    table = np.array([[*box, score] for _, box, score in people])
    if not options.people.multi_person:
        kept = [int(np.argmax((table[:, 2] - table[:, 0]) * (table[:, 3] - table[:, 1])))]
    else:
        kept = suppress(table, options.people.iou_thr).tolist()
    return [(people[i][0], people[i][1]) for i in kept if large_enough(table[i], options.people.bbox_thr)]


def _person(number: int, seen: _Seen, source: Source, model: BodyModel, strength: float) -> Person:
    """A motion on an even grid of frames from what the network said of each; gaps are bridged."""
    at = np.array([look.frame for look in seen.looks])
    first, count = int(at[0]), int(at[-1] - at[0] + 1)
    local = at - first
    known = np.zeros(count, bool)
    known[local] = True
    stiff = stiffness(strength, source.fps)

    def grid(rows: Array, firm: float = 1.0) -> Array:
        flat = rows.reshape(len(rows), -1)
        filled = np.stack([np.interp(np.arange(count), local, column) for column in flat.T], axis=1)
        return smooth(filled, known.astype(float), stiff * firm).reshape(count, *rows.shape[1:])

    stack = {name: np.stack([row[name] for row in seen.rows]).astype(np.float64) for name in PARTS}
    pose = np.zeros((len(at), 55, 3))
    pose[:, 0] = stack["global_orient"]
    pose[:, 1:22] = stack["body_pose"].reshape(-1, 21, 3)
    pose[:, 22] = stack["jaw_pose"]
    means = model.data.hand_means.astype(np.float64)
    pose[:, 25:40] = (stack["left_hand_pose"] + means[0]).reshape(-1, 15, 3)
    pose[:, 40:55] = (stack["right_hand_pose"] + means[1]).reshape(-1, 15, 3)
    turned = axis_angle_to_matrix(torch.from_numpy(pose)).numpy()
    turned[:, 0] = np.diag(VIEWER) @ turned[:, 0]
    even = torch.from_numpy(grid(turned))
    u, _, vh = torch.linalg.svd(even)
    sign = torch.ones(*even.shape[:2], 3, dtype=even.dtype)
    sign[..., 2] = torch.linalg.det(u @ vh)
    rotations = matrix_to_axis_angle((u * sign[..., None, :]) @ vh).numpy()
    betas = np.median(stack["betas"], axis=0)
    layer = model.layer
    with torch.inference_mode():
        shaped = layer.shaped(torch.from_numpy(betas.astype(np.float32))[None], None, 1)
        rest = (layer.J_regressor @ shaped[0]).numpy().astype(np.float64)
    # Every crop has a camera of its own; the pelvis is carried into one camera of the whole picture.
    boxes = np.stack([look.box for look in seen.looks]).astype(np.float32)
    focal, principal = (v.numpy().astype(np.float64) for v in full_frame_camera(torch.from_numpy(boxes)))
    place = rest[0] + stack["transl"]
    shared = focal_length(source.size)
    centre = np.array(source.size) / 2
    depth = place[:, 2] * shared / focal[:, 0]
    pixels = place[:, :2] / place[:, 2:] * focal + principal
    moved = np.concatenate([(pixels - centre) / shared * depth[:, None], depth[:, None]], axis=1) * VIEWER
    transl = grid(moved, 2.0) - rest[0]
    motion = Motion(
        rotations=rotations,
        transl=transl,
        betas=betas,
        fps=source.fps,
        rest_joints=rest,
        times=np.interp(np.arange(count), local, [look.time for look in seen.looks]),
        seen=known,
    )
    camera = np.array([shared, shared, *centre])
    return Person(
        number=number,
        first=first,
        motion=motion,
        camera=np.tile(camera, (count, 1)),
        boxes=grid(np.stack([look.found for look in seen.looks])),
        contact=np.zeros((count, 2), bool),
        expression=grid(stack["expression"]).astype(np.float32),
    )
