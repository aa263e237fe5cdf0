"""The three floors: models <- pipelines <- studio <- app.py, and the habits that keep files readable."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ("models", "pipelines", "studio")
WEB = {"gradio", "fastapi", "typer", "starlette", "uvicorn"}
SIBLINGS = ("face", "body", "talk", "character", "scene")
MAX_LINES = 550


def sources(*folders: str) -> list[Path]:
    return sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Every absolute module name a file imports, at any depth of nesting."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", sources(*FLOORS), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_only_from_floors_below(path: Path) -> None:
    floor = FLOORS.index(path.relative_to(ROOT).parts[0])
    tops = {name.partition(".")[0] for name in imported(path)}
    above = tops & (set(FLOORS[floor + 1 :]) | {"app", "tests", "benchmarks"})
    assert not above, f"imports from above: {above}"
    if floor < 2:
        assert not tops & WEB, f"web framework below the studio floor: {tops & WEB}"


@pytest.mark.parametrize("path", sources("pipelines"), ids=lambda p: str(p.relative_to(ROOT)))
def test_sibling_pipelines_do_not_know_each_other(path: Path) -> None:
    own = path.relative_to(ROOT).parts[1]
    if own not in SIBLINGS:
        return
    others = {n for n in imported(path) for s in SIBLINGS if s != own and (n + ".").startswith(f"pipelines.{s}.")}
    assert not others


@pytest.mark.parametrize("path", sources(*FLOORS, "tests", "benchmarks"), ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_readable(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES
    assert path.stem not in {"utils", "util", "helpers", "misc"}


def test_the_door_is_small() -> None:
    door = ROOT / "app.py"
    if door.exists():
        assert len(door.read_text(encoding="utf-8").splitlines()) <= 40
