"""The Scene tab: photos, a video, a stereo pair or a COLMAP folder into cameras, depth and a point cloud to walk in."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from models.runtime.errors import NotFound, StudioError
from pipelines.base import Inputs, ready_weights
from pipelines.scene.options import FilterOptions
from studio import forms
from studio.api.da3_gallery import gallery_root
from studio.refilter import refilter_run
from studio.scene_folders import cached_run, example_folders, photos_of
from studio.services import Studio
from studio.ui import components as html
from studio.ui.examples import Example
from studio.ui.job_view import Shell
from studio.ui.options_panel import AUTO, OptionsPanel, control
from studio.ui.results import Updates, Views
from studio.ui.tabs.pipeline_tab import PipelineTab
from studio.ui.tabs.scene_gallery import SceneGallery
from studio.ui.tabs.scene_measure import MeasurePanel
from studio.ui.visitor import caller_of

EXAMPLES_DIR = Path(__file__).resolve().parents[3] / "examples" / "scene"
VIEWS = Views(base="photo", layers=(("Depth", "depth"), ("Confidence", "confidence")))
WORDS = {
    "photos": "Reading the photos",
    "loops": "Looking for places seen again",
    "gather": "Joining the parts",
    "features": "Looking for features",
    "matching": "Matching the photos",
    "mapping": "Finding the cameras",
    "undistort": "Straightening the photos",
    "depth": "Measuring depth",
    "consistency": "Comparing the views",
    "ground": "Finding the ground",
    "network": "Running the network",
    "fusion": "Joining the points",
    "stereo": "Measuring depth",
    "frames": "Choosing frames",
}
# Smaller than the defaults, so that the examples take seconds on two processor cores.
QUICK = {"sfm_depth_side": 320, "sfm_max_features": 3000}
SINGLE = (
    "One photo: the built-in engine finds depth by comparing views, so it needs at least two photos of the same place "
    "taken from different spots; it does not invent depth.",
    "With a Depth Anything 3 checkpoint installed, this tab also turns a single photo into depth and a 3D view.",
)


def examples() -> list[Example]:
    """What ships with the project and with its packages."""
    found = []
    room = sorted((EXAMPLES_DIR / "room" / "photos").glob("*.jpg"))
    walk = EXAMPLES_DIR / "room" / "walk.mp4"
    if len(room) >= 2:
        found.append(Example("Room", f"{len(room)} rendered photos", tuple(room), room[0], QUICK))
    if walk.is_file() and room:
        quick = {**QUICK, "video_max_frames": 16}
        found.append(Example("Walk", "a short video", (walk,), room[len(room) // 2], quick))
    skimage = find_spec("skimage")
    if skimage is not None and skimage.origin:
        pair = tuple(Path(skimage.origin).parent / "data" / f"motorcycle_{side}.png" for side in ("left", "right"))
        if all(path.is_file() for path in pair):
            # Middlebury 2014 calibration at this size, as scikit-image states it.
            calibration = {
                "stereo_rectified": True,
                "stereo_focal_px": 994.978,
                "stereo_baseline_m": 0.193001,
                "stereo_doffs": 31.086,
            }
            found.append(Example("Motorcycle", "a stereo pair", pair, pair[0], calibration))
    return found


def own_examples(studio: Studio) -> list[Example]:
    """The folders of DA3_WORKSPACE_DIR, those computed ahead with a link to their result."""
    found = []
    for folder in example_folders(studio.settings):
        photos, run = photos_of(folder), cached_run(studio.runs, folder)
        note = f"{len(photos)} photo{'s' if len(photos) > 1 else ''}{', computed' if run else ''}"
        found.append(Example(folder.name, note, photos, photos[0], run=run.id if run else ""))
    return found


class SceneTab(PipelineTab):
    """Adds the comparison of photo and depth, the examples, and filtering the points again."""

    run_label = "Reconstruct"
    drop_label = "Photos, a video, a stereo pair or a ZIP"
    empty = (
        "Your scene appears here",
        "Add photos of one place from different spots, then reconstruct: cameras, depth and a point cloud to look "
        "around in.",
    )
    views = VIEWS
    words = WORDS
    basic = ("stereo_rectified",)

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell, "scene")

    def examples(self) -> list[Example]:
        return [*examples(), *own_examples(self.studio)]

    def advice(self, inputs: Inputs, engine: str) -> str:
        if len(inputs.get("photos")) == 1 and len(inputs.files) == 1 and not self._takes_one(engine):
            return html.note(SINGLE, "warn", html.models_link("See the checkpoints in Models"))
        return ""

    def draw_after(self) -> None:
        """Other choices of points from the saved prediction."""
        with gr.Accordion(
            "Refine the point cloud", open=False, visible=False, elem_id=f"{self.id}-refine"
        ) as self.refine:
            with gr.Row(elem_classes="ls-controls"):
                specs = forms.specs(FilterOptions)
                controls = tuple(control(spec, f"{self.id}-refine", min_width=170) for spec in specs)
            self.filter = OptionsPanel(FilterOptions, tuple(specs), controls)
            self.refilter = gr.Button("Apply", size="md", elem_id=f"{self.id}-refilter")
        self.measure = MeasurePanel(self.studio.runs, self.id)
        self.measure.draw(self.results.run_id)
        root = gallery_root(self.studio.settings)
        if root is not None:
            gallery = SceneGallery(self.studio.runs, self.studio.settings, root, self.id)
            gallery.draw(self.results.run_id, self.shell.secret)

    def wire(self) -> None:
        super().wire()
        applied = self.refilter.click(
            self._refilter,
            [self.results.run_id, self.shell.secret, *self.filter.controls],
            self.results.outputs,
            show_progress_on=self.results.model,
            api_visibility="private",
            concurrency_limit=1,
        )
        self.results.then_view(applied)
        here = [self.results.run_id, self.results.mine]
        self.results.run_id.change(self._offer_refine, here, self.refine, **html.QUIET)
        # Filled when the fold opens: what is not on the page yet does not take values reliably.
        self.refine.expand(self._fill_refine, self.results.run_id, list(self.filter.controls), **html.QUIET)
        self.results.run_id.change(self.measure.offer, self.results.run_id, self.measure.outputs, **html.QUIET)

    def _offer_refine(self, run_id: str, mine: bool) -> Any:
        """The fold, for a finished scene; only its owner may change it."""
        try:
            record = self.studio.runs.get(run_id) if run_id and mine else None
        except NotFound:
            record = None
        offered = record is not None and record.state == "done" and record.first("prediction") is not None
        return gr.update(visible=offered, open=False)

    def _fill_refine(self, run_id: str) -> dict[Component, Any]:
        """The filter of the run on show."""
        try:
            chosen = self.studio.runs.get(run_id).options.get("filter", {}) if run_id else {}
        except NotFound:
            chosen = {}
        return self.filter.fill(chosen)

    def _refilter(self, run_id: str, secret: str | None, request: gr.Request, *values: Any) -> Updates:
        who = caller_of(self.studio.settings, secret, request)
        try:
            who.check_owns(self.studio.runs.get(run_id))
            record = refilter_run(self.studio.runs, run_id, self.filter.build(values))
        except StudioError as error:
            raise gr.Error(error.message, title="Point cloud", print_exception=False) from error
        return self.results.show(record, who)

    def _takes_one(self, engine: str) -> bool:
        """Whether the engine that would run makes depth from one photo: only learned ones do."""
        return any(
            not e.embedded and engine in (AUTO, e.name) and ready_weights(e, self.studio.weights) is not None
            for e in self.pipeline.engines
        )
