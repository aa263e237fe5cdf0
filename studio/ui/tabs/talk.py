"""The Talk tab: a face and a voice in, the face saying it out; with a face picker, a preview, and words to correct."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gradio as gr

from models.runtime.errors import InputError, StudioError
from pipelines import registry
from pipelines.base import Inputs, Options, Pipeline, RunContext
from pipelines.media.sniff import sniff
from pipelines.talk import voice
from pipelines.tracking.face_measure import faces_in_sight
from studio.intake import assign
from studio.ui import components as html
from studio.ui.examples import Example, example_cards
from studio.ui.job_view import JobView, Shell
from studio.ui.options_panel import AUTO, engine_choice, options_panel
from studio.ui.results import ResultsPanel

ID = "talk"
EXAMPLES_DIR = Path(__file__).resolve().parents[3] / "examples" / "talk"
PREVIEW_SECONDS = 3.0
WORDS = {
    "listen": "Listening to the voice",
    "measure": "Following the faces",
    "draw": "Drawing the mouth",
}
SYNTHETIC = (
    "The result is synthetic media. It carries a visible mark (which you can turn off) and says so in its metadata. "
    "Only let people say things they have agreed to."
)


def examples() -> list[Example]:
    """A public-domain portrait that comes with scikit-image and a voice of the project's own."""
    skimage = find_spec("skimage")
    if skimage is None or not skimage.origin:
        return []
    portrait = Path(skimage.origin).parent / "data" / "astronaut.png"
    return [
        Example(title, note, (portrait, recording), portrait)
        for title, note, recording in (("Astronaut", "a photo and a short voice", EXAMPLES_DIR / "hello.wav"),)
        if portrait.is_file() and recording.is_file()
    ]


class TalkTab:
    """Draws the tab inside the page and connects it."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.studio = shell.studio
        self.pipeline: Pipeline = registry.get(ID)
        self.results = ResultsPanel(
            self.studio.runs,
            ID,
            None,
            "Your speaking video appears here",
            "Add a video or photo of one face and a voice. Try three seconds first; a second voice on the same video "
            "starts at once.",
        )
        self.job = JobView(shell, ID, self.results, WORDS)

    def draw(self, tab: gr.Tab) -> None:
        self.tab = tab
        with gr.Row(elem_classes="ls-columns"):
            with gr.Column(scale=4, min_width=330) as self.inputs_column:
                html.block(html.intro(self.pipeline.title, self.pipeline.tagline))
                self._draw_inputs()
            with gr.Column(scale=7, min_width=330):
                self.results.draw()
                self._draw_after()
        self._wire()

    def field_of(self, role: str) -> gr.File:
        """Files of all roles are dropped together."""
        del role
        return self.files

    def _draw_inputs(self) -> None:
        self.files = gr.File(
            label="Video or photo of a face, and a recorded voice",
            file_count="multiple",
            file_types=["image", "video", "audio", ".json"],
            height=140,
            elem_id=f"{ID}-files",
        )
        self.given = html.block(visible=False, elem_id=f"{ID}-given")
        self.source_video = gr.Video(
            label="Source", visible=False, interactive=False, height=220, elem_id=f"{ID}-source-video"
        )
        self.source_photo = gr.Image(
            label="Source", visible=False, interactive=False, height=220, elem_id=f"{ID}-source-photo"
        )
        self.who = html.block(html.note("Several faces are in sight. Pick who speaks."), visible=False)
        self.faces = gr.Gallery(
            label="Faces", show_label=False, visible=False, columns=4, height=136, object_fit="contain",
            elem_id=f"{ID}-faces", allow_preview=False, interactive=False, buttons=[], fit_columns=False,
        )  # fmt: skip
        with gr.Accordion("Record the voice, or type it", open=False, elem_id=f"{ID}-other-voice"):
            self.voice = gr.Audio(
                label="Voice", sources=["microphone", "upload"], type="filepath", elem_id=f"{ID}-voice"
            )
            speaks = voice.installed()
            self.text = gr.Textbox(
                label="What to say",
                info="Spoken by espeak-ng, a separate free program (GPL)" if speaks else "Needs espeak-ng",
                lines=2, interactive=speaks, elem_id=f"{ID}-text",
            )  # fmt: skip
        examples_at = gr.Column()
        self.engine = engine_choice(self.pipeline.engines, elem_id=f"{ID}-engine")
        self.engine_line = html.block(html.engine_line(self.pipeline, AUTO, self.studio.weights))
        with gr.Accordion("Transcript", open=False, elem_id=f"{ID}-words"):
            self.transcript = gr.Textbox(
                label="Transcript (optional)",
                info="The words of the recording make the lips exact. English; other languages "
                + ("too" if speaks else "where espeak-ng is installed"),
                lines=2,
                elem_id=f"{ID}-transcript",
            )
        self.options = options_panel(
            self.pipeline.options,
            skip={"engine", "text", "transcript", "preview_seconds"},
            basic={"mark"},
            prefix=f"{ID}-option",
        )
        with examples_at:
            example_cards(examples(), self.files, self.options, self.studio.settings.limits, ID)
        self.job.draw("Make it speak")
        self.preview = gr.Button(f"Preview {PREVIEW_SECONDS:g} seconds", size="md", elem_id=f"{ID}-preview")
        html.block(html.note(SYNTHETIC))
        html.block(html.licence_line(self.pipeline.engines[-1].licence))

    def _draw_after(self) -> None:
        """What was recognised, to be corrected and used."""
        with gr.Accordion("What was heard", open=False, visible=False, elem_id=f"{ID}-heard") as self.heard_box:
            self.heard = gr.Textbox(
                label="Recognised words", info="Correct them and use them as the transcript of the next run", lines=4
            )
            self.use_heard = gr.Button("Use as transcript", size="md")

    def _wire(self) -> None:
        self.files.change(
            self._look_at,
            [self.files],
            [self.given, self.source_video, self.source_photo, self.who, self.faces],
            **html.QUIET,
        )
        self.faces.select(
            self._pick, None, [self.options.control("faces"), self.options.control("face_number")], **html.QUIET
        )
        opened = [self.shell.page.load, self.tab.select, self.engine.change]
        gr.on(opened, self._engine_line, [self.engine], [self.engine_line], **html.QUIET)
        controls = [self.files, self.voice, self.text, self.transcript, self.engine, *self.options.controls]
        self.job.wire(self._read_whole, controls)
        self.job.wire_run(self.preview, self._read_preview, controls)
        self.results.run_id.change(self._show_heard, [self.results.run_id], [self.heard_box, self.heard], **html.QUIET)
        self.use_heard.click(lambda words: words, [self.heard], [self.transcript], **html.QUIET)

    def _read_whole(self, *values: Any) -> tuple[Inputs, Options]:
        return self._read(0.0, *values)

    def _read_preview(self, *values: Any) -> tuple[Inputs, Options]:
        return self._read(PREVIEW_SECONDS, *values)

    def _read(
        self,
        preview: float,
        files: Sequence[str] | None,
        recorded: str | None,
        text: str,
        transcript: str,
        engine: str,
        *values: Any,
    ) -> tuple[Inputs, Options]:
        inputs = assign(self.pipeline, files)
        if recorded:
            inputs = Inputs({**inputs.files, "voice": (Path(recorded),)})
        words = {"engine": engine, "text": text, "transcript": transcript, "preview_seconds": preview}
        return inputs, self.options.build(values, words)

    def _look_at(self, files: Sequence[str] | None) -> tuple[Any, Any, Any, Any, Any]:
        """Shows the source and, where there are several, its faces to choose from."""
        gone, hidden = gr.update(visible=False, value=None), gr.update(visible=False)
        if not files:
            return gone, gone, gone, hidden, gone
        try:
            source = assign(self.pipeline, files).one("source")
            if source is None:
                note = gr.update(value=html.note("Now add a video or photo of a face."), visible=True)
                return note, gone, gone, hidden, gone
            faces = faces_in_sight(source, self._context())
            if not faces:
                raise InputError("No face is in sight at the start; the run will look through the whole video.")
        except StudioError as error:
            warning = gr.update(value=html.note(error.message, "warn"), visible=True)
            return warning, gone, gone, hidden, gone
        is_photo = sniff(source).kind == "image"
        pictures = [(face, str(number)) for number, face in enumerate(faces, 1)]
        return (
            gone,
            gone if is_photo else gr.update(value=str(source), visible=True),
            gr.update(value=str(source), visible=True) if is_photo else gone,
            gr.update(visible=len(faces) > 1),
            gr.update(value=pictures, visible=True) if len(faces) > 1 else gone,
        )

    def _context(self) -> RunContext:
        studio = self.studio
        return RunContext(studio.settings.temp_dir, studio.settings, studio.cache, studio.weights)

    @staticmethod
    def _pick(event: gr.SelectData) -> tuple[Any, Any]:
        return gr.update(value="number"), gr.update(value=int(event.index) + 1)

    def _engine_line(self, engine: str) -> str:
        return html.engine_line(self.pipeline, engine, self.studio.weights)

    def _show_heard(self, run_id: str) -> tuple[Any, Any]:
        """The recognised words of the run on show."""
        words = ""
        if run_id:
            try:
                stored = json.loads(self.studio.runs.file(run_id, "curves.json").read_text(encoding="utf-8"))
                words = " ".join(word[0] for word in stored.get("words", ()))
            except (StudioError, OSError, ValueError):
                words = ""
        return gr.update(visible=bool(words)), words
