"""Engine ``blazepose``: landmarks of bodies, hands and faces, solved into the rotations of a skeleton."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from pipelines.base import Event, Progress, RunContext
from pipelines.body.boxes import from_pose, large_enough
from pipelines.body.clip import Track
from pipelines.body.figures import BodyModel
from pipelines.body.measure import PeopleMeter
from pipelines.body.options import BodyOptions
from pipelines.body.people import Person
from pipelines.body.recover import recover
from pipelines.body.root import focal_length
from pipelines.body.shape import Figure
from pipelines.body.source import Source, chosen_detector
from pipelines.body.upright import camera_pitch, upright
from pipelines.tracking.networks import BlazeNetworks

REPORT_EVERY = 5
KNEES_AND_ANKLES, LEGS_SEEN = (25, 26, 27, 28), 0.3
PRESENT = 0.8  # of the frames: in sight for less than this is told


def infer(
    source: Source, model: BodyModel, options: BodyOptions, ctx: RunContext, warnings: list[str]
) -> Generator[Event, None, tuple[list[Person], int]]:
    """Measures every frame, then solves person by person; returns the people and the number of frames."""
    still = source.info is None
    meter = PeopleMeter(
        BlazeNetworks(ctx.cache, ctx.weights),
        options.motion.hands,
        options.motion.face,
        options.people.limit,
        still,
        detector=chosen_detector(options.people, ctx),
    )
    total = source.expected
    yield Progress("measure", 0, total)
    frames = 0
    for frame, found in meter.stream(source.frames(ctx.settings.limits)):
        frames = frame.index + 1
        if frame.index % REPORT_EVERY == 0:
            yield Progress("measure", frames, max(total, frames), f"{len(found)} people")
        ctx.check()
    strength = 0.0 if still else options.motion.smoothing
    figure = Figure.of(model.data)
    people = []
    tracks = [b.build(source.fps, source.size) for b in meter.people.values()]
    tracks = _chosen(tracks, options, still, warnings)
    warnings += legs_unseen(tracks) + partly_there(tracks, frames)
    pitch = camera_pitch(tracks)
    for done, track in enumerate(tracks):
        yield Progress("solve", done, len(tracks))
        people.append(_person(upright(track, pitch), figure, strength, options, pitch))
        ctx.check()
    return people, frames


def partly_there(tracks: list[Track], frames: int) -> list[str]:
    """Who was out of sight for a good part of the clip, in words; none or one sentence."""
    who = [(t.number, int(t.seen.sum())) for t in tracks if t.seen.sum() < PRESENT * frames]
    if not who:
        return []
    times = ", ".join(f"person {number} in {count}" for number, count in who)
    return [f"Not everybody is in sight all the time: {times} of {frames} frames"]


def legs_unseen(tracks: list[Track]) -> list[str]:
    """Whose legs were out of sight most of the time, in words; none or one sentence."""
    who = [str(t.number) for t in tracks if np.median(t.visibility[t.seen][:, KNEES_AND_ANKLES]) < LEGS_SEEN]
    if not who:
        return []
    people = f"person {who[0]}" if len(who) == 1 else f"people {', '.join(who)}"
    return [f"The legs of {people} are mostly out of sight; they are made to stand relaxed"]


def _person(track: Track, figure: Figure, strength: float, options: BodyOptions, pitch: float) -> Person:
    found = recover(track, figure, strength, options.motion.lock_feet, pitch)
    focal = focal_length(track.size)
    camera = np.array([focal, focal, track.size[0] / 2, track.size[1] / 2])
    boxes = np.stack([from_pose(p, v) for p, v in zip(track.picture, track.visibility, strict=True)])
    return Person(
        number=track.number,
        first=track.first,
        motion=found.motion,
        camera=np.tile(camera, (len(track), 1)),
        boxes=boxes,
        contact=found.placement.contact,
        floor=found.placement.floor,
        error_mm=found.error_mm,
        pitch=pitch,
    )


def _chosen(tracks: list[Track], options: BodyOptions, still: bool, warnings: list[str]) -> list[Track]:
    """Tracks long and large enough; the largest alone where only one person is wanted. Numbers count from 1."""
    kept = []
    for track in tracks:
        boxes = np.stack([from_pose(p, v) for p, v in zip(track.picture, track.visibility, strict=True)])
        middle = np.median(boxes, axis=0)
        short = not still and track.seen.sum() / track.fps < options.people.shortest and len(tracks) > 1
        small = options.people.bbox_thr > 0 and not large_enough(middle, options.people.bbox_thr)
        if not short and not small:
            kept.append((float(np.prod(middle[2:] - middle[:2])) * track.seen.sum(), track))
    if len(kept) < len(tracks):
        warnings.append(f"{len(tracks) - len(kept)} people were too small or seen too briefly and were left out")
    if not options.people.multi_person and kept:
        kept = [max(kept, key=lambda k: k[0])]
    return [track for _, track in kept]
