"""The stored cases pass: the small set always, the full set where $STUDIO_PARITY_DIR is set."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.parity import runner
from tests.parity.__main__ import describe, main
from tests.parity.synth import synth_tensor

FULL_SET = Path(os.environ.get("STUDIO_PARITY_DIR", "") or "/nonexistent")
SMALL_CASES = runner.find_cases(runner.SMALL_SET) if runner.SMALL_SET.is_dir() else []
FULL_CASES = runner.find_cases(FULL_SET) if FULL_SET.is_dir() else []


@pytest.mark.parametrize("case", SMALL_CASES, ids=lambda c: f"{c.system}-{c.name}")
def test_small_set(case: runner.Case) -> None:
    if (case.system, case.name) in {(full.system, full.name) for full in FULL_CASES}:
        pytest.skip("the full set holds this case")
    report = runner.run_case(case)
    assert report.status == "passed", describe(report)


@pytest.mark.parity_full
@pytest.mark.slow
@pytest.mark.parametrize("case", FULL_CASES, ids=lambda c: f"{c.system}-{c.name}")
def test_full_set(case: runner.Case) -> None:
    runner.load_runners(case.system)
    if runner.runner_of(case) is None:
        pytest.skip("no runner for this kind yet")
    report = runner.run_case(case)
    assert report.status == "passed", describe(report)


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """A folder with one case of a made-up system."""
    folder = tmp_path / "madeup" / "golden"
    folder.mkdir(parents=True)
    np.savez(folder / "double_big.npz", meta=json.dumps({"seed": 3}), x=np.arange(4.0), y=2 * np.arange(4.0))
    return tmp_path


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(case: runner.Case):
        yield runner.absolute("y", case["x"] * 2, case["y"], 1e-6)

    monkeypatch.setitem(runner._KINDS, ("madeup", "double*"), run)


def test_unknown_kind_is_not_a_pass(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--golden", str(golden)]) == 1
    assert "unknown" in capsys.readouterr().out
    assert main(["--golden", str(golden), "--allow-unknown"]) == 0


def test_known_kind_passes_whatever_its_variant(golden: Path, double: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--golden", str(golden), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["summary"] == {"passed": 1}
    assert document["cases"][0]["checks"][0]["error"] == 0.0


def test_wrong_numbers_shapes_and_missing_arrays_fail(golden: Path, double: None) -> None:
    folder = golden / "madeup"
    np.savez(folder / "double_wrong.npz", x=np.ones(3), y=np.full(3, 2.1))
    np.savez(folder / "double_shape.npz", x=np.ones(3), y=np.ones(4))
    np.savez(folder / "double_nan.npz", x=np.array([np.nan]), y=np.ones(1))
    np.savez(folder / "double_missing.npz", x=np.ones(3))
    status = {r.case: r.status for r in runner.run(runner.find_cases(golden))}
    assert status == {
        "double_big": "passed",
        "double_wrong": "failed",
        "double_shape": "failed",
        "double_nan": "failed",
        "double_missing": "error",
    }


def test_nothing_to_run_is_an_error(tmp_path: Path) -> None:
    assert main(["--golden", str(tmp_path)]) == 2


def test_comparisons() -> None:
    assert runner.relative("r", [1.0, 2.0], [1.0, 2.0002], 1e-3).passed
    assert not runner.relative("r", [1e-9], [0.0], 1e-3).passed
    assert runner.relative("r", [1e-9], [0.0], 1e-3, floor=1.0).passed
    assert runner.share_within("s", [0, 0, 0, 9], [0, 0, 0, 0], 1, 0.75).passed
    assert not runner.share_within("s", [0, 0, 9, 9], [0, 0, 0, 0], 1, 0.75).passed
    assert runner.exact("e", np.array(["a"]), np.array(["a"])).passed
    assert runner.absolute("inf", [np.inf], [np.inf], 0).passed
    assert not runner.absolute("inf", [np.inf], [1.0], 1e9).passed


def test_stand_in_weights_depend_on_seed_name_and_shape_only() -> None:
    first = synth_tensor("a.weight", (4, 3))
    assert torch.equal(first, synth_tensor("a.weight", (4, 3)))
    assert not torch.equal(first, synth_tensor("a.weight", (4, 3), seed=1))
    assert not torch.equal(first, synth_tensor("b.weight", (4, 3)))
    assert synth_tensor("a.count", (), "int64").item() == 0
    assert torch.all(synth_tensor("n.running_var", (64,)) >= 1)
