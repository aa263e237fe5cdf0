"""The Talk pipeline: a face video or photo and a voice in, the same face saying it out."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from models.runtime.errors import InputError
from pipelines.base import (
    Engine,
    Event,
    InputRole,
    Inputs,
    Output,
    Progress,
    Result,
    RunContext,
    choose_engine,
    ready_weights,
)
from pipelines.export.expression import read_expression
from pipelines.media.audio import probe_audio
from pipelines.media.image import write_image
from pipelines.media.sniff import describe, sniff
from pipelines.media.video import BackgroundWriter, VideoWriter, prefetch, probe
from pipelines.talk import exports, voice
from pipelines.talk.follow import followed
from pipelines.talk.marks import METADATA, stamps
from pipelines.talk.options import TalkOptions
from pipelines.talk.schedule import back_and_forth, frame_count
from pipelines.talk.speech import Speech, listen
from pipelines.talk.work import TalkEngine, TalkWork, speaker
from pipelines.tracking.face_measure import Measurement, choose_faces, measure_photo, measure_video

ENGINES = {
    "dinet": "pipelines.talk.engine_dinet:DinetEngine",
    "wav2lip": "pipelines.talk.engine_wav2lip:Wav2LipEngine",
    "viseme": "pipelines.talk.engine_viseme:VisemeEngine",
}
FACE_FILES = ("mediapipe-face-detection-short-range", "mediapipe-face-landmark")
FOLLOWED_BY_NETWORKS = ("dinet", "wav2lip")
CRF = 16
HIGHEST_FPS = 120
FEWEST_DRAWN = 0.02  # share of frames with a usable face below which there is nothing to do
REPORT_FRAMES = 5


@dataclass(frozen=True)
class TalkPlan:
    """What ``infer`` needs. ``spoken`` tells that the voice was made from text."""

    engine: str
    weights: tuple[str, ...]
    source: Path
    photo: bool
    voice: Path
    fps: Fraction
    spoken: bool = False
    expression: Path | None = None


@dataclass
class _State:
    """What ``infer`` hands to ``finish``, through a file."""

    summary: dict[str, float | int | str | bool] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "state.json").write_text(json.dumps(vars(self)), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> _State:
        try:
            return cls(**json.loads((folder / "state.json").read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise InputError("The video was not computed to its end; run it again") from error


class TalkPipeline:
    """Face video or photo + speech -> lip-synced video."""

    id = "talk"
    title = "Talk"
    tagline = "A face in a video or photo says what you give it: lips, jaw and teeth follow the voice."
    options = TalkOptions
    roles = (
        InputRole("source", "Video or photo of a face", ("video", "image"), 1, 1),
        InputRole("voice", "Voice", ("audio", "video"), 0, 1),
        InputRole("expression", "Expression curves from the Face tab, for a photo", ("data",), 0, 1),
    )
    engines = (
        Engine(
            "dinet",
            "DINet",
            embedded=False,
            weights=(("dinet-256mouth", "dinet-deepspeech", *FACE_FILES),),
            licence="DINet: its authors state no licence; DeepSpeech (MPL-2.0)",
            needs="a face seen from the front, at 25 frames a second best",
        ),
        Engine(
            "wav2lip",
            "Wav2Lip",
            embedded=False,
            weights=tuple((*ids, *FACE_FILES) for ids in (("wav2lip-gan",), ("wav2lip",))),
            licence="Wav2Lip: research and personal use only (trained on LRS2)",
            needs="a face of any video or photo",
        ),
        Engine(
            "viseme",
            "Mouth animation",
            embedded=True,
            weights=(FACE_FILES,),
            licence="Apache-2.0; pocketsphinx (BSD-2-Clause), MediaPipe face networks (Apache-2.0)",
            needs="a face that looks roughly towards the camera",
        ),
    )

    def prepare(self, inputs: Inputs, options: TalkOptions, ctx: RunContext) -> TalkPlan:
        """Checks the files, makes the voice from text if need be, and chooses the engine.

        Raises:
            InputError: a file is missing or of the wrong kind, or there is nothing to say.
            WeightsMissing: the engine asked for lacks weights.
        """
        engine = choose_engine(self, options.engine, ctx.weights)
        source = inputs.one("source")
        if source is None:
            raise InputError("Add a video or a photo of a face")
        kind = sniff(source)
        if kind.kind not in ("video", "image"):
            raise InputError(f"{source.name} is {describe(kind)}; a video or photo of a face is needed")
        limits = ctx.settings.limits
        recording, spoken = inputs.one("voice"), False
        if recording is None:
            if not options.text.strip():
                raise InputError("Nothing to say yet: add a recording of a voice, or type a text")
            recording, spoken = voice.speak(options.text, ctx.out_dir / "voice.wav", options.language), True
        probe_audio(recording, limits)
        fps = Fraction(options.still.fps).limit_denominator(1000)
        if kind.kind == "video":
            fps = min(probe(source, limits).fps, Fraction(HIGHEST_FPS))
        weights = ready_weights(engine, ctx.weights) or ()
        expression = inputs.one("expression")
        if expression is not None:
            if kind.kind != "image" or engine.name != "viseme":
                raise InputError("Expression curves move a photo, with the engine viseme; leave them out here")
            read_expression(expression)
        return TalkPlan(engine.name, weights, source, kind.kind == "image", recording, fps, spoken, expression)

    def infer(self, plan: TalkPlan, options: TalkOptions, ctx: RunContext) -> Iterator[Event]:
        """Listens, measures, draws and encodes, frame by frame."""
        limits = ctx.settings.limits
        state = _State()
        yield Progress("listen", note="Listening to the voice")
        transcript = options.transcript or (options.text if plan.spoken else "")
        speech = listen(
            plan.voice, limits, transcript, options.mouth.sounds, options.preview_seconds, _reporter(ctx, "listen"),
            options.language,
        )  # fmt: skip
        measurement: Measurement | None = None
        yield Progress("measure", note="Following the faces")
        if plan.photo:
            measurement = measure_photo(plan.source, ctx)
        else:
            for event in measure_video(plan.source, ctx):
                if isinstance(event, Measurement):
                    measurement = event
                else:
                    yield event
        work = arrange(plan, options, speech, measurement)
        if plan.engine in FOLLOWED_BY_NETWORKS and options.blend.follow == "heygem":
            for step in followed(work, options, ctx):
                if isinstance(step, TalkWork):
                    work = step
                else:
                    yield step
        drawn = float((np.max([s.weight for s in work.speakers], axis=0) > 0).mean())
        if drawn < FEWEST_DRAWN:
            raise InputError(
                "The face looks too far aside in nearly all frames; use another video or raise the largest turn"
            )
        yield Progress("draw", 0, work.count, "Drawing the mouth")
        module, _, name = ENGINES[plan.engine].partition(":")
        engine: TalkEngine = getattr(import_module(module), name)(work, options, ctx)
        began = time.perf_counter()
        yield from self._draw(work, engine, options, ctx)
        _fill(state, work, engine, options, time.perf_counter() - began)
        exports.write_curves(ctx.out_dir / "curves.json", work)
        exports.write_timeline(ctx.out_dir / "timeline.json", work)
        state.save(ctx.out_dir / "work")

    def _draw(self, work: TalkWork, engine: TalkEngine, options: TalkOptions, ctx: RunContext) -> Iterator[Event]:
        """Decoding, drawing and encoding overlap; nothing but a few frames is held."""
        size = work.measurement.size
        marks = stamps(size, options.mark, options.watermark)
        poster_at = work.count // 2
        limits = ctx.settings.limits
        with (
            VideoWriter(
                ctx.out_dir / "talk.mp4", work.fps, size, audio_from=work.voice, crf=CRF, limits=limits,
                metadata=METADATA,
            ) as writer,
            BackgroundWriter(writer.write, depth=4) as encoder,
        ):  # fmt: skip
            for number, frame in enumerate(engine.frames(prefetch(work.frames(limits), depth=4))):
                for mark in marks:
                    mark.draw(frame)
                if number == poster_at:
                    write_image(ctx.out_dir / "poster.jpg", frame)
                encoder.put(frame)
                if number % REPORT_FRAMES == 0:
                    yield Progress("draw", number + 1, work.count, "Drawing the mouth")
            yield Progress("draw", work.count, work.count, "Drawing the mouth")

    def finish(self, plan: TalkPlan, options: TalkOptions, ctx: RunContext) -> Result:
        """Names the results."""
        state = _State.load(ctx.out_dir / "work")
        shutil.rmtree(ctx.out_dir / "work", ignore_errors=True)
        outputs = [
            Output("video", "talk.mp4", "video", "Speaking video"),
            Output("timeline", "timeline.json", "plot", "Mouth and voice"),
            Output("curves", "curves.json", "data", "Sounds and mouth curves (JSON)"),
            Output("poster", "poster.jpg", "image", "Poster"),
        ]
        if plan.spoken:
            outputs.append(Output("voice", "voice.wav", "audio", "Spoken text (espeak-ng)"))
        return Result(plan.engine, tuple(outputs), state.summary, tuple(state.warnings), plan.weights)


def arrange(plan: TalkPlan, options: TalkOptions, speech: Speech, measurement: Measurement) -> TalkWork:
    """Who speaks when, and which source picture each output frame shows."""
    count = frame_count(speech.seconds, plan.fps)
    frame_seconds = 1.0 / float(plan.fps)
    indices = back_and_forth(measurement.times, count, plan.fps)
    faces = choose_faces(measurement, options.faces, options.face_number)
    steps = np.diff(measurement.times)
    rate = 1.0 / float(np.median(steps)) if len(steps) else float(plan.fps)
    speakers = tuple(speaker(face, options.max_turn, rate) for face in faces)
    times = np.arange(count) * frame_seconds - options.offset_ms / 1000
    curves = speech.curves.at(times, frame_seconds)
    return TalkWork(plan.source, plan.voice, plan.photo, plan.fps, measurement, speakers, speech, indices, curves,
                    expression=read_expression(plan.expression) if plan.expression else None)  # fmt: skip


def _fill(state: _State, work: TalkWork, engine: TalkEngine, options: TalkOptions, seconds: float) -> None:
    speech, untouched = work.speech, work.untouched()
    state.summary = {
        "frames": work.count,
        "seconds": round(work.count / float(work.fps), 3),
        "fps": round(float(work.fps), 3),
        "frames_per_second_drawn": round(work.count / max(seconds, 1e-6), 1),
        "speakers": len(work.speakers),
        "faces_found": len(work.measurement.faces),
        "heard_by": speech.method,
        "speech_share": round(speech.share, 3),
        "untouched_frames": untouched,
        "measured_before": work.measurement.cached,
    }
    if speech.text:
        state.summary["heard"] = speech.text[:300]
    state.warnings = [*speech.warnings, *engine.notes]
    if untouched:
        state.warnings.append(
            f"{untouched} of {work.count} frames were left as they are: the face is away or looks too far aside there"
        )
    others = len(work.measurement.faces) - len(work.speakers)
    if others > 0 and options.faces == "largest":
        state.warnings.append(
            f"{len(work.measurement.faces)} faces were found and {len(work.speakers)} speaks; choose who under "
            '"Who speaks"'
        )


def _reporter(ctx: RunContext, stage: str) -> Any:
    def told(done: float, total: float) -> None:
        ctx.check()
        ctx.progress(Progress(stage, round(done), round(total), "Listening to the voice"))

    return told
