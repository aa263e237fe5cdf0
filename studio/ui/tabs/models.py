"""The Models tab: every checkpoint the studio can use, what it unlocks, its terms, and how to get it here."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import gradio as gr

from models.runtime.errors import StudioError
from models.runtime.settings import PIPELINE_IDS
from models.runtime.weights import Status
from models.runtime.weights_entry import WeightEntry
from pipelines import registry
from studio.ui import components as html
from studio.ui.downloads import Downloads
from studio.ui.job_view import Shell
from studio.ui.visitor import caller_of

ID = "models"
_ALL = "all"
_HEADINGS = ("File", "State", "Size", "Licence", "What it unlocks", "")
_HEAD = f"<thead><tr>{''.join(f'<th>{heading}</th>' for heading in _HEADINGS)}</tr></thead>"
_COMMERCIAL = {
    "yes": ("commercial use allowed", ""),
    "no": ("no commercial use", "bad"),
    "conditions": ("commercial use with conditions", "warn"),
    "unclear": ("commercial use unclear", "warn"),
}


class ModelsTab:
    """Draws the tab inside the page and connects it. Rows send ``verb:id`` through one hidden channel."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.studio = shell.studio
        self.weights = shell.studio.weights
        self.downloads = Downloads(self.weights)

    def draw(self, tab: gr.Tab) -> None:
        html.block(
            html.intro(
                "Models",
                "Every tab works with what is built in. Official checkpoints make it the published method itself; "
                "each has its own licence, which you accept by installing it.",
            )
        )
        with gr.Row(elem_classes="ls-filters"):
            titles = [("All tabs", _ALL), *((p.capitalize(), p) for p in PIPELINE_IDS)]
            self.pipeline = gr.Dropdown(titles, value=_ALL, label="For", min_width=130)
            self.state = gr.Dropdown(
                [("Installed or not", _ALL), ("Installed", "installed"), ("Not installed", "missing")],
                value=_ALL,
                label="Show",
                min_width=130,
            )
            # Only a server that others reach asks who may change its weights.
            self.token = gr.Textbox(
                label="Admin token", type="password", visible=not self.studio.settings.loopback, min_width=160
            )
        self.news = html.block(visible=False, elem_id=f"{ID}-news")
        self.table = html.block(elem_id=f"{ID}-table")
        with gr.Accordion("Install a file you downloaded", open=True, elem_id=f"{ID}-upload"):
            html.block(
                '<div class="ls-licence">The file is checked name by name and shape by shape before anything is '
                "accepted; nothing in it is executed. Files above "
                f"{html.bytes_text(self.studio.settings.limits.upload_bytes)} go in with "
                "<code>python -m studio weights add ID FILE</code>.</div>"
            )
            with gr.Row():
                choices = [(f"{e.title} ({e.id})", e.id) for e in self.weights.entries()]
                self.target = gr.Dropdown(choices, value=None, label="Which one it is", elem_id=f"{ID}-target")
                self.file = gr.File(label="File or ZIP", file_count="single", height=130, elem_id=f"{ID}-file")
            self.install = gr.Button("Check and install", variant="primary", elem_id=f"{ID}-install")
        self.verb = gr.Textbox(container=False, elem_classes="ls-bridge", elem_id=f"{ID}-act-value")
        self.act = gr.Button(elem_classes="ls-bridge", elem_id=f"{ID}-act-go")
        self._wire(tab)

    def _wire(self, tab: gr.Tab) -> None:
        filters = [self.pipeline, self.state, self.shell.secret, self.token]
        gr.on([tab.select, self.pipeline.change, self.state.change], self._list, filters, self.table, **html.QUIET)
        outputs = [self.news, self.table, self.target]
        self.act.click(self._act, [self.verb, *filters], outputs, **html.QUIET)
        self.install.click(
            self._install, [self.target, self.file, *filters], [self.news, self.table, self.file], **html.QUIET
        )

    def _list(self, pipeline: str, state: str, secret: str | None, token: str, request: gr.Request) -> str:
        who = caller_of(self.studio.settings, secret, request, token)
        entries = [e for e in self.weights.entries() if pipeline in (_ALL, *e.pipelines)]
        rows = [(e, self.weights.status(e.id)) for e in entries]
        rows = [(e, s) for e, s in rows if state == _ALL or (s.state == "installed") == (state == "installed")]
        rows.sort(key=lambda row: PIPELINE_IDS.index(row[0].pipelines[0]))
        if not rows:
            return html.note("Nothing matches these filters.")
        built = registry.available(self.studio.settings.tabs)
        groups = ""
        for tab, members in groupby(rows, key=lambda row: row[0].pipelines[0]):
            listed = list(members)
            have = sum(status.state == "installed" for _, status in listed)
            lines = "".join(_row(entry, status, who.admin) for entry, status in listed)
            opened = " open" if tab in built or pipeline != _ALL or state != _ALL else ""
            groups += (
                f'<details class="ls-models"{opened}><summary><b>{escape(tab.capitalize())}</b>'
                f"<span>{have} of {len(listed)} installed</span></summary>"
                f'<table class="ls-table">{_HEAD}<tbody>{lines}</tbody></table></details>'
            )
        return groups

    def _act(
        self, order: str, pipeline: str, state: str, secret: str | None, token: str, request: gr.Request
    ) -> Iterator[tuple[Any, Any, Any]]:
        """Get, verify, remove, or choose an entry for upload."""
        verb, _, name = order.partition(":")
        try:
            entry = self.weights.get(name)
            if verb == "choose":
                yield gr.skip(), gr.skip(), name
                return
            caller_of(self.studio.settings, secret, request, token).check_admin()
            if verb == "get":
                for progress in self.downloads.follow(self.downloads.start(name)):
                    box = html.transfer_box(f"Getting {entry.title}", progress.done, progress.total, progress.note)
                    yield gr.update(value=box, visible=True), gr.skip(), gr.skip()
                news = html.note(f"{entry.title} is installed.")
            elif verb == "verify":
                yield gr.update(value=html.note(f"Checking {entry.title} ..."), visible=True), gr.skip(), gr.skip()
                news = _verdict(entry, self.weights.verify(name))
            else:
                self.weights.remove(name)
                news = html.note(f"{entry.title} was removed.")
        except StudioError as error:
            yield gr.update(value=html.note(error.message, "bad"), visible=True), gr.skip(), gr.skip()
            raise gr.Error(error.message, title="Models", print_exception=False) from error
        table = self._list(pipeline, state, secret, token, request)
        yield gr.update(value=news, visible=True), table, gr.skip()

    def _install(
        self,
        name: str | None,
        file: str | None,
        pipeline: str,
        state: str,
        secret: str | None,
        token: str,
        request: gr.Request,
    ) -> Iterator[tuple[Any, Any, Any]]:
        if not name or not file:
            raise gr.Error("Say which checkpoint it is and choose its file", title="Models", print_exception=False)
        try:
            caller_of(self.studio.settings, secret, request, token).check_admin()
            entry = self.weights.get(name)
            self.weights.add(name, Path(file))
        except StudioError as error:
            # The field is emptied too: its file is gone, so a second try needs another one.
            yield gr.update(value=html.note(error.message, "bad"), visible=True), gr.skip(), None
            raise gr.Error(error.message, title="Not installed", print_exception=False) from error
        finally:
            Path(file).unlink(missing_ok=True)  # the browser's copy of a large file has no further use
        news = html.note(f"{entry.title} passed every check and is installed.")
        yield gr.update(value=news, visible=True), self._list(pipeline, state, secret, token, request), None


def _verdict(entry: WeightEntry, status: Status) -> str:
    if status.state == "installed":
        return html.note(f"{entry.title} is complete and what it should be.")
    return html.note(f"{entry.title} is {status.state}: {status.note}", "bad")


def _row(entry: WeightEntry, status: Status, admin: bool) -> str:
    words, tone = _COMMERCIAL[entry.commercial]
    state = {"installed": ("installed", ""), "missing": ("not installed", "plain"), "damaged": ("damaged", "bad")}
    licence = escape(entry.licence)
    if entry.licence_url:
        licence = f'<a href="{escape(entry.licence_url)}" target="_blank" rel="noreferrer">{licence}</a>'
    size = status.bytes or entry.bytes
    cells = (
        ("", f"<b>{escape(entry.title)}</b><br><code>{escape(entry.id)}</code>"),
        ("State", html.badge(*state[status.state])),
        ("Size", f'<span class="ls-nowrap">{html.bytes_text(size) if size else "not stated"}</span>'),
        ("Licence", f"{licence}<br>{html.badge(words, tone)}"),
        ("Unlocks", f"{escape(entry.unlocks)}<br><span class='ls-subtle'>{escape(entry.attribution)}</span>"),
        ("", f'<div class="ls-row-actions">{_actions(entry, status, admin)}</div>'),
    )
    return (
        "<tr>"
        + "".join(f'<td data-label="{label}">{cell}</td>' if label else f"<td>{cell}</td>" for label, cell in cells)
        + "</tr>"
    )


def _actions(entry: WeightEntry, status: Status, admin: bool) -> str:
    page = f'<a class="ls-small-button" href="{escape(entry.page)}" target="_blank" rel="noreferrer">%s</a>'
    if not admin:
        return page % "Page"
    if status.state == "installed":
        verify = _button("Verify", f"verify:{entry.id}")
        question = f"Remove {entry.title} from this machine?"
        return verify + (_button("Remove", f"remove:{entry.id}", question) if status.where == "weights" else "")
    if entry.automatic:
        return _button("Download", f"get:{entry.id}") + page % "Page"
    return page % ("Register" if entry.registration else "Page") + _button("Upload", f"choose:{entry.id}")


def _button(text: str, value: str, question: str = "") -> str:
    return html.send_button(text, f"{ID}-act", value, question)
