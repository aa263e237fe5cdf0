"""``POST /reconstruct_download`` with DECA's form, with DECA's engine and without it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import trimesh
from fastapi import FastAPI
from fastapi.testclient import TestClient

from models.runtime.settings import Settings
from pipelines.base import RunContext
from pipelines.media.image import write_image
from studio.api.router import build_router
from studio.services import Studio

ROUTE = "/reconstruct_download"


def _client(settings: Settings) -> Iterator[TestClient]:
    with Studio.build(settings) as studio:
        yield TestClient(FastAPI(routes=build_router(studio).routes), raise_server_exceptions=False)


@pytest.fixture
def embedded(context: RunContext) -> Iterator[TestClient]:
    yield from _client(context.settings.with_(tabs=("face",), device="cpu"))


@pytest.fixture
def deca(deca_settings: Settings) -> Iterator[TestClient]:
    yield from _client(deca_settings.with_(tabs=("face",)))


def opened(answer: object, folder: Path) -> set[str]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    assert "me_reconstruction.zip" in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(folder)
        return set(archive.namelist())


def textured(path: Path) -> int:
    """Vertices of an OBJ that other programs open with its texture."""
    mesh = trimesh.load(path, process=False)
    assert np.asarray(mesh.visual.material.image).std() > 5
    return len(mesh.vertices)


def test_the_zip_of_deca_opens_with_its_texture(deca: TestClient, astronaut: Path, tmp_path: Path) -> None:
    form = {"save_kpt": "True", "save_vis": "no", "save_depth": "false"}
    answer = deca.post(ROUTE, files={"image": ("me.png", astronaut.read_bytes())}, data=form)
    names = {f"me/me{e}" for e in (".obj", ".mtl", ".png", "_normals.png", "_detail.obj", "_kpt2d.txt", "_kpt3d.txt")}
    assert opened(answer, tmp_path) == names
    assert textured(tmp_path / "me" / "me.obj") > 500


def test_without_deca_the_embedded_head_is_given(embedded: TestClient, astronaut: Path, tmp_path: Path) -> None:
    form = {"save_kpt": "true", "save_images": "true", "save_mat": "true", "anything": "else"}
    answer = embedded.post(ROUTE, files={"image": ("me.png", astronaut.read_bytes())}, data=form)
    names = opened(answer, tmp_path)
    assert {"me_vis.jpg", "me/me.obj", "me/me.mtl", "me/me.png", "me/me_depth.jpg", "me/me.mat"} <= names
    assert textured(tmp_path / "me" / "me.obj") > 500
    assert np.loadtxt(tmp_path / "me" / "me_kpt2d.txt").shape == (68, 2)


def test_what_cannot_be_used_is_refused_in_json(embedded: TestClient, tmp_path: Path) -> None:
    sky = write_image(tmp_path / "sky.png", np.full((120, 160, 3), (120, 160, 220), np.uint8)).read_bytes()
    bad = (
        embedded.post(ROUTE),
        embedded.post(ROUTE, data={"save_obj": "true"}, files={"other": ("a.png", sky)}),
        embedded.post(ROUTE, files={"image": ("a.png", b"no picture at all")}),
        embedded.post(ROUTE, files={"image": ("a.png", sky[:200])}),
        embedded.post(ROUTE, files={"image": ("a.png", b"")}),
        embedded.post(ROUTE, files={"image": ("sky.png", sky)}),
    )
    for answer in bad:
        assert answer.status_code == 400, answer.text
        assert set(answer.json()) == {"error"} and "Traceback" not in answer.text
    assert embedded.get(ROUTE).status_code == 405
    assert embedded.get("/health").json()["status"] == "ok"
