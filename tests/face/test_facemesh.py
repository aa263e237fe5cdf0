"""Heads in space from landmarks, and the whole pipeline on a photo."""

import json
from pathlib import Path

import cv2
import numpy as np
import pygltflib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.runtime.errors import InputError
from pipelines.base import Inputs, Result, RunContext, run
from pipelines.face.canonical import canonical_face, pupils
from pipelines.face.facemesh import FaceLens, fit_head
from pipelines.face.options import FaceOptions
from pipelines.face.pipeline import FacePipeline
from pipelines.face.texture import bake
from pipelines.media.image import write_image

LENS = FaceLens.assumed(640, 480, 50.0)


def turned(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Rotation (3, 3) from head to camera axes, by degrees."""
    y, p, r = np.radians([yaw, pitch, roll])
    turn_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    turn_x = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    turn_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return turn_z @ np.diag([1.0, -1.0, -1.0]) @ turn_y @ turn_x


def seen(rotation: np.ndarray, scale: float = 900.0) -> np.ndarray:
    """Landmarks in pixels of the canonical face turned that way, under parallel rays."""
    return canonical_face().positions @ rotation.T * scale + (320, 240, 0)


@given(st.floats(-50, 50), st.floats(-25, 25), st.floats(-40, 40), st.floats(0.05, 0.075))
def test_landmarks_are_met_exactly_and_the_size_is_the_one_asked_for(
    yaw: float, pitch: float, roll: float, apart: float
) -> None:
    rotation = turned(yaw, pitch, roll)
    points = seen(rotation)
    fit = fit_head(points, LENS, apart)
    projected = fit.camera[:, :2] / fit.camera[:, 2:] * LENS.focal + LENS.centre
    assert np.abs(projected - points[:, :2]).max() < 1e-6
    assert np.abs(fit.in_camera(fit.head) - fit.camera).max() < 1e-9
    right, left = pupils(fit.head)
    assert abs(np.linalg.norm(left - right) / apart - 1) < 0.08
    off = np.degrees(np.arccos(np.clip((np.trace(fit.extrinsics[:3, :3].T @ rotation) - 1) / 2, -1, 1)))
    assert off < 9  # parallel rays are not quite what a pinhole sees


def test_texture_takes_the_photo_where_it_shows_the_face() -> None:
    photo = np.zeros((480, 640, 3), np.uint8)
    photo[:, :320] = (200, 40, 40)
    photo[:, 320:] = (40, 40, 200)
    texture = bake(photo, fit_head(seen(turned(0, 0, 0)), LENS, 0.063), LENS, 512)
    uv = canonical_face().uv[[50, 280]] * 512
    right, left = (texture[int(512 - v), int(u)].astype(int) for u, v in uv)
    assert right[0] > 150 > 90 > right[2]
    assert left[2] > 150 > 90 > left[0]


def result_of(sources: list[Path], context: RunContext, driver: Path | None = None, **options: object) -> Result:
    files = {"source": tuple(sources)} | ({"driver": (driver,)} if driver else {})
    steps = run(FacePipeline(), Inputs(files), FaceOptions(texture_size="512", **options), context)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_photo_becomes_a_head_with_all_its_files(context: RunContext, astronaut: Path) -> None:
    result = result_of([astronaut], context)
    assert result.summary["heads"] == 1
    for output in result.outputs:
        assert (context.out_dir / output.path).stat().st_size > 0, output.path
    glb = pygltflib.GLTF2().load(context.out_dir / result.first("head").path)
    assert len(glb.images) == 1
    assert "face_01.png" in (context.out_dir / "face_01.mtl").read_text()
    told = json.loads((context.out_dir / "parameters.json").read_text())["faces"][0]
    assert abs(told["yaw"]) < 10
    assert told["expression"]["mouthSmileLeft"] > 0.3


def test_two_faces_are_numbered_and_can_be_chosen(context: RunContext, astronaut: Path, tmp_path: Path) -> None:
    face = cv2.imread(str(astronaut))[:260, 100:360, ::-1]
    path = write_image(tmp_path / "two.png", np.concatenate([face, face[:, ::-1]], axis=1))
    result = result_of([path], context)
    assert result.summary["heads"] == 2
    with pytest.raises(InputError, match="no face 3"):
        result_of([path], context, faces="number", face_number=3)


def test_a_picture_without_a_face_is_refused_in_words(context: RunContext, tmp_path: Path) -> None:
    path = write_image(tmp_path / "sky.png", np.full((200, 300, 3), (120, 160, 220), np.uint8))
    with pytest.raises(InputError, match="No face was found"):
        result_of([path], context)


def test_expression_of_another_photo_is_worn(context: RunContext, astronaut: Path, testdata: Path) -> None:
    result = result_of([astronaut], context, testdata / "face" / "expression_a.jpg")
    glb = pygltflib.GLTF2().load(context.out_dir / result.first("transfer").path)
    assert len(glb.meshes[0].primitives[0].targets) == 52


def test_video_gives_curves_and_an_animated_head(context: RunContext, testdata: Path) -> None:
    result = result_of([testdata / "face" / "driving_expressions.mp4"], context)
    glb = pygltflib.GLTF2().load(context.out_dir / result.first("animated").path)
    assert {c.target.path for c in glb.animations[0].channels} == {"weights", "rotation"}
    rows = (context.out_dir / "curves.csv").read_text().splitlines()
    assert len(rows) == result.summary["frames"] + 1
    assert len(rows[0].split(",")) == 55
    assert result.first("video") is not None
