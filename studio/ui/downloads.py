"""Downloads of weights that belong to the server: a page that follows one may close, and the download goes on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from models.runtime.errors import StudioError
from models.runtime.weights import WeightsStore
from models.runtime.weights_fetch import FetchProgress

log = logging.getLogger("studio.downloads")


@dataclass
class Download:
    """One running or ended download of an entry or group."""

    name: str
    progress: FetchProgress
    error: StudioError | None = None
    ended: threading.Event = field(default_factory=threading.Event)


class Downloads:
    """At most one download per entry or group."""

    def __init__(self, weights: WeightsStore) -> None:
        self._weights = weights
        self._lock = threading.Lock()
        self._running: dict[str, Download] = {}

    def start(self, name: str) -> Download:
        """Begins, or joins the one that runs already. Raises NotFound for an unknown name."""
        self._weights.select(name)
        with self._lock:
            download = self._running.get(name)
            if download is None:
                download = self._running[name] = Download(name, FetchProgress(name, note="asking for it"))
                threading.Thread(target=self._work, args=(download,), name=f"download-{name}", daemon=True).start()
        return download

    def follow(self, download: Download, interval: float = 0.5) -> Iterator[FetchProgress]:
        """Progress until the end. Raises the StudioError that ended it; leaving stops nothing."""
        last = None
        while not download.ended.is_set():
            if download.progress != last:
                last = download.progress
                yield last
            download.ended.wait(interval)
        if download.error is not None:
            raise download.error

    def _work(self, download: Download) -> None:
        def report(progress: FetchProgress) -> None:
            download.progress = progress

        start = time.monotonic()
        try:
            self._weights.fetch(download.name, report)
            log.info("got %s in %.0f s", download.name, time.monotonic() - start)
        except StudioError as error:
            download.error = error
        except Exception:
            log.exception("download of %s failed", download.name)
            download.error = StudioError(f"{download.name} could not be fetched; the server's log says why")
        finally:
            with self._lock:
                self._running.pop(download.name, None)
            download.ended.set()
