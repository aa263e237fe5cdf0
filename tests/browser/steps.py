"""What a person does on the page, in one line each."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Error

Page = Any


def ready(page: Page) -> Page:
    """Waits until the Scene tab can be used."""
    page.locator("#scene-run").wait_for()
    page.locator("#device-chip").wait_for()
    return page


def give(page: Page, files: list[str]) -> None:
    """Drops files, replacing what was there."""
    clear = page.locator("#scene-files button[aria-label='Clear']")
    if clear.count():
        clear.click()
    page.set_input_files("#scene-files input[type=file]", files)
    page.locator("#scene-files .file-preview").wait_for()


def option(page: Page, name: str, value: float) -> None:
    """Sets a number among the options."""
    field = page.locator(f"#scene-option-{name} input[type=number]")
    field.fill(str(value))
    field.press("Tab")


def run(page: Page) -> None:
    page.locator("#scene-run").click()


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def colours_on_canvas(page: Page) -> int:
    """Distinct colours in a picture of the 3D viewer: one or two when blank, none while it is being replaced."""
    canvas = page.locator("#scene-model canvas")
    canvas.wait_for()
    try:
        shot = Image.open(io.BytesIO(canvas.screenshot())).convert("RGB")
    except Error:
        return 0
    return len(shot.getcolors(shot.width * shot.height))


def wait_for_drawing(page: Page, least: int = 500, seconds: int = 20) -> int:
    """Waits until the viewer shows something; returns the number of colours."""
    found = 0
    for _ in range(seconds * 2):
        found = colours_on_canvas(page)
        if found >= least:
            break
        page.wait_for_timeout(500)
    return found


def install_weights(page: Page, name: str, path: Path) -> None:
    """Chooses an entry of the Models tab and a file, and asks for the check."""
    field = page.locator("#models-target input")
    field.click()
    field.fill(f"({name})")
    page.get_by_role("option").filter(has_text=f"({name})").first.click()
    if page.locator("#models-file .file-preview").count():
        page.locator("#models-file button[aria-label='Clear']").click()
    page.set_input_files("#models-file input[type=file]", str(path))
    page.locator("#models-file .file-preview").wait_for(timeout=60_000)
    page.locator("#models-install").click()
