"""Depth Anything 3's backend routes, as one of its clients uses them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from models.runtime.settings import Settings
from pipelines.media.image import write_image
from studio.api.router import build_router
from studio.services import Studio
from tests.scene.da3_folder import write_folder

WORK = "allowed"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("da3")
    write_folder(folder / "DA3-SMALL")
    random = np.random.default_rng(0)
    (folder / WORK).mkdir()
    for i in range(2):
        write_image(folder / WORK / f"{i}.png", random.integers(0, 255, (90, 120, 3), np.uint8))
    scene = folder / WORK / "gallery" / "group" / "scene"
    scene.mkdir(parents=True)
    for name in ("scene.glb", "scene.jpg"):
        (scene / name).write_bytes(b"x")
    return folder


@pytest.fixture
def client(folder: Path, tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(
        weights_dir=tmp_path / "weights",
        workspace_dir=tmp_path / "workspace",
        tabs=("scene",),
        device="cpu",
        allowed_dirs=(folder / WORK,),
        extra={"DA3_MODEL_DIR": str(folder / "DA3-SMALL"), "DA3_GALLERY_DIR": str(folder / WORK / "gallery")},
    )
    with Studio.build(settings) as studio:
        app = FastAPI()
        app.include_router(build_router(studio))
        with TestClient(app, base_url="http://127.0.0.1") as client:
            yield client


def finished(client: TestClient, task_id: str) -> dict:
    for _ in range(600):
        task = client.get(f"/da3/task/{task_id}").json()
        if task["status"] in ("completed", "failed"):
            return task
        time.sleep(0.1)
    raise AssertionError("the task does not end")


@pytest.mark.parametrize("posed", [False, True])
def test_a_task_from_submission_to_its_files(client: TestClient, folder: Path, posed: bool) -> None:
    out = folder / WORK / f"out{posed}"
    body = {
        "image_paths": [str(folder / WORK / f"{i}.png") for i in range(2)],
        "export_dir": str(out),
        "export_format": "mini_npz-glb",
        "process_res": 70,
        "unknown": 1,
    }
    if posed:
        E = np.tile(np.eye(4), (2, 1, 1))
        E[1, 0, 3] = -0.5
        K = np.array([[110.0, 0, 60], [0, 110, 45], [0, 0, 1]])
        body |= {"extrinsics": E.tolist(), "intrinsics": [K.tolist()] * 2}
    answer = client.post("/da3/inference", json=body).json()
    assert answer["success"] and answer["processing_time"] is None
    task = finished(client, answer["task_id"])
    assert (task["status"], task["progress"]) == ("completed", 1.0), task["message"]
    assert task["num_images"] == 2 and task["video_path"].endswith("0.png")
    assert (out / "scene.glb").is_file()
    with np.load(out / "exports/mini_npz/results.npz") as found:
        assert found["depth"].shape == (2, 56, 70)
        if posed:
            np.testing.assert_allclose(found["extrinsics"][1, 0, 3], -0.5)
    listed = client.get("/da3/tasks").json()
    assert listed["active_count"] == 0 and listed["total_count"] == 1
    assert client.get("/da3/status").json()["model_loaded"] is True
    assert client.delete(f"/da3/task/{answer['task_id']}").json()["success"]
    assert client.get(f"/da3/task/{answer['task_id']}").status_code == 404


def test_what_is_refused(client: TestClient, folder: Path) -> None:
    assert client.post("/da3/inference", json={}).status_code == 422
    outside = client.post("/da3/inference", json={"image_paths": ["/etc/passwd"]})
    assert outside.status_code == 403 and "STUDIO_ALLOWED_DIRS" in outside.json()["error"]
    inside = str(folder / WORK / "0.png")
    away = client.post("/da3/inference", json={"image_paths": [inside], "export_dir": str(folder / "elsewhere")})
    assert away.status_code == 403
    assert client.get("/da3/task/none").status_code == 404
    assert client.get("/da3/nothing").status_code == 404


def test_gallery(client: TestClient) -> None:
    assert client.get("/da3/gallery/manifest.json").json() == {"groups": [{"id": "group", "title": "group"}]}
    items = client.get("/da3/gallery/manifest/group.json").json()["items"]
    assert [i["id"] for i in items] == ["scene"]
    assert client.get(items[0]["model"]).content == b"x"
    assert client.get("/da3/gallery/group/%2e%2e/secret").status_code in (400, 404)


def test_pages(client: TestClient) -> None:
    assert "backend" in client.get("/da3/dashboard").text
    assert client.get("/da3/gpu-memory").json()["available"] is False
    assert client.post("/da3/cleanup").json()["success"]
