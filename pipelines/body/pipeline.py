"""The Body pipeline: a photo or a video of people into posed bodies, motion files and an overlay."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

from models.bodies import mannequin
from models.bodies.smplx import SmplxData
from models.runtime.errors import InputError, WeightsMissing
from models.runtime.weights import WeightsStore
from pipelines.base import Engine, Event, InputRole, Inputs, Progress, Result, RunContext, choose_engine, ready_weights
from pipelines.body import engine_blazepose, engine_smplerx, outputs, videos
from pipelines.body.figures import BodyModel
from pipelines.body.options import BodyOptions
from pipelines.body.people import BodyState, load_people, save_people
from pipelines.body.source import Source, open_source

SMPLX_WEIGHTS = "smplx-neutral"
_ENGINES = {"blazepose": engine_blazepose, "smplerx": engine_smplerx}
NOBODY = (
    "Nobody was found. People should be at least about a tenth of the picture high, not too dark, and not seen from "
    "above only"
)


@dataclass(frozen=True)
class BodyPlan:
    """What ``infer`` needs: engine, input, and which body is posed."""

    engine: str
    source: Source
    body: str
    weights: tuple[str, ...]


class BodyPipeline:
    """Photo or video -> posed bodies, parameters, overlay, BVH and an animated GLB."""

    id = "body"
    title = "Body"
    tagline = "People in a photo or video into posed bodies and motion: overlay, skeleton, BVH and an animated model."
    options = BodyOptions
    roles = (
        InputRole("photo", "Photo", ("image",), 0, 1),
        InputRole("video", "Video", ("video",), 0, 1),
    )
    engines = (
        Engine(
            "smplerx",
            "SMPLer-X",
            embedded=False,
            weights=tuple((f"smplerx-{size}", SMPLX_WEIGHTS) for size in engine_smplerx.SIZES),
            licence="S-Lab License 1.0 (non-commercial); SMPL-X model licence (non-commercial research)",
            needs="a SMPLer-X checkpoint and the SMPL-X body model",
        ),
        Engine(
            "blazepose",
            "Landmarks and inverse kinematics",
            embedded=True,
            weights=(
                (
                    "mediapipe-pose-detection",
                    "mediapipe-pose-landmark-full",
                    "mediapipe-hand-landmark-full",
                    "mediapipe-face-landmark",
                    "mediapipe-selfie-segmentation",
                ),
            ),
            licence="Apache-2.0 (MediaPipe models)",
            needs="the embedded models",
        ),
    )

    def prepare(self, inputs: Inputs, options: BodyOptions, ctx: RunContext) -> BodyPlan:
        """Sorts out the input and chooses engine and body.

        Raises:
            InputError: nothing usable was given.
            WeightsMissing: the engine or body asked for lacks weights.
        """
        engine = choose_engine(self, options.engine, ctx.weights)
        weights = ready_weights(engine, ctx.weights) or ()
        if engine.name == "smplerx":
            weights = engine_smplerx.chosen_weights(options.smplerx, ctx.weights)
        installed = ctx.weights.installed(SMPLX_WEIGHTS)
        if options.show.body == "smplx" and not installed:
            raise WeightsMissing(
                "The SMPL-X body is not installed: open the Models tab or run "
                f"`python -m studio weights add {SMPLX_WEIGHTS} FILE`, or choose the mannequin"
            )
        body = "smplx" if installed and options.show.body != "mannequin" else "mannequin"
        if engine.name == "smplerx":
            body = "smplx"  # its parameters are those of SMPL-X and fit no other body
        return BodyPlan(engine.name, open_source(inputs, options.range, ctx.settings.limits), body, weights)

    def infer(self, plan: BodyPlan, options: BodyOptions, ctx: RunContext) -> Iterator[Event]:
        """Finds and solves the people, then draws them while their files are written; all of it in the run folder."""
        warnings: list[str] = []
        model = body_model(plan.body, ctx.weights)
        with ThreadPoolExecutor(1, "beside") as beside:
            pen = beside.submit(videos.make_ready, model)
            people, frames = yield from _ENGINES[plan.engine].infer(plan.source, model, options, ctx, warnings)
            if not people:
                warnings.append(NOBODY)
            state = BodyState(
                engine=plan.engine,
                still=plan.source.info is None,
                fps=plan.source.fps,
                size=plan.source.size,
                frames=frames,
                body=plan.body,
                warnings=warnings,
            )
            save_people(people, ctx.out_dir)
            pen.result()
            yield Progress("draw", 0, frames)
            files = beside.submit(outputs.write_files, people, state, model, plan.source.path.name, options, ctx)
            yield from videos.draw_all(plan.source, people, model, options, ctx)
            files.result()
        state.summary = outputs.summary(people, state)
        state.save(ctx.out_dir / "work")

    def finish(self, plan: BodyPlan, options: BodyOptions, ctx: RunContext) -> Result:
        """Lists what was made."""
        work = ctx.out_dir / "work"
        if not (work / "state.json").is_file():
            raise InputError("The bodies were not computed to the end; run it again")
        state = BodyState.load(work)
        made = outputs.listed(load_people(ctx.out_dir), state.still, ctx.out_dir)
        shutil.rmtree(work, ignore_errors=True)
        return Result(plan.engine, tuple(made), state.summary, tuple(state.warnings), plan.weights)


def body_model(name: str, weights: WeightsStore) -> BodyModel:
    """The body to pose: ``smplx`` or ``mannequin``."""
    if name == "smplx":
        return BodyModel.of(SmplxData.load(weights.path(SMPLX_WEIGHTS)), "SMPL-X")
    return _mannequin()


@cache
def _mannequin() -> BodyModel:
    """Made once: thinning out its triangles takes longer than drawing some frames."""
    return BodyModel.mannequin(mannequin.load())
