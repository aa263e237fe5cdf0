"""The Face tab: photos or a video into textured heads; somebody else's expression on them; faces to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.data_classes import FileData

from models.runtime.errors import StudioError
from pipelines.base import Inputs, RunContext
from pipelines.tracking.face_measure import faces_in_sight
from studio.intake import assign
from studio.ui import components as html
from studio.ui.examples import Example
from studio.ui.job_view import Shell
from studio.ui.results import Views
from studio.ui.tabs.face_pose import PosePanel
from studio.ui.tabs.pipeline_tab import PipelineTab

VIEWS = Views(base="photo", layers=(("Head", "render"), ("Landmarks", "landmarks"), ("Depth", "depth")))
WORDS = {
    "faces": "Looking for faces",
    "measure": "Following the faces",
    "texture": "Painting the head",
    "transfer": "Reading the expression",
    "animate": "Drawing the head",
}


def examples() -> list[Example]:
    """A public-domain portrait that comes with scikit-image."""
    skimage = find_spec("skimage")
    if skimage is None or not skimage.origin:
        return []
    portrait = Path(skimage.origin).parent / "data" / "astronaut.png"
    return [Example("Astronaut", "a photo", (portrait,), portrait)] if portrait.is_file() else []


def _as_recorded(file: FileData | None) -> str | None:
    """A recording as the browser sent it. It has no sound: what would take that out of it needs an ffmpeg program."""
    return file.path if file else None


def _taken(file: str | None) -> Any:
    """What the camera took becomes the tab's only file; taking it away changes nothing."""
    return [file] if file else gr.skip()


class FaceTab(PipelineTab):
    """Adds the face picker, the expression to take over, and the comparison of photo, head, landmarks and depth."""

    run_label = "Make the head"
    drop_label = "Photos or a video of faces"
    empty = (
        "Your head appears here",
        "Add a photo or a video of a face: a textured 3D head with its camera, landmarks and depth, and for videos the "
        "curves of its expression.",
    )
    views = VIEWS
    words = WORDS
    basic = ("faces",)

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell, "face")

    def examples(self) -> list[Example]:
        return examples()

    def draw_more(self) -> Sequence[Component]:
        """The faces in sight to choose from, and the expression to take over."""
        self.several = html.block(html.note("Several faces: pick one, or keep all."), visible=False)
        self.faces = gr.Gallery(
            show_label=False,
            visible=False,
            columns=6,
            height=130,
            elem_id=f"{self.id}-faces",
            allow_preview=False,
            interactive=False,
        )
        with gr.Accordion("Use the camera", open=False, elem_id=f"{self.id}-camera"), gr.Tabs():
            with gr.Tab("Photo"):
                self.snapshot = gr.Image(
                    sources=["webcam"],
                    type="filepath",
                    show_label=False,
                    webcam_options=gr.WebcamOptions(mirror=False),
                    height=260,
                    elem_id=f"{self.id}-snapshot",
                )
            with gr.Tab("Video"):
                self.recording = gr.Video(
                    sources=["webcam"],
                    show_label=False,
                    webcam_options=gr.WebcamOptions(mirror=False),
                    include_audio=False,
                    height=260,
                    elem_id=f"{self.id}-recording",
                )
                self.recording.preprocess = _as_recorded
        with gr.Accordion("Take over an expression", open=False):
            self.driver = gr.File(
                label="Photo or video whose expression the first head takes",
                file_types=["image", "video"],
                height=110,
                elem_id=f"{self.id}-driver",
            )
        return (self.driver,)

    def draw_after(self) -> None:
        """The head to pose again."""
        self.pose = PosePanel(self.studio.runs, self.id)
        self.pose.draw(self.results.run_id)

    def with_more(self, inputs: Inputs, values: Sequence[Any]) -> Inputs:
        driver = values[0]
        return Inputs({**inputs.files, "driver": (Path(driver),)}) if driver else inputs

    def wire(self) -> None:
        super().wire()
        self.files.change(self._pick_from, [self.files], [self.faces, self.several], **html.QUIET)
        self.faces.select(
            self._picked, None, [self.options.control("faces"), self.options.control("face_number")], **html.QUIET
        )

        for camera in (self.snapshot, self.recording):
            camera.change(_taken, camera, self.files, **html.QUIET)
        self.results.run_id.change(self.pose.offer, self.results.run_id, self.pose.outputs, **html.QUIET)

    def _pick_from(self, files: Sequence[str] | None) -> tuple[Any, Any]:
        """The faces of the only photo or of the video's start, where there are several."""
        gone = gr.update(visible=False, value=None), gr.update(visible=False)
        if not files or len(files) != 1:
            return gone
        studio = self.studio
        context = RunContext(studio.settings.temp_dir, studio.settings, studio.cache, studio.weights)
        try:
            source = assign(self.pipeline, files).one("source")
            found = faces_in_sight(source, context) if source else []
        except StudioError:  # the run tells what is wrong with the file, and the note above already has
            return gone
        if len(found) < 2:
            return gone
        shown = gr.update(value=[(face, str(n)) for n, face in enumerate(found, 1)], visible=True)
        return shown, gr.update(visible=True)

    @staticmethod
    def _picked(event: gr.SelectData) -> tuple[Any, Any]:
        return gr.update(value="number"), gr.update(value=int(event.index) + 1)
