"""Which port to serve on, and what to do about an earlier studio that holds it.

Only a process proven to be this very application (its own record, alive, with the recorded command line) is ever
stopped, and only when it has no job running or the user insists. Anything else on the port is left alone.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path

from models.runtime.errors import StudioError

PORTS_TO_TRY = 100
STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Instance:
    """A running studio as it recorded itself: process id, port and full command line."""

    pid: int
    port: int
    command: str


@dataclass(frozen=True)
class PortChoice:
    """The port to use and a plain sentence when it is not simply the wanted one."""

    port: int
    note: str = ""


def record_path(workspace: Path) -> Path:
    return workspace / "server.json"


def register(workspace: Path, port: int) -> None:
    """Writes down that this process serves ``port`` out of ``workspace``."""
    workspace.mkdir(parents=True, exist_ok=True)
    record = Instance(pid=os.getpid(), port=port, command=command_line(os.getpid()))
    record_path(workspace).write_text(json.dumps(asdict(record)), encoding="utf-8")


def earlier(workspace: Path) -> Instance | None:
    """The recorded instance if that very process is still alive, else None."""
    try:
        record = Instance(**json.loads(record_path(workspace).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    if record.pid == os.getpid() or not record.command or command_line(record.pid) != record.command:
        return None
    return record


def choose_port(wanted: int, workspace: Path, host: str = "127.0.0.1", restart: bool = False) -> PortChoice:
    """The port to serve on: ``wanted`` when it is free or can be freed, else the next free one.

    Raises:
        StudioError: none of the next ports is free, or ``restart`` could not stop the earlier instance.
    """
    if is_free(host, wanted):
        return PortChoice(wanted)
    note = f"Port {wanted} is taken by another program"
    instance = earlier(workspace)
    if instance is not None and instance.port == wanted:
        jobs = active_jobs(wanted)
        if restart or jobs == 0:
            stop(instance)
            if wait_until_free(host, wanted):
                return PortChoice(wanted, f"Stopped the earlier studio on port {wanted}.")
            raise StudioError(f"The earlier studio (process {instance.pid}) still holds port {wanted}; stop it by hand")
        busy = "does not answer" if jobs is None else f"is working on {jobs} job(s)"
        note = f"An earlier studio on port {wanted} {busy} and is left alone (--restart replaces it)"
    for port in range(wanted + 1, min(wanted + 1 + PORTS_TO_TRY, 65536)):
        if is_free(host, port):
            return PortChoice(port, f"{note}; using port {port}.")
    raise StudioError(f"No free port between {wanted} and {wanted + PORTS_TO_TRY}; name one with --port")


def is_free(host: str, port: int) -> bool:
    """True when a server could listen on ``port`` now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def wait_until_free(host: str, port: int, seconds: float = STOP_SECONDS) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if is_free(host, port):
            return True
        time.sleep(0.1)
    return False


def active_jobs(port: int) -> int | None:
    """Jobs running or waiting in the studio on ``port`` as its health page tells, None when it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=3) as answer:
            return int(json.load(answer)["active_jobs"])
    except (urllib.error.URLError, OSError, ValueError, KeyError, TypeError):
        return None


def stop(instance: Instance) -> None:
    """Asks the instance to end, and ends it if it will not; its command line is checked again before each signal."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        if command_line(instance.pid) != instance.command:
            return
        os.kill(instance.pid, sent)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            if command_line(instance.pid) != instance.command:
                return
            time.sleep(0.1)


def command_line(pid: int) -> str:
    """Full command line of a live process, empty when there is none."""
    proc = Path(f"/proc/{pid}/cmdline")
    if Path("/proc/self/cmdline").exists():
        try:
            return proc.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            return ""
    listed = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.strip()
