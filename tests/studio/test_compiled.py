"""Compiled code: kept where it can be written, made ahead once."""

import os
import sys
from pathlib import Path

import pytest

from models.runtime.settings import Settings
from pipelines import registry, rehearsal
from studio import compiled


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    return Settings(workspace_dir=tmp_path / "workspace")


def test_program_that_cannot_be_written_keeps_it_in_the_workspace(settings, monkeypatch) -> None:
    compiled.keep_compiled(settings)
    assert "NUMBA_CACHE_DIR" not in os.environ
    monkeypatch.setattr(compiled, "HERE", settings.workspace_dir / "nowhere")
    compiled.keep_compiled(settings)
    assert os.environ.pop("NUMBA_CACHE_DIR") == str(settings.workspace_dir / "compiled")


def test_is_made_ahead_once(settings, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    called = []
    monkeypatch.setattr(os, "nice", lambda _: 0)
    monkeypatch.setattr(type(registry.get("face")), "rehearse", lambda _: called.append("face"))
    started = []
    monkeypatch.setattr(compiled.subprocess, "Popen", lambda command, **_: started.append(command))
    compiled.rehearse(settings)
    assert started == [[sys.executable, "-m", "pipelines.rehearsal", "face"]]
    rehearsal.main(["face"])
    assert called == ["face"]
    compiled.rehearse(settings)
    assert len(started) == 1
    compiled.rehearse(settings.with_(read_only=True))
    assert len(started) == 1


def test_rehearsed_pipelines_can() -> None:
    assert all(callable(registry.get(name).rehearse) for name in registry.REHEARSED)
