"""Port choice: a free port is taken, a stranger is left alone, only our own idle earlier instance is replaced."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from studio import instance

SERVER = """
import http.server, json, sys
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"active_jobs": int(sys.argv[2])}).encode()
        self.send_response(200); self.end_headers(); self.wfile.write(body)
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Health).serve_forever()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A stand-in for a running studio that answers /health with a number of jobs."""

    def __init__(self, jobs: int) -> None:
        self.port = free_port()
        self.process = subprocess.Popen([sys.executable, "-c", SERVER, str(self.port), str(jobs)])
        deadline = time.monotonic() + 10
        while instance.active_jobs(self.port) is None and time.monotonic() < deadline:
            time.sleep(0.05)

    def record(self, workspace: Path) -> None:
        pid = self.process.pid
        entry = instance.Instance(pid=pid, port=self.port, command=instance.command_line(pid))
        instance.record_path(workspace).write_text(json.dumps(asdict(entry)))

    def alive(self) -> bool:
        return self.process.poll() is None


@pytest.fixture
def idle() -> Iterator[Server]:
    server = Server(0)
    yield server
    server.process.kill()


@pytest.fixture
def busy() -> Iterator[Server]:
    server = Server(2)
    yield server
    server.process.kill()


def test_free_port_is_used(tmp_path: Path) -> None:
    port = free_port()
    assert instance.choose_port(port, tmp_path) == instance.PortChoice(port)


def test_stranger_is_left_alone(tmp_path: Path, idle: Server) -> None:
    choice = instance.choose_port(idle.port, tmp_path)
    assert choice.port > idle.port
    assert "another program" in choice.note
    assert idle.alive()


def test_idle_earlier_instance_is_replaced(tmp_path: Path, idle: Server) -> None:
    idle.record(tmp_path)
    assert instance.choose_port(idle.port, tmp_path).port == idle.port
    assert not idle.alive()


def test_busy_earlier_instance_is_left_alone_unless_told(tmp_path: Path, busy: Server) -> None:
    busy.record(tmp_path)
    choice = instance.choose_port(busy.port, tmp_path)
    assert choice.port != busy.port
    assert "2 job" in choice.note
    assert busy.alive()
    assert instance.choose_port(busy.port, tmp_path, restart=True).port == busy.port
    assert not busy.alive()


def test_a_recycled_process_id_is_not_ours(tmp_path: Path, idle: Server) -> None:
    idle.record(tmp_path)
    path = instance.record_path(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"command": "python -m studio serve"}))
    assert instance.choose_port(idle.port, tmp_path, restart=True).port != idle.port
    assert idle.alive()
