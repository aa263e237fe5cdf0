"""As on a ZeroGPU Space: the app in a child process whose ``spaces`` package talks to a fake of the platform's API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime.fake_zero_api import fake_zero_api

ROOT = Path(__file__).resolve().parents[2]

SMALL_APP = """
import spaces, json, os
import gradio as gr
import torch
from models.runtime.cache import ModelCache, ModelSpec
from models.runtime.device import describe_device, resolve_device
from models.runtime.gpu import gpu, gpu_functions
from models.runtime.settings import Settings

settings = Settings.from_env(os.environ)
cache = ModelCache.from_settings(settings)
NET = ModelSpec("net", lambda device: torch.nn.Linear(4, 4).to(device))
cache.preload((NET,))

@gpu(duration=lambda size: size)
def run(size):
    with cache.use(NET) as net:
        return net(torch.zeros(1, 4, device=net.weight.device)).sum().item()

@gpu(duration=10)
def stream(size):
    yield size

from spaces.zero.decorator import decorated_cache
with cache.use(NET) as net:
    weight = str(net.weight.device)
report = {
    "zero_gpu": settings.zero_gpu,
    "device": str(resolve_device(settings)),
    "kind": describe_device(settings).kind,
    "weight": weight,
    "places": [entry.place for entry in cache.snapshot()],
    "registered": [f.name for f in gpu_functions()],
    "known_to_platform": all(f.call in decorated_cache and f.function in decorated_cache for f in gpu_functions()),
}
with gr.Blocks() as demo:
    gr.Button()
demo.launch(prevent_thread_lock=True, quiet=True)
print("REPORT", json.dumps(report))
"""

THE_APP = """
import json, runpy, sys
module = runpy.run_path("app.py", run_name="app")
import spaces.config
from models.runtime.gpu import gpu_functions
from spaces.zero.decorator import decorated_cache
import gradio
from studio.ui.layout import build_ui
loaded = sorted(m for m in sys.modules if m.startswith("models.") and m.endswith(".network"))
report = {
    "zero_gpu": spaces.config.Config.zero_gpu,
    "demo": isinstance(build_ui(module["studio"]), gradio.Blocks),
    "registered": sorted(f.name for f in gpu_functions()),
    "known_to_platform": all(f.call in decorated_cache for f in gpu_functions()),
    "networks": loaded,
}
print("REPORT", json.dumps(report))
"""


def run_as_zero_gpu(code: str, url: str, home: Path) -> dict:
    """The report that ``code`` prints in a child process that believes to be a ZeroGPU Space."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("STUDIO_", "GRADIO_"))}
    env |= {
        "SPACES_ZERO_GPU": "1",
        "SPACES_ZERO_DEVICE_API_URL": url,
        "ZEROGPU_OFFLOAD_DIR": str(home / "tensors"),
        "HOME": str(home),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "STUDIO_WORKSPACE": str(home / "workspace"),
        "STUDIO_WEIGHTS": str(home / "weights"),
        "STUDIO_OFFLINE": "1",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=180, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("REPORT ")]
    assert lines, f"the app did not come up:\n{done.stderr[-4000:]}"
    return json.loads(lines[-1].removeprefix("REPORT "))


@pytest.mark.slow
def test_networks_placed_at_import_report_the_gpu_and_functions_are_known_before_launch(tmp_path: Path) -> None:
    with fake_zero_api() as api:
        report = run_as_zero_gpu(SMALL_APP, api.url, tmp_path)
    assert report["zero_gpu"] and report["kind"] == "zero_gpu"
    assert report["device"] == "cuda" and report["weight"] == "cuda:0"
    assert report["places"] == ["device"]
    assert report["registered"] == ["__main__.run", "__main__.stream"]
    assert report["known_to_platform"]
    assert api.calls == ["/startup-report"]  # sent at launch because GPU functions were registered by then


@pytest.mark.slow
def test_the_app_itself_comes_up(tmp_path: Path) -> None:
    if not (ROOT / "app.py").exists():
        pytest.skip("app.py is not there")
    with fake_zero_api() as api:
        report = run_as_zero_gpu(THE_APP, api.url, tmp_path)
    assert report["zero_gpu"] and report["demo"] and report["known_to_platform"]
    assert any("compute_views" in name for name in report["registered"])
