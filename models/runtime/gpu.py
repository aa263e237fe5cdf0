"""``@gpu``: marks a function that needs the GPU. On a ZeroGPU Space it runs in a worker process, elsewhere in place.

What crosses the boundary (arguments, yields, results, errors) is pickled there, so it must be plain CPU values or
paths. Embedded engines are never marked: they would burn the visitor's quota for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
Duration = int | Callable[..., int]


@dataclass(frozen=True)
class GpuFunction:
    """One marked function: ``call`` is what callers get, ``function`` the original, ``duration`` seconds or a rule."""

    name: str
    function: Callable[..., Any]
    call: Callable[..., Any]
    duration: Duration


_registered: dict[str, GpuFunction] = {}


def gpu(duration: Duration = 60) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Marks a function or generator function as needing the GPU for about ``duration`` seconds.

    ``duration`` may be a callable that takes the function's own arguments. ``spaces`` decides whether this is a
    ZeroGPU Space; anywhere else the function is returned as it is.
    """
    import spaces

    def mark(function: Callable[P, R]) -> Callable[P, R]:
        call = spaces.GPU(duration=duration)(function)
        name = f"{function.__module__}.{function.__qualname__}"
        _registered[name] = GpuFunction(name, function, call, duration)
        return call

    return mark


def gpu_functions() -> tuple[GpuFunction, ...]:
    """Every function marked so far, by name."""
    return tuple(_registered[name] for name in sorted(_registered))
