"""What a parity case is, how outputs are compared, and which function runs which kind of case.

A runner is a generator of checks registered for the cases whose name matches a pattern::

    @kind("da3", "refview*")
    def refview(case: Case) -> Iterator[Check]:
        yield absolute("index", choose(case["x0"]), case["x0_first"], 0)
"""

from __future__ import annotations

import importlib
import json
import math
import pkgutil
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

Array = Any  # numpy array, torch tensor, number or nested list
SMALL_SET = Path(__file__).resolve().parent.parent / "data" / "parity"


@dataclass(frozen=True)
class Case:
    """One stored case: its arrays, its ``meta`` and where keys and data of its system lie.

    ``case["name"]`` reads an array (KeyError names what is missing), ``"name" in case`` asks for it.
    """

    system: str
    name: str
    path: Path
    root: Path

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(self.path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}

    @cached_property
    def meta(self) -> dict[str, Any]:
        stored = self.arrays.get("meta")
        return {} if stored is None else json.loads(str(np.ravel(stored)[0]))

    @property
    def seed(self) -> int:
        return int(self.meta.get("seed", 0))

    @property
    def data_dir(self) -> Path:
        """Made-up body models and other data of the system."""
        return self.root / self.system / "data"

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def named(self, prefix: str) -> dict[str, np.ndarray]:
        """Arrays whose name starts with ``prefix``, keyed by the rest of the name."""
        return {name.removeprefix(prefix): a for name, a in self.arrays.items() if name.startswith(prefix)}

    def keys(self, variant: str) -> dict[str, list]:
        """Names, shapes and dtypes of a released checkpoint: ``<root>/<system>/keys/<variant>.json``."""
        return json.loads((self.root / self.system / "keys" / f"{variant}.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Check:
    """One compared output: the largest error by the stated measure, its bound, and the verdict."""

    output: str
    measure: str
    error: float
    tolerance: float
    passed: bool
    note: str = ""


@dataclass
class Report:
    """What became of a case: ``passed``, ``failed``, ``error`` (the runner raised) or ``unknown`` (no runner)."""

    system: str
    case: str
    status: str
    kind: str = ""
    seconds: float = 0.0
    checks: list[Check] = field(default_factory=list)
    message: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; an infinite error (wrong shape, not a number) becomes null."""
        values = asdict(self)
        for check in values["checks"]:
            check["error"] = check["error"] if math.isfinite(check["error"]) else None
        return values


Runner = Callable[[Case], Iterable[Check]]
_KINDS: dict[tuple[str, str], Runner] = {}
_IMPORT_ERRORS: dict[str, str] = {}
_IMPORTED: set[str] = set()


def kind(system: str, pattern: str) -> Callable[[Runner], Runner]:
    """Registers a runner for the cases of ``system`` whose name matches the shell pattern; the longest pattern wins."""

    def register(runner: Runner) -> Runner:
        if (system, pattern) in _KINDS:
            raise ValueError(f"two runners for {system} {pattern}")
        _KINDS[system, pattern] = runner
        return runner

    return register


# Comparisons. ``got`` and ``want`` may be tensors, arrays, numbers or lists; shapes must agree.


def absolute(output: str, got: Array, want: Array, tolerance: float, note: str = "") -> Check:
    """Largest absolute difference."""
    got, want, wrong = _pair(got, want)
    if wrong:
        return _mismatch(output, "abs", tolerance, wrong)
    return _bounded(output, "abs", np.abs(got - want), tolerance, note)


def relative(output: str, got: Array, want: Array, tolerance: float, floor: float = 0.0, note: str = "") -> Check:
    """Largest difference relative to ``max(|want|, floor)``; give a floor to outputs that cross zero."""
    got, want, wrong = _pair(got, want)
    if wrong:
        return _mismatch(output, "rel", tolerance, wrong)
    difference, size = np.abs(got - want), np.maximum(np.abs(want), floor)
    error = np.divide(difference, size, out=np.where(difference > 0, np.inf, 0.0), where=size > 0)
    return _bounded(output, "rel", error, tolerance, note)


def share_within(output: str, got: Array, want: Array, tolerance: float, share: float, note: str = "") -> Check:
    """Share of elements off by more than ``tolerance`` (absolute); at most ``1 - share`` may be."""
    got, want, wrong = _pair(got, want)
    measure = f"share off by > {tolerance:g}"
    if wrong:
        return _mismatch(output, measure, 1 - share, wrong)
    off = float(np.mean(~(np.abs(got - want) <= tolerance))) if want.size else 0.0
    return Check(output, measure, off, 1 - share, off <= 1 - share + 1e-12, note)


def exact(output: str, got: Array, want: Array, note: str = "") -> Check:
    """Number of elements that differ; none may. Works for text and integers too."""
    got, want = _numpy(got), _numpy(want)
    if got.shape != want.shape:
        return _mismatch(output, "differing", 0, f"shape {got.shape}, expected {want.shape}")
    numeric = got.dtype.kind in "fc" and want.dtype.kind in "fc"
    same = (got == want) | (np.isnan(got) & np.isnan(want)) if numeric else got == want
    wrong = int(np.size(same) - np.count_nonzero(same))
    return Check(output, "differing", float(wrong), 0.0, wrong == 0, note)


def _pair(got: Array, want: Array) -> tuple[np.ndarray, np.ndarray, str]:
    got, want = (np.asarray(_numpy(a), dtype=np.float64) for a in (got, want))
    wrong = "" if got.shape == want.shape else f"shape {got.shape}, expected {want.shape}"
    if not wrong:  # equal infinities and equal NaN agree, any other non-finite value is an infinite error
        same = (got == want) | (np.isnan(got) & np.isnan(want))
        got, want = np.where(same & ~np.isfinite(want), 0.0, got), np.where(same & ~np.isfinite(want), 0.0, want)
    return got, want, wrong


def _numpy(value: Array) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if value.dtype.is_floating_point else value).numpy()
    return np.asarray(value)


def _bounded(output: str, measure: str, error: np.ndarray, tolerance: float, note: str) -> Check:
    worst = float(np.max(error)) if error.size else 0.0
    worst = math.inf if math.isnan(worst) else worst
    return Check(output, measure, worst, float(tolerance), worst <= tolerance, note)


def _mismatch(output: str, measure: str, tolerance: float, what: str) -> Check:
    return Check(output, measure, math.inf, float(tolerance), False, what)


# Finding and running.


def find_cases(golden: Path, root: Path | None = None, system: str = "", pattern: str = "*") -> list[Case]:
    """Case files of ``golden/<system>/`` and ``golden/<system>/golden/``, by system and name.

    ``root`` is where keys and data lie; without it each system's own folder is used where it has ``keys``.
    """
    cases = []
    for folder in sorted(p for p in golden.iterdir() if p.is_dir() and system in ("", p.name)):
        for path in sorted([*folder.glob("*.npz"), *folder.glob("golden/*.npz")], key=lambda p: p.stem):
            if fnmatchcase(path.stem, pattern):
                cases.append(Case(folder.name, path.stem, path, root or golden))
    return cases


def load_runners(system: str) -> str:
    """Imports the modules named after a system once; returns what went wrong, or nothing."""
    if system not in _IMPORTED:
        _IMPORTED.add(system)
        package = importlib.import_module("tests.parity")
        for module in pkgutil.iter_modules(package.__path__):
            if module.name == system or module.name.startswith(f"{system}_"):
                try:
                    importlib.import_module(f"tests.parity.{module.name}")
                except Exception:  # one broken module must not hide the other systems; its cases report the error
                    _IMPORT_ERRORS[system] = f"{module.name}: {traceback.format_exc(limit=-3)}"
    return _IMPORT_ERRORS.get(system, "")


def runner_of(case: Case) -> tuple[str, Runner] | None:
    """The pattern and runner for a case, matched against its file name and the name in its ``meta``."""
    names = {case.name, str(case.meta.get("case", case.name))}
    found = [p for s, p in _KINDS if s == case.system and any(fnmatchcase(n, p) for n in names)]
    if not found:
        return None
    pattern = max(found, key=len)
    return pattern, _KINDS[case.system, pattern]


def run_case(case: Case) -> Report:
    """Runs one case; nothing a runner raises gets past this."""
    start = time.perf_counter()
    report = Report(case.system, case.name, "unknown")
    broken = load_runners(case.system)
    try:
        found = runner_of(case)
        if found is None:
            report.status, report.message = ("error", broken) if broken else ("unknown", "no runner for this kind")
            return report
        report.kind, runner = found
        for check in runner(case):
            report.checks.append(check)
        report.status = "passed" if report.checks and all(c.passed for c in report.checks) else "failed"
        if not report.checks:
            report.message = "nothing was compared"
    except Exception as error:  # reported as a failure, with where it happened
        report.status = "error"
        report.message = f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-4)}"
    report.seconds = time.perf_counter() - start
    return report


def run(cases: Iterable[Case]) -> Iterator[Report]:
    """Runs cases in order, one report each."""
    return map(run_case, cases)
