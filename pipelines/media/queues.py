"""Bounded queues with a thread behind them, so that decoding, the device and encoding overlap."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from models.runtime.errors import LimitExceeded

T = TypeVar("T")
R = TypeVar("R")

_POLL_SECONDS = 0.1
_JOIN_SECONDS = 10.0


class _End:
    """Marks the end of the stream in the queue, with the error that ended it."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def prefetch(source: Iterable[T], depth: int = 4, stall_seconds: float | None = None) -> Iterator[T]:
    """Runs ``source`` in a thread, at most ``depth`` items ahead; its exceptions come out here.

    Closing this generator (or leaving the loop and dropping it) stops the thread and closes the source in it.

    Raises:
        LimitExceeded: no item came for ``stall_seconds``; the thread is then left to end by itself.
    """
    if depth < 1:
        raise ValueError("depth must be at least 1")
    items: queue.Queue[T | _End] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(item: T | _End) -> bool:
        while not stop.is_set():
            try:
                items.put(item, timeout=_POLL_SECONDS)
                return True
            except queue.Full:
                continue
        return False

    def produce() -> None:
        iterator = iter(source)
        error: BaseException | None = None
        try:
            for item in iterator:
                if not put(item):
                    break
        except BaseException as caught:  # handed to the consumer, whatever it is
            error = caught
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                try:
                    close()
                except BaseException as caught:
                    error = error or caught
            put(_End(error))

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(produce,), name="prefetch", daemon=True)
    thread.start()
    stalled = False
    try:
        while True:
            try:
                item = items.get(timeout=stall_seconds)
            except queue.Empty:
                stalled = True
                raise LimitExceeded(
                    f"Reading stood still for {stall_seconds:.0f} s; convert the file to H.264 MP4 and try again"
                ) from None
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stop.set()
        if not stalled:
            thread.join(_JOIN_SECONDS)


def in_order(work: Callable[[T], R], items: Iterable[T], workers: int = 2) -> Iterator[R]:
    """``work(item)`` of every item in order, done by ``workers`` threads that keep a little ahead of the reader."""
    with ThreadPoolExecutor(workers, "in-order") as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(contextvars.copy_context().run, work, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class BackgroundWriter(Generic[T]):
    """Calls ``write(item)`` in a thread, in order, with at most ``depth`` items waiting.

    An exception of ``write`` is raised by the next ``put`` or by ``close``; later items are dropped. As a context
    manager it waits for everything to be written, or drops what waits when the body raised.
    """

    def __init__(self, write: Callable[[T], object], depth: int = 4) -> None:
        if depth < 1:
            raise ValueError("depth must be at least 1")
        self._write = write
        self._items: queue.Queue[T | _End] = queue.Queue(maxsize=depth)
        self._error: BaseException | None = None
        self._abandon = threading.Event()
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name="background-writer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            item = self._items.get()
            if isinstance(item, _End):
                return
            if self._error is None and not self._abandon.is_set():
                try:
                    self._write(item)
                except BaseException as caught:  # handed to the producer by put or close
                    self._error = caught

    def put(self, item: T) -> None:
        """Queues one item, waiting while ``depth`` are queued. Raises what ``write`` raised."""
        if self._error is not None:
            raise self._error
        self._items.put(item)

    def close(self, abandon: bool = False) -> None:
        """Waits until all is written (or drops what waits) and ends the thread. Raises what ``write`` raised."""
        if abandon:
            self._abandon.set()
        if self._thread.is_alive():
            self._items.put(_End(None))
            self._thread.join()
        if self._error is not None and not abandon:
            raise self._error

    def __enter__(self) -> BackgroundWriter[T]:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(abandon=kind is not None)
