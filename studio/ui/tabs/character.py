"""The Character tab: drawings or a 3D character and a motion - built in, from a file, from a video - make a dance."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from models.runtime.errors import InputError, StudioError
from pipelines.base import Inputs, Options
from pipelines.character.bodies import PIP
from pipelines.character.drawing import segmenter
from pipelines.character.inputs import sort_out
from pipelines.character.options import CharacterOptions
from pipelines.character.pipeline import check_fit, engine_for
from studio.intake import assign
from studio.ui import components as html
from studio.ui.examples import Example
from studio.ui.job_view import Shell
from studio.ui.options_panel import AUTO
from studio.ui.tabs.character_joints import JointsPanel
from studio.ui.tabs.pipeline_tab import PipelineTab

ID = "character"
EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
WORDS = {
    "draw": "Drawing the frames",
    "udp": "Writing the UDP frames",
    "body_prepare": "Looking at the video",
    "body_measure": "Following the dancer",
    "body_regress": "Following the dancer",
    "body_solve": "Bending the joints",
    "body_draw": "Following the dancer",
    "body_finish": "Writing the motion",
}


class CharacterTab(PipelineTab):
    """Adds the motion, music and a background picture to the plain tab."""

    run_label = "Let it dance"
    drop_label = "Character: drawings or GLB"
    empty = (
        "Your dance appears here",
        "Add drawings of one character or a 3D model, and choose a motion: a built-in one, a BVH file, a result of the "
        "Body tab, or a video of somebody dancing. With nothing added, the studio's own Pip dances.",
    )
    words = WORDS

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell, ID)

    def examples(self) -> list[Example]:
        """The studio's own character in both moves and after a video; a drawing of its own."""
        found = []
        shots = EXAMPLES / "character"
        for move, title, note in (("dance", "Pip dances", "built-in motion"), ("wave", "Pip waves", "built-in motion")):
            if (shots / f"{move}.jpg").is_file():
                found.append(Example(title, note, (PIP,), shots / f"{move}.jpg", {"move": move}))
        drawing = shots / "drawing.png"
        if drawing.is_file() and (shots / "drawing.jpg").is_file():
            given = (drawing, shots / "drawing.yaml")
            found.append(Example("A drawing dances", "paper puppet", given, shots / "drawing.jpg", {"move": "dance"}))
        video, shot = EXAMPLES / "body" / "walking.mp4", EXAMPLES / "body" / "walking.jpg"
        if video.is_file() and shot.is_file():
            found.append(Example("Pip walks along", "after a video", (PIP, video), shot, {"range_end": 2.0}))
        return found

    def draw_more(self) -> Sequence[Component]:
        """The motion, music and the background picture."""
        html.block(html.note("Both may stay empty: without a character Pip dances, without a motion the built-in one."))
        self.motion = gr.File(
            label="Motion: video, BVH, NPZ or UDPs",
            file_count="multiple",
            height=130,
            elem_id=f"{ID}-motion",
        )
        with gr.Accordion("Music and background picture", open=False, elem_id=f"{ID}-extras"):
            self.music = gr.Audio(label="Music", sources=["upload"], type="filepath", elem_id=f"{ID}-music")
            self.backdrop = gr.File(
                label="Picture behind the character (choose Background: image)",
                file_types=["image"],
                height=100,
                elem_id=f"{ID}-backdrop",
            )
        self.joints = JointsPanel(self.studio, lambda: segmenter(self.studio.cache, self.studio.weights), ID)
        self.joints.draw()
        return (self.motion, self.music, self.backdrop, self.joints.fitting)

    def field_of(self, role: str) -> gr.File:
        """Motions have a field of their own."""
        return self.motion if role == "motion" else self.files

    def with_more(self, inputs: Inputs, values: Sequence[Any]) -> Inputs:
        motion, music, backdrop, fitting = values
        files = dict(self.joints.apply(inputs, fitting).files)
        if motion:
            files["motion"] = (*files.get("motion", ()), *(Path(p) for p in motion))
        if music:
            files["music"] = (Path(music),)
        if backdrop:
            files["backdrop"] = (Path(backdrop),)
        return Inputs(files)

    def wire(self) -> None:
        super().wire()
        self.joints.wire(self.files)
        looked = [self.files, self.engine, self.motion]
        gr.on([self.motion.change, self.engine.change], self._look_at_all, looked, [self.given], **html.QUIET)

    def _read(self, files: Sequence[str] | None, engine: str, *values: Any) -> tuple[Inputs, Options]:
        more = len(self.more)
        inputs = self.with_more(self._assigned(files), values[:more])
        given: dict[str, Any] = {"engine": engine}
        if inputs.one("backdrop") is not None and values[2]:
            given["background"] = "image"
        return inputs, self.options.build(values[more:], given)

    def _assigned(self, files: Sequence[str] | None) -> Inputs:
        return assign(self.pipeline, files) if files else Inputs({"model": (PIP,)})

    def _look_at(self, files: Sequence[str] | None, engine: str) -> Any:
        shown = super()._look_at(files, engine)
        return shown if files else gr.update(visible=False)

    def _look_at_all(self, files: Sequence[str] | None, engine: str, motion: Sequence[str] | None) -> Any:
        """What will happen with the files and the motion together, or why it cannot."""
        if not files and not motion:
            return gr.update(visible=False)
        try:
            inputs = self.with_more(self._assigned(files), (motion, None, None, None))
            shown = self.advice(inputs, engine)
        except StudioError as error:
            shown = html.note(error.message, "bad")
        return gr.update(value=shown, visible=bool(shown))

    def advice(self, inputs: Inputs, engine: str) -> str:
        """Which engine these files call for."""
        name = engine or AUTO
        with tempfile.TemporaryDirectory(dir=_ready(self.studio.settings.temp_dir)) as folder:
            given = sort_out(inputs, False, Path(folder), self.studio.settings.limits)
        chosen = engine_for(given, CharacterOptions(engine=name), self.studio.weights)
        check_fit(chosen, given)
        title = next(e.title for e in self.pipeline.engines if e.name == chosen)
        sheet = given.sheet
        words = f"Drawn by: {title}."
        if chosen == "puppet" and len(sheet.drawings) > 1:
            words += f" It takes one drawing: {sheet.drawings[0].name}."
        if given.motion.kind == "video":
            words += " The Body tab's engine follows the person in the video first."
        return html.note(words)


def _ready(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The studio cannot write to {folder}: {error.strerror}") from error
    return folder
