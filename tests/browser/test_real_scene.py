"""The shipped example through the true Scene pipeline, in the browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser import steps
from tests.browser.conftest import Server

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def real(start_studio: Callable[..., Server]) -> Server:
    return start_studio("--real")


def test_stereo_example_becomes_a_scene_that_can_be_filtered_again(real, open_page) -> None:
    page = steps.ready(open_page(real.url))
    page.get_by_text("Motorcycle").click()
    page.locator("#scene-given img").first.wait_for()
    assert page.locator("#scene-option-stereo_rectified input").is_checked()
    steps.run(page)
    page.locator("#scene-result-head input").wait_for(timeout=120_000)
    assert steps.wait_for_drawing(page, least=2000) >= 2000
    run_id = page.locator("#scene-result-head input").input_value().rpartition("=")[2]
    before = real.get(f"/v1/runs/{run_id}")["run"]["summary"]["points"]

    steps.tab(page, "Views")
    page.locator("#scene-slider img").nth(1).wait_for()
    steps.tab(page, "3D")
    page.get_by_text("Refine the point cloud").click()
    field = page.locator("#scene-refine-point_budget input")
    field.wait_for()
    page.wait_for_timeout(1500)  # the fold shows the run's own values a moment after it has opened
    field.fill("20000")
    field.press("Tab")  # the value counts once the field is left, as a person leaves it
    page.wait_for_timeout(400)
    page.locator("#scene-refilter").click()
    page.locator(".ls-stats").get_by_text(f"{before:,}").wait_for(state="detached", timeout=60_000)
    assert steps.wait_for_drawing(page, least=500) >= 500
    record = real.get(f"/v1/runs/{run_id}")["run"]
    assert record["summary"]["points"] <= 20_000 < before
    assert record["options"]["filter"]["point_budget"] == 20_000
