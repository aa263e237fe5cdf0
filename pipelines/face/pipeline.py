"""The Face pipeline: photos or a video of faces in, textured heads in metres out, with expressions that can move."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from models.runtime.errors import InputError
from pipelines.base import Engine, Event, InputRole, Inputs, Result, RunContext, choose_engine, ready_weights
from pipelines.face.engine_facemesh import FacemeshEngine
from pipelines.face.options import FaceOptions
from pipelines.face.state import FaceState
from pipelines.media.sniff import describe, sniff

if TYPE_CHECKING:
    from models.runtime.cache import ModelSpec
    from models.runtime.weights import WeightsStore

MOST_PHOTOS = 40


@dataclass(frozen=True)
class FacePlan:
    """What ``infer`` needs."""

    engine: str
    weights: tuple[str, ...]
    sources: tuple[Path, ...]
    driver: Path | None
    side_cars: tuple[Path, ...] = ()


class FacePipeline:
    """Photos or video -> textured heads, landmarks, depth, parameters, expression curves."""

    id = "face"
    title = "Face"
    tagline = "A photo or video of a face becomes a textured 3D head with camera, landmarks and moving expressions."
    options = FaceOptions
    roles = (
        InputRole("source", "Photos or a video of faces", ("image", "video"), 1, MOST_PHOTOS),
        InputRole("driver", "Photo or video whose expression to take", ("image", "video"), 0, 1),
        InputRole("landmarks", "Landmark files named like their photos", ("text", "data"), 0, MOST_PHOTOS),
    )
    engines = (
        Engine(
            "deca",
            "DECA",
            embedded=False,
            weights=(("deca-model", "flame-2020", "deca-data"),),
            licence="DECA and FLAME licences (non-commercial research, education and art; no redistribution)",
            needs="deca_model.tar, the FLAME head and DECA's data files",
        ),
        Engine(
            "facemesh",
            "Face mesh",
            embedded=True,
            weights=(
                (
                    "mediapipe-face-detection-short-range",
                    "mediapipe-face-detection-full-range-sparse",
                    "mediapipe-face-landmark",
                    "mediapipe-selfie-segmentation",
                ),
            ),
            licence="Apache-2.0 (MediaPipe face networks); mesh, texture layout and expressions are the studio's own",
            needs="a face of at least 16 pixels",
        ),
    )

    def resident(self, weights: WeightsStore) -> tuple[ModelSpec, ...]:
        """DECA, where it is installed."""
        network = import_module("pipelines.face.deca_network")
        import_module("pipelines.face.deca_detect")
        installed = all(weights.installed(name) for name in network.NEEDED)
        return (network.spec_of(network.files_of(weights)),) if installed else ()

    def rehearse(self) -> None:
        """Compiles what the embedded engine needs compiled."""
        import_module("pipelines.face.rehearsal").rehearse()

    def prepare(self, inputs: Inputs, options: FaceOptions, ctx: RunContext) -> FacePlan:
        """Checks the files and chooses the engine.

        Raises:
            InputError: nothing to work on, a video among photos, or a file of another kind.
            WeightsMissing: the engine asked for lacks weights.
        """
        engine = choose_engine(self, options.engine, ctx.weights)
        sources, driver = inputs.get("source"), inputs.one("driver")
        if not sources:
            raise InputError("Add a photo or a video of a face")
        kinds = {}
        for path in (*sources, *((driver,) if driver else ())):
            found = sniff(path)
            if found.kind not in ("image", "video"):
                raise InputError(f"{path.name} is {describe(found)}; photos or a video of faces are needed")
            kinds[path] = found.kind
        if len(sources) > 1 and any(kinds[path] == "video" for path in sources):
            raise InputError("One video at a time, or photos alone: a video among several files cannot be used")
        if driver is not None and kinds[sources[0]] == "video":
            raise InputError("An expression is put on a photo; give a photo first, then the photo or video to follow")
        used = ready_weights(engine, ctx.weights) or ()
        if engine.name == "deca":
            network, detect = (import_module(f"pipelines.face.{m}") for m in ("deca_network", "deca_detect"))
            albedo = network.chosen_albedo(options.deca.albedo, ctx.weights)
            fan = detect.chosen_detector(options.deca.detector, ctx.weights) == "fan"
            used += ((albedo,) if albedo else ()) + (detect.FAN_WEIGHTS if fan else ())
        return FacePlan(engine.name, used, tuple(sources), driver, inputs.get("landmarks"))

    def infer(self, plan: FacePlan, options: FaceOptions, ctx: RunContext) -> Iterator[Event]:
        """Finds, measures, paints and writes the heads."""
        if plan.engine == "deca":
            engine = import_module("pipelines.face.engine_deca").DecaEngine(options, ctx)
            yield from engine.run(plan.sources, plan.driver, {path.stem: path for path in plan.side_cars})
            return
        yield from FacemeshEngine(options, ctx).run(plan.sources, plan.driver)

    def finish(self, plan: FacePlan, options: FaceOptions, ctx: RunContext) -> Result:
        """Names the results."""
        state = FaceState.load(ctx.out_dir / "work")
        shutil.rmtree(ctx.out_dir / "work", ignore_errors=True)
        return Result(plan.engine, tuple(state.outputs), state.summary, tuple(state.warnings), plan.weights)
