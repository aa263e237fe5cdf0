"""The page: header, one tab per built pipeline, Gallery and Models, and what happens when someone arrives."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import gradio as gr

from models.runtime.device import describe_device
from models.runtime.errors import NotFound, StudioError
from pipelines import registry
from studio.privacy import Caller
from studio.runs import RunRecord
from studio.services import Studio
from studio.ui import components as html
from studio.ui.endpoints import add_endpoint
from studio.ui.handover import receive
from studio.ui.job_view import JobView, Shell
from studio.ui.results import Updates
from studio.ui.tabs.gallery import GalleryTab, opening
from studio.ui.tabs.models import ModelsTab
from studio.ui.tabs.pipeline_tab import PipelineTab
from studio.ui.visitor import caller_of, new_secret

# Pipelines with a tab of their own; any other that is built gets the plain one.
TABS = {
    "face": "studio.ui.tabs.face:FaceTab",
    "body": "studio.ui.tabs.body:BodyTab",
    "scene": "studio.ui.tabs.scene:SceneTab",
    "talk": "studio.ui.tabs.talk:TalkTab",
    "character": "studio.ui.tabs.character:CharacterTab",
}
DEVICE_SECONDS = 20
# Not a secret: it only scrambles what the browser keeps for itself.
_SCRAMBLE = "likeness-studio"


def build_ui(studio: Studio) -> gr.Blocks:
    """The whole page, ready for ``launch``."""
    built = registry.available(studio.settings.tabs)
    with gr.Blocks(title=html.PRODUCT, analytics_enabled=False, fill_width=True) as page:
        secret = gr.BrowserState("", storage_key="likeness-studio-secret", secret=_SCRAMBLE)
        last_job = gr.BrowserState(None, storage_key="likeness-studio-job", secret=_SCRAMBLE)
        opened = {pipeline_id: gr.State(None) for pipeline_id in built}
        sent = gr.State(None)
        header = html.block(html.header(None), elem_id="studio-header")
        banner = html.block(visible=False, elem_id="studio-banner")
        with gr.Tabs(elem_id="studio-tabs") as tabs:
            shell = Shell(studio, page, tabs, secret, last_job, opened, sent)
            for pipeline_id in built:
                with gr.Tab(registry.get(pipeline_id).title, id=pipeline_id, elem_id=f"tab-{pipeline_id}") as place:
                    view = _tab_of(shell, pipeline_id)
                    view.draw(place)
                _open_here(shell, pipeline_id, view.job, view.inputs_column)
                receive(pipeline_id, sent, view.field_of, view.job.origins)
                view.results.handover.wire(view.results.run_id, tabs, sent)
            with gr.Tab("Gallery", id="gallery", elem_id="tab-gallery") as gallery:
                GalleryTab(shell).draw(gallery)
            with gr.Tab("Models", id="models", elem_id="tab-models") as models:
                ModelsTab(shell).draw(models)
        to_models = gr.Button(elem_classes="ls-bridge", elem_id="go-models")
        to_models.click(lambda: gr.update(selected="models"), None, tabs, queue=False, api_visibility="private")
        _on_arrival(page, shell, header, banner)
        for pipeline_id in built:
            add_endpoint(studio, registry.get(pipeline_id))
    return page


def _tab_of(shell: Shell, pipeline_id: str) -> Any:
    if pipeline_id not in TABS:
        return PipelineTab(shell, pipeline_id)
    module, _, name = TABS[pipeline_id].partition(":")
    return getattr(import_module(module), name)(shell)


def _on_arrival(page: gr.Blocks, shell: Shell, header: gr.HTML, banner: gr.HTML) -> None:
    """The device's facts, the browser's secret, and the run that the link names or that still goes on."""

    def arrive(secret: str | None, last: Any, request: gr.Request) -> Updates:
        known = secret or new_secret()
        updates: Updates = {shell.secret: known}
        run_id = request.query_params.get("run", "")
        if run_id:
            try:
                record = shell.studio.runs.get(run_id)
                updates |= opening(shell, record, look=True)
                words = _linked(f"A saved result: {record.title}. Everyone with this link can look at it.")
            except NotFound as error:
                words = _linked(error.message, "warn")
            return updates | {banner: gr.update(value=words, visible=True)}
        record = _still_going(shell, known, last, request)
        return updates if record is None else updates | opening(shell, record)

    def device() -> str:
        return html.header(describe_device(shell.studio.settings))

    page.load(
        arrive,
        [shell.secret, shell.last_job],
        [shell.secret, shell.tabs, *shell.opened.values(), banner],
        **html.QUIET,
    )
    page.load(device, None, header, **html.QUIET)
    gr.Timer(DEVICE_SECONDS).tick(device, None, header, **html.QUIET)


def _linked(words: str, tone: str = "") -> str:
    return html.note(words, tone, '<a href="./">Open the studio</a>')


def _still_going(shell: Shell, secret: str, last: Any, request: gr.Request) -> RunRecord | None:
    """The record of the job this browser started last, while it is live."""
    if not (isinstance(last, list) and len(last) == 2 and isinstance(last[1], str)):
        return None
    try:
        record = shell.studio.runs.get(last[1])
    except NotFound:
        return None
    mine = caller_of(shell.studio.settings, secret, request).owns(record)
    return record if record.live and mine else None


def _open_here(shell: Shell, pipeline_id: str, job: JobView, inputs: gr.Column) -> None:
    """Shows in this tab what ``shell.opened`` asks for. Who follows a link only looks, without the controls."""

    def show(opened: Any, secret: str | None, request: gr.Request) -> Iterator[Updates]:
        run_id, look, _ = opened
        who = Caller() if look else caller_of(shell.studio.settings, secret, request)
        try:
            if not who.owns(shell.studio.runs.get(run_id)):
                yield {inputs: gr.update(visible=False)}
            yield from job.show(run_id, who)
        except StudioError as error:
            raise gr.Error(error.message, print_exception=False) from error

    opened, js = shell.opened[pipeline_id], html.when_drawn(pipeline_id)
    shown = opened.change(show, [opened, shell.secret], [inputs, *job.outputs], js=js, **html.QUIET)
    job.panel.then_view(shown)
