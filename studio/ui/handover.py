"""From one tab to another: an output that a second pipeline reads is put among that tab's files with one click."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from models.runtime.errors import NotFound, StudioError
from pipelines import registry
from pipelines.base import Inputs
from studio.runs import OutputRecord, RunRecord, RunStore
from studio.ui import components as html
from studio.ui.serving import shown

MOST_OFFERS = 8


class Handover:
    """The "Send to ..." buttons below a result. They send ``target:output path`` through one hidden channel."""

    def __init__(self, runs: RunStore, prefix: str) -> None:
        self.runs = runs
        self.channel = f"{prefix}-send"

    def draw(self) -> None:
        self.row = html.block(visible=False, elem_id=f"{self.channel}-row")
        self.order = gr.Textbox(container=False, elem_classes="ls-bridge", elem_id=f"{self.channel}-value")
        self.go = gr.Button(elem_classes="ls-bridge", elem_id=f"{self.channel}-go")

    def offers(self, record: RunRecord) -> Any:
        """The update of the row for a finished run."""
        found = [
            html.send_button(f"Send {_short(output)} to {registry.get(link.target).title}", self.channel, order)
            for link, output in _sendable(record, self.runs.settings.tabs)
            for order in (f"{link.target}:{output.path}",)
        ][:MOST_OFFERS]
        return gr.update(value=f'<div class="ls-send">{"".join(found)}</div>', visible=bool(found))

    def wire(self, run_id: gr.State, tabs: gr.Tabs, sent: gr.State) -> None:
        """Connects the buttons: the tab bar goes to the target, and ``sent`` tells it what to take."""
        self.go.click(self._send, [self.order, run_id], [tabs, sent], **html.QUIET)

    def _send(self, order: str, run_id: str) -> tuple[Any, Any]:
        target, _, path = order.partition(":")
        try:
            offered = _sendable(self.runs.get(run_id), self.runs.settings.tabs)
            link = next((k for k, output in offered if k.target == target and output.path == path), None)
            if link is None:
                raise NotFound("This result has nothing to send there")
            file = shown(self.runs, run_id, path)
        except StudioError as error:
            raise gr.Error(error.message, print_exception=False) from error
        return gr.update(selected=target), [target, link.role, file, run_id, secrets.token_hex(4)]


def receive(pipeline_id: str, sent: gr.State, field_of: Callable[[str], gr.File], origins: gr.State) -> None:
    """Lets a tab take what is sent to it: the file joins the field of its role, and ``origins`` remembers the run it
    came from."""
    fields: dict[str, gr.File] = {k.role: field_of(k.role) for k in registry.LINKS if k.target == pipeline_id}
    if not fields:
        return

    def take(values: dict[Component, Any]) -> dict[Component, Any]:
        told = values[sent]
        if not told or told[0] != pipeline_id:
            return {}
        _, role, file, run_id, _ = told
        field, name = fields[role], Path(file).name
        gr.Info(f"{name} is among the files now.", title="Taken over")
        kept = [path for path in values[field] or () if Path(path).name != name]
        return {field: [*kept, file], origins: [*values[origins], [name, run_id]]}

    changed = {*fields.values(), origins}
    sent.change(take, {sent, *changed}, list(changed), js=html.when_drawn(pipeline_id), **html.QUIET)


def parents_of(inputs: Inputs, origins: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """The runs that the inputs come from, as far as they were sent over."""
    names = {path.name for role in inputs.files.values() for path in role}
    return tuple(dict.fromkeys(run_id for name, run_id in origins if name in names))


def _sendable(record: RunRecord, tabs: tuple[str, ...]) -> list[tuple[registry.Link, OutputRecord]]:
    return [
        (link, output)
        for link in registry.links(record.pipeline, tabs)
        for output in record.outputs
        if output.role == link.output
    ]


def _short(output: OutputRecord) -> str:
    """``Motion of person 1 (NPZ)`` -> ``motion of person 1``."""
    text = output.title.partition(" (")[0]
    return text[:1].lower() + text[1:]
