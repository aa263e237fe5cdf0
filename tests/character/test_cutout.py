"""Cutting figures out of opaque pictures, and figures from whatever files a drawing comes in."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from models.runtime.errors import InputError
from models.runtime.settings import Limits
from pipelines.character.cutout import KEEP, REMOVE, cut_out, has_alpha, with_rim
from pipelines.character.drawing import read_figure
from pipelines.character.figure import Figure, write_char_cfg
from tests.character import drawn

PAPER = np.array([232, 226, 214])


def on_paper(figure: Figure, lamp: float = 30.0, noise: float = 2.0) -> np.ndarray:
    """The figure photographed on paper that is darker on one side."""
    height, width = figure.rgba.shape[:2]
    light = np.linspace(0, lamp, width)[None, :, None]
    grain = np.random.default_rng(3).normal(0, noise, (height, width, 1))
    alpha = figure.rgba[..., 3:] / 255
    rgb = figure.rgba[..., :3] * alpha + (PAPER - light + grain) * (1 - alpha)
    return np.dstack([rgb.clip(0, 255).astype(np.uint8), np.full((height, width), 255, np.uint8)])


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_a_drawing_on_unevenly_lit_paper() -> None:
    figure = drawn.figure()
    cut = cut_out(on_paper(figure))
    assert overlap(cut[..., 3] > 127, figure.rgba[..., 3] > 127) > 0.95
    assert ((cut[..., 3] > 0) & (cut[..., 3] < 255)).any()
    soft = (cut[..., 3] > 20) & (cut[..., 3] < 235)
    to_paper = np.abs(cut[soft][:, :3].astype(int) - PAPER).sum(1)
    to_ink = np.abs(cut[soft][:, :3].astype(int) - drawn.INK).sum(1)
    assert (to_ink < to_paper).mean() > 0.98


def test_transparency_that_is_there_is_kept() -> None:
    rgba = drawn.figure().rgba
    assert has_alpha(rgba)
    assert cut_out(rgba) is rgba


def test_the_brush_has_the_last_word() -> None:
    figure = drawn.figure()
    marks = np.zeros(figure.rgba.shape[:2], np.uint8)
    marks[20:40, 20:40] = KEEP
    marks[190:205, 195:205] = REMOVE
    for way in ("border", "colors"):
        cut = cut_out(on_paper(figure), way, marks=marks)
        assert cut[198, 200, 3] == 0
    grown = cut_out(on_paper(figure), "border", marks=cv2.dilate(marks, np.ones((41, 41))))
    assert grown[30, 30, 3] == 255


def test_people_in_photos_are_asked_for() -> None:
    figure = drawn.figure()
    noise = np.random.default_rng(1).integers(0, 255, (*figure.rgba.shape[:2], 3), np.uint8)
    photo = np.dstack([noise, np.full(noise.shape[:2], 255, np.uint8)])
    cut = cut_out(photo, segment=lambda rgb: figure.rgba[..., 3] / np.float32(255))
    assert overlap(cut[..., 3] > 127, figure.rgba[..., 3] > 127) > 0.9
    with pytest.raises(InputError, match="not installed"):
        cut_out(photo, "person")


def test_an_empty_sheet_is_refused() -> None:
    blank = np.full((200, 200, 4), 255, np.uint8)
    with pytest.raises(InputError, match="brush over it"):
        cut_out(blank, "border")


def test_a_mask_with_a_strip_of_paper_loses_it() -> None:
    """A rim of background inside the mask takes the colours from further inside."""
    figure = drawn.figure(size=800)
    loose = cv2.dilate((figure.rgba[..., 3] > 127).astype(np.uint8), np.ones((7, 7))) > 0
    cut = with_rim(on_paper(figure)[..., :3].copy(), loose)
    rim = loose & ~(cv2.erode(loose.astype(np.uint8), np.ones((7, 7))) > 0) & (cut[..., 3] > 0)
    to_paper = np.abs(cut[rim][:, :3].astype(int) - PAPER).sum(1)
    assert (to_paper < 120).mean() < 0.05


def write(path: Path, rgba: np.ndarray) -> Path:
    cv2.imwrite(str(path), rgba[..., [2, 1, 0, 3]] if rgba.shape[2] == 4 else rgba[..., ::-1])
    return path


def test_opaque_pictures_with_and_without_files_beside_them(tmp_path: Path) -> None:
    figure = drawn.figure()
    drawing = write(tmp_path / "photo.png", on_paper(figure)[..., :3])
    found, notes = read_figure(drawing, None, None, Limits())
    assert not notes
    assert np.linalg.norm(found.joints - figure.joints, axis=1).max() < 0.12 * figure.height
    mask = write(tmp_path / "mask.png", np.repeat(figure.rgba[..., 3:], 3, 2))
    rig = write_char_cfg(tmp_path / "char_cfg.yaml", figure)
    given, _ = read_figure(drawing, mask, rig, Limits())
    assert np.abs(given.joints - figure.joints).max() <= 0.5
    assert overlap(given.rgba[..., 3] > 127, figure.rgba[..., 3] > 127) > 0.96


def test_files_of_another_drawing_are_refused(tmp_path: Path) -> None:
    figure = drawn.figure()
    drawing = write(tmp_path / "a.png", figure.rgba)
    wide = Figure(np.zeros((100, 300, 4), np.uint8), figure.joints / 4)
    with pytest.raises(InputError, match="do not belong together"):
        read_figure(drawing, None, write_char_cfg(tmp_path / "wide.yaml", wide), Limits())
    with pytest.raises(InputError, match="does not fit"):
        read_figure(drawing, write(tmp_path / "m.png", np.full((100, 300, 3), 255, np.uint8)), None, Limits())
    with pytest.raises(InputError, match="one colour"):
        read_figure(drawing, write(tmp_path / "n.png", np.zeros((400, 400, 3), np.uint8)), None, Limits())


@pytest.mark.parametrize("side", [1, 6, 30])
def test_tiny_pictures_are_refused(tmp_path: Path, side: int) -> None:
    drawing = write(tmp_path / "tiny.png", np.full((side, side, 3), 90, np.uint8))
    with pytest.raises(InputError):
        read_figure(drawing, None, None, Limits())


def test_root_and_hip_move_together() -> None:
    moved = drawn.figure().moved("hip", 210, 236)
    assert tuple(moved.at("root")) == tuple(moved.at("hip")) == (210, 236)
