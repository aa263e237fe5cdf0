"""Which device the networks run on. Torch is imported at first need, so that importing the studio stays quick."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from models.runtime.errors import EngineUnavailable
from models.runtime.settings import Settings

if TYPE_CHECKING:
    import torch

DeviceKind = Literal["cuda", "mps", "cpu", "zero_gpu"]


@dataclass(frozen=True)
class DeviceInfo:
    """What the header and the doctor show. Sizes in bytes; 0 where the machine does not say."""

    name: str
    kind: DeviceKind
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class Memory:
    """Total and free bytes of one pool."""

    total: int
    free: int


def resolve_device(settings: Settings) -> torch.device:
    """The device for reference engines: ``cuda`` on ZeroGPU, else the one asked for, else the best there is.

    Raises:
        EngineUnavailable: the device asked for by name is not on this machine.
    """
    import torch

    if settings.zero_gpu:  # torch reports CUDA there even in the main process, which owns no GPU
        return torch.device("cuda")
    name = settings.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(name)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise EngineUnavailable(f"Unknown device {name!r}: use auto, cpu, cuda, cuda:N or mps") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EngineUnavailable(
            f"Device {name} was asked for, but torch sees {torch.cuda.device_count()} CUDA devices: "
            "use STUDIO_DEVICE=auto or cpu, or install a CUDA build of torch"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise EngineUnavailable("Device mps was asked for, but this torch build has no Metal: use STUDIO_DEVICE=cpu")
    if device.type not in {"cpu", "cuda", "mps"}:
        raise EngineUnavailable(f"Device {name!r} is not supported: use auto, cpu, cuda, cuda:N or mps")
    return device


def compute_dtype(device: torch.device) -> torch.dtype:
    """The dtype a device gains from: bfloat16 from CUDA capability 8.0, float16 below it and on Metal, else float32."""
    import torch

    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
    return torch.float16 if device.type == "mps" else torch.float32


def describe_device(settings: Settings) -> DeviceInfo:
    """Name and memory of the device in use. On ZeroGPU no GPU is held between calls, so its memory is not stated."""
    import torch

    if settings.zero_gpu:
        return DeviceInfo("ZeroGPU", "zero_gpu", 0, 0)
    device = resolve_device(settings)
    memory = device_memory(device)
    if device.type == "cuda":
        return DeviceInfo(torch.cuda.get_device_name(device), "cuda", memory.total, memory.free)
    if device.type == "mps":
        return DeviceInfo("Apple GPU", "mps", memory.total, memory.free)
    return DeviceInfo(f"CPU, {os.cpu_count() or 1} cores", "cpu", memory.total, memory.free)


def device_memory(device: torch.device) -> Memory:
    """Total and free memory of a device; the host's for ``cpu``."""
    import torch

    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return Memory(total, free)
    if device.type == "mps":
        total = torch.mps.recommended_max_memory()
        return Memory(total, max(0, total - torch.mps.current_allocated_memory()))
    return host_memory()


def host_memory() -> Memory:
    """Total and available memory of the host, bounded by the container's limit where there is one."""
    total = free = 0
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines() if ":" in line)
        total = _kib(fields.get("MemTotal", ""))
        free = _kib(fields.get("MemAvailable", fields.get("MemFree", "")))
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        free = total // 2  # macOS has no quick, honest figure; half is a safe guess
    limit, used = _cgroup_memory()
    if limit and (not total or limit < total):
        total, free = limit, min(free or limit, max(0, limit - used))
    return Memory(total, free)


def _kib(text: str) -> int:
    number = text.strip().split(" ")[0]
    return int(number) * 1024 if number.isdigit() else 0


def _cgroup_memory() -> tuple[int, int]:
    """Limit and use of the control group in bytes (version 2, then 1); zeros where unlimited."""
    for limit_file, used_file in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            limit = Path(limit_file).read_text(encoding="ascii").strip()
            used = Path(used_file).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if limit.isdigit() and used.isdigit() and int(limit) < 1 << 60:
            return int(limit), int(used)
    return 0, 0
