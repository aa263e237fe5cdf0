"""The tab of any pipeline: drop files, choose, run, look. Pipelines with more to show build their own tab on it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import gradio as gr
from gradio.components import Component

from models.runtime.errors import StudioError, WeightsMissing
from pipelines import registry
from pipelines.base import Inputs, Options, Pipeline, choose_engine
from studio.intake import assign, wanted
from studio.ui import components as html
from studio.ui.examples import Example, example_cards
from studio.ui.job_view import JobView, Shell
from studio.ui.options_panel import AUTO, engine_choice, options_panel
from studio.ui.results import ResultsPanel, Views
from studio.ui.thumbs import strip

_SUFFIXES = {"image": "image", "video": "video", "audio": "audio"}


class PipelineTab:
    """Draws the tab inside the page and connects it.

    What subclasses may state: ``run_label``, ``drop_label``, ``empty`` (title and text), ``views``, ``words`` for the
    stages, ``basic`` options that stay in sight; and what they may override: ``examples``, ``advice``, ``draw_more``,
    ``with_more``, ``draw_after`` and ``wire``.
    """

    run_label = "Run"
    drop_label = ""
    empty = ("Your result appears here", "Add files on the left, then run.")
    views: Views | None = None
    words: Mapping[str, str] = {}
    basic: Collection[str] = ()

    def __init__(self, shell: Shell, pipeline_id: str) -> None:
        self.shell = shell
        self.studio = shell.studio
        self.id = pipeline_id
        self.pipeline: Pipeline = registry.get(pipeline_id)
        self.results = ResultsPanel(self.studio.runs, self.id, self.views, *self.empty)
        self.job = JobView(shell, self.id, self.results, self.words)

    def draw(self, tab: gr.Tab) -> None:
        self.tab = tab
        with gr.Row(elem_classes="ls-columns"):
            with gr.Column(scale=4, min_width=330) as self.inputs_column:
                html.block(html.intro(self.pipeline.title, self.pipeline.tagline))
                self._draw_inputs()
            with gr.Column(scale=7, min_width=330):
                self.results.draw()
                self.draw_after()
        self.wire()

    def examples(self) -> list[Example]:
        """Files that ship with the product and run in seconds."""
        return []

    def advice(self, inputs: Inputs, engine: str) -> str:
        """A note (HTML) on inputs that the chosen engine cannot make the best of, or an empty text."""
        return ""

    def draw_more(self) -> Sequence[Component]:
        """Draws further controls below the files; their values go to ``with_more``."""
        return ()

    def with_more(self, inputs: Inputs, values: Sequence[Any]) -> Inputs:
        """The inputs together with what the further controls give."""
        return inputs

    def draw_after(self) -> None:
        """Draws what can be done with a result, below it."""

    def wire(self) -> None:
        """Connects the controls."""
        # Also when the page or the tab is opened: a checkpoint may have come or gone since.
        gr.on(
            [self.shell.page.load, self.tab.select, self.engine.change],
            self._engine_lines,
            self.engine,
            [self.engine_line, self.licence],
            **html.QUIET,
        )
        self.files.change(self._look_at, [self.files, self.engine], [self.given], **html.QUIET)
        self.job.wire(self._read, [self.files, self.engine, *self.more, *self.options.controls])

    def field_of(self, role: str) -> gr.File:
        """Where files of a role are dropped."""
        del role
        return self.files

    def _draw_inputs(self) -> None:
        words = wanted(self.pipeline)
        self.files = gr.File(
            label=self.drop_label or words[:1].upper() + words[1:],
            file_count="multiple",
            file_types=self._file_types(),
            height=150,
            elem_id=f"{self.id}-files",
        )
        self.given = html.block(visible=False, elem_id=f"{self.id}-given")
        self.more = tuple(self.draw_more())
        examples_at = gr.Column()
        self.engine = engine_choice(self.pipeline.engines, elem_id=f"{self.id}-engine")
        self.engine_line = html.block(elem_id=f"{self.id}-engine-line")
        self.options = options_panel(
            self.pipeline.options, skip={"engine"}, basic=self.basic, prefix=f"{self.id}-option"
        )
        with examples_at:
            example_cards(self.examples(), self.files, self.options, self.studio.settings.limits, self.id)
        self.job.draw(self.run_label)
        self.licence = html.block()

    def _file_types(self) -> list[str] | None:
        """What the file chooser offers; None is everything. The content decides later in any case."""
        kinds = {kind for role in self.pipeline.roles for kind in role.kinds}
        if kinds <= {*_SUFFIXES, "archive", "folder"}:
            archives = [".zip", ".tar", ".gz"] if kinds & {"archive", "folder"} else []
            return [*(_SUFFIXES[k] for k in sorted(kinds & set(_SUFFIXES))), *archives]
        return None

    def _read(self, files: Sequence[str] | None, engine: str, *values: Any) -> tuple[Inputs, Options]:
        more = len(self.more)
        inputs = self.with_more(assign(self.pipeline, files), values[:more])
        return inputs, self.options.build(values[more:], {"engine": engine})

    def _engine_lines(self, engine: str | None) -> tuple[str, str]:
        """Which engine will run and why, and its terms."""
        name = engine or AUTO
        try:
            licence = choose_engine(self.pipeline, name, self.studio.weights).licence
        except WeightsMissing:
            licence = ""
        return html.engine_line(self.pipeline, name, self.studio.weights), html.licence_line(licence)

    def _look_at(self, files: Sequence[str] | None, engine: str) -> Any:
        """Shows what was dropped, and says at once what cannot work."""
        if not files:
            return gr.update(visible=False)
        try:
            inputs = assign(self.pipeline, files)
            pictures = [p for role in self.pipeline.roles if role.kinds == ("image",) for p in inputs.get(role.name)]
            shown = strip(pictures, self.studio.settings.limits) + self.advice(inputs, engine)
        except StudioError as error:
            shown = html.note(error.message, "bad")
        return gr.update(value=shown, visible=bool(shown))
