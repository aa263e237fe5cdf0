"""HeyGem's routes: paths only inside allowed folders, its JSON and its numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.runtime.errors import InputError
from models.runtime.settings import Settings
from pipelines.base import Output, Progress, Result
from studio.api.easy import DONE, RUNNING, _status, allowed_file, heygem_options, progress_of, read_config
from studio.jobs import JobSnapshot


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.wav").write_bytes(b"x")
    (tmp_path / "secret.wav").write_bytes(b"x")
    (folder / "link.wav").symlink_to(tmp_path / "secret.wav")
    return Settings(allowed_dirs=(folder,))


def test_files_inside_allowed_folders(settings: Settings) -> None:
    folder = settings.allowed_dirs[0]
    assert allowed_file("a.wav", "audio_url", settings) == (folder / "a.wav").resolve()
    assert allowed_file(str(folder / "a.wav"), "audio_url", settings) == (folder / "a.wav").resolve()


@pytest.mark.parametrize(
    "given",
    ["", None, 3, "../secret.wav", "link.wav", "/etc/passwd", "http://x/a.wav", "file:///etc/passwd", "a\0b", "."],
)
def test_everything_else_is_refused(settings: Settings, given: object) -> None:
    with pytest.raises(InputError, match="audio_url"):
        allowed_file(given, "audio_url", settings)


def test_switches_and_config(tmp_path: Path) -> None:
    config = tmp_path / "config.ini"
    config.write_text("[log]\nlog_dir = ./log\n[digital]\nbatch_size = 8\nblend_dynamic = xseg\n")
    flat = heygem_options({"chaofen": 1, "watermark_switch": 0}, read_config(config))
    assert flat == {"blend_batch": 8, "blend_mask": "xseg", "blend_restore": "always"}
    assert read_config(tmp_path / "none.ini") == {}


def _snapshot(**changes: object) -> JobSnapshot:
    values = {"id": "r1", "pipeline": "talk", "state": "running"} | changes
    return JobSnapshot(**values)


def test_status_numbers() -> None:
    running = _snapshot(progress=Progress("draw", 0, 100))
    assert progress_of(running) == 20
    assert _status("c", running)["status"] == RUNNING
    result = Result("viseme", (Output("video", "talk.mp4", "video", "Video"),))
    done = _status("c", _snapshot(state="done", result=result))
    assert done["status"] == DONE and done["result"] == "/v1/runs/r1/files/talk.mp4" and done["progress"] == 100
