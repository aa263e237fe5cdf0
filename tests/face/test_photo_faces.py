"""Photos that lie on their side, stand on their head, or cut a face: found the right way up, or not at all."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.base import RunContext
from pipelines.media.image import write_image
from pipelines.tracking.face_measure import measure_photo


@pytest.fixture
def photo(astronaut: Path) -> np.ndarray:
    """(440, 400, 3)"""
    return np.array(Image.open(astronaut).convert("RGB"))[:440, 20:420]


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turned_photo_is_measured_like_an_upright_one(
    turns: int, photo: np.ndarray, context: RunContext, tmp_path: Path
) -> None:
    upright = measure_photo(write_image(tmp_path / "upright.png", photo), context).faces
    turned = np.ascontiguousarray(np.rot90(photo, turns))
    found = measure_photo(write_image(tmp_path / "turned.png", turned), context).faces
    assert len(found) == len(upright) == 1
    height, width = photo.shape[:2]
    x, y, z = upright[0].points[0].T
    places = {1: (y, width - 1 - x), 2: (width - 1 - x, height - 1 - y), 3: (height - 1 - y, x)}
    assert np.allclose(found[0].points[0], np.stack([*places[turns], z], axis=1), atol=0.5)


def test_cut_face_is_found_where_it_is_or_not_at_all(photo: np.ndarray, context: RunContext, tmp_path: Path) -> None:
    whole = measure_photo(write_image(tmp_path / "whole.png", photo), context).faces[0].points[0]
    left, right = whole[:, 0].min(), whole[:, 0].max()
    for share in (0.25, 0.4, 0.6, 0.8):
        start = int(left + share * (right - left))
        path = write_image(tmp_path / f"{share}.png", np.ascontiguousarray(photo[:, start:]))
        for face in measure_photo(path, context, cut=True).faces:
            assert share < 0.7, "nose and an eye must be in sight"
            moved = face.points[0] + (start, 0, 0)
            kept = whole[:, 0] > start
            off = np.linalg.norm((moved - whole)[kept, :2], axis=1).mean()
            assert off < 0.12 * (right - left)
