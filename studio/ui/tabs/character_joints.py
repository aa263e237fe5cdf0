"""The figure of a drawing, before it dances: cut out with a brush where needed, its joints dragged into place."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.components import Component

from models.runtime.errors import StudioError
from pipelines.base import Inputs
from pipelines.character.cutout import KEEP, REMOVE, Segmenter, cut_out, has_alpha
from pipelines.character.drawing import read_figure
from pipelines.character.figure import Figure, write_char_cfg
from pipelines.media.image import read_image_rgba, write_image
from studio.services import Studio
from studio.ui import components as html
from studio.ui.tabs.joint_handles import dragged, joint_handles, shown

_KEEP_COLOUR, _REMOVE_COLOUR = "#22c55e", "#ef4444"
_WAYS = [("Automatic", "auto"), ("From the border inwards", "border"), ("By colours", "colors"), ("A person", "person")]
_HINT = "Drag a joint to where it belongs, or move it with the arrow keys. Red is the figure's right, blue its left."
_BRUSH_SIDE = 900  # pixels of the longer side of the picture that is brushed on


@dataclass(frozen=True)
class Fitting:
    """What was settled for one drawing: its cut-out and its rig as files, and the figure itself."""

    drawing: Path
    cut: Path | None = None
    rig: Path | None = None
    figure: Figure | None = field(default=None, repr=False)


class JointsPanel:
    """Draws the panel, and puts what was settled in it into a job's inputs."""

    def __init__(self, studio: Studio, segment: Callable[[], Segmenter | None], prefix: str) -> None:
        self._studio, self._segment, self._prefix = studio, segment, prefix

    def draw(self) -> None:
        """Draws the panel here, folded."""
        prefix = self._prefix
        with gr.Accordion("Figure and joints of a drawing", open=False, elem_id=f"{prefix}-figure") as self.box:
            self.look = gr.Button("Find the joints", elem_id=f"{prefix}-figure-find")
            self.handles = joint_handles(f"{prefix}-figure-joints")
            # below the picture, which must not move under a finger when the words change
            self.text = html.block(html.note("Add a drawing, then look at the joints that are found in it."))
            with gr.Accordion("Cut out by hand", open=False, elem_id=f"{prefix}-cutout"):
                html.block(html.note("Brush green over what belongs to the figure, red over what does not."))
                self.editor = gr.ImageEditor(
                    show_label=False,
                    type="numpy",
                    image_mode="RGBA",
                    sources=[],
                    layers=False,
                    transforms=[],
                    brush=gr.Brush(
                        default_size=16,
                        colors=[_KEEP_COLOUR, _REMOVE_COLOUR],
                        default_color=_KEEP_COLOUR,
                        color_mode="fixed",
                    ),
                    height=420,
                    elem_id=f"{prefix}-cutout-editor",
                )
                with gr.Row(elem_classes="ls-controls"):
                    self.way = gr.Dropdown(_WAYS, value="auto", label="How", elem_id=f"{prefix}-cutout-way")
                    self.tolerance = gr.Slider(
                        2, 60, value=14, step=1, label="Tolerance", info="How alike colours count as background"
                    )
                self.cut = gr.Button("Cut out", elem_id=f"{prefix}-cutout-run")
        self.fitting = gr.State(None)

    def wire(self, files: Component) -> None:
        """Connects the panel with the file field ``files``."""
        outputs = [self.fitting, self.handles, self.text]
        files.change(self._forget, None, [*outputs, self.editor], **html.QUIET)
        self.look.click(self._find, [files, self.fitting], [*outputs, self.editor], **html.QUIET)
        self.handles.input(self._drag, [self.fitting], [self.fitting, self.text], **html.QUIET)
        brushed = [files, self.editor, self.way, self.tolerance]
        self.cut.click(self._cut, brushed, outputs, **html.QUIET)

    def apply(self, inputs: Inputs, fitting: Fitting | None) -> Inputs:
        """The inputs with the cut-out and the joints that were settled, where they are still about the same drawing."""
        drawings = inputs.get("sheet")
        if fitting is None or fitting.drawing not in drawings:
            return inputs
        files = dict(inputs.files)
        if fitting.cut is not None:
            files["sheet"] = tuple(fitting.cut if p == fitting.drawing else p for p in drawings)
            files.pop("mask", None)
        if fitting.rig is not None:
            files["rig"] = (fitting.rig,)
        return Inputs(files)

    def _forget(self) -> tuple[Any, ...]:
        note = html.note("Add a drawing, then look at the joints that are found in it.")
        return None, gr.update(value=None, visible=False), note, None

    def _find(self, files: Sequence[str] | None, old: Fitting | None) -> tuple[Any, ...]:
        drawing = first_drawing(files)
        if drawing is None:
            return old, gr.skip(), html.note("There is no drawing among the files yet.", "warn"), gr.skip()
        paper = self._paper(drawing)
        try:
            figure, notes = self._read(drawing, files)
        except StudioError as error:
            return None, gr.update(visible=False), html.note(error.message, "bad"), paper
        fitting = self._settled(Fitting(drawing, figure=figure), new_cut=True)
        return fitting, self._shown(fitting), html.note([*notes, _HINT]), paper

    def _read(self, drawing: Path, files: Sequence[str] | None) -> tuple[Figure, list[str]]:
        rig = next((Path(f) for f in files or () if f.lower().endswith((".yaml", ".yml"))), None)
        mask = next(
            (Path(f) for f in files or () if Path(f).stem.lower().endswith("mask") and Path(f) != drawing), None
        )
        return read_figure(drawing, mask, rig, self._studio.settings.limits, self._segment())

    def _paper(self, drawing: Path) -> np.ndarray | None:
        """The drawing to brush on."""
        try:
            rgba = read_image_rgba(drawing, self._studio.settings.limits)
        except StudioError:
            return None
        return Figure(rgba, np.zeros((16, 2))).scaled(min(1.0, _BRUSH_SIDE / max(rgba.shape[:2]))).rgba

    def _settled(self, fitting: Fitting, new_cut: bool) -> Fitting:
        """The fitting with its files written."""
        folder = self._studio.settings.temp_dir / "figures"
        name = secrets.token_hex(12)
        figure = fitting.figure
        cut = write_image(folder / f"{name}.png", figure.rgba) if new_cut else fitting.cut
        rig = write_char_cfg(folder / f"{name}.yaml", figure)
        return Fitting(fitting.drawing, cut, rig, figure)

    @staticmethod
    def _shown(fitting: Fitting) -> Any:
        return gr.update(value=shown(fitting.figure), visible=True)

    def _drag(self, fitting: Fitting | None, event: gr.EventData) -> tuple[Any, ...]:
        """Joints were moved on the page."""
        if fitting is None or fitting.figure is None:
            return fitting, gr.skip()
        try:
            figure = dragged(fitting.figure, getattr(event, "joints", None))
        except StudioError as error:
            return fitting, html.note(error.message, "bad")
        settled = self._settled(replace(fitting, figure=figure), new_cut=False)
        moved = str(getattr(event, "moved", "")).replace("_", " ")
        return settled, html.note([f"Moved: {moved}.", _HINT])

    def _cut(self, files: Sequence[str] | None, editor: dict | None, way: str, tolerance: float) -> tuple[Any, ...]:
        drawing = first_drawing(files)
        if drawing is None:
            return None, gr.skip(), html.note("There is no drawing among the files yet.", "warn")
        try:
            rgba = read_image_rgba(drawing, self._studio.settings.limits)
            marks = strokes(editor, rgba.shape[:2])
            whole = rgba if not has_alpha(rgba) else np.dstack([rgba[..., :3], np.full(rgba.shape[:2], 255, np.uint8)])
            cut = cut_out(whole, way, tolerance=tolerance, marks=marks, segment=self._segment())
            target = self._studio.settings.temp_dir / "figures" / f"{secrets.token_hex(12)}.png"
            figure, notes = read_figure(write_image(target, cut), None, None, self._studio.settings.limits)
        except StudioError as error:
            return None, gr.update(visible=False), html.note(error.message, "bad")
        fitting = self._settled(Fitting(drawing, target, figure=figure), new_cut=False)
        return fitting, self._shown(fitting), html.note([*notes, _HINT])


def first_drawing(files: Sequence[str] | None) -> Path | None:
    """The first picture among files that is no mask."""
    pictures = [Path(f) for f in files or () if Path(f).suffix.lower() in (".png", ".jpg", ".jpeg", ".webp", ".bmp")]
    drawings = [p for p in pictures if not p.stem.lower().endswith(("mask", "udp"))]
    return drawings[0] if drawings else None


def strokes(editor: dict | None, shape: tuple[int, int]) -> np.ndarray | None:
    """Brush strokes (H, W) uint8 of the cut-out from what the editor holds, at the drawing's size; None without any."""
    if not editor or editor.get("background") is None or editor.get("composite") is None:
        return None
    before, after = (np.asarray(editor[k])[..., :3].astype(int) for k in ("background", "composite"))
    if before.shape != after.shape:
        return None
    changed = np.abs(after - before).sum(2) > 30
    if not changed.any():
        return None
    green = after[..., 1] > after[..., 0]
    marks = np.where(changed, np.where(green, KEEP, REMOVE), 0).astype(np.uint8)
    rows = (np.arange(shape[0]) * marks.shape[0] // shape[0]).clip(0, marks.shape[0] - 1)
    columns = (np.arange(shape[1]) * marks.shape[1] // shape[1]).clip(0, marks.shape[1] - 1)
    return marks[rows][:, columns]
