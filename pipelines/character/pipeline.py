"""The Character pipeline: a character - drawings, a 3D model, one picture - and a motion in, its dance out."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module

from models.runtime.cache import ModelSpec
from models.runtime.errors import InputError
from models.runtime.weights import WeightsStore
from pipelines.base import (
    Engine,
    Event,
    Inputs,
    Preview,
    Progress,
    Result,
    RunContext,
    choose_engine,
    ready_weights,
)
from pipelines.character.backdrop import backdrop_of
from pipelines.character.inputs import ROLES, CharacterInputs, sort_out
from pipelines.character.moving import Moving, resolve
from pipelines.character.options import CharacterOptions
from pipelines.character.outputs import ResultWriter, Sound
from pipelines.character.state import CharacterState
from pipelines.character.udp_export import write_udps
from pipelines.character.work import CharacterEngine, CharacterWork
from pipelines.media.audio import has_sound, probe_audio
from pipelines.media.queues import BackgroundWriter, prefetch

ENGINES = {
    "conr": "pipelines.character.engine_conr:ConrEngine",
    "udp": "pipelines.character.engine_udp:UdpEngine",
    "puppet": "pipelines.character.engine_puppet:PuppetEngine",
}
CONR_FILES = ("conr-udpparser", "conr-pose-encoder", "conr-shader", "conr-decoder")
UDP_FPS = 30.0  # of a sequence of frames, which tells no rate of its own
REPORT_FRAMES = 5


@dataclass(frozen=True)
class CharacterPlan:
    """What ``infer`` needs."""

    engine: str
    weights: tuple[str, ...]
    given: CharacterInputs


class CharacterPipeline:
    """Character + motion -> frames with transparency, video."""

    id = "character"
    title = "Character"
    tagline = "A drawn character dances: give drawings or a 3D model, and a motion - or a video of somebody dancing."
    options = CharacterOptions
    roles = ROLES
    engines = (
        Engine(
            "conr",
            "CoNR",
            embedded=False,
            weights=(CONR_FILES,),
            licence="MIT (code); the weights carry no terms of their own",
            needs="one or more drawings of one character with transparent background",
        ),
        Engine(
            "udp",
            "Surface lookup",
            embedded=True,
            licence="",
            needs="a 3D character (GLB), the studio's own one, or drawings that come with UDPs",
        ),
        Engine(
            "puppet",
            "Paper puppet",
            embedded=True,
            licence="",
            needs="one drawing of a whole figure",
        ),
    )

    def resident(self, weights: WeightsStore) -> tuple[ModelSpec, ...]:
        """CoNR, where it is installed."""
        from pipelines.character import engine_conr

        return (engine_conr.spec_of(weights),) if all(weights.installed(w) for w in CONR_FILES) else ()

    def prepare(self, inputs: Inputs, options: CharacterOptions, ctx: RunContext) -> CharacterPlan:
        """Sorts the files out and chooses the engine.

        Raises:
            InputError: files that do not go together or fit nowhere, or no use for the engine asked for.
            WeightsMissing: the engine needed lacks weights.
        """
        given = sort_out(inputs, options.conr.detect, ctx.out_dir / "work" / "unpacked", ctx.settings.limits)
        engine = choose_engine(self, engine_for(given, options, ctx.weights), ctx.weights)
        check_fit(engine.name, given)
        if given.music is not None:
            probe_audio(given.music, ctx.settings.limits)
        return CharacterPlan(engine.name, ready_weights(engine, ctx.weights) or (), given)

    def infer(self, plan: CharacterPlan, options: CharacterOptions, ctx: RunContext) -> Iterator[Event]:
        """Gets the motion, draws the frames and encodes them as they come."""
        state = CharacterState(warnings=list(plan.given.warnings))
        files = plan.given.motion
        moving: Moving | None = None
        if files.kind not in ("udp", "drawings"):
            moving = yield from resolve(files, options, ctx)
        work = CharacterWork(
            sheet=plan.given.sheet,
            motion=moving.motion if moving else None,
            udps=files.paths if files.kind == "udp" else (),
            drawings=files.paths if files.kind == "drawings" else (),
            fps=moving.motion.fps if moving else options.output.fps or UDP_FPS,
            size=options.picture,
        )
        yield Progress("draw", 0, work.count)
        module, _, name = ENGINES[plan.engine].partition(":")
        engine: CharacterEngine = getattr(import_module(module), name)(work, options, ctx)
        began = time.perf_counter()
        yield from self._draw(engine, work, plan, options, ctx, state)
        seconds = time.perf_counter() - began
        if options.output.udp and work.motion is not None:
            state.outputs.append((yield from write_udps(work, options, ctx)))
        state.outputs += moving.outputs if moving else []
        state.warnings += [*(moving.notes if moving else ()), *engine.notes]
        state.summary |= {
            "frames": work.count,
            "seconds": round(work.count / work.fps, 2),
            "fps": round(work.fps, 3),
            "width": engine.size[0],
            "height": engine.size[1],
            "frames_per_second_drawn": round(work.count / max(seconds, 1e-6), 1),
        }
        state.save(ctx.out_dir / "work")

    def _draw(
        self,
        engine: CharacterEngine,
        work: CharacterWork,
        plan: CharacterPlan,
        options: CharacterOptions,
        ctx: RunContext,
        state: CharacterState,
    ) -> Iterator[Event]:
        """Drawing and encoding overlap; nothing but a few frames is held."""
        limits = ctx.settings.limits
        backdrop = backdrop_of(options, plan.given.backdrop, engine.size, limits)
        sound = sound_of(plan.given, options, ctx)
        done, shown = 0, False
        with ResultWriter(
            ctx.out_dir, engine.size, work.fps, work.count, options.output, backdrop, sound, limits
        ) as writer:
            with BackgroundWriter(writer.write, depth=4) as encoder:
                for chunk in prefetch(engine.frames(), depth=2):
                    for rgba in chunk:
                        encoder.put(rgba)
                        done += 1
                        if done % REPORT_FRAMES == 0:
                            yield Progress("draw", done, work.count)
                    if not shown and (ctx.out_dir / "poster.jpg").is_file():
                        shown = True
                        yield Preview("poster", "poster.jpg", "image")
                    ctx.check()
            yield Progress("draw", done, work.count)
            state.outputs += writer.finish()

    def finish(self, plan: CharacterPlan, options: CharacterOptions, ctx: RunContext) -> Result:
        """Names the results."""
        state = CharacterState.load(ctx.out_dir / "work")
        shutil.rmtree(ctx.out_dir / "work", ignore_errors=True)
        return Result(plan.engine, tuple(state.outputs), state.summary, tuple(state.warnings), plan.weights)


def engine_for(given: CharacterInputs, options: CharacterOptions, weights: WeightsStore) -> str:
    """The engine asked for, or the one that makes the best of what was given.

    A 3D character, or drawings with UDPs under a UDP motion, are exact by lookup; other drawings need CoNR, and one of
    them at least makes a puppet.
    """
    if options.engine != "auto":
        return options.engine
    sheet, motion = given.sheet, given.motion.kind
    if sheet.built_in or sheet.model is not None or (sheet.udps and motion == "udp"):
        return "udp"
    if motion in ("udp", "drawings"):
        return "conr"
    ready = all(weights.installed(name) for name in CONR_FILES)
    return "conr" if ready and sheet.rig is None else "puppet"


def check_fit(engine: str, given: CharacterInputs) -> None:
    """Raises InputError when an engine cannot work with what was given."""
    sheet, motion = given.sheet, given.motion.kind
    if engine == "puppet":
        if not sheet.drawings:
            raise InputError("The paper puppet needs a drawing; a 3D character moves with the engine udp")
        if motion in ("udp", "drawings"):
            raise InputError("The paper puppet moves by a skeleton; give a BVH file, a Body result or a video")
    if engine == "udp":
        if sheet.drawings and not sheet.udps:
            raise InputError(
                "These drawings come without UDPs, so their surface is not known; use the engine puppet, or conr with "
                "its weights installed"
            )
        if motion == "drawings":
            raise InputError("Poses from drawings need the engine conr")
        if sheet.udps and motion != "udp":
            raise InputError(
                "Drawings with UDPs are moved by UDP frames of the same character; for a skeleton's motion give the 3D "
                "character (GLB) itself, or choose the engine puppet"
            )


def sound_of(given: CharacterInputs, options: CharacterOptions, ctx: RunContext) -> Sound | None:
    """The music given, or the sound of the driving video."""
    if given.music is not None:
        return given.music, 0.0
    if given.motion.kind != "video" or not options.output.keep_sound:
        return None
    video = given.motion.paths[0]
    return (video, options.range.start) if has_sound(video, ctx.settings.limits) else None
