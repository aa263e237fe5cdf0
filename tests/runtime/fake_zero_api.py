"""A small stand-in for the HTTP API that ZeroGPU's client talks to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GRANT = {"idle": False, "nvidiaIndex": 0, "nvidiaUUID": "GPU-00000000", "allowToken": "token"}


class FakeZeroApi(ThreadingHTTPServer):
    """Grants everything and remembers the paths it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeZeroApi

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        self.server.calls.append(path)
        body = json.dumps(GRANT if path == "/schedule" else {}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@contextmanager
def fake_zero_api() -> Iterator[FakeZeroApi]:
    server = FakeZeroApi()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
