"""The Scene pipeline: photos, a video, a stereo pair or a COLMAP folder into depth, cameras and a point cloud."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.runtime.errors import InputError
from pipelines.base import Engine, Event, InputRole, Inputs, Output, Result, RunContext, choose_engine
from pipelines.scene.fusion import Cloud, fuse
from pipelines.scene.inputs import SceneSource, sort_out
from pipelines.scene.options import DA3_VARIANTS, SceneOptions
from pipelines.scene.prediction import Prediction
from pipelines.scene.refilter import write_cloud
from pipelines.scene.state import SceneState

if TYPE_CHECKING:
    from models.runtime.cache import ModelSpec
    from models.runtime.weights import WeightsStore


_SFM_FRAMES = 200


def _engine(name: str) -> Any:
    """``pipelines/scene/engine_<name>.py``, with check(source) and infer(source, options, ctx); every engine leaves the
    same files. Loaded at need, because some load torch, which listing the options does without."""
    return import_module(f"pipelines.scene.engine_{name}")


@dataclass(frozen=True)
class ScenePlan:
    """What ``infer`` needs: the engine's name, the input sorted out, and the weights the engine will use,
    and motion files of people to stand in the scene."""

    engine: str
    source: SceneSource
    weights: tuple[str, ...] = ()
    people: tuple[Path, ...] = ()


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
        InputRole("people", "Motions of people in the video, from the Body tab", ("motion",), 0, 12),
    )
    engines = (
        Engine(
            "da3",
            "Depth Anything 3",
            embedded=False,
            weights=tuple((variant,) for variant in DA3_VARIANTS),
            licence="Depth Anything 3 (code Apache-2.0; the checkpoint's own licence applies)",
            needs="a Depth Anything 3 checkpoint; works from a single photo on",
        ),
        Engine(
            "sfm",
            "Structure from motion",
            embedded=True,
            licence="Apache-2.0; pycolmap (BSD-3-Clause)",
            needs="at least two overlapping photos, or a video with a moving camera",
        ),
    )

    def resident(self, weights: WeightsStore) -> tuple[ModelSpec, ...]:
        """The Depth Anything 3 network that ``auto`` would take."""
        network = import_module("pipelines.scene.da3_network")
        installed = any(weights.installed(variant) for variant in DA3_VARIANTS)
        return (network.choose_checkpoint("auto", weights).spec(),) if installed else ()

    def prepare(self, inputs: Inputs, options: SceneOptions, ctx: RunContext) -> ScenePlan:
        """Sorts out the input and chooses the engine.

        Raises:
            InputError: nothing usable was given, or too few photos.
            WeightsMissing: the engine asked for lacks weights, or needs more than one photo.
        """
        # a calibrated pair is measured, not estimated, unless another engine is asked for
        name = "sfm" if options.engine == "auto" and options.stereo.rectified else options.engine
        engine = choose_engine(self, name, ctx.weights)
        work = ctx.out_dir / "work"
        people = inputs.get("people")
        places = Inputs({role: files for role, files in inputs.files.items() if role != "people"})
        unpacked, limits = work / "unpacked", ctx.settings.limits
        source = sort_out(places, options.stereo.rectified, unpacked, limits, options.colmap.sparse_subdir)
        if people and source.kind != "video":
            raise InputError("A motion file goes with the video it was measured in; add that video, or leave it out")
        if people:
            motion = import_module("pipelines.export.motion")
            for path in people:
                motion.read_motion(path)
        if engine.name == "sfm" and options.video.max_frames > _SFM_FRAMES:
            raise InputError(f"Engine sfm takes at most {_SFM_FRAMES} frames; lower `video_max_frames`")
        module = _engine(engine.name)
        module.check(source)
        weights = module.weights_of(options, ctx) if engine.weights != ((),) else ()
        return ScenePlan(engine.name, source, weights, people)

    def infer(self, plan: ScenePlan, options: SceneOptions, ctx: RunContext) -> Iterator[Event]:
        yield from _engine(plan.engine).infer(plan.source, options, ctx)

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
        if plan.people:
            outputs += self._people(plan, prediction, cloud, options, ctx, state)
        if plan.engine == "da3":
            from pipelines.scene import da3_files

            outputs += da3_files.write_further(prediction, options.da3, ctx)
        shutil.rmtree(ctx.out_dir / "work", ignore_errors=True)
        return Result(
            engine=plan.engine,
            outputs=tuple(outputs),
            summary={**state.summary, "points": len(cloud)},
            warnings=tuple(state.warnings),
            weights=(*plan.weights, *state.weights),
        )

    @staticmethod
    def _people(
        plan: ScenePlan, prediction: Prediction, cloud: Cloud, options: SceneOptions, ctx: RunContext, state: SceneState
    ) -> list[Output]:
        """The scene with its people; one whose motion does not fit costs the people, not the scene."""
        from pipelines.export.motion import read_motion
        from pipelines.scene.people import remarks, write_people

        motions = [read_motion(path) for path in plan.people]
        try:
            outputs, standing = write_people(prediction, cloud, motions, ctx.out_dir, options.filter)
        except InputError as error:
            state.warnings.append(f"The people were left out. {error.message}")
            return []
        state.warnings += remarks(standing)
        state.summary["metres_per_unit"] = round(standing.scale, 4)
        return outputs
