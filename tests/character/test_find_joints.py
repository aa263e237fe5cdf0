"""Joints from silhouettes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from models.runtime.errors import InputError
from pipelines.character.figure import JOINTS, read_char_cfg, write_char_cfg
from pipelines.character.find_joints import find_joints
from tests.character import drawn


@pytest.mark.parametrize("arms", [30, 60, 90, 130])
@pytest.mark.parametrize("size", [120, 400, 900])
def test_a_plain_figure(arms: float, size: int) -> None:
    figure = drawn.figure(arms, size)
    found = find_joints(figure.rgba[..., 3])
    assert not found.notes
    off = np.linalg.norm(found.joints - figure.joints, axis=1) / figure.height
    assert off.mean() < 0.05
    assert off.max() < 0.12, JOINTS[int(off.argmax())]


def test_arms_against_the_body_are_guessed_and_said(tmp_path: Path) -> None:
    figure = drawn.figure(arms=3)
    found = find_joints(figure.rgba[..., 3])
    assert "guessed" in found.notes[0]
    inside = figure.rgba[..., 3] > 0
    x, y = np.rint(found.joints).astype(int).T
    assert inside[y, x].all()


@pytest.mark.parametrize("shape", ["nothing", "disc", "square", "ring"])
def test_what_is_no_figure_is_refused(shape: str) -> None:
    alpha = np.zeros((300, 300), np.uint8)
    if shape == "disc":
        cv2.circle(alpha, (150, 150), 100, 255, -1)
    elif shape == "square":
        alpha[60:240, 60:240] = 255
    elif shape == "ring":
        cv2.circle(alpha, (150, 150), 100, 255, 12)
    with pytest.raises(InputError):
        find_joints(alpha)


@pytest.mark.media
def test_the_drawing_against_its_own_joints(testdata: Path) -> None:
    folder = testdata / "character"
    given, size = read_char_cfg(folder / "drawing_char_cfg.yaml")
    mask = cv2.imread(str(folder / "drawing_mask.png"), cv2.IMREAD_GRAYSCALE)
    assert mask.shape == size
    off = np.linalg.norm(find_joints(mask).joints - given, axis=1) / size[0]
    assert off.mean() < 0.035
    assert off.max() < 0.08


def test_a_rig_survives_being_written(tmp_path: Path) -> None:
    figure = drawn.figure()
    joints, size = read_char_cfg(write_char_cfg(tmp_path / "char_cfg.yaml", figure))
    assert size == figure.rgba.shape[:2]
    assert np.abs(joints - figure.joints).max() <= 0.5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("height: 1\nwidth: 1\nskeleton: []", "lacks the joints"),
        ("just words", "not a char_cfg"),
        ("!!python/object/apply:os.system ['true']", "not a char_cfg"),
        ("height: 1\nwidth: 1\nskeleton: [{name: root, loc: [a, b]}]", "not a char_cfg"),
    ],
)
def test_broken_rigs_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "char_cfg.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_char_cfg(path)
