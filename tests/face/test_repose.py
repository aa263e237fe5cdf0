"""Heads posed again from their file: what they show, and that shapes add up."""

from pathlib import Path

import numpy as np
import pytest

from models.runtime.errors import InputError
from pipelines.face.blendshapes import NAMES, offsets_of
from pipelines.face.canonical import canonical_face
from pipelines.face.exports import posable
from pipelines.face.expression import RestingFace
from pipelines.face.facemesh import HeadFit
from pipelines.face.repose import Look, PosableHead


@pytest.fixture(scope="module")
def head() -> PosableHead:
    face = canonical_face()
    weights = np.zeros(len(NAMES))
    weights[NAMES.index("mouthSmileLeft")] = 0.5
    points = face.positions + offsets_of(weights)
    fit = HeadFit(points, points, np.eye(4), 1.0)
    texture = np.full((64, 64, 3), 180, np.uint8)
    return posable(1, fit, RestingFace(face.positions, 1.0), weights, texture)


def test_the_file_gives_the_same_head_again(head: PosableHead, tmp_path: Path) -> None:
    again = PosableHead.load(head.save(tmp_path / "heads" / "face_01.npz"))
    assert (again.engine, again.number, again.names) == ("facemesh", 1, NAMES)
    look = Look(yaw=20, added={"jawOpen": 0.6})
    assert np.abs(again.posed(look) - head.posed(look)).max() < 1e-4
    with pytest.raises(InputError):
        PosableHead.load(Path(__file__))


def test_looks_move_what_they_say(head: PosableHead) -> None:
    shown = canonical_face().complete(canonical_face().positions + offsets_of(head.weights))
    assert np.abs(head.posed(Look())[:468] - shown[:468]).max() < 1e-3
    assert np.abs(head.posed(Look(strength=0)) - head.vertices).max() < 1e-9
    opened = head.posed(Look(added={"jawOpen": 1.0})) - head.posed(Look())
    assert opened[14, 1] < -0.02
    assert np.allclose(head.posed(Look(added={"unknown": 1.0})), head.posed(Look()))


def test_pictures_turn_with_the_head(head: PosableHead) -> None:
    left, right = (head.picture(Look(yaw=a), 96) for a in (-40, 40))
    assert left.shape == (96, 96, 3)
    difference = np.abs(left[:, ::-1].astype(int) - right.astype(int))
    assert np.median(difference) == 0
    assert (left != right).any()
