"""The scene gallery inside the Scene tab: looking through it, and putting a finished scene into it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import gradio as gr

from models.runtime.errors import NotFound, StudioError
from models.runtime.settings import Settings
from studio.runs import RunStore
from studio.scene_folders import save_to_gallery
from studio.ui import components as html
from studio.ui.visitor import caller_of


def _frame() -> str:
    """The gallery's own page; the time in its address makes it load anew."""
    address = f"da3/gallery?at={time.time_ns()}"
    return f'<iframe class="ls-scene-gallery" src="{address}" title="Scene gallery" loading="lazy"></iframe>'


class SceneGallery:
    """Drawn only where the settings name a gallery folder, ``root``."""

    def __init__(self, runs: RunStore, settings: Settings, root: Path, prefix: str) -> None:
        self.runs, self.settings, self.root, self.prefix = runs, settings, root, prefix

    def draw(self, run_id: gr.State, secret: gr.State) -> None:
        """Draws the fold here; ``run_id`` is the run on show."""
        with gr.Accordion("Scene gallery", open=False, elem_id=f"{self.prefix}-gallery"):
            with gr.Row(elem_classes="ls-controls", visible=False) as self.form:
                self.group = gr.Textbox(
                    "scenes", label="Group", max_lines=1, min_width=140, elem_id=f"{self.prefix}-gallery-group"
                )
                self.name = gr.Textbox(label="Name", max_lines=1, min_width=140, elem_id=f"{self.prefix}-gallery-name")
                save = gr.Button("Save this scene", size="md", elem_id=f"{self.prefix}-gallery-save")
            self.news = html.block(visible=False)
            self.frame = html.block(_frame())
        save.click(self._save, [run_id, secret, self.group, self.name], [self.news, self.frame], **html.QUIET)
        run_id.change(self._offer, run_id, self.form, **html.QUIET)

    def _offer(self, run_id: str) -> Any:
        try:
            record = self.runs.get(run_id) if run_id else None
        except NotFound:
            record = None
        return gr.update(visible=record is not None and record.state == "done")

    def _save(self, run_id: str, secret: str | None, group: str, name: str, request: gr.Request) -> tuple[Any, Any]:
        try:
            caller_of(self.settings, secret, request).check_admin()
            saved = save_to_gallery(self.runs, run_id, self.root, group, name)
        except StudioError as error:
            return gr.update(value=html.note(error.message, "bad"), visible=True), gr.skip()
        news = html.note(f"Saved as {saved.parent.name}/{saved.name}.")
        return gr.update(value=news, visible=True), _frame()
