"""ModelCache without a GPU: fake models of fake sizes on torch's ``meta`` device, which stands for the accelerator."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref

import pytest
import torch

from models.runtime.cache import ModelCache, ModelSpec, is_out_of_memory, measure_bytes
from models.runtime.errors import OutOfMemory
from models.runtime.settings import Settings

ACCELERATOR = torch.device("meta")


class FakeNet:
    """Counts its moves; ``device`` is where it was put last."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.moves: list[str] = []

    def to(self, device: torch.device | str) -> FakeNet:
        self.device = torch.device(device)
        self.moves.append(str(device))
        return self


class FakeSession:
    """Like an onnxruntime session: it cannot be moved."""


def make_cache(device_budget: int = 100, ram_budget: int = 100, fixed: bool = False) -> ModelCache:
    return ModelCache(lambda: ACCELERATOR, device_budget, ram_budget, fixed)


def spec(key: str, size: int = 40, load=FakeNet, device: str = "") -> ModelSpec:
    return ModelSpec(key, load, size, device)


def touch(cache: ModelCache, *specs: ModelSpec) -> None:
    for each in specs:
        with cache.use(each):
            pass


def places(cache: ModelCache) -> dict[str, str]:
    return {entry.key: entry.place for entry in cache.snapshot()}


def fork_and_wait(child) -> bool:
    """Runs ``child`` in a forked process; True when it ended well within ten seconds."""
    pid = os.fork()
    if not pid:
        try:
            child()
            os._exit(0)
        finally:
            os._exit(1)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.02)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return False


@pytest.mark.parametrize("device", ["", "cpu"])
def test_many_threads_load_once(device: str) -> None:
    loads, seen = [], []

    def load(where: torch.device) -> FakeNet:
        loads.append(where)
        time.sleep(0.05)
        return FakeNet(where)

    cache = make_cache()
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        with cache.use(spec("net", load=load, device=device)) as net:
            seen.append(net)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(loads) == 1
    assert len(seen) == 8 and len({id(net) for net in seen}) == 1
    assert cache.snapshot()[0].pins == 0


def test_only_one_thread_at_a_time_uses_the_device() -> None:
    cache, inside, most = make_cache(), [], []

    def work(key: str) -> None:
        with cache.use(spec(key, 1)):
            inside.append(key)
            most.append(len(inside))
            time.sleep(0.01)
            inside.remove(key)

    threads = [threading.Thread(target=work, args=(f"net{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(most) == 6 and max(most) == 1


def test_sessions_with_a_device_of_their_own_run_side_by_side() -> None:
    cache, both = make_cache(), threading.Barrier(2)

    def work() -> None:
        with cache.use(spec("session", 1, lambda device: FakeSession(), device="cpu")):
            both.wait(5)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not both.broken


def test_failed_load_leaves_nothing_and_the_next_call_retries() -> None:
    cache, attempts = make_cache(), []

    def load(device: torch.device) -> FakeNet:
        attempts.append(1)
        if len(attempts) == 1:
            raise ValueError("truncated")
        return FakeNet(device)

    with pytest.raises(ValueError, match="truncated"), cache.use(spec("net", load=load)):
        pass
    assert cache.snapshot() == []
    with cache.use(spec("net", load=load)) as net:
        assert isinstance(net, FakeNet)
    assert len(attempts) == 2


def test_uses_nest_in_one_thread() -> None:
    cache = make_cache()
    with cache.use(spec("a")), cache.use(spec("b")), cache.use(spec("a")):
        pins = {entry.key: entry.pins for entry in cache.snapshot()}
    assert pins == {"a": 2, "b": 1}
    assert all(entry.pins == 0 for entry in cache.snapshot())


def test_a_use_may_be_closed_by_another_thread() -> None:
    """Web servers resume a generator in whichever thread is free."""
    cache = make_cache()

    def generate():
        with cache.use(spec("net")):
            yield

    running = generate()
    next(running)
    closer = threading.Thread(target=running.close)
    closer.start()
    closer.join(10)
    with cache.use(spec("net")) as net:
        assert net is not None


def test_least_recently_used_goes_to_ram_then_away() -> None:
    cache = make_cache(device_budget=100, ram_budget=80)
    touch(cache, spec("a"), spec("b"), spec("a"))
    touch(cache, spec("c"))
    assert places(cache) == {"c": "device", "a": "device", "b": "ram"}
    touch(cache, spec("d"))
    assert places(cache) == {"d": "device", "c": "device", "a": "ram", "b": "ram"}
    touch(cache, spec("e"))  # RAM holds two: b was used longest ago
    assert places(cache) == {"e": "device", "d": "device", "c": "ram", "a": "ram"}


def test_what_comes_back_from_ram_is_moved_not_loaded() -> None:
    cache, loads = make_cache(), []

    def load(device: torch.device) -> FakeNet:
        loads.append(1)
        return FakeNet(device)

    touch(cache, spec("a", load=load), spec("b"), spec("c"))
    assert places(cache)["a"] == "ram"
    with cache.use(spec("a", load=load)) as net:
        assert net.moves == ["cpu", "meta"] and net.device == ACCELERATOR
    assert len(loads) == 1


def test_unmovable_sessions_are_dropped_not_offloaded() -> None:
    cache = make_cache()
    touch(cache, spec("session", load=lambda device: FakeSession()), spec("b"), spec("c"))
    assert places(cache) == {"c": "device", "b": "device"}


def test_models_larger_than_ram_are_dropped() -> None:
    cache = make_cache(device_budget=100, ram_budget=30)
    touch(cache, spec("a"), spec("b"), spec("c"))
    assert places(cache) == {"c": "device", "b": "device"}


def test_working_memory_counts() -> None:
    cache = make_cache(device_budget=100)
    touch(cache, spec("a"), spec("b"))
    with cache.use(spec("b"), working_bytes=50):
        assert places(cache) == {"b": "device", "a": "ram"}
    touch(cache, spec("a"))
    assert places(cache) == {"a": "device", "b": "device"}


def test_pinned_is_never_evicted() -> None:
    cache = make_cache(device_budget=100)
    with cache.use(spec("a")) as net:
        touch(cache, spec("b"), spec("c"), spec("d"))
        assert places(cache)["a"] == "device" and net.moves == []
        with pytest.raises(OutOfMemory), cache.use(spec("large", 70)):
            pass
        assert places(cache)["a"] == "device"


def test_what_cannot_fit_is_refused_before_loading() -> None:
    cache, loads = make_cache(device_budget=100), []
    with pytest.raises(OutOfMemory, match="STUDIO_DEVICE_MEMORY_GB"), cache.use(spec("giant", 101, loads.append)):
        pass
    assert loads == [] and cache.snapshot() == []


def test_unknown_size_is_measured_and_counted() -> None:
    cache = make_cache(device_budget=1000)
    net = torch.nn.Linear(10, 10)
    with cache.use(ModelSpec("net", lambda device: net)):
        assert cache.snapshot()[0].bytes == 440 == measure_bytes(net)
    with pytest.raises(OutOfMemory), cache.use(ModelSpec("big", lambda device: torch.nn.Linear(100, 100))):
        pass
    assert places(cache).get("big") is None


def test_on_zero_gpu_nothing_is_moved_or_dropped() -> None:
    cache = make_cache(device_budget=10, ram_budget=10, fixed=True)
    cache.preload((spec("a"), spec("b"), spec("c")))
    assert set(places(cache).values()) == {"device"} and len(places(cache)) == 3


def test_clear_keeps_what_is_in_use() -> None:
    cache = make_cache()
    touch(cache, spec("a"))
    with cache.use(spec("b")):
        cache.clear()
        assert list(places(cache)) == ["b"]
    cache.clear()
    assert cache.snapshot() == []


def test_out_of_memory_is_tried_once_with_half_the_chunk() -> None:
    cache, chunks = make_cache(), []

    def run(net: FakeNet, chunk: int) -> int:
        chunks.append(chunk)
        if chunk > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return chunk * 10

    assert cache.run_chunked(spec("net"), run, chunk=8) == 40
    assert chunks == [8, 4]
    assert all(entry.pins == 0 for entry in cache.snapshot())


def test_the_retry_starts_with_the_device_cleared() -> None:
    cache = make_cache(device_budget=200)
    touch(cache, spec("other"))

    def run(net: FakeNet, chunk: int) -> dict[str, str]:
        if chunk == 2:
            raise MemoryError
        return places(cache)

    assert cache.run_chunked(spec("net"), run, chunk=2) == {"net": "device", "other": "ram"}


@pytest.mark.parametrize("chunk", [1, 8])
def test_memory_that_never_suffices_is_a_clear_error(chunk: int) -> None:
    cache, chunks = make_cache(), []

    def run(net: FakeNet, size: int) -> None:
        chunks.append(size)
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(OutOfMemory, match=r"net needs more memory.*Choose a smaller"):
        cache.run_chunked(spec("net"), run, chunk=chunk)
    assert chunks == ([8, 4] if chunk == 8 else [1])
    assert all(entry.pins == 0 for entry in cache.snapshot())
    assert "device" not in places(cache).values()


def test_failed_attempts_keep_no_tensors_alive() -> None:
    cache, kept = make_cache(), []

    class Activation:
        pass

    def run(net: FakeNet, chunk: int) -> bool:
        if chunk == 2:
            activation = Activation()
            kept.append(weakref.ref(activation))
            raise MemoryError
        gc.collect()
        return kept[0]() is None

    assert cache.run_chunked(spec("net"), run, chunk=2)


def test_other_errors_pass_through_untouched() -> None:
    cache = make_cache()
    with pytest.raises(KeyError):
        cache.run_chunked(spec("net"), lambda net, chunk: {}["x"], chunk=4)
    assert cache.snapshot()[0].pins == 0


def test_working_memory_shrinks_with_the_chunk() -> None:
    cache = make_cache(device_budget=100)
    assert cache.run_chunked(spec("net"), lambda net, chunk: chunk, chunk=8, working_bytes=100) == 4


def test_a_fork_while_locks_are_held_stays_usable() -> None:
    cache = make_cache()
    entered, leave = threading.Event(), threading.Event()

    def slow(device: torch.device) -> FakeNet:
        entered.set()
        leave.wait(20)
        return FakeNet(device)

    touch(cache, spec("ready"))
    loader = threading.Thread(target=lambda: touch(cache, spec("slow", load=slow)))
    loader.start()
    assert entered.wait(10)  # another thread now holds the execution lock and a key lock

    def child() -> None:
        with cache.use(spec("slow")), cache.use(spec("ready")):
            assert len(cache.snapshot()) == 2
        assert all(entry.pins == 0 for entry in cache.snapshot())

    fine = fork_and_wait(child)
    leave.set()
    loader.join(10)
    assert fine


def test_a_fork_inside_a_use_can_leave_it_in_the_child() -> None:
    cache = make_cache()

    def child() -> None:
        running.close()
        touch(cache, spec("net"), spec("other"))
        assert all(entry.pins == 0 for entry in cache.snapshot())

    def generate():
        with cache.use(spec("net")):
            yield

    running = generate()
    next(running)
    assert fork_and_wait(child)
    running.close()
    assert cache.snapshot()[0].pins == 0


def test_nothing_is_asked_of_the_device_before_it_is_needed() -> None:
    def forbidden() -> torch.device:
        raise AssertionError("asked")

    assert ModelCache(forbidden).snapshot() == []
    assert ModelCache.from_settings(Settings(device="cuda:99")).snapshot() == []


def test_automatic_budgets_come_from_the_machine() -> None:
    cache = ModelCache.from_settings(Settings(device="cpu"))
    with cache.use(ModelSpec("net", lambda device: torch.nn.Linear(4, 4).to(device))) as net:
        assert net(torch.zeros(1, 4)).shape == (1, 4)
    assert cache.snapshot()[0].device == "cpu"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (OutOfMemory("x"), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("size mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_out_of_memory_is_recognised(error: BaseException, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
