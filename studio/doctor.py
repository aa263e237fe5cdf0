"""What works on this machine and what does not, one line each."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from models.runtime.errors import StudioError
from models.runtime.settings import GIB, Settings
from models.runtime.weights import WeightsStore
from pipelines import registry
from pipelines.base import choose_engine, ready_weights

CheckState = Literal["ok", "note", "broken"]
_MARKS: dict[CheckState, str] = {"ok": "ok    ", "note": "note  ", "broken": "BROKEN"}
# What the embedded engines stand on: module, package on the index, what is lost without it.
_PACKAGES = (
    ("torch", "torch", "no network can run"),
    ("gradio", "gradio", "there is no page"),
    ("cv2", "opencv-python", "no image can be worked on"),
    ("av", "av", "no video can be read"),
    ("numba", "numba", "nothing can be rendered"),
    ("pycolmap", "pycolmap", "Scene cannot find cameras"),
    ("ai_edge_litert", "ai-edge-litert", "faces, bodies and hands cannot be found"),
)


@dataclass(frozen=True)
class Check:
    """One line of the report. ``note`` is worth knowing, ``broken`` keeps something that is needed from working."""

    name: str
    state: CheckState
    text: str

    @property
    def mark(self) -> str:
        return _MARKS[self.state]


def examine(settings: Settings) -> Iterator[Check]:
    """Every check, as it is made: the quick ones first. A check that itself fails is reported as broken."""
    checks: tuple[tuple[str, Callable[[Settings], Iterator[Check]]], ...] = (
        ("python", _python),
        ("packages", _packages),
        ("workspace", _folders),
        ("disk", _disk),
        ("memory", _memory),
        ("ffmpeg", _ffmpeg),
        ("weights", _weights),
        ("device", _device),
        ("onnxruntime", _onnxruntime),
        ("tabs", _tabs),
    )
    for name, check in checks:
        try:
            yield from check(settings)
        except StudioError as error:
            yield Check(name, "broken", error.message)
        except (ImportError, OSError, RuntimeError, AttributeError, subprocess.SubprocessError) as error:
            yield Check(name, "broken", " ".join(f"{type(error).__name__}: {error}".split())[:200])


def _python(settings: Settings) -> Iterator[Check]:
    good = sys.version_info >= (3, 11)
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    yield Check("python", "ok" if good else "broken", text if good else f"{text}; 3.11 or later is needed")


def _packages(settings: Settings) -> Iterator[Check]:
    lost = [(package, loss) for module, package, loss in _PACKAGES if find_spec(module) is None]
    for package, loss in lost:
        yield Check("package", "broken", f"{package} is not installed, so {loss}: pip install {package}")
    if not lost:
        shown = ", ".join(f"{package} {_version(package)}" for _, package, _ in _PACKAGES)
        yield Check("packages", "ok", shown)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "?"


def _folders(settings: Settings) -> Iterator[Check]:
    yield _writable("workspace", settings.workspace_dir, needed=True)
    yield _writable("weights folder", settings.weights_dir, needed=False)


def _writable(name: str, folder: Path, needed: bool) -> Check:
    place = next((p for p in (folder, *folder.parents) if p.exists()), folder)
    try:
        with tempfile.TemporaryFile(dir=place):
            return Check(name, "ok", str(folder))
    except OSError as error:
        return Check(name, "broken" if needed else "note", f"{folder} cannot be written: {error.strerror}")


def _disk(settings: Settings) -> Iterator[Check]:
    place = next((p for p in (settings.workspace_dir, *settings.workspace_dir.parents) if p.exists()), Path.cwd())
    free = shutil.disk_usage(place).free
    state: CheckState = "broken" if free < GIB // 2 else "note" if free < 5 * GIB else "ok"
    advice = "" if state == "ok" else "; delete old runs with `python -m studio runs sweep`"
    yield Check("disk", state, f"{free / GIB:.1f} GB free for runs{advice}")


def _memory(settings: Settings) -> Iterator[Check]:
    from models.runtime.device import host_memory

    memory = host_memory()
    state: CheckState = "note" if memory.free < 3 * GIB else "ok"
    advice = "; large inputs may not fit" if state == "note" else ""
    yield Check("memory", state, f"{memory.free / GIB:.1f} of {memory.total / GIB:.1f} GB free{advice}")


def _ffmpeg(settings: Settings) -> Iterator[Check]:
    import av
    import imageio_ffmpeg

    program = imageio_ffmpeg.get_ffmpeg_exe()
    told = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=30, check=True).stdout
    yield Check("ffmpeg", "ok", " ".join(told.split()[:3]) + f" at {program}")
    writable = "h264" in av.codecs_available or "libx264" in av.codecs_available
    yield Check("video", "ok" if writable else "broken", f"PyAV {av.__version__}, H.264 {'yes' if writable else 'no'}")


def _weights(settings: Settings) -> Iterator[Check]:
    store = WeightsStore(settings)
    states = {entry.id: store.status(entry.id) for entry in store.entries()}
    damaged = [status for status in states.values() if status.state == "damaged"]
    for status in damaged:
        yield Check(
            "weights", "broken", f"{status.id} is damaged ({status.note}): {store.how_to_get(store.get(status.id))}"
        )
    embedded = [entry.id for entry in store.entries() if entry.group == "embedded"]
    here = [i for i in embedded if states[i].state == "installed"]
    others = [i for i in states if i not in embedded and states[i].state == "installed"]
    text = f"{len(here)} of {len(embedded)} embedded files"
    if len(here) < len(embedded):
        yield Check("weights", "note", f"{text}; `python -m studio weights get embedded` gets the rest")
    else:
        yield Check("weights", "ok", text)
    left = len(states) - len(embedded) - len(others)
    listed = ", ".join(others) or "none"
    yield Check("checkpoints", "ok", f"installed: {listed}; {left} more can be, see `python -m studio weights list`")


def _device(settings: Settings) -> Iterator[Check]:
    import torch

    from models.runtime.device import describe_device

    info = describe_device(settings)
    memory = f", {info.free_bytes / GIB:.1f} of {info.total_bytes / GIB:.1f} GB free" if info.total_bytes else ""
    yield Check("device", "ok", f"{info.name}{memory} (torch {torch.__version__})")
    built = torch.version.cuda
    if built is None:
        yield Check("cuda", "note", "this torch build has no CUDA; embedded engines do not need it")
    elif torch.cuda.is_available():
        yield Check("cuda", "ok", f"CUDA {built}, {torch.cuda.device_count()} device(s)")
    else:
        yield Check("cuda", "note", f"torch is built for CUDA {built}, but there is no usable NVIDIA device or driver")


def _onnxruntime(settings: Settings) -> Iterator[Check]:
    import onnxruntime
    import torch

    providers = [p.removesuffix("ExecutionProvider") for p in onnxruntime.get_available_providers()]
    lacking = torch.cuda.is_available() and "CUDA" not in providers
    advice = "; with a GPU here, onnxruntime-gpu would be faster" if lacking else ""
    yield Check(
        "onnxruntime", "note" if lacking else "ok", f"{onnxruntime.__version__}: {', '.join(providers)}{advice}"
    )


def _tabs(settings: Settings) -> Iterator[Check]:
    store = WeightsStore(settings)
    for pipeline_id in registry.available(settings.tabs):
        pipeline = registry.get(pipeline_id)
        waiting = [e.name for e in pipeline.engines if ready_weights(e, store) is None]
        more = f"; {', '.join(waiting)} once its weights are installed" if waiting else ""
        try:
            engine = choose_engine(pipeline, "auto", store)
        except StudioError as error:
            yield Check(f"tab {pipeline.title}", "broken", error.message)
            continue
        built_in = ", built in" if engine.embedded else ""
        yield Check(f"tab {pipeline.title}", "ok", f"works with {engine.name} ({engine.title}{built_in}){more}")
