"""The panel that fits a drawing before it dances, without a browser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import gradio as gr
import numpy as np
import pytest

from models.runtime.settings import Settings
from pipelines.base import Inputs
from pipelines.character.cutout import KEEP, REMOVE
from pipelines.character.figure import JOINT, JOINTS, read_char_cfg
from studio.services import Studio
from studio.ui.tabs.character_joints import Fitting, JointsPanel, first_drawing, strokes
from studio.ui.tabs.joint_handles import shown
from tests.character import drawn


def drag(joints: object, moved: str = "left_hand") -> gr.EventData:
    """What the page sends when a joint is let go."""
    return gr.EventData(None, {"joints": joints, "moved": moved})


def test_finding_moving_and_handing_on(tmp_path: Path) -> None:
    settings = Settings.from_env({"STUDIO_WORKSPACE": str(tmp_path / "ws")})
    panel = JointsPanel(Studio(settings), lambda: None, "character")
    figure = drawn.figure()
    drawing = tmp_path / "drawing.png"
    cv2.imwrite(str(drawing), figure.rgba[..., [2, 1, 0, 3]])
    fitting, _, _, paper = panel._find([str(drawing)], None)
    assert paper.shape == figure.rgba.shape
    page = shown(fitting.figure)
    assert set(page["handles"]) | {"hip"} == set(page["joints"]) == set(JOINTS)
    assert page["picture"].startswith("data:image/webp;base64,")
    moved, words = panel._drag(fitting, drag({**page["joints"], "left_hand": [300.5, 125.5]}))
    assert moved.figure.at("left_hand").tolist() == [300, 125]
    assert moved.cut == fitting.cut and "left hand" in words
    others = [n for n in JOINTS if n != "left_hand"]
    assert all((moved.figure.at(n) == fitting.figure.at(n)).all() for n in others)
    beyond, _ = panel._drag(fitting, drag({**page["joints"], "left_hand": [-900, 1e6]}))
    assert beyond.figure.at("left_hand").tolist() == [-0.5, page["height"] - 0.5]
    joints, _ = read_char_cfg(moved.rig)
    assert np.abs(joints[JOINT["left_hand"]] - moved.figure.at("left_hand")).max() <= 0.5
    inputs = panel.apply(Inputs({"sheet": (drawing,)}), moved)
    assert inputs.get("sheet") == (moved.cut,)
    assert inputs.one("rig") == moved.rig
    other = Inputs({"sheet": (tmp_path / "other.png",)})
    assert panel.apply(other, moved) is other
    assert panel.apply(other, None) is other
    assert panel.apply(inputs, replace(moved, drawing=tmp_path / "x.png")) is inputs


@pytest.mark.parametrize("sent", [None, [], {"root": [1, 2]}, {"root": "x"}, {n: [float("nan"), 0] for n in JOINTS}])
def test_places_that_are_none_are_refused(tmp_path: Path, sent: object) -> None:
    panel = JointsPanel(Studio(Settings.from_env({"STUDIO_WORKSPACE": str(tmp_path)})), lambda: None, "character")
    fitting = Fitting(tmp_path / "x.png", figure=drawn.figure())
    same, words = panel._drag(fitting, drag(sent))
    assert same is fitting and "joint" in words.lower()


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
