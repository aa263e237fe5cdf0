"""The second pass over the input: bodies drawn into every frame, and seen from the side."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np

from models.bodies.joints import JOINTS
from pipelines.base import Event, Preview, Progress, RunContext
from pipelines.body.figures import BodyModel, Figurine, color_of
from pipelines.body.options import BodyOptions
from pipelines.body.overlay import Drawn, SideStage, draw, draw_box
from pipelines.body.people import Person, biggest
from pipelines.body.source import Source
from pipelines.export.motion import Motion
from pipelines.media.image import write_image
from pipelines.media.video import BackgroundWriter, VideoWriter

REPORT_EVERY = 5
OVERLAY, SIDE, POSTER = "overlay.mp4", "side.mp4", "poster.jpg"
STILL, STILL_SIDE = "overlay.jpg", "side.jpg"


def make_ready(model: BodyModel) -> None:
    """Draws the body at rest once, very small, so that what is made at first need is there before the first frame."""
    rest = model.data.J_regressor @ model.data.v_template
    betas, place = np.zeros(model.layer.n_betas), np.array([[0.0, 0.0, -3.0]])
    motion = Motion(np.zeros((1, JOINTS, 3)), place, betas, 30.0, rest, np.zeros(1), np.ones(1, bool))
    camera = np.array([32.0, 32.0, 16.0, 16.0])
    vertices, normals = Figurine(model, motion).drawn(0)
    body = Drawn(1, vertices, model.drawn_faces, np.array(color_of(1), np.uint8), camera, normals)
    draw(np.zeros((32, 32, 3), np.uint8), [body])


def draw_all(
    source: Source, people: list[Person], model: BodyModel, options: BodyOptions, ctx: RunContext
) -> Iterator[Event]:
    """Writes the overlay and the side view; a poster of the fullest frame."""
    stage = _stage(people) if options.show.side_view and people else None
    backdrop = stage.backdrop() if stage else None
    figurines = {p.number: Figurine(model, p.motion, p.expression if len(p.expression) else None) for p in people}
    best = -1
    with ExitStack() as stack:
        pen = side_pen = None
        helper = stack.enter_context(ThreadPoolExecutor(1, "side-view"))
        for frame in source.frames(ctx.settings.limits):
            shown = present(people, figurines, model, options, frame.index)
            drawing = helper.submit(stage.draw, backdrop, shown) if stage is not None and backdrop is not None else None
            picture = draw(frame.rgb, shown, options.show.opacity, options.show.show_verts)
            if options.show.show_bbox:
                _boxes(picture, people, frame.index)
            beside = drawing.result() if drawing is not None else None
            if len(shown) > best:
                best = len(shown)
                write_image(ctx.out_dir / POSTER, picture)
            if source.info is None:
                write_image(ctx.out_dir / STILL, picture)
                if beside is not None:
                    write_image(ctx.out_dir / STILL_SIDE, beside)
                yield Preview("overlay", STILL, "image")
                return
            if pen is None:
                height, width = picture.shape[:2]
                sound = source.path if source.info.has_audio else None
                overlay = stack.enter_context(
                    VideoWriter(
                        ctx.out_dir / OVERLAY, source.info.fps, (width, height), sound, audio_start=frame.time,
                        limits=ctx.settings.limits,
                    )
                )  # fmt: skip
                pen = stack.enter_context(BackgroundWriter(overlay.write))
                if stage is not None:
                    side = stack.enter_context(VideoWriter(ctx.out_dir / SIDE, source.info.fps, stage.size))
                    side_pen = stack.enter_context(BackgroundWriter(side.write))
            pen.put(picture)
            if side_pen is not None and beside is not None:
                side_pen.put(beside)
            if frame.index % REPORT_EVERY == 0:
                yield Progress("draw", frame.index + 1, max(source.expected, frame.index + 1))
            ctx.check()


def present(
    people: list[Person], figurines: dict[int, Figurine], model: BodyModel, options: BodyOptions, frame: int
) -> list[Drawn]:
    """The bodies to draw in one frame."""
    chosen = people
    if options.show.people == "biggest":
        largest = biggest(people, frame)
        chosen = [largest] if largest is not None else []
    drawn = []
    for person in chosen:
        row = person.frame_of(frame)
        if row is None:
            continue
        figurine = figurines[person.number]
        own = model.drawn_colors if options.show.color == "clothes" else None
        colors = own if own is not None else np.array(color_of(person.number), np.uint8)
        vertices, normals = figurine.drawn(row)
        drawn.append(Drawn(person.number, vertices, model.drawn_faces, colors, person.camera[row], normals))
    return drawn


def _stage(people: list[Person]) -> SideStage:
    roots = np.concatenate([(p.motion.rest_joints[0] + p.motion.transl)[p.motion.seen] for p in people])
    floors = [p.floor for p in people if np.isfinite(p.floor)]
    return SideStage.around(roots, float(np.median(floors)) if floors else float("nan"), people[0].pitch)


def _boxes(picture: np.ndarray, people: list[Person], frame: int) -> None:
    for person in people:
        row = person.frame_of(frame)
        if row is not None:
            draw_box(picture, person.boxes[row], color_of(person.number), str(person.number))
