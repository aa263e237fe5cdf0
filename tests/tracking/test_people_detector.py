"""Boxes of people out of every kind of detector file."""

from __future__ import annotations

import numpy as np
import pytest

from models.runtime.errors import WeightsInvalid
from pipelines.tracking.people_detector import letterboxed, read_people

SIZE = (640, 480)
CENTRE = np.array([320.0, 240.0, 100.0, 200.0])
CORNERS = np.array([270.0, 140.0, 370.0, 340.0])


def table(width: int, rows: int = 300) -> np.ndarray:
    return np.zeros((1, rows, width), np.float32)


def test_every_form_gives_the_same_person() -> None:
    yolo = table(84, 8400).transpose(0, 2, 1).copy()
    yolo[0, :4, 7], yolo[0, 4, 7], yolo[0, 5, 8] = CENTRE, 0.9, 0.9  # a person, and a bicycle
    anchored = table(85)
    anchored[0, 3, :4], anchored[0, 3, 4], anchored[0, 3, 5] = CENTRE, 1.0, 0.9
    shares = table(84)
    shares[0, 5, :4], shares[0, 5, 4] = CENTRE / [*SIZE, *SIZE], 0.9
    ended = table(6)
    ended[0, 0], ended[0, 1] = [*CORNERS, 0.9, 0], [*CORNERS, 0.99, 2]
    logits, boxes = np.full((1, 300, 80), -9.0, np.float32), table(4)
    logits[0, 2, 0], boxes[0, 2] = np.log(9.0), CENTRE / [*SIZE, *SIZE]
    for outputs in ([yolo], [anchored], [shares], [ended], [logits, boxes]):
        found = read_people(outputs, SIZE, "file.onnx")
        best = found[np.argmax(found[:, 4])]
        np.testing.assert_allclose(best, [*CORNERS, 0.9], atol=1e-3)


def test_other_networks_are_refused() -> None:
    with pytest.raises(WeightsInvalid, match="no detector"):
        read_people([np.zeros((1, 1000), np.float32)], SIZE, "classifier.onnx")
    with pytest.raises(WeightsInvalid, match="no detector"):
        read_people([table(4), table(5), table(6)], SIZE, "other.onnx")


def test_pictures_are_fitted_without_being_stretched() -> None:
    tensor, scale = letterboxed(np.full((100, 400, 3), 255, np.uint8), 640, 640)
    assert scale == pytest.approx(1.6) and tensor.shape == (1, 3, 640, 640)
    assert tensor[0, 0, 159, 639] == 1.0 and tensor[0, 0, 161, 0] == pytest.approx(114 / 255)
