"""From whatever the motion came in to one clip of a skeleton: cut, at the wanted rate, facing the right way."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from models.runtime.errors import InputError
from pipelines import registry
from pipelines.base import Event, Inputs, Output, Progress, Result, RunContext, run
from pipelines.character.inputs import MotionFiles
from pipelines.character.options import CharacterOptions
from pipelines.export.bvh import read_bvh, write_bvh
from pipelines.export.motion import Motion, read_motion
from pipelines.export.retarget import bvh_motion, heading, turned

MOVES = Path(__file__).resolve().parents[2] / "assets" / "character"
LONGEST_SECONDS = 600.0


@dataclass
class Moving:
    """The clip and what came along: outputs of the Body run, and notes for the user."""

    motion: Motion
    outputs: list[Output] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def resolve(files: MotionFiles, options: CharacterOptions, ctx: RunContext) -> Generator[Event, None, Moving]:
    """The skeleton's clip of built-in moves, motion files, BVH files and videos.

    Raises:
        InputError: unreadable, nobody in the video, or nothing in the chosen range.
    """
    made: Moving
    if files.kind == "built-in":
        made = Moving(read_motion(MOVES / f"{options.move}.npz"))
    elif files.kind == "motion":
        made = Moving(read_motion(files.paths[0]))
    elif files.kind == "bvh":
        made = Moving(bvh_motion(read_bvh(files.paths[0]), files.paths[0].name))
    else:
        made = yield from _followed(files.paths[0], options, ctx)
    followed = files.kind == "video"  # only the chosen part of it
    motion = _cut(made.motion, *((0.0, 0.0) if followed else (options.range.start, options.range.end)))
    if options.output.fps and abs(options.output.fps - motion.fps) > 1e-3:
        motion = resampled(motion, options.output.fps)
    face = options.view.face_camera
    if face == "always" or (face == "auto" and files.kind == "bvh"):
        angles = heading(motion)
        motion = turned(motion, -float(np.arctan2(np.sin(angles).mean(), np.cos(angles).mean())))
    if options.range.still_place:
        kept = motion.transl.copy()
        kept[:, [0, 2]] = np.median(kept[:, [0, 2]], axis=0)
        motion = replace(motion, transl=kept)
    made.motion = motion
    return made


def _cut(motion: Motion, start: float, end: float) -> Motion:
    first = round(start * motion.fps)
    last = round(end * motion.fps) if end else len(motion)
    last = min(last, len(motion), first + round(LONGEST_SECONDS * motion.fps))
    if first >= last:
        seconds = len(motion) / motion.fps
        raise InputError(f"The motion lasts {seconds:.2f} s; nothing lies between {start:g} s and {end or seconds:g} s")
    part = slice(first, last)
    return replace(
        motion,
        rotations=motion.rotations[part],
        transl=motion.transl[part],
        times=motion.times[part],
        seen=motion.seen[part],
    )


def resampled(motion: Motion, fps: float) -> Motion:
    """The motion at another rate: rotations along the shortest arcs, places linearly."""
    if len(motion) == 1:
        return replace(motion, fps=fps)
    old = np.arange(len(motion)) / motion.fps
    new = np.arange(0, old[-1] + 1e-9, 1 / fps)
    rotations = np.empty((len(new), motion.rotations.shape[1], 3))
    for joint in range(rotations.shape[1]):
        arc = Slerp(old, Rotation.from_rotvec(np.asarray(motion.rotations[:, joint], np.float64)))
        rotations[:, joint] = arc(np.minimum(new, old[-1])).as_rotvec()
    transl = np.stack([np.interp(new, old, motion.transl[:, k]) for k in range(3)], axis=1)
    nearest = np.rint(new * motion.fps).astype(int).clip(0, len(motion) - 1)
    return replace(
        motion,
        rotations=rotations,
        transl=transl,
        fps=fps,
        times=np.interp(new, old, motion.times),
        seen=motion.seen[nearest],
    )


def _followed(video: Path, options: CharacterOptions, ctx: RunContext) -> Generator[Event, None, Moving]:
    """Lets the Body pipeline follow the people in the chosen part of a video and takes one person's motion."""
    body = registry.get("body")
    folder = ctx.out_dir / "body"
    folder.mkdir(parents=True, exist_ok=True)
    part = {"start": options.range.start, "end": options.range.end}
    chosen = body.options.model_validate({"show": {"side_view": False}, "range": part})
    steps = run(body, Inputs({"video": (video,)}), chosen, replace(ctx, out_dir=folder))
    result: Result | None = None
    while result is None:
        try:
            event = next(steps)
        except StopIteration as end:
            result = end.value
            break
        if isinstance(event, Progress):
            yield replace(event, stage=f"body_{event.stage}")
    tracks = [read_motion(folder / o.path) for o in result.outputs if o.role == "motion"]
    if not tracks:
        raise InputError(
            f"Nobody was found in {video.name}: a dance needs a person who fills a good part of the picture, seen whole"
        )
    motion, notes = _person(tracks, options.range.person)
    outputs = [
        Output("tracking", f"body/{o.path}", "video", "What was followed")
        for o in result.outputs
        if o.role == "overlay"
    ]
    write_bvh(ctx.out_dir / "motion.bvh", motion)
    outputs.append(Output("bvh", "motion.bvh", "data", "Motion of the video (BVH)"))
    return Moving(motion, outputs, [*result.warnings, *notes])


def _person(tracks: list[Motion], wanted: int) -> tuple[Motion, list[str]]:
    """One of the people: the one asked for, or the one seen longest and nearest."""
    if wanted > len(tracks):
        raise InputError(
            f"Person {wanted} was asked for, but {len(tracks)} were found; choose 0 for the most prominent"
        )
    if wanted:
        return tracks[wanted - 1], []

    def weight(motion: Motion) -> float:
        distance = -(motion.transl[:, 2] + motion.rest_joints[0, 2])[motion.seen]
        return float(motion.seen.sum() / max(np.median(distance), 0.3)) if len(distance) else 0.0

    order = sorted(range(len(tracks)), key=lambda i: -weight(tracks[i]))
    others = len(tracks) - 1
    note = f"{len(tracks)} people were found; person {order[0] + 1} was taken. Choose another under 'Person'"
    return tracks[order[0]], [note] if others else []
