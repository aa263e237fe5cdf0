"""The Gallery: every run the visitor may see, to open, run again, or delete."""

from __future__ import annotations

import secrets
import time
from html import escape
from typing import Any

import gradio as gr

from models.runtime.errors import NotFound, StudioError
from pipelines import registry
from studio.privacy import Caller
from studio.runs import RunRecord
from studio.ui import components as html
from studio.ui.job_view import Shell
from studio.ui.results import Updates
from studio.ui.serving import address, shown
from studio.ui.visitor import caller_of

ID = "gallery"
PAGE = 24
_STATES = ("done", "running", "queued", "failed", "cancelled")
_TONES = {"failed": "bad", "cancelled": "warn", "running": "", "queued": "plain"}
_ANY = "all"
_QUESTION = "Delete this result and everything made from it? This cannot be undone."


class GalleryTab:
    """Draws the tab inside the page and connects it. Cards send ``verb:run id`` through one hidden channel."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.studio = shell.studio

    def draw(self, tab: gr.Tab) -> None:
        html.block(
            html.intro("Gallery", "What you made here. Every result has a link of its own; whoever has it may look.")
        )
        with gr.Row(elem_classes="ls-filters"):
            self.text = gr.Textbox(
                label="Search", placeholder="file name, engine, ...", scale=3, min_width=160, max_lines=1
            )
            pipelines = [(registry.get(p).title, p) for p in registry.available(self.studio.settings.tabs)]
            self.pipeline = gr.Dropdown([("All tabs", _ANY), *pipelines], value=_ANY, label="Made in", min_width=130)
            self.state = gr.Dropdown(
                [("Any state", _ANY), *((s.capitalize(), s) for s in _STATES)], value=_ANY, label="State", min_width=130
            )
            self.refresh = gr.Button("Refresh", size="md", min_width=90, elem_id=f"{ID}-refresh")
        self.count = gr.State(PAGE)
        self.cards = html.block(elem_id=f"{ID}-cards")
        self.more = gr.Button("Show more", visible=False, size="md")
        self.verb = gr.Textbox(container=False, elem_classes="ls-bridge", elem_id=f"{ID}-act-value")
        self.act = gr.Button(elem_classes="ls-bridge", elem_id=f"{ID}-act-go")
        self._wire(tab)

    def _wire(self, tab: gr.Tab) -> None:
        filters = [self.text, self.pipeline, self.state, self.count, self.shell.secret]
        shows = [self.cards, self.more]
        gr.on([tab.select, self.refresh.click], self._list, filters, shows, **html.QUIET)
        gr.on(
            [self.text.change, self.pipeline.change, self.state.change],
            self._list,
            filters,
            shows,
            trigger_mode="always_last",
            **html.QUIET,
        )
        self.more.click(lambda count: count + PAGE, self.count, self.count, **html.QUIET).then(
            self._list, filters, shows, **html.QUIET
        )
        self.act.click(
            self._act,
            [self.verb, self.shell.secret],
            [self.shell.tabs, *self.shell.opened.values()],
            **html.QUIET,
        ).then(self._list, filters, shows, **html.QUIET)

    def _list(
        self, text: str, pipeline: str, state: str, count: int, secret: str | None, request: gr.Request
    ) -> tuple[str, Any]:
        who = caller_of(self.studio.settings, secret, request)
        wanted = (None if pipeline == _ANY else pipeline, None if state == _ANY else state, text or "")
        records = self.studio.runs.list(who.listed, *wanted, limit=count + 1)
        more = len(records) > count
        if not records:
            filtered = any(wanted)
            empty = html.empty_state(
                "Nothing matches" if filtered else "Nothing here yet",
                "Change the search or the filters." if filtered else "Results appear here as soon as they are made.",
            )
            return empty, gr.update(visible=False)
        cards = "".join(self._card(record, who) for record in records[:count])
        return f'<div class="ls-cards">{cards}</div>', gr.update(visible=more)

    def _card(self, record: RunRecord, who: Caller) -> str:
        state = "" if record.state == "done" else html.badge(record.state, _TONES[record.state])
        title = _pipeline_title(record.pipeline)
        actions = ""
        if who.owns(record) and record.state == "done":  # the others have not kept their inputs
            actions = html.send_button("Run again", f"{ID}-act", f"again:{record.id}")
        if who.owns(record) and not record.live:
            actions += html.send_button("Delete", f"{ID}-act", f"delete:{record.id}", _QUESTION)
        return (
            f'<div class="ls-card" data-run="{escape(record.id)}">'
            f'<button class="ls-card-open" type="button" data-ls="send" data-channel="{ID}-act" '
            f'data-value="open:{escape(record.id)}" title="Open">'
            f'<div class="ls-thumb">{self._picture(record)}</div>'
            f'<div class="ls-card-text"><b><span class="ls-cut">{escape(record.title)}</span>{state}</b>'
            f"{escape(title)} &middot; {html.age_text(record.created, time.time())}</div></button>"
            f'<div class="ls-card-actions">{actions}</div></div>'
        )

    def _picture(self, record: RunRecord) -> str:
        if record.poster is None:
            return escape({"queued": "waiting", "running": "working ..."}.get(record.state, record.state))
        try:
            source = address(shown(self.studio.runs, record.id, record.poster))
            return f'<img src="{escape(source)}" alt="" loading="lazy">'
        except (NotFound, OSError):
            return "no picture"

    def _act(self, order: str, secret: str | None, request: gr.Request) -> Updates:
        """Open, run again or delete: the tab to go to and the run to show there."""
        who = caller_of(self.studio.settings, secret, request)
        verb, _, run_id = order.partition(":")
        try:
            record = self.studio.runs.get(run_id)
            if verb == "open":
                return opening(self.shell, record)
            who.check_owns(record)
            if verb == "again":
                job = self.studio.again(record, who.owner)
                return opening(self.shell, self.studio.runs.get(job.id))
            if verb == "delete":
                self.studio.runs.delete(run_id)
                gr.Info("Deleted, with everything made from it.", title="Gallery")
        except StudioError as error:
            raise gr.Error(error.message, title="Gallery", print_exception=False) from error
        return {self.shell.tabs: gr.skip()}


def opening(shell: Shell, record: RunRecord, look: bool = False) -> Updates:
    """The updates of the tab bar and of ``Shell.opened`` that show a run, to work on or only to look at.

    Raises:
        NotFound: the run's tab is not part of this page.
    """
    if record.pipeline not in shell.opened:
        raise NotFound(f"This studio runs without the {_pipeline_title(record.pipeline)} tab, which shows this result")
    return {
        shell.tabs: gr.update(selected=record.pipeline),
        shell.opened[record.pipeline]: [record.id, look, secrets.token_hex(4)],
    }


def _pipeline_title(pipeline_id: str) -> str:
    try:
        return registry.get(pipeline_id).title
    except NotFound:
        return pipeline_id
