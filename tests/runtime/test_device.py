"""Choosing and describing the device."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from models.runtime import device as device_module
from models.runtime.device import compute_dtype, describe_device, device_memory, host_memory, resolve_device
from models.runtime.errors import EngineUnavailable
from models.runtime.settings import Settings


def test_zero_gpu_is_cuda_without_asking_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("asked"))
    settings = Settings(zero_gpu=True, device="cpu")
    assert resolve_device(settings) == torch.device("cuda")
    assert describe_device(settings).kind == "zero_gpu"


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_the_best(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert resolve_device(Settings()).type == expected


def test_a_device_asked_for_by_name_is_honoured_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device(Settings(device="cpu")).type == "cpu"
    assert resolve_device(Settings(device="cuda:0")).index == 0
    for name in ("cuda:1", "tpu", "xpu", "meta"):
        with pytest.raises(EngineUnavailable):
            resolve_device(Settings(device=name))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(EngineUnavailable, match="Metal"):
        resolve_device(Settings(device="mps"))


def test_dtypes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compute_dtype(torch.device("cpu")) == torch.float32
    assert compute_dtype(torch.device("mps")) == torch.float16
    for capability, expected in (((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
        assert compute_dtype(torch.device("cuda")) == expected


def test_memory_is_plausible() -> None:
    info = describe_device(Settings(device="cpu"))
    memory = device_memory(torch.device("cpu"))
    assert info.kind == "cpu" and "cores" in info.name
    assert 0 < memory.free <= memory.total and info.total_bytes == memory.total


def test_a_container_limit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "_cgroup_memory", lambda: (1 << 20, 1 << 19))
    memory = host_memory()
    assert memory.total == 1 << 20 and memory.free == 1 << 19


def test_importing_the_runtime_imports_no_torch() -> None:
    code = (
        "import sys, models.runtime.device, models.runtime.cache, models.runtime.weights, models.runtime.safe_load; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
