"""A small HTTP server that delivers files as good and bad servers do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Behaviour:
    """``breaks``: after how many bytes each of the next answers breaks off; ``status``: answered instead of a file."""

    files: dict[str, bytes]
    breaks: list[int] = field(default_factory=list)
    status: dict[str, int] = field(default_factory=dict)
    etag: str = '"v1"'
    ranges: bool = True
    html: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        how = self.server.behaviour
        name = self.path.lstrip("/")
        wanted = self.headers.get("Range", "")
        how.asked.append((name, wanted))
        if name in how.status or name not in how.files:
            self.send_response(how.status.get(name, 404))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data, start = how.files[name], 0
        if wanted and how.ranges and self.headers.get("If-Range", how.etag) == how.etag:
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            if start >= len(data):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", "text/html" if how.html else "application/octet-stream")
        self.send_header("Content-Length", str(len(data) - start))
        if how.etag:
            self.send_header("ETag", how.etag)
        self.end_headers()
        stop = how.breaks.pop(0) if how.breaks else len(data)
        self.wfile.write(data[start : start + stop])
        if start + stop < len(data):
            self.wfile.flush()
            self.connection.close()

    def log_message(self, format: str, *args: object) -> None:
        del format, args


class FileServer(ThreadingHTTPServer):
    """Serves ``behaviour.files`` by name."""

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behaviour = behaviour

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Broken connections are wanted here."""


@contextmanager
def serve(behaviour: Behaviour) -> Iterator[FileServer]:
    server = FileServer(behaviour)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
