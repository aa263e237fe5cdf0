"""A running studio and a real Chromium. Both are started once; every test gets a fresh browser context.

They end with this folder's last test: servers and a browser that nobody needs would slow down all that follows.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 90
# Software rendering, so that WebGL works on machines without a graphics card.
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]


@dataclass(frozen=True)
class Server:
    """A studio in a process of its own."""

    url: str
    workspace: Path
    log: Path

    def get(self, path: str) -> dict:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return json.load(answer)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="package")
def start_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Starts a studio; arguments go to ``serve_studio``, keywords into its environment."""
    running: list[subprocess.Popen] = []

    def start(*arguments: str, **env: str) -> Server:
        workspace = tmp_path_factory.mktemp("workspace")
        port = free_port()
        log = workspace.parent / f"server-{port}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.browser.serve_studio", str(port), str(workspace), *arguments],
                cwd=ROOT,
                env={**os.environ, **env},
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        running.append(process)
        server = Server(f"http://127.0.0.1:{port}", workspace, log)
        for _ in range(START_SECONDS * 4):
            if process.poll() is not None:
                raise AssertionError(f"the studio ended while starting:\n{log.read_text()[-3000:]}")
            try:
                server.get("/health")
                return server
            except OSError:
                time.sleep(0.25)
        raise AssertionError(f"the studio did not answer in {START_SECONDS} s:\n{log.read_text()[-3000:]}")

    yield start
    for process in running:
        process.terminate()
    for process in running:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="package")
def studio(start_studio: Callable[..., Server]) -> Server:
    return start_studio()


@pytest.fixture(scope="package")
def chromium() -> Iterator:
    """A browser. Skips where there is none: ``python -m playwright install chromium`` or the system's package."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_api.sync_playwright() as playwright:
        if path is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip("no Chromium on this machine")
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium) -> Iterator[Callable]:
    """Opens a page in a browser that has never been here, and closes it after the test."""
    contexts = []

    def open_(url: str, width: int = 1400, height: int = 950, dark: bool = False):
        scheme = "dark" if dark else "light"
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.goto(url)
        return page

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture(scope="package")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three small photos."""
    folder = tmp_path_factory.mktemp("photos")
    names = []
    for i in range(3):
        path = folder / f"view_{i}.jpg"
        Image.effect_mandelbrot((320, 240), (-2 + i / 5, -1, 1, 1), 60).convert("RGB").save(path)
        names.append(str(path))
    return names
