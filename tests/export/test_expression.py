"""The expression file and what follows it: round trip, back and forth, a head on a body, a photo that blinks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.bodies.joints import INDEX
from models.runtime.errors import InputError
from pipelines.export.expression import ExpressionClip, read_expression, write_expression
from pipelines.face.blendshapes import NAMES
from pipelines.face.head_motion import head_motion
from pipelines.talk.still import StillMotion

FPS = 25.0


@pytest.fixture
def clip() -> ExpressionClip:
    count = 26
    weights = np.zeros((count, len(NAMES)))
    weights[10:14, [NAMES.index("eyeBlinkLeft"), NAMES.index("eyeBlinkRight")]] = 0.9
    weights[:, NAMES.index("jawOpen")] = np.linspace(0, 1, count)
    head = np.zeros((count, 3))
    head[:, 1] = np.linspace(-0.3, 0.3, count)
    return ExpressionClip(NAMES, np.arange(count) / FPS, np.ones(count, bool), weights, head)


def test_file_comes_back(clip: ExpressionClip, tmp_path: Path) -> None:
    again = read_expression(write_expression(tmp_path / "curves.json", clip, FPS, "estimated"))
    assert again.names == clip.names
    for one, other in ((again.times, clip.times), (again.weights, clip.weights), (again.head, clip.head)):
        assert np.allclose(one, other, atol=1e-4)


def test_other_files_are_refused(clip: ExpressionClip, tmp_path: Path) -> None:
    path = write_expression(tmp_path / "curves.json", clip, FPS, "")
    stored = json.loads(path.read_text())
    short = {**stored, "head": stored["head"][:-1]}
    for content in ("[]", "no json", json.dumps({"names": []}), json.dumps(short)):
        path.write_text(content)
        with pytest.raises(InputError, match="no file of expression curves"):
            read_expression(path)


def test_clip_plays_back_and_forth(clip: ExpressionClip) -> None:
    jaw = clip.curve("jawOpen")
    assert clip.played(np.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.5]), jaw) == pytest.approx([0, 0.5, 1, 0.5, 0, 0.5])


def test_head_turns_on_a_standing_body(clip: ExpressionClip) -> None:
    motion = head_motion(clip, FPS)
    world = motion.world()
    front = world[:, INDEX["head"], :3, 2]
    expected = np.stack([np.sin(clip.head[:, 1]), 0 * clip.times, np.cos(clip.head[:, 1])], axis=1)
    assert np.allclose(front, expected, atol=1e-6)
    assert np.allclose(world[:, INDEX["pelvis"]], world[0, INDEX["pelvis"]])
    assert (motion.joints()[:, INDEX["left_wrist"], 1] < motion.joints()[:, INDEX["left_shoulder"], 1] - 0.3).all()


def test_photo_follows_blinks_and_head(clip: ExpressionClip) -> None:
    followed = StillMotion.follow(clip, 50, FPS)
    assert followed.blink[11] == 1 and followed.blink[0] == 0
    assert (np.diff(followed.shift[:25, 0]) > 0).all(), "a head that turns to the viewer's right goes there"
    still = StillMotion.follow(replace(clip, head=np.zeros_like(clip.head)), 50, FPS)
    assert np.abs(still.shift).max() == 0
