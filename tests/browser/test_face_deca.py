"""DECA's files go in through the Models tab, in a real browser, and the Face tab works with them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from models.runtime.weights_entry import read_registry
from tests.browser import steps
from tests.browser.conftest import ROOT, Server
from tests.face import made_up

TITLES = {entry.id: entry.title for entry in read_registry()}
pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The made-up files, as a person has them after downloading: entry -> file or ZIP."""
    folder = tmp_path_factory.mktemp("downloads")
    made_up.write_data(folder / "data")
    return {
        "flame-2020": made_up.write_flame(folder / "generic_model.pkl"),
        "deca-data": Path(shutil.make_archive(str(folder / "deca_data"), "zip", folder / "data")),
        "deca-model": made_up.write_networks(folder / "deca_model.tar"),
    }


@pytest.fixture(scope="module")
def server(start_studio: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    embedded = Path(os.environ.get("STUDIO_WEIGHTS", ROOT / "weights"))
    if not (embedded / "mediapipe").is_dir():
        pytest.skip("the embedded networks are not installed: python -m studio weights get embedded")
    weights = tmp_path_factory.mktemp("weights")
    (weights / "mediapipe").symlink_to((embedded / "mediapipe").resolve())
    return start_studio("--tabs", "face", STUDIO_WEIGHTS=str(weights))


def test_files_are_installed_on_the_page_and_drive_the_tab(server, open_page, made, tmp_path) -> None:
    spec = find_spec("skimage")
    if spec is None or not spec.origin:
        pytest.skip("scikit-image is not installed")
    page = open_page(server.url)
    page.locator("#face-run").wait_for()
    page.locator("#face-engine-line", has_text="Face mesh").wait_for()
    steps.tab(page, "Models")
    page.locator("#models-table", has_text="DECA networks").wait_for()
    bad = tmp_path / "generic_model.pkl"
    bad.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    steps.install_weights(page, "flame-2020", bad)
    page.get_by_text("Not installed").first.wait_for()
    for name, path in made.items():
        steps.install_weights(page, name, path)
        page.locator("#models-news", has_text=f"{TITLES[name]} passed every check").wait_for(timeout=90_000)
    steps.tab(page, "Face")
    page.locator("#face-engine-line", has_text=re.compile(r"^\s*DECA")).wait_for()
    portrait = Path(spec.origin).parent / "data" / "astronaut.png"
    page.set_input_files("#face-files input[type=file]", [str(portrait)])
    page.locator("#face-files .file-preview").wait_for()
    page.locator("#face-run").click()
    page.locator("#face-result-head input").wait_for(timeout=180_000)
    page.locator("#face-model canvas").wait_for()
    steps.tab(page, "Views")
    page.locator("#face-slider img").nth(1).wait_for()
    run_id = page.locator("#face-result-head input").input_value().rpartition("=")[2]
    record = server.get(f"/v1/runs/{run_id}")["run"]
    assert record["engine"] == "deca"
    assert {"head", "detail", "deca", "posable"} <= {o["role"] for o in record["outputs"]}
