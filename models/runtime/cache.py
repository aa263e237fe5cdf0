"""Loaded models, kept within byte budgets and handed out one user per device at a time."""

from __future__ import annotations

import gc
import itertools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from models.runtime.device import device_memory, host_memory, resolve_device
from models.runtime.errors import OutOfMemory
from models.runtime.settings import MIB, Settings

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
Place = Literal["device", "ram"]
log = logging.getLogger(__name__)

AUTOMATIC_SHARE = 0.9  # of what the machine has, when no budget is set


@dataclass(frozen=True)
class ModelSpec:
    """How to make one model ready.

    ``load(device)`` returns the model on that device; ``bytes`` is its size, 0 meaning "measure it after loading".
    ``device`` overrides the cache's device: ``"cpu"`` for sessions that always run there (litert, onnxruntime). Those
    guard themselves, so they are shared between threads and need no execution lock.
    """

    key: str
    load: Callable[[torch.device], Any]
    bytes: int = 0
    device: str = ""


@dataclass(frozen=True)
class CacheEntry:
    """A snapshot of one loaded model. ``idle`` is the seconds since its last use."""

    key: str
    device: str
    place: Place
    bytes: int
    pins: int
    idle: float
    load_seconds: float


@dataclass
class _Slot:
    key: str
    model: Any
    device: torch.device
    place: Place
    bytes: int
    load_seconds: float
    pins: int = 0
    order: int = 0
    used: float = field(default_factory=time.monotonic)


class ExecutionLock:
    """A re-entrant lock that any thread may release: a generator can be closed by another thread than it ran in."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._owner = 0
        self._depth = 0

    def acquire(self) -> None:
        me = threading.get_ident()
        with self._condition:
            while self._depth and self._owner != me:
                self._condition.wait()
            self._owner = me
            self._depth += 1

    def release(self) -> None:
        with self._condition:
            self._depth -= 1
            if not self._depth:
                self._owner = 0
                self._condition.notify()


class ModelCache:
    """Models by key: one load per key, least-recently-used offload to RAM and then drop, one user per device.

    Budgets are bytes and count models together with the working memory announced by ``use``. On ZeroGPU nothing is
    ever moved or dropped: what lives on the GPU there is managed by the platform.
    """

    def __init__(
        self,
        device: Callable[[], torch.device],
        device_budget: int = 0,
        ram_budget: int = 0,
        fixed: bool = False,
    ) -> None:
        """``device`` is asked at first need; a budget of 0 asks the machine; ``fixed`` (ZeroGPU) never moves models."""
        self._ask_device = device
        self._budgets: dict[str, int] = {}
        self._device_budget = device_budget
        self._ram_budget = ram_budget
        self._fixed = fixed
        self._settings: Settings | None = None
        self._slots: dict[str, _Slot] = {}
        self._working: dict[int, tuple[str, int]] = {}  # token -> (device, bytes) announced by the uses under way
        self._counter = itertools.count(1)
        self._generation = 0
        self._renew_locks()
        _caches.add(self)

    @classmethod
    def from_settings(cls, settings: Settings) -> ModelCache:
        """The studio's cache. The device is not touched before the first model is needed."""
        cache = cls(
            device=lambda: resolve_device(settings),
            device_budget=settings.device_budget_bytes,
            ram_budget=settings.ram_budget_bytes,
            fixed=settings.zero_gpu,
        )
        cache._settings = settings
        return cache

    @classmethod
    def shared(cls, settings: Settings) -> ModelCache:
        """The cache this process made from these settings, or a new one.

        For ``@gpu`` functions: a worker forked from the studio finds the studio's cache with what was placed in it.
        """
        return next((c for c in _caches if c._settings == settings), None) or cls.from_settings(settings)

    @property
    def device(self) -> torch.device:
        """The device models are placed on, asked for at first need."""
        return self._device()

    @contextmanager
    def use(self, spec: ModelSpec, working_bytes: int = 0) -> Iterator[Any]:
        """The model, loaded once, pinned and with its device to itself while inside; uses may nest.

        ``working_bytes`` is what the activations will take at most; room for it is made beforehand.

        Raises:
            OutOfMemory: it does not fit the budget even with everything evictable evicted, or loading ran out.
        """
        device = self._device_of(spec)
        generation = self._generation
        lock = None if spec.device else self._execution(device)
        if lock:
            lock.acquire()
        try:
            slot, token = self._pin(spec, device, working_bytes)
            try:
                yield slot.model
            finally:
                self._unpin(slot, token, generation)
        finally:
            if lock and self._generation == generation:  # after a fork the child has new locks, all free
                lock.release()

    def run_chunked(self, spec: ModelSpec, run: Callable[[Any, int], T], chunk: int, working_bytes: int = 0) -> T:
        """``run(model, chunk)``, once more with half the chunk when memory ran out.

        ``run`` must be repeatable: it starts over with the smaller chunk. ``working_bytes`` belongs to the full chunk.

        Raises:
            OutOfMemory: the smaller chunk did not fit either, or there is none; nothing is left pinned.
        """
        try:
            with self.use(spec, working_bytes) as model:
                return run(model, chunk)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error)
        # Outside the handler, so that the failed call's frames and their tensors are gone before the next attempt.
        self._release_memory(self._device_of(spec))
        smaller = chunk // 2
        if smaller >= 1:
            log.warning("%s ran out of memory with chunks of %d; trying %d", spec.key, chunk, smaller)
            try:
                with self.use(spec, working_bytes * smaller // chunk) as model:
                    return run(model, smaller)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error)
            self._release_memory(self._device_of(spec))
        raise OutOfMemory(
            f"{spec.key} needs more memory than {self._device_of(spec)} has, even in the smallest pieces "
            f"({reason.splitlines()[0][:160] if reason else 'out of memory'}). Choose a smaller model or resolution, "
            "close other programs that use the device, or set STUDIO_DEVICE=cpu."
        )

    def preload(self, specs: tuple[ModelSpec, ...]) -> None:
        """Loads models now, in the calling thread. On ZeroGPU this must happen in the main thread before launch."""
        for spec in specs:
            with self.use(spec):
                pass

    def snapshot(self) -> list[CacheEntry]:
        """What is loaded, most recently used first. Never waits for a model that is being moved."""
        now = time.monotonic()
        slots = sorted(self._slots.values(), key=lambda s: -s.order)
        return [CacheEntry(s.key, str(s.device), s.place, s.bytes, s.pins, now - s.used, s.load_seconds) for s in slots]

    def clear(self) -> None:
        """Drops everything that is not in use."""
        with self._state:
            for key in [k for k, s in self._slots.items() if not s.pins]:
                del self._slots[key]
            devices = {slot.device for slot in self._slots.values()}
        for device in devices or {None}:
            _collect(device)

    # Loading and pinning

    def _pin(self, spec: ModelSpec, device: torch.device, working_bytes: int) -> tuple[_Slot, int]:
        """Pins the model on its device and reserves the working bytes; on any failure nothing stays behind."""
        token = next(self._counter)
        with self._key_lock(spec.key):
            with self._state:
                slot = self._slots.get(spec.key)
                if slot is not None:
                    slot.pins += 1
            settled = slot is not None and slot.place == "device"
            if slot is None:
                slot = self._load(spec, device, working_bytes)
            with self._state:
                try:
                    self._make_room(device, (0 if slot.place == "device" else slot.bytes) + working_bytes, spec.key)
                    if slot.place == "ram":
                        slot.model = slot.model.to(device)
                        slot.place = "device"
                except BaseException:
                    slot.pins -= 1
                    if not settled and not slot.pins:  # too large, or half moved
                        self._slots.pop(slot.key, None)
                    raise
                self._working[token] = (str(device), working_bytes)
                slot.order = token
                slot.used = time.monotonic()
        return slot, token

    def _load(self, spec: ModelSpec, device: torch.device, working_bytes: int) -> _Slot:
        """Loads under the caller's key lock and enters the slot with one pin."""
        if spec.bytes:
            with self._state:
                self._make_room(device, spec.bytes + working_bytes, spec.key)
        start = time.perf_counter()
        model = spec.load(device)
        seconds = time.perf_counter() - start
        slot = _Slot(spec.key, model, device, "device", spec.bytes or measure_bytes(model), seconds, pins=1)
        with self._state:
            self._slots[spec.key] = slot
        log.info("loaded %s on %s: %d MiB in %.1f s", spec.key, device, slot.bytes // MIB, seconds)
        return slot

    def _unpin(self, slot: _Slot, token: int, generation: int) -> None:
        if self._generation != generation:
            return
        with self._state:
            slot.pins -= 1
            slot.used = time.monotonic()
            self._working.pop(token, None)

    # Budgets; the callers hold the state lock

    def _make_room(self, device: torch.device, need: int, key: str) -> None:
        """Evicts the least recently used until ``need`` more bytes fit; raises OutOfMemory when they cannot."""
        if self._fixed:
            return
        budget = self._budget(device)
        while self._in_use(device) + need > budget:
            victim = self._oldest("device", device)
            if victim is None:
                raise OutOfMemory(
                    f"{key} needs {need // MIB} MiB on {device}, of which {(budget - self._in_use(device)) // MIB} of "
                    f"{budget // MIB} MiB are free: choose a smaller model, resolution or chunk, or raise "
                    "STUDIO_DEVICE_MEMORY_GB"
                )
            self._evict(victim)

    def _evict(self, slot: _Slot) -> None:
        """Offloads a model to RAM where that gains something and fits, else drops it."""
        if slot.device.type != "cpu" and hasattr(slot.model, "to") and self._make_ram(slot.bytes):
            log.info("offloading %s to RAM", slot.key)
            slot.model = slot.model.to("cpu")
            slot.place = "ram"
        else:
            log.info("dropping %s", slot.key)
            del self._slots[slot.key]
        _collect(slot.device)

    def _make_ram(self, need: int) -> bool:
        budget = self._ram()
        if need > budget:
            return False
        while sum(s.bytes for s in self._slots.values() if s.place == "ram") + need > budget:
            victim = self._oldest("ram", None)
            if victim is None:
                return False
            del self._slots[victim.key]
        return True

    def _oldest(self, place: Place, device: torch.device | None) -> _Slot | None:
        free = [
            s
            for s in self._slots.values()
            if s.place == place and not s.pins and (device is None or str(s.device) == str(device))
        ]
        return min(free, key=lambda s: s.order, default=None)

    def _in_use(self, device: torch.device) -> int:
        name = str(device)
        models = sum(s.bytes for s in self._slots.values() if s.place == "device" and str(s.device) == name)
        return models + sum(size for where, size in self._working.values() if where == name)

    def _budget(self, device: torch.device) -> int:
        name = str(device)
        if name not in self._budgets:
            main = device == self._device()
            if main and self._device_budget:
                self._budgets[name] = self._device_budget
            else:
                self._budgets[name] = int(AUTOMATIC_SHARE * (device_memory(device).free + self._in_use(device)))
        return self._budgets[name]

    def _ram(self) -> int:
        if not self._ram_budget:
            self._ram_budget = max(1, int(AUTOMATIC_SHARE * host_memory().free))
        return self._ram_budget

    def _release_memory(self, device: torch.device) -> None:
        """After out-of-memory: nothing but what is pinned may stay on the device."""
        if not self._fixed:
            with self._state:
                while (victim := self._oldest("device", device)) is not None:
                    if victim.device.type == "cpu":
                        del self._slots[victim.key]
                    else:
                        self._evict(victim)
        _collect(device)

    # Devices and locks

    def _device(self) -> torch.device:
        with self._state:
            if self._resolved is None:
                self._resolved = self._ask_device()
            return self._resolved

    def _device_of(self, spec: ModelSpec) -> torch.device:
        if not spec.device:
            return self._device()
        import torch

        return torch.device(spec.device)

    def _execution(self, device: torch.device) -> ExecutionLock:
        with self._state:
            return self._execution_locks.setdefault(str(device), ExecutionLock())

    def _key_lock(self, key: str) -> threading.Lock:
        with self._state:
            return self._key_locks.setdefault(key, threading.Lock())

    def _renew_locks(self) -> None:
        self._state = threading.RLock()
        self._execution_locks: dict[str, ExecutionLock] = {}
        self._key_locks: dict[str, threading.Lock] = {}
        if not hasattr(self, "_resolved"):
            self._resolved: torch.device | None = None

    def _after_fork(self) -> None:
        """In the child only the forking thread lives: locks others held would stay shut and their pins for ever."""
        self._generation += 1
        self._renew_locks()
        self._working = {}
        for slot in list(self._slots.values()):
            slot.pins = 0


def measure_bytes(model: Any) -> int:
    """Bytes of a model's parameters and buffers; its ``nbytes`` where it has no parameters; else 0."""
    if hasattr(model, "parameters") and hasattr(model, "buffers"):
        tensors = {id(t): t for t in itertools.chain(model.parameters(), model.buffers())}
        return sum(t.numel() * t.element_size() for t in tensors.values())
    return int(getattr(model, "nbytes", 0))


def is_out_of_memory(error: BaseException) -> bool:
    """True for every way in which torch, its CPU allocator, numpy and the cache itself say that memory ran out."""
    if isinstance(error, (OutOfMemory, MemoryError)):
        return True
    if not isinstance(error, RuntimeError):
        return False
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "cudnn_status_alloc_failed" in text


def _collect(device: torch.device | None) -> None:
    gc.collect()
    if device is None or device.type == "cpu":
        return
    import torch

    if device.type == "cuda" and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


_caches: weakref.WeakSet[ModelCache] = weakref.WeakSet()


def _renew_after_fork() -> None:
    for cache in list(_caches):
        cache._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
