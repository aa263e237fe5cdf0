"""The panel that fits a drawing before it dances, without a browser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from models.runtime.settings import Settings
from pipelines.base import Inputs
from pipelines.character.cutout import KEEP, REMOVE
from pipelines.character.figure import JOINT, read_char_cfg
from studio.services import Studio
from studio.ui.tabs.character_joints import JointsPanel, first_drawing, strokes
from tests.character import drawn


class Click:
    """A click at (x, y) of the picture on show."""

    def __init__(self, x: float, y: float) -> None:
        self.index = [x, y]


def test_finding_moving_and_handing_on(tmp_path: Path) -> None:
    settings = Settings.from_env({"STUDIO_WORKSPACE": str(tmp_path / "ws")})
    panel = JointsPanel(Studio(settings), lambda: None, "character")
    figure = drawn.figure()
    drawing = tmp_path / "drawing.png"
    cv2.imwrite(str(drawing), figure.rgba[..., [2, 1, 0, 3]])
    fitting, _, _, paper = panel._find([str(drawing)], None)
    assert paper.shape == figure.rgba.shape
    hand = fitting.figure.at("left_hand")
    chosen, _, _ = panel._click(fitting, Click(*((hand + 0.5) * 1.6)))
    assert chosen.chosen == "left_hand"
    moved, _, _ = panel._click(chosen, Click(500 * 0.96, 200))
    joints, _ = read_char_cfg(moved.rig)
    assert np.abs(joints[JOINT["left_hand"]] - moved.figure.at("left_hand")).max() <= 0.5
    inputs = panel.apply(Inputs({"sheet": (drawing,)}), moved)
    assert inputs.get("sheet") == (moved.cut,)
    assert inputs.one("rig") == moved.rig
    other = Inputs({"sheet": (tmp_path / "other.png",)})
    assert panel.apply(other, moved) is other
    assert panel.apply(other, None) is other
    assert panel.apply(inputs, replace(moved, drawing=tmp_path / "x.png")) is inputs


def test_what_is_no_figure_is_said(tmp_path: Path) -> None:
    panel = JointsPanel(Studio(Settings.from_env({"STUDIO_WORKSPACE": str(tmp_path)})), lambda: None, "character")
    blank = tmp_path / "blank.png"
    cv2.imwrite(str(blank), np.full((120, 120, 3), 255, np.uint8))
    fitting, _, words, _ = panel._find([str(blank)], None)
    assert fitting is None
    assert "brush over it" in words
    assert "no drawing" in panel._find([], None)[2]


def test_strokes_come_at_the_size_of_the_drawing() -> None:
    before = np.full((50, 40, 4), 200, np.uint8)
    after = before.copy()
    after[10:20, 5:15, :3] = (34, 197, 94)
    after[30:40, 5:15, :3] = (239, 68, 68)
    marks = strokes({"background": before, "composite": after, "layers": []}, (100, 80))
    assert marks.shape == (100, 80)
    assert marks[30, 20] == KEEP
    assert marks[70, 20] == REMOVE
    assert strokes({"background": before, "composite": before, "layers": []}, (100, 80)) is None
    assert strokes(None, (1, 1)) is None


def test_the_drawing_among_the_files() -> None:
    assert first_drawing(["/x/a_mask.png", "/x/char_cfg.yaml", "/x/a.png"]) == Path("/x/a.png")
    assert first_drawing(["/x/pip.glb"]) is None
