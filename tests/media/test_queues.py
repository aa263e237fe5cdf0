"""Bounded queues: overlap, errors through the thread, nothing left running."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from models.runtime.errors import LimitExceeded
from pipelines.media.queues import BackgroundWriter, in_order, prefetch


def ours() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name in ("prefetch", "background-writer")]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    deadline = time.monotonic() + 5
    while ours() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ours() == []


class Source:
    """Counts what was taken from it and notes being closed, and in which thread."""

    def __init__(self, count: int, fail_at: int | None = None) -> None:
        self.count, self.fail_at = count, fail_at
        self.taken = 0
        self.closed_in = ""

    def __iter__(self) -> Iterator[int]:
        try:
            for i in range(self.count):
                if i == self.fail_at:
                    raise ValueError("broken here")
                self.taken += 1
                yield i
        finally:
            self.closed_in = threading.current_thread().name


class TestPrefetch:
    def test_order_and_end(self) -> None:
        assert list(prefetch(Source(100), 3)) == list(range(100))
        assert list(prefetch([], 1)) == []
        assert list(prefetch(iter([None, None]), 1)) == [None, None]

    def test_errors_come_out_after_what_was_good(self) -> None:
        seen = []
        with pytest.raises(ValueError, match="broken here"):
            for item in prefetch(Source(10, fail_at=4), 2):
                seen.append(item)
        assert seen == [0, 1, 2, 3]

    def test_runs_ahead_no_further_than_depth(self) -> None:
        source = Source(100)
        stream = prefetch(source, 3)
        assert next(stream) == 0
        time.sleep(0.3)
        assert source.taken <= 1 + 3 + 1  # handed out, queued, in hand
        stream.close()

    def test_closing_stops_and_closes_the_source_in_its_thread(self) -> None:
        source = Source(10_000)
        for item in prefetch(source, 2):
            if item == 5:
                break
        deadline = time.monotonic() + 5
        while not source.closed_in and time.monotonic() < deadline:
            time.sleep(0.01)
        assert source.closed_in == "prefetch"
        assert source.taken < 20

    def test_never_started_leaves_no_thread(self) -> None:
        prefetch(Source(10), 2)
        assert ours() == []

    def test_overlaps(self) -> None:
        meeting = threading.Barrier(2)  # nobody passes alone: the next item is made while the last one is used

        def source() -> Iterator[int]:
            yield 0
            for i in range(1, 8):
                meeting.wait(10)
                yield i

        for i in prefetch(source(), 2):
            if i < 7:
                meeting.wait(10)

    def test_stall(self) -> None:
        released = threading.Event()

        def hanging() -> Iterator[int]:
            yield 1
            released.wait(60)
            yield 2

        stream = prefetch(hanging(), 2, stall_seconds=0.2)
        assert next(stream) == 1
        with pytest.raises(LimitExceeded, match="stood still"):
            next(stream)
        assert not released.is_set()
        released.set()

    def test_depth(self) -> None:
        with pytest.raises(ValueError, match="depth"):
            next(prefetch([1], 0))


class TestBackgroundWriter:
    def test_writes_all_in_order(self) -> None:
        written: list[int] = []
        with BackgroundWriter(written.append, 2) as writer:
            for i in range(50):
                writer.put(i)
        assert written == list(range(50))

    def test_error_reaches_the_producer(self) -> None:
        def write(item: int) -> None:
            if item == 3:
                raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"), BackgroundWriter(write, 2) as writer:
            for i in range(1000):
                writer.put(i)
                time.sleep(0.001)
            pytest.fail("the error never came")

    def test_error_of_the_last_item_reaches_close(self) -> None:
        def write(item: int) -> None:
            raise OSError("disk full")

        writer = BackgroundWriter(write, 4)
        writer.put(1)
        with pytest.raises(OSError, match="disk full"):
            writer.close()

    def test_error_in_the_body_drops_what_waits(self) -> None:
        written: list[int] = []

        def write(item: int) -> None:
            time.sleep(0.05)
            written.append(item)

        with pytest.raises(RuntimeError, match="model failed"), BackgroundWriter(write, 100) as writer:
            for i in range(50):
                writer.put(i)
            raise RuntimeError("model failed")
        assert len(written) < 10

    def test_waits_when_full(self) -> None:
        release = threading.Event()
        writer = BackgroundWriter(lambda item: release.wait(5), 1)
        writer.put(1)
        writer.put(2)
        blocked = threading.Thread(target=writer.put, args=(3,))
        blocked.start()
        blocked.join(0.1)
        assert blocked.is_alive()
        release.set()
        blocked.join(5)
        writer.close()


def test_work_shared_by_threads_comes_in_order_and_not_far_ahead() -> None:
    taken = []

    def numbers() -> Iterator[int]:
        for n in range(12):
            taken.append(n)
            yield n

    def slow_if_even(n: int) -> int:
        time.sleep(0.01 * (n % 2 == 0))
        return n * n

    results = in_order(slow_if_even, numbers())
    assert next(results) == 0
    assert len(taken) <= 4
    assert list(results) == [n * n for n in range(1, 12)]


def test_what_shared_work_raises_comes_out() -> None:
    results = in_order(lambda n: 1 // n, [2, 1, 0, 1])
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
