"""DECA's command lines and form, read by the studio."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.runtime.errors import InputError
from pipelines import registry
from studio.cli.face import inputs_of, translate


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["scene", "-i", "x"], ["scene", "-i", "x"]),
        (["face", "a.jpg", "--save-obj"], ["face", "a.jpg", "--save-obj"]),
        (
            ["face", "-i", "photos", "-s", "out", "--saveObj", "True", "--saveVis", "false", "--sample_step", "10"],
            ["face", "photos", "--export-dir", "out", "--save-obj", "--no-save-vis"],
        ),
        (["face", "-i", "a", "--useTex=True", "--detector", "mtcnn", "--rasterizer_type", "standard"],
         ["face", "a", "--albedo", "auto", "--detector", "blaze"]),
        (["face", "transfer", "a.jpg", "b.jpg"], ["face", "a.jpg", "--driver", "b.jpg"]),
        (["face", "transfer", "-i", "a.jpg", "-e", "b.jpg"], ["face", "a.jpg", "--driver", "b.jpg"]),
        (
            ["face", "transfer", "-i", "a", "-e", "b", "-s", "out", "--saveMat", "True"],
            ["face", "a", "--driver", "b", "--export-dir", "out", "--save-mat"],
        ),
        (["face", "transfer", "--saveMat", "1", "a", "b.mp4"], ["face", "a", "--driver", "b.mp4", "--save-mat"]),
    ],
)  # fmt: skip
def test_switches_of_the_original(given: list[str], told: list[str]) -> None:
    assert translate(given) == told


@pytest.mark.parametrize(
    "given", [["face", "-i"], ["face", "transfer", "a.jpg"], ["face", "-i", "a", "--rasterizer_type", "pytorch3d"]]
)
def test_what_cannot_be_meant_is_refused(given: list[str]) -> None:
    with pytest.raises(InputError):
        translate(given)


def test_landmark_files_beside_a_photo_are_taken_along(tmp_path: Path) -> None:
    from pipelines.media.image import write_image

    photo = write_image(tmp_path / "me.png", np.zeros((8, 8, 3), np.uint8))
    np.savetxt(tmp_path / "me.txt", np.zeros((68, 2)))
    other = write_image(tmp_path / "you.png", np.zeros((8, 8, 3), np.uint8))
    found = inputs_of(registry.get("face"), {"inputs": [str(photo)], "driver": other, "landmarks": None})
    assert found.get("landmarks") == (tmp_path / "me.txt",)
    assert found.get("source") == (photo,) and found.one("driver") == other
