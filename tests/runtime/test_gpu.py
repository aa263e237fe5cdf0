"""The ``@gpu`` marker, and every marked function through a double that forks and pickles like ZeroGPU does."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import numpy as np
import pytest
import torch

import pipelines
from models.runtime.cache import ModelCache, ModelSpec
from models.runtime.errors import InputError, OutOfMemory
from models.runtime.gpu import gpu, gpu_functions
from tests.runtime.gpu_cases import CASES, WITHOUT_SAMPLE
from tests.runtime.gpu_double import forked


@gpu(duration=lambda values: 5 + len(values))
def doubled(values: np.ndarray) -> tuple[np.ndarray, int]:
    return values * 2, os.getpid()


@gpu()
def counted(count: int, log: Path) -> Iterator[int]:
    try:
        yield from range(count)
    finally:
        log.write_text(f"closed in {os.getpid()}")


@gpu(duration=5)
def failing(kind: str) -> None:
    raise {"input": InputError("no face found"), "memory": OutOfMemory("too large")}[kind]


@gpu(duration=5)
def returns_a_lock() -> object:
    return threading.Lock()


def test_elsewhere_the_marker_changes_nothing() -> None:
    values, pid = doubled(np.arange(3))
    assert pid == os.getpid() and values.tolist() == [0, 2, 4]


def test_marked_functions_are_registered_with_their_duration() -> None:
    found = {each.name: each for each in gpu_functions()}
    assert found["tests.runtime.test_gpu.counted"].duration == 60
    rule = found["tests.runtime.test_gpu.doubled"].duration
    assert callable(rule) and rule(np.arange(3)) == 8
    assert found["tests.runtime.test_gpu.failing"].function is failing


def test_the_double_runs_in_another_process_and_brings_results_back() -> None:
    values, pid = forked(doubled)(np.arange(3))
    assert pid != os.getpid() and values.tolist() == [0, 2, 4]


def test_the_double_streams_yields(tmp_path: Path) -> None:
    assert list(forked(counted)(4, tmp_path / "log")) == [0, 1, 2, 3]
    assert (tmp_path / "log").read_text() != f"closed in {os.getpid()}"


def test_closing_the_stream_reaches_the_worker(tmp_path: Path) -> None:
    stream = forked(counted)(1000, tmp_path / "log")
    assert next(stream) == 0
    stream.close()
    assert (tmp_path / "log").read_text().startswith("closed in ")


@pytest.mark.parametrize(("kind", "error"), [("input", InputError), ("memory", OutOfMemory)])
def test_typed_errors_survive_the_way_back(kind: str, error: type) -> None:
    with pytest.raises(error) as caught:
        forked(failing)(kind)
    assert caught.value.message in {"no face found", "too large"}


def test_what_cannot_be_pickled_is_refused() -> None:
    with pytest.raises((pickle.PicklingError, TypeError)):
        forked(returns_a_lock)()
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        forked(doubled)(threading.Lock())


def product_functions() -> list:
    for module in walk_packages(pipelines.__path__, "pipelines."):
        if not module.ispkg and "worker" not in module.name:  # workers are programs of their own
            import_module(module.name)
    return [each for each in gpu_functions() if not each.name.startswith("tests.")]


CACHE = ModelCache(lambda: torch.device("cpu"), fixed=True)
NET = ModelSpec("net", lambda device: torch.nn.Linear(2, 2).to(device))


@gpu(duration=10)
def inferred(count: int) -> Iterator[np.ndarray]:
    with CACHE.use(NET) as net, torch.inference_mode():
        for n in range(count):
            yield net(torch.full((1, 2), float(n))).numpy()


def test_a_worker_finds_the_networks_placed_before_it_was_forked() -> None:
    CACHE.preload((NET,))
    here = list(inferred(3))
    there = list(forked(inferred)(3))
    np.testing.assert_array_equal(here, there)
    assert CACHE.snapshot()[0].pins == 0


def test_every_gpu_function_survives_a_worker(tmp_path: Path) -> None:
    for each in product_functions():
        if each.name in WITHOUT_SAMPLE:
            continue
        assert each.name in CASES, f"{each.name} needs a sample call in tests/runtime/gpu_cases.py"
        args, kwargs = CASES[each.name](tmp_path)
        forked(each.function)(*args, **kwargs)
