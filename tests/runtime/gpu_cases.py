"""Sample calls for every ``@gpu`` function of the product, by its registered name.

A function without a case fails ``test_gpu.test_every_gpu_function_survives_a_worker``. A case returns the arguments
for a small, quick call; it may use the weights and media that tests make up.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Case = Callable[[Path], tuple[tuple[Any, ...], dict[str, Any]]]

CASES: dict[str, Case] = {}
