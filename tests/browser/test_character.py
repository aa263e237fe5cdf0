"""The Character tab in a browser: joints dragged on the drawing by mouse, finger and keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from tests.browser.conftest import Server
from tests.character import drawn

pytestmark = pytest.mark.browser
Page = Any
STAGE = "#character-figure-joints .joint-stage"


@pytest.fixture(scope="module")
def server(start_studio: Callable[..., Server]) -> Server:
    return start_studio("--tabs", "character")


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drawing") / "figure.png"
    cv2.imwrite(str(path), drawn.figure().rgba[..., [2, 1, 0, 3]])
    return path


def with_joints(page: Page, drawing: Path) -> Page:
    """The drawing given and its joints found."""
    page.locator("#character-run").wait_for()
    page.set_input_files("#character-files input[type=file]", str(drawing))
    page.locator("#character-files .file-preview").wait_for()
    page.locator("#character-figure").get_by_role("button", name="Figure and joints of a drawing").click()
    page.locator("#character-figure-find").click()
    page.locator(f"{STAGE} .joint-dot").first.wait_for()
    return page


def middle(page: Page, joint: str) -> tuple[float, float]:
    """Where a joint is on screen."""
    box = page.locator(f"{STAGE} [data-joint={joint}] .joint-dot").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page: Page, joint: str, right: float, down: float) -> None:
    page.locator(STAGE).scroll_into_view_if_needed()
    x, y = middle(page, joint)
    page.mouse.move(x, y)
    page.mouse.down()
    for share in (0.3, 0.7, 1):
        page.mouse.move(x + right * share, y + down * share)
    page.mouse.up()


def settled(server: Server, after: int) -> dict[str, np.ndarray]:
    """Joints of the newest rig on the server, once there are more than ``after`` of them."""
    found = sorted(server.workspace.rglob("figures/*.yaml"), key=lambda p: p.stat().st_mtime_ns)
    assert len(found) > after
    stored = yaml.safe_load(found[-1].read_text())
    return {joint["name"]: np.array(joint["loc"]) for joint in stored["skeleton"]}


def rigs(server: Server) -> int:
    return len(list(server.workspace.rglob("figures/*.yaml")))


def words(page: Page, text: str) -> None:
    page.locator("#character-figure").get_by_text(text).wait_for()


def test_joints_are_dragged(server: Server, open_page: Callable, drawing: Path) -> None:
    page = with_joints(open_page(server.url), drawing)
    assert page.locator(f"{STAGE} .joint-handle").count() == 15
    before, count = settled(server, 0), rigs(server)
    scale = page.locator(STAGE).evaluate("s => s.getScreenCTM().a")
    drag(page, "left_hand", 60, -45)
    words(page, "Moved: left hand.")
    after = settled(server, count)
    assert np.abs(after["left_hand"] - before["left_hand"] - np.array([60, -45]) / scale).max() < 1.5
    assert all((after[n] == before[n]).all() for n in after if n != "left_hand")

    x, y = middle(page, "left_hand")
    page.locator(f"{STAGE} [data-joint=left_hand]").focus()
    page.keyboard.press("Shift+ArrowDown")
    words(page, "Moved: left hand.")
    assert middle(page, "left_hand")[1] > y + 5
    assert abs(middle(page, "left_hand")[0] - x) < 1


def test_dragging_ends_at_the_border_and_root_takes_hip_along(
    server: Server, open_page: Callable, drawing: Path
) -> None:
    page = with_joints(open_page(server.url, dark=True), drawing)
    count = rigs(server)
    drag(page, "right_foot", -2000, 3000)
    words(page, "Moved: right foot.")
    places = settled(server, count)
    assert places["right_foot"][0] <= 0 and places["right_foot"][1] >= drawn.figure().rgba.shape[0] - 1
    count = rigs(server)
    drag(page, "root", 12, 8)
    words(page, "Moved: root.")
    places = settled(server, count)
    assert (places["root"] == places["hip"]).all()


def test_joints_are_dragged_by_a_finger(server: Server, chromium: Any, drawing: Path) -> None:
    context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    try:
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.goto(server.url)
        with_joints(page, drawing)
        page.locator(STAGE).scroll_into_view_if_needed()
        assert page.locator(STAGE).bounding_box()["width"] <= 390
        count, (x, y) = rigs(server), middle(page, "right_hand")
        touch = context.new_cdp_session(page)
        for kind, at in (("touchStart", 0), ("touchMove", 20), ("touchMove", 40), ("touchEnd", None)):
            points = [] if at is None else [{"x": x + at / 2, "y": y - at}]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        words(page, "Moved: right hand.")
        now = middle(page, "right_hand")
        assert abs(now[0] - x - 20) < 3 and abs(now[1] - y + 40) < 3
        settled(server, count)
    finally:
        context.close()
