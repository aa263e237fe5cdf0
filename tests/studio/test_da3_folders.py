"""Depth Anything 3's own folders and servers: examples computed ahead, the gallery, and addresses at the root."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient

from models.runtime.errors import InputError
from models.runtime.settings import Settings
from pipelines.media.image import write_image
from studio.api.standalone import backend_app, gallery_app
from studio.cli.main import run as run_command
from studio.cli.scene_serve import environment
from studio.scene_folders import cached_run, compute_examples, example_folders, save_to_gallery
from studio.services import Studio
from tests.browser.conftest import free_port
from tests.scene.da3_folder import write_folder


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("released") / "DA3-SMALL")


@pytest.fixture
def settings(tmp_path: Path, released: Path) -> Settings:
    random = np.random.default_rng(0)
    for name in ("yard", "empty"):
        (tmp_path / "da3" / "examples" / name).mkdir(parents=True)
    for i in range(2):
        picture = random.integers(0, 255, (12, 80, 3), np.uint8)
        write_image(tmp_path / "da3" / "examples" / "yard" / f"{i}.jpg", picture)
    (tmp_path / "gallery").mkdir()
    return Settings(
        weights_dir=tmp_path / "weights",
        workspace_dir=tmp_path / "workspace",
        tabs=("scene",),
        device="cpu",
        allowed_dirs=(tmp_path,),
        extra={
            "DA3_MODEL_DIR": str(released),
            "DA3_WORKSPACE_DIR": str(tmp_path / "da3"),
            "DA3_GALLERY_DIR": str(tmp_path / "gallery"),
            "DA3_CACHE_EXAMPLES": "1",
        },
    )


def test_examples_are_computed_once_and_can_go_to_the_gallery(settings: Settings) -> None:
    (yard,) = example_folders(settings)
    with Studio.build(settings) as studio:
        assert compute_examples(studio) == 1
        assert compute_examples(studio) == 0
        run = cached_run(studio.runs, yard)
        for _ in studio.jobs.get(run.id).follow():
            pass
        record = studio.runs.get(run.id)
        assert record.state == "done", record.error
        assert record.options["filter"]["confidence_percentile"] == 20
        root = Path(settings.extra["DA3_GALLERY_DIR"])
        saved = save_to_gallery(studio.runs, run.id, root, "homes", "yard")
        assert json.loads((saved / "metadata.json").read_text())["engine"] == "da3"
        with pytest.raises(InputError, match="folder name"):
            save_to_gallery(studio.runs, run.id, root, "../homes", "yard")
    with gallery_app(settings) as app, TestClient(app, base_url="http://127.0.0.1") as client:
        assert "Scene gallery" in client.get("/").text
        assert client.get("/manifest.json").json()["groups"] == [{"id": "homes", "title": "homes"}]
        (item,) = client.get("/manifest/homes.json").json()["items"]
        assert item["id"] == saved.name and len(item["depth_images"]) == 2
        assert client.get(item["model"]).content[:4] == b"glTF"
        assert client.get("/homes/").status_code in (400, 404)


@pytest.fixture
def served(settings: Settings) -> Iterator[str]:
    """The backend as the command line serves it; its address."""
    port = free_port()
    with backend_app(settings) as app:
        server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            thread.join(0.05)
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join(10)


def test_the_backend_answers_at_the_root_and_the_command_uses_it(
    served: str, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import httpx

    assert httpx.get(f"{served}/status").json()["model_loaded"] is False
    assert httpx.get(f"{served}/tasks").json()["total_count"] == 0
    assert httpx.get(f"{served}/gallery/manifest.json").json() == {"groups": []}
    assert "backend" in httpx.get(f"{served}/").text
    photos = Path(settings.extra["DA3_WORKSPACE_DIR"]) / "examples" / "yard"
    out = tmp_path / "out"
    command = ["scene", "images", str(photos), "--use-backend", "--backend-url", served, "--export-dir", str(out)]
    assert run_command([*command, "--export-format", "glb-mini_npz", "--process-res", "70", "--quiet"]) == 0
    assert (out / "scene.glb").is_file()
    assert (out / "exports" / "mini_npz" / "results.npz").is_file()
    capsys.readouterr()


def test_flags_become_the_environment_of_the_original() -> None:
    given = {"model_dir": "m", "gallery_dir": Path("g"), "cache_examples": True, "cache_gs_tag": None}
    assert environment(given, {"DA3_CACHE_GS_TAG": "gs"}) == {
        "DA3_MODEL_DIR": "m",
        "DA3_GALLERY_DIR": "g",
        "DA3_CACHE_EXAMPLES": "1",
        "DA3_CACHE_GS_TAG": "gs",
    }


def test_a_gallery_without_its_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["scene", "gallery", "--gallery-dir", str(tmp_path / "none")]) == 2
    assert "gallery" in capsys.readouterr().err
