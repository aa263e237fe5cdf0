"""The Scene pipeline: photos, a video, a stereo pair or a COLMAP folder into depth, cameras and a point cloud."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from models.runtime.errors import InputError
from pipelines.base import Engine, Event, InputRole, Inputs, Result, RunContext, choose_engine
from pipelines.scene import engine_sfm
from pipelines.scene.fusion import fuse
from pipelines.scene.inputs import SceneSource, sort_out
from pipelines.scene.options import SceneOptions
from pipelines.scene.prediction import Prediction
from pipelines.scene.refilter import write_cloud
from pipelines.scene.state import SceneState

# One module per engine with check(source) and infer(source, options, ctx); every engine leaves the same files.
_ENGINES = {"sfm": engine_sfm}


@dataclass(frozen=True)
class ScenePlan:
    """What ``infer`` needs: the engine's name and the input sorted out."""

    engine: str
    source: SceneSource


class ScenePipeline:
    """Photos, a video, a stereo pair or a COLMAP folder -> depth, cameras, point cloud."""

    id = "scene"
    title = "Scene"
    tagline = "Photos or a video of a place into depth, cameras and a 3D scene to walk through."
    options = SceneOptions
    roles = (
        InputRole("photos", "Photos", ("image",), 0, 200),
        InputRole("video", "Video", ("video",), 0, 1),
        InputRole("archive", "Folder or ZIP of photos, or a COLMAP folder", ("archive", "folder"), 0, 1),
    )
    engines = (
        Engine(
            "sfm",
            "Structure from motion",
            embedded=True,
            licence="Apache-2.0; pycolmap (BSD-3-Clause)",
            needs="at least two overlapping photos, or a video with a moving camera",
        ),
    )

    def prepare(self, inputs: Inputs, options: SceneOptions, ctx: RunContext) -> ScenePlan:
        """Sorts out the input and chooses the engine.

        Raises:
            InputError: nothing usable was given, or too few photos.
            WeightsMissing: the engine asked for lacks weights, or needs more than one photo.
        """
        engine = choose_engine(self, options.engine, ctx.weights)
        work = ctx.out_dir / "work"
        source = sort_out(inputs, options.stereo.rectified, work / "unpacked", ctx.settings.limits)
        _ENGINES[engine.name].check(source)
        return ScenePlan(engine.name, source)

    def infer(self, plan: ScenePlan, options: SceneOptions, ctx: RunContext) -> Iterator[Event]:
        yield from _ENGINES[plan.engine].infer(plan.source, options, ctx)

    def finish(self, plan: ScenePlan, options: SceneOptions, ctx: RunContext) -> Result:
        """Writes the viewer file, pictures, plots and archives from the prediction."""
        from pipelines.scene import exports  # loads torch, which listing the options does without

        prediction_file = ctx.out_dir / "prediction.npz"
        if not prediction_file.is_file():
            raise InputError("The scene was not computed to its end; run it again")
        state = SceneState.load(ctx.out_dir / "work")
        prediction = Prediction.load(prediction_file)
        cloud = fuse(prediction, options.filter)
        outputs = [
            *write_cloud(prediction, cloud, ctx.out_dir, options.filter),
            *exports.write_all(prediction, state, cloud, ctx.out_dir, ctx.settings.limits),
        ]
        shutil.rmtree(ctx.out_dir / "work", ignore_errors=True)
        return Result(
            engine=plan.engine,
            outputs=tuple(outputs),
            summary={**state.summary, "points": len(cloud)},
            warnings=tuple(state.warnings),
        )
