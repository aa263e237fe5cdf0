"""The results panel: one finished run, shown by what its outputs are - 3D, views, video, plots - with downloads.

The same panel serves a job that has just ended, a run opened from the Gallery and a durable link.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
import plotly.graph_objects as go
import plotly.io as pio
from gradio.components import Component
from gradio.events import Dependency
from pydantic import ValidationError

from models.runtime.errors import NotFound, StudioError
from pipelines import registry
from studio import forms
from studio.privacy import Caller
from studio.runs import OutputRecord, RunRecord, RunStore
from studio.ui import components as html
from studio.ui.framing import camera_distance
from studio.ui.handover import Handover
from studio.ui.serving import address, lend, shown

_HIDDEN_ROLES = {"poster", "photo"}
_DOWNLOAD = """(address) => {
  const link = Object.assign(document.createElement("a"), { href: address, download: "" });
  document.body.append(link);
  link.click();
  link.remove();
}"""
_VIEW = """async (address) => {
  if (!address) return null;
  for (let i = 0; i < 100 && !document.querySelector("#ID"); i++) await new Promise((go) => setTimeout(go, 50));
  await new Promise((go) => setTimeout(go, 150));
  const url = new URL(address, document.baseURI).href;
  const name = decodeURIComponent(address.split("/").pop());
  return { path: url, url, orig_name: name, meta: { _type: "gradio.FileData" } };
}"""
_MOST_PICTURES = 60
_NEARLY_LEVEL = 84  # degrees from the zenith: a look from just above eye height
Updates = dict[Component, Any]


@dataclass(frozen=True)
class Views:
    """Pictures that belong together view by view: the original, and layers to compare it with."""

    base: str
    layers: tuple[tuple[str, str], ...]  # (title, role)


@dataclass
class ResultsPanel:
    """The panel's components and how a record fills them. ``prefix`` keeps element ids apart between tabs."""

    runs: RunStore
    prefix: str
    views: Views | None = None
    empty_title: str = "Your result appears here"
    empty_text: str = ""
    outputs: list[Component] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.handover = Handover(self.runs, self.prefix)

    def draw(self) -> None:
        """Draws the panel here."""
        self.run_id = gr.State("")
        self.mine = gr.State(False)  # whether the visitor may change the run on show
        self.empty = html.block(html.empty_state(self.empty_title, self.empty_text))
        self.head = html.block(visible=False, elem_id=f"{self.prefix}-result-head")
        self.warnings = html.block(visible=False)
        with gr.Tabs(visible=False, elem_id=f"{self.prefix}-result-tabs") as self.tabs:
            with gr.Tab("3D", id="model", visible=False) as self.model_tab:
                self.shape = _chooser()
                self.model = gr.Model3D(
                    show_label=False,
                    height="min(62vh, 560px)",
                    clear_color=(0.0, 0.0, 0.0, 0.0),
                    interactive=False,
                    elem_id=f"{self.prefix}-model",
                    elem_classes="ls-model3d",
                )
            with gr.Tab("Views", id="views", visible=False) as self.views_tab:
                self._draw_views()
            with gr.Tab("Video", id="video", visible=False) as self.video_tab:
                self.which_video = _chooser()
                self.video = gr.Video(
                    show_label=False, interactive=False, autoplay=False, loop=True, height=460,
                    elem_id=f"{self.prefix}-video",
                )  # fmt: skip
            with gr.Tab("Pictures", id="pictures", visible=False) as self.pictures_tab:
                self.pictures = gr.Gallery(
                    show_label=False, interactive=False, columns=4, height=460, object_fit="contain",
                    elem_id=f"{self.prefix}-pictures",
                )  # fmt: skip
            with gr.Tab("Plot", id="plot", visible=False) as self.plot_tab:
                self.which_plot = _chooser()
                self.plot = gr.Plot(show_label=False, elem_id=f"{self.prefix}-plot")
            with gr.Tab("Details", id="details") as self.details_tab:
                self.details = html.block()
        self.stats = html.block(visible=False)
        self.files = html.block(visible=False, elem_id=f"{self.prefix}-files-row")
        self.handover.draw()
        self.address = gr.Textbox(container=False, elem_classes="ls-bridge")
        self._hand_over(self.shape.input(*self._telling, **html.QUIET))
        for which, component in ((self.which_video, self.video), (self.which_plot, self.plot)):
            which.input(self._pick_output, [self.run_id, which], component, **html.QUIET)
        self._draw_zip()
        self.outputs = [
            self.run_id, self.mine, self.empty, self.head, self.warnings, self.tabs, self.model_tab, self.shape,
            self.model, self.views_tab, self.view, self.layer, self.slider, self.video_tab, self.which_video,
            self.video, self.pictures_tab, self.pictures, self.plot_tab, self.which_plot, self.plot, self.details,
            self.stats, self.files, self.handover.row,
        ]  # fmt: skip

    def then_view(self, shown_by: Dependency) -> None:
        """Puts the model into the viewer after the event that showed a run.

        The viewer forgets a file that it is given before it is on the page, or when any other property of it changes
        while its drawing code still loads, as the end of every event on the server does. So the server only tells the
        address and where the camera stands, and the page itself waits for the viewer and hands the file over.
        """
        self._hand_over(shown_by.success(*self._telling, **html.QUIET))

    def _hand_over(self, told: Dependency) -> None:
        js = _VIEW.replace("ID", f"{self.prefix}-model")
        told.success(None, self.address, self.model, js=js, api_visibility="private")

    @property
    def _telling(self) -> tuple[Any, list[Component], list[Component]]:
        return self._tell_model, [self.run_id, self.shape], [self.address, self.model]

    def _tell_model(self, run_id: str, shape: str | None) -> tuple[str, Any]:
        if not run_id:
            return "", None
        try:
            models = self._models(self.runs.get(run_id))
            chosen = next((o for o in models if o.path == shape), models[0] if models else None)
            if chosen is None:
                return "", None
            path = shown(self.runs, run_id, chosen.path)
        except StudioError as error:
            raise gr.Error(error.message, print_exception=False) from error
        distance = camera_distance(Path(path))
        camera = (None, None if distance is None else _NEARLY_LEVEL, distance)
        return address(path), gr.update(value=None, camera_position=camera)

    @staticmethod
    def _models(record: RunRecord) -> list[OutputRecord]:
        """What the viewer can show, GLB before other formats."""
        found = [o for o in record.outputs if o.kind in ("model3d", "splat")]
        return sorted(found, key=lambda o: not o.path.endswith(".glb"))

    def _draw_views(self) -> None:
        titles = [title for title, _ in self.views.layers] if self.views else ["-"]
        with gr.Row(elem_classes="ls-views-bar"):
            self.view = gr.Dropdown([], label="View", interactive=True, elem_id=f"{self.prefix}-view", scale=3)
            self.layer = gr.Radio(titles, value=titles[0], label="Compare the photo with", interactive=True, scale=2)
        self.slider = gr.ImageSlider(
            show_label=False, interactive=False, type="filepath", max_height=520, elem_id=f"{self.prefix}-slider"
        )
        gr.on(
            [self.view.input, self.layer.input],
            self._pick_view,
            [self.run_id, self.view, self.layer],
            self.slider,
            **html.QUIET,
        )

    def _draw_zip(self) -> None:
        """A ZIP is packed when it is asked for; the page then follows its address."""
        button = gr.Button(elem_classes="ls-bridge", elem_id=f"{self.prefix}-zip")
        target = gr.Textbox(container=False, elem_classes="ls-bridge")
        packed = button.click(self._zip, self.run_id, target, **html.QUIET)
        packed.success(None, target, None, js=_DOWNLOAD, api_visibility="private")

    def _zip(self, run_id: str) -> str:
        if not run_id:
            raise gr.Error("There is no result to download yet", print_exception=False)
        try:
            return address(lend(self.runs.settings, run_id, self.runs.zip(run_id)))
        except StudioError as error:
            raise gr.Error(error.message, print_exception=False) from error

    def _pick_view(self, run_id: str, view: int | None, layer: str) -> Any:
        if not run_id or view is None:
            return gr.skip()
        try:
            return self._pair(self.runs.get(run_id), int(view), layer)
        except StudioError as error:
            raise gr.Error(error.message, print_exception=False) from error

    def _pick_output(self, run_id: str, path: str | None) -> Any:
        """Another video or plot of the run on show."""
        if not run_id or not path:
            return gr.skip()
        try:
            record = self.runs.get(run_id)
            return self._value(record, next(o for o in record.outputs if o.path == path))
        except (StudioError, StopIteration) as error:
            raise gr.Error("This result is gone", print_exception=False) from error

    def clear(self) -> Updates:
        """An empty panel."""
        return {
            **self._nothing(),
            self.empty: gr.update(value=html.empty_state(self.empty_title, self.empty_text), visible=True),
        }

    def busy(self) -> Updates:
        """The panel while a job runs."""
        words = "Stay and watch, or come back later: the job goes on, and its result will be in the Gallery."
        return {**self._nothing(), self.empty: gr.update(value=html.empty_state("Working on it", words), visible=True)}

    def _nothing(self) -> Updates:
        gone = gr.update(visible=False)
        return {
            self.run_id: "",
            self.empty: gone,
            self.head: gone,
            self.warnings: gone,
            self.tabs: gone,
            self.stats: gone,
            self.files: gone,
            self.handover.row: gone,
            self.model: None,
        }

    def show(self, record: RunRecord, who: Caller) -> Updates:
        """A finished run. Failed and cancelled ones say so and show what there is."""
        updates = self._nothing()
        updates[self.run_id] = record.id
        updates[self.mine] = who.owns(record)
        updates[self.head] = gr.update(value=self._head(record, who), visible=True)
        notes = self._notes(record)
        updates[self.warnings] = gr.update(value=notes, visible=bool(notes))
        if record.state != "done":
            return updates
        self._show_files(record, updates)
        return updates

    def _show_files(self, record: RunRecord, updates: Updates) -> None:
        selected = "details"
        for kind, tab, which, component in (
            ("plot", self.plot_tab, self.which_plot, self.plot),
            ("video", self.video_tab, self.which_video, self.video),
        ):
            found = [o for o in record.outputs if o.kind == kind]
            label = {"label": found[0].title if len(found) == 1 else f"{kind.capitalize()}s"} if found else {}
            updates[tab] = gr.update(visible=bool(found), **label)
            choices = [(o.title, o.path) for o in found]
            first = found[0].path if found else None
            updates[which] = gr.update(choices=choices, value=first, visible=len(found) > 1)
            updates[component] = self._value(record, found[0]) if found else None
            selected = kind if found else selected
        pictures = self._pictures(record)
        updates[self.pictures_tab] = gr.update(visible=bool(pictures))
        updates[self.pictures] = [(self._value(record, o), o.title) for o in pictures]
        selected = "pictures" if pictures and selected in ("details", "plot") else selected
        models = self._models(record)
        shapes = [(o.title, o.path) for o in models]
        value = models[0].path if models else None
        updates[self.model_tab] = gr.update(visible=bool(models))
        updates[self.shape] = gr.update(choices=shapes, value=value, visible=len(models) > 1)
        selected = "model" if models else selected
        pairs = len(self._of(record, self.views.base)) if self.views else 0
        updates[self.views_tab] = gr.update(visible=pairs > 0)
        if pairs and self.views:
            names = [(o.title, i) for i, o in enumerate(self._of(record, self.views.base))]
            title = self.views.layers[0][0]
            updates[self.view] = gr.update(choices=names, value=0, visible=pairs > 1)
            updates[self.layer] = gr.update(value=title)
            updates[self.slider] = self._pair(record, 0, title)
        updates[self.tabs] = gr.update(visible=True, selected=selected)
        updates[self.details] = _details(record)
        updates[self.stats] = gr.update(value=html.stats(record.summary), visible=bool(record.summary))
        updates[self.files] = gr.update(value=html.file_row(self._links(record)), visible=True)
        updates[self.handover.row] = self.handover.offers(record)

    def _pictures(self, record: RunRecord) -> list[OutputRecord]:
        """Pictures that are not views of their own; no more than can be looked through."""
        views = {self.views.base, *(role for _, role in self.views.layers)} if self.views else set()
        found = [o for o in record.outputs if o.kind == "image" and o.role not in views | _HIDDEN_ROLES]
        return found[:_MOST_PICTURES]

    def _value(self, record: RunRecord, output: OutputRecord) -> Any:
        path = shown(self.runs, record.id, output.path)
        return _figure(Path(path)) if output.kind == "plot" else path

    def _pair(self, record: RunRecord, index: int, layer: str) -> tuple[str, str]:
        if self.views is None:
            raise NotFound("This result has no views to compare")
        role = next((role for title, role in self.views.layers if title == layer), self.views.layers[0][1])
        base, other = self._of(record, self.views.base), self._of(record, role)
        if not (0 <= index < len(base) and index < len(other)):
            raise NotFound("This result has no such view")
        return (shown(self.runs, record.id, base[index].path), shown(self.runs, record.id, other[index].path))

    @staticmethod
    def _of(record: RunRecord, role: str) -> list[OutputRecord]:
        return [o for o in record.outputs if o.role == role]

    def _head(self, record: RunRecord, who: Caller) -> str:
        badges = {"failed": "bad", "cancelled": "warn"}
        state = "" if record.state == "done" else html.badge(record.state, badges.get(record.state, "plain"))
        engine = html.badge(engine_title(record)) if record.engine else ""
        mine = "" if who.owns(record) else html.badge("read only", "plain")
        seconds = (record.finished or 0) - (record.started or 0) if record.finished and record.started else 0
        took = f", took {_seconds(seconds)}" if record.state == "done" else ""
        when = f"<span>{html.age_text(record.created)}{took}</span>"
        return (
            f'<div class="ls-result-head"><div class="ls-badge-line">{engine}{state}{mine}{when}</div>'
            f"{html.link_field(record.id)}</div>"
        )

    @staticmethod
    def _notes(record: RunRecord) -> str:
        if record.state == "failed":
            return html.note(record.error or "This run failed.", "bad")
        if record.state == "cancelled":
            return html.note("This run was stopped before it ended; it has no results.", "warn")
        return html.note(record.warnings, "warn") if record.warnings else ""

    def _links(self, record: RunRecord) -> Iterable[html.FileLink]:
        size = _sum_sizes(self.runs, record)
        yield html.FileLink("", "Everything", "ZIP", size, press=f"{self.prefix}-zip")
        many: dict[str, int] = {}
        for output in record.outputs:
            many[output.role] = many.get(output.role, 0) + 1
        for output in record.outputs:
            if output.role in _HIDDEN_ROLES or many[output.role] > 1:
                continue
            path = Path(shown(self.runs, record.id, output.path))
            yield html.FileLink(address(str(path)), output.title, path.suffix[1:].upper(), path.stat().st_size)


def _chooser() -> gr.Radio:
    """Which of several outputs of a kind is on show; hidden while there is but one."""
    return gr.Radio([], show_label=False, container=False, interactive=True, visible=False)


def engine_title(record: RunRecord) -> str:
    """The title of the engine a run used; its name where the engine is gone."""
    try:
        engines = registry.get(record.pipeline).engines
    except NotFound:
        return record.engine
    return next((e.title for e in engines if e.name == record.engine), record.engine)


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else html.duration_text(seconds)


def _sum_sizes(runs: RunStore, record: RunRecord) -> int:
    folder = runs.folder(record.id)
    return sum((folder / o.path).stat().st_size for o in record.outputs if (folder / o.path).is_file())


def _figure(path: Path) -> go.Figure:
    """A saved plotly figure in colours that read on light and dark pages."""
    figure = pio.from_json(path.read_text(encoding="utf-8"))
    line = "rgba(128,140,136,.35)"
    axis = {"backgroundcolor": "rgba(0,0,0,0)", "gridcolor": line, "zerolinecolor": line}
    return figure.update_layout(
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "#7c8985", "family": "IBM Plex Sans, sans-serif"},
        scene={"xaxis": axis, "yaxis": axis, "zaxis": axis},
        margin={"l": 0, "r": 0, "t": 24, "b": 0},
        height=480,
    )


def _details(record: RunRecord) -> str:
    """Inputs, seconds per stage, options that differ from the defaults, and terms of a run, as a table."""
    inputs = ", ".join(i.name for i in record.inputs[:12])
    more = f" and {len(record.inputs) - 12} more" if len(record.inputs) > 12 else ""
    seconds = ", ".join(f"{stage} {spent:.1f} s" for stage, spent in record.seconds.items() if spent >= 0.05)
    rows = [
        ("Input", inputs + more),
        ("Engine", record.engine),
        ("Weights", ", ".join(record.weights) or "none needed"),
        ("Options changed", _changed(record) or "none"),
        ("Time", seconds or "under a second"),
        *(("Terms", text) for text in record.licences),
        ("Run", record.id),
    ]
    return html.two_columns(rows)


def _changed(record: RunRecord) -> str:
    try:
        model = registry.get(record.pipeline).options
        chosen = forms.flatten(model.model_validate(record.options))
    except (NotFound, ValidationError):  # made by another version
        return str(record.options)
    changed = {s.name: chosen[s.name] for s in forms.specs(model) if chosen[s.name] != s.default}
    return ", ".join(f"{name} {value}" for name, value in changed.items())
