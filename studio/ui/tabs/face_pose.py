"""Posing a finished head: sliders for its turn and expression, drawn again on the server, nothing measured again."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component
from PIL import Image

from models.runtime.errors import NotFound, StudioError
from pipelines.face.repose import Look, PosableHead
from studio.runs import RunRecord, RunStore
from studio.ui import components as html

ROLE = "posable"
SIDE, QUALITY = 512, 88
KEPT = 3  # heads in memory, the last ones looked at
# What a slider adds, 1 being the whole shape. Below 0 the second set is taken.
MOVES: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("jaw", "Jaw open", ("jawOpen",), ()),
    ("jaw_side", "Jaw aside", ("jawLeft",), ("jawRight",)),
    ("smile", "Smile / frown", ("mouthSmileLeft", "mouthSmileRight"), ("mouthFrownLeft", "mouthFrownRight")),
    ("pucker", "Pucker / stretch", ("mouthPucker",), ("mouthStretchLeft", "mouthStretchRight")),
    ("upper_lip", "Upper lip up", ("mouthUpperUpLeft", "mouthUpperUpRight"), ()),
    ("brows", "Brows up / down", ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
     ("browDownLeft", "browDownRight")),
    ("blink_left", "Close left eye", ("eyeBlinkLeft",), ()),
    ("blink_right", "Close right eye", ("eyeBlinkRight",), ()),
)  # fmt: skip
TURNS = (("yaw", "Turn", 60), ("pitch", "Nod", 40), ("roll", "Tilt", 40))


@dataclass(frozen=True)
class Posed:
    """The values of the sliders."""

    yaw: float
    pitch: float
    roll: float
    strength: float
    moves: tuple[float, ...]

    @property
    def look(self) -> Look:
        added: dict[str, float] = {}
        for (_, _, above, below), value in zip(MOVES, self.moves, strict=True):
            added |= dict.fromkeys(above if value >= 0 else below, abs(value))
        return Look(self.yaw, self.pitch, self.roll, self.strength, added)


@lru_cache(maxsize=KEPT)
def _head(path: Path, changed: int) -> PosableHead:
    """A saved head; ``changed`` is the file's time, so that another file of that name is read anew."""
    del changed
    return PosableHead.load(path)


def drawn(path: Path, look: Look) -> str:
    """A saved head as seen with a look, as the address (data URL) of a JPEG: nothing of it stays on the server."""
    picture = _head(path, path.stat().st_mtime_ns).picture(look, SIDE, 2)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


class PosePanel:
    """The fold below a result: the head, its sliders, and a button that puts them back."""

    def __init__(self, runs: RunStore, prefix: str) -> None:
        self.runs, self.prefix = runs, prefix

    def draw(self, run_id: gr.State) -> None:
        """Draws the panel here; ``run_id`` is the run on show."""
        fold = gr.Accordion("Pose the head", open=True, visible=False, elem_id=f"{self.prefix}-pose")
        with fold as self.box, gr.Row():
            with gr.Column(scale=5, min_width=280, elem_classes="ls-posed-column"):
                self.which = gr.Radio([], label="Head", visible=False, elem_id=f"{self.prefix}-pose-head")
                self.picture = html.block(elem_id=f"{self.prefix}-pose-picture")
            with gr.Column(scale=4, min_width=280):
                with gr.Group():
                    self.turns = [self._slider(key, label, -most, most, 0, 1) for key, label, most in TURNS]
                with gr.Group():
                    self.strength = self._slider("strength", "The photo's own expression", 0, 1.5, 1, 0.05)
                    self.moves = [
                        self._slider(key, label, -1 if below else 0, 1, 0, 0.02) for key, label, _, below in MOVES
                    ]
                self.reset = gr.Button("Back to the photo", size="sm", elem_id=f"{self.prefix}-pose-reset")
        sliders = [*self.turns, self.strength, *self.moves]
        asked = [run_id, self.which, *sliders]
        # While a slider is dragged only its last place counts: moves in between are dropped, not queued.
        for slider in sliders:
            slider.input(self._show, asked, self.picture, trigger_mode="always_last", **html.QUIET)
        self.which.input(self._show, asked, self.picture, **html.QUIET)
        self.reset.click(self._straight, [run_id, self.which], [self.picture, *sliders], **html.QUIET)

    def _slider(self, key: str, label: str, low: float, high: float, value: float, step: float) -> gr.Slider:
        return gr.Slider(
            low, high, value=value, step=step, label=label, buttons=[], elem_id=f"{self.prefix}-pose-{key}"
        )  # fmt: skip

    @property
    def outputs(self) -> list[Component]:
        """What ``offer`` fills."""
        return [self.box, self.which, self.picture, *self.turns, self.strength, *self.moves]

    def offer(self, run_id: str) -> dict[Component, Any]:
        """The panel for a finished run with heads to pose, hidden otherwise. Looking at a run is enough to pose it."""
        try:
            record = self.runs.get(run_id) if run_id else None
        except NotFound:
            record = None
        heads = _heads(record) if record is not None and record.state == "done" else []
        if not heads:
            return {self.box: gr.update(visible=False), self.picture: ""}
        first = heads[0][1]
        picture, *values = self._straight(run_id, first)
        sliders = [*self.turns, self.strength, *self.moves]
        return {
            self.box: gr.update(visible=True),
            self.which: gr.update(choices=heads, value=first, visible=len(heads) > 1),
            self.picture: picture,
            **dict(zip(sliders, values, strict=True)),
        }

    def _straight(self, run_id: str, which: str | None) -> tuple[Any, ...]:
        """The head as in the photo, and the sliders' places for that."""
        rest = (0.0, 0.0, 0.0, 1.0, *([0.0] * len(MOVES)))
        return (self._show(run_id, which, *rest), *rest)

    def _show(self, run_id: str, which: str | None, *values: float) -> Any:
        if not run_id or not which:
            return ""
        yaw, pitch, roll, strength, *moves = values
        try:
            path = self.runs.file(run_id, which)
            source = drawn(path, Posed(yaw, pitch, roll, strength, tuple(moves)).look)
        except StudioError as error:
            return html.note(error.message, "warn")
        return f'<img class="ls-posed" alt="The head in this pose" src="{source}">'


def _heads(record: RunRecord) -> list[tuple[str, str]]:
    found = [o for o in record.outputs if o.role == ROLE]
    return [(str(n), output.path) for n, output in enumerate(found, 1)]
