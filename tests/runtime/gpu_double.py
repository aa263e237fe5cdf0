"""A double of ZeroGPU's decorator: every call runs in a forked process, and all that crosses over is pickled."""

from __future__ import annotations

import inspect
import multiprocessing
import pickle
from collections.abc import Callable, Iterator
from functools import wraps
from multiprocessing.connection import Connection
from typing import Any

import torch

FORK = multiprocessing.get_context("fork")
SECONDS = 60


def forked(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` (plain or generator) as ZeroGPU runs it: a fork per call, everything that crosses over pickled.

    Closing the generator stops the worker at its next yield, as the platform does.
    """
    if inspect.isgeneratorfunction(function):

        @wraps(function)
        def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
            yield from _call(function, args, kwargs)

        return stream

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return list(_call(function, args, kwargs))[-1]

    return call


def _call(function: Callable[..., Any], args: tuple, kwargs: dict) -> Iterator[Any]:
    sent = pickle.dumps((args, kwargs))
    ours, theirs = FORK.Pipe()
    worker = FORK.Process(target=_work, args=(function, sent, ours, theirs), daemon=True)
    worker.start()
    theirs.close()
    try:
        while True:
            if not ours.poll(SECONDS):
                raise TimeoutError(f"{function.__qualname__} did not answer from its worker")
            try:
                kind, payload = ours.recv()
            except EOFError:
                raise RuntimeError(f"the worker of {function.__qualname__} died") from None
            value = pickle.loads(payload)
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
            ours.send("go on")
    finally:
        ours.close()
        worker.join(SECONDS)
        if worker.is_alive():
            worker.kill()


def _work(function: Callable[..., Any], sent: bytes, parent: Connection, pipe: Connection) -> None:
    parent.close()  # the fork copied it; only without it does a closed stream show here
    torch.set_num_threads(1)  # a team of CPU threads does not survive a fork, and waits for ever
    try:
        args, kwargs = pickle.loads(sent)
        if inspect.isgeneratorfunction(function):
            running = function(*args, **kwargs)
            for value in running:
                pipe.send(("value", pickle.dumps(value)))
                try:
                    pipe.recv()
                except EOFError:  # nobody listens any more
                    running.close()
                    return
        else:
            pipe.send(("value", pickle.dumps(function(*args, **kwargs))))
            pipe.recv()
        pipe.send(("end", pickle.dumps(None)))
    except Exception as error:
        try:
            payload = pickle.dumps(error)
            pickle.loads(payload)
        except Exception as failure:
            payload = pickle.dumps(pickle.PicklingError(f"{type(error).__name__} does not survive pickling: {failure}"))
        pipe.send(("error", payload))
