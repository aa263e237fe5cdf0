"""Measuring in a finished scene: click two points of a view, read how far apart they are."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.components import Component

from models.runtime.errors import NotFound, StudioError
from pipelines.scene.measure import distance, marked, place_at, shown_scale
from pipelines.scene.prediction import Prediction
from studio.runs import RunStore
from studio.ui import components as html

_HINT = "Click two points of the photo."


class MeasurePanel:
    """A view to click into, what was measured, and a known length to turn it into metres."""

    def __init__(self, runs: RunStore, prefix: str) -> None:
        self.runs = runs
        self.prefix = prefix

    def draw(self, run_id: gr.State) -> None:
        """Draws the panel here; ``run_id`` is the run on show."""
        with gr.Accordion("Measure", open=False, visible=False, elem_id=f"{self.prefix}-measure") as self.box:
            with gr.Row(elem_classes="ls-controls"):
                self.view = gr.Dropdown([], label="View", interactive=True, elem_id=f"{self.prefix}-measure-view")
                self.known = gr.Number(
                    value=None,
                    minimum=0,
                    label="Known length in metres",
                    info="After two clicks: their true distance. Further distances are then metres.",
                    elem_id=f"{self.prefix}-measure-known",
                )
            self.image = gr.Image(
                show_label=False, interactive=False, height=420, elem_id=f"{self.prefix}-measure-image"
            )
            self.text = html.block(html.note(_HINT))
        self.clicks = gr.State([])  # pixels (column, row) of the view on show
        self.unit = gr.State(0.0)  # metres per unit of the scene; 0 while unknown
        self.last = gr.State(0.0)  # the last distance, in units of the scene
        shown = [self.image, self.text, self.clicks]
        self.view.input(self._show, [run_id, self.view], shown, **html.QUIET)
        self.image.select(self._click, [run_id, self.view, self.clicks, self.unit], [*shown, self.last], **html.QUIET)
        self.known.submit(self._scale, [self.known, self.last], [self.unit, self.text], **html.QUIET)
        self.known.blur(self._scale, [self.known, self.last], [self.unit, self.text], **html.QUIET)

    @property
    def outputs(self) -> list[Component]:
        """What ``offer`` fills."""
        return [self.box, self.view, self.image, self.text, self.clicks, self.unit, self.last]

    def offer(self, run_id: str) -> dict[Component, Any]:
        """The panel for a finished scene, hidden otherwise. Looking at a run is enough to measure in it."""
        try:
            record = self.runs.get(run_id) if run_id else None
        except NotFound:
            record = None
        if record is None or record.state != "done" or record.first("prediction") is None:
            return {self.box: gr.update(visible=False)}
        names = [o.title for o in record.outputs if o.role == "photo"]
        image, text, clicks = self._show(record.id, 0)
        return {
            self.box: gr.update(visible=True),
            self.view: gr.update(choices=[(name, i) for i, name in enumerate(names)], value=0),
            self.image: image,
            self.text: text,
            self.clicks: clicks,
            self.unit: 0.0,
            self.last: 0.0,
        }

    def _load(self, run_id: str) -> Prediction:
        output = self.runs.get(run_id).first("prediction")
        return Prediction.load(self.runs.file(run_id, output.path))

    def _show(self, run_id: str, view: int | None) -> tuple[Any, str, list]:
        if not run_id or view is None:
            return None, html.note(_HINT), []
        return marked(self._load(run_id).view(int(view))[2]), html.note(_HINT), []

    def _click(
        self, run_id: str, view: int | None, clicks: list, unit: float, event: gr.SelectData
    ) -> tuple[Any, str, list, float]:
        """One more point; the third starts anew."""
        if not run_id or view is None:
            return gr.skip(), gr.skip(), clicks, 0.0
        prediction = self._load(run_id)
        scale = shown_scale(prediction.view(int(view))[2])
        pixel = [(n + 0.5) / scale - 0.5 for n in event.index]
        clicks = [*(clicks if len(clicks) < 2 else []), pixel]
        try:
            places = tuple(place_at(prediction, int(view), *pixel) for pixel in clicks)
        except StudioError as error:
            return gr.skip(), html.note(error.message, "warn"), clicks[:-1], 0.0
        factor, word = (1.0, "m") if prediction.metric else (unit, "m") if unit else (1.0, "units (arbitrary scale)")
        lines = [f"Point {i}: depth {p.depth * factor:.3f} {word}" for i, p in enumerate(places, start=1)]
        length = distance(*places) if len(places) == 2 else 0.0
        if len(places) == 2:
            lines.append(f"Distance: {length * factor:.3f} {word}")
        return marked(prediction.view(int(view))[2], places), html.note(lines), clicks, length

    @staticmethod
    def _scale(known: float | None, last: float) -> tuple[float, Any]:
        """Metres per unit from the true length of what was measured last."""
        if not known or known <= 0:
            return 0.0, gr.skip()
        if not last:
            return 0.0, html.note("Click two points first, then type how far apart they are.", "warn")
        return known / last, html.note(f"Distance: {known:.3f} m. Further distances are metres too.")
