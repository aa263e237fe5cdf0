"""CoNR's four files go in through the Models tab, in a real browser, and the Character tab draws with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.conr.checkpoint import PARTS, empty
from models.runtime.weights_entry import read_registry
from pipelines.character.engine_conr import WEIGHTS
from tests.browser import steps
from tests.browser.conftest import ROOT, Server

TITLES = {entry.id: entry.title for entry in read_registry()}
FRONT = ROOT / "examples" / "character" / "pip" / "front.png"
pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Made-up networks of the released shapes: part -> file."""
    folder = tmp_path_factory.mktemp("downloads")
    generator = torch.Generator().manual_seed(0)
    for part in PARTS:
        state = {}
        for name, tensor in empty(part).state_dict().items():
            noise = torch.randn(tensor.shape, generator=generator)
            state[name] = noise / tensor[0].numel() ** 0.5 if tensor.ndim > 1 else 0.02 * noise + ("weight" in name)
        torch.save(state, folder / f"{part}.pth")
    return {part: folder / f"{part}.pth" for part in PARTS}


@pytest.fixture(scope="module")
def server(start_studio: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    return start_studio("--tabs", "character", STUDIO_WEIGHTS=str(tmp_path_factory.mktemp("weights")))


def choose(page: Any, name: str, value: str) -> None:
    """Picks a value of a dropdown."""
    field = page.locator(f"#{name} input")
    field.click()
    page.get_by_role("option").filter(has_text=value).first.click()


def test_files_are_installed_on_the_page_and_draw(server: Server, open_page: Callable, made: dict[str, Path]) -> None:
    page = open_page(server.url)
    page.locator("#character-run").wait_for()
    steps.tab(page, "Models")
    for part, name in WEIGHTS.items():
        page.locator("#models-table", has_text=TITLES[name]).wait_for()
        steps.install_weights(page, name, made[part])
        page.locator("#models-news", has_text=f"{TITLES[name]} passed every check").wait_for(timeout=90_000)
    page.reload()
    page.locator("#character-run").wait_for()
    page.set_input_files("#character-files input[type=file]", str(FRONT))
    page.locator("#character-files .file-preview").wait_for()
    page.set_input_files("#character-motion input[type=file]", poses(made))
    choose(page, "character-engine", "CoNR")
    page.locator("#character-engine-line", has_text="CoNR").wait_for()
    page.locator("#character-run").click()
    page.locator("#character-result-head input").wait_for(timeout=150_000)
    page.wait_for_function("document.querySelector('#character-video video')?.readyState >= 2")
    run_id = page.locator("#character-result-head input").input_value().rpartition("=")[2]
    record = server.get(f"/v1/runs/{run_id}")["run"]
    assert record["engine"] == "conr" and record["summary"]["frames"] == 3


def poses(made: dict[str, Path]) -> list[str]:
    """Three UDP frames, files beside the networks: a standing slab that walks to the right."""
    found = []
    for index in range(3):
        frame = np.zeros((256, 256, 4), np.float32)
        place = np.s_[40:220, 80 + 10 * index : 150 + 10 * index]
        frame[place] = (0, 0.5, 0, 1)
        frame[place][..., 0] = np.linspace(0, 1, 70)
        frame[place][..., 2] = np.linspace(1, 0, 180)[:, None]
        found.append(next(iter(made.values())).with_name(f"pose_{index}.npz"))
        np.savez(found[-1], i=frame.astype(np.float16))
    return list(map(str, found))
