"""Example cards: a picture, two words, and files and options that run in seconds."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.utils import get_upload_folder

from models.runtime.settings import Limits
from pipelines.media.atomic import replacing
from studio.ui import components as html
from studio.ui.options_panel import OptionsPanel
from studio.ui.thumbs import data_uri


@dataclass(frozen=True)
class Example:
    """Files and flat option values; ``picture`` is one of the files or an image beside them. ``run`` is one that
    computed the example ahead: the card opens it."""

    title: str
    note: str
    files: tuple[Path, ...]
    picture: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    run: str = ""


def example_cards(
    examples: Sequence[Example], files: gr.File, panel: OptionsPanel, limits: Limits, prefix: str
) -> list[Component]:
    """Draws the cards; pressing one fills ``files`` and the options. Returns what they may change."""
    if not examples:
        return []
    cards = []
    for number, example in enumerate(examples):
        inside = (
            f'<img src="{data_uri(example.picture, limits, 220)}" alt=""><b>{escape(example.title)}</b>'
            f"<span>{escape(example.note)}</span>"
        )
        press = f'type="button" data-ls="press" data-value="{prefix}-example-{number}"'
        link = f'<a class="ls-example" href="?run={escape(example.run)}">{inside}</a>'
        cards.append(link if example.run else f'<button class="ls-example" {press}>{inside}</button>')
    html.block(f'<div class="ls-examples-title">Try an example</div><div class="ls-examples">{"".join(cards)}</div>')
    changed = [files, *panel.controls]
    for number, example in enumerate(examples):
        button = gr.Button(elem_classes="ls-bridge", elem_id=f"{prefix}-example-{number}")
        button.click(_fill(example, files, panel), None, changed, **html.QUIET)
    return changed


def _fill(example: Example, files: gr.File, panel: OptionsPanel) -> Callable[[], dict[Component, Any]]:
    def fill() -> dict[Component, Any]:
        return {files: [lent(path) for path in example.files], **panel.fill(example.options)}

    return fill


def lent(path: Path) -> str:
    """A copy of an example's file where the web framework may read: packages lie anywhere, outside what it serves."""
    target = Path(get_upload_folder(), "examples", hashlib.sha256(str(path).encode()).hexdigest()[:16], path.name)
    if not target.is_file() or target.stat().st_size != path.stat().st_size:
        with replacing(target) as temporary:
            shutil.copyfile(path, temporary)
    return str(target)
