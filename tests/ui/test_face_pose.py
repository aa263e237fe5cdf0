"""Sliders of the Face tab: what they add, and that a move is drawn at once."""

import base64
import time
from pathlib import Path

import numpy as np
import pytest

from pipelines.face.blendshapes import NAMES
from pipelines.face.canonical import canonical_face
from pipelines.face.repose import PosableHead
from studio.ui.tabs.face_pose import MOVES, Posed, drawn

MOST_SECONDS = 0.5


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    face = canonical_face()
    vertices = face.complete(face.positions)
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 255, (1024, 1024, 3), np.uint8)
    zero = np.zeros((len(NAMES), len(vertices), 3), np.float32)
    zero[NAMES.index("jawOpen"), 14] = (0, -0.03, 0)
    made = PosableHead("facemesh", 1, vertices, face.faces, face.uv[face.faces], texture, NAMES, zero,
                       np.zeros(len(NAMES)), np.zeros(vertices.shape))  # fmt: skip
    return made.save(tmp_path_factory.mktemp("run") / "heads" / "face_01.npz")


def moved(**values: float) -> Posed:
    return Posed(0, 0, 0, 1, tuple(values.get(key, 0.0) for key, *_ in MOVES))


def test_every_move_names_shapes_that_exist() -> None:
    assert {name for _, _, above, below in MOVES for name in (*above, *below)} <= set(NAMES)


def test_a_slider_has_two_sides() -> None:
    assert moved(smile=0.4).look.added["mouthSmileLeft"] == 0.4
    assert moved(smile=-0.3).look.added["mouthFrownRight"] == 0.3
    assert "jawLeft" not in moved(jaw_side=-1).look.added


def test_moves_are_pictures_and_quick(head: Path) -> None:
    first = drawn(head, moved().look)
    kind, _, data = first.partition(",")
    assert kind == "data:image/jpeg;base64"
    assert base64.b64decode(data).startswith(b"\xff\xd8")
    start = time.process_time()
    assert drawn(head, moved(jaw=1.0).look) != first
    assert time.process_time() - start < MOST_SECONDS
