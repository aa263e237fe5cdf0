"""The command line, in this process and as a program."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from models.runtime.settings import Settings
from studio.cli.main import run
from tests.studio.test_api import served

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fake_pipeline: None, request: pytest.FixtureRequest) -> None:
    for name in [n for n in os.environ if n.startswith(("STUDIO_API", "STUDIO_LOGIN"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("STUDIO_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("STUDIO_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("STUDIO_DEVICE", "cpu")
    before = signal.getsignal(signal.SIGTERM)
    request.addfinalizer(lambda: signal.signal(signal.SIGTERM, before))


def runs_left(tmp_path: Path) -> list[str]:
    folder = tmp_path / "workspace" / "runs"
    return [p.name for p in folder.iterdir()] if folder.exists() else []


def test_help_needs_nothing_heavy() -> None:
    code = (
        "import sys; from studio.cli.main import run; assert run(['--help']) == 0; "
        "light = sorted({'torch', 'gradio', 'cv2', 'av', 'numba', 'pycolmap', 'fastapi'} & set(sys.modules)); "
        "assert run(['scene', '-h']) == 0; print(light + sorted({'torch', 'gradio', 'fastapi'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"
    for command in ("scene", "weights", "runs", "serve", "doctor", "batch", "bench"):
        assert command in done.stdout


def test_a_run_and_its_export(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(["fake", str(photo), "--pause", "0.2", "--window", "8", "--no-sharp", "--export-dir", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out.split() == [str(out / "picture.png"), str(out / "poster.jpg")]
    assert "counting" in printed.err and "only a fake" in printed.err and (out / "picture.png").stat().st_size > 100
    [run_id] = runs_left(tmp_path)
    record = json.loads((tmp_path / "workspace" / "runs" / run_id / "run.json").read_text())
    assert record["options"]["tuning"] == {"window": 8, "sharp": False} and record["owner"] == "local"
    assert photo.exists() and not (tmp_path / "workspace" / "runs" / run_id / "inputs").exists()


def test_json_and_formats(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fake", str(photo), "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "done"
    assert run(["fake", str(photo), "--quiet", "--export-format", "jpg", "--export-dir", str(tmp_path / "o")]) == 0
    assert [p.name for p in (tmp_path / "o").iterdir()] == ["poster.jpg"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fake"], "INPUT"),
        (["fake", "PHOTO", "--stepz", "3"], "--steps"),
        (["fake", "PHOTO", "--steps", "0"], "steps"),
        (["fake", "PHOTO", "--engine", "other"], "other"),
        (["fake", "PHOTO", "--engine", "fancy"], "da3-small"),
        (["fake", "PHOTO", "--trouble", "input"], "use a sharper one"),
        (["fake", "nothing.jpg"], "no file or folder"),
        (["nonsense"], "nonsense"),
        (["runs", "show", "abc"], "no such run"),
        (["runs", "delete"], "--all"),
        (["weights", "get", "nothing"], "nothing"),
        (["weights", "add", "da3-small", "nothing.bin"], "does not exist"),
        (["scene", "image", "a.jpg", "b.jpg"], "no file or folder"),
        (["scene", "auto"], "Nothing to work on"),
    ],
)
def test_one_line_and_exit_code_two(
    arguments: list[str], words: str, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([str(photo) if a == "PHOTO" else a for a in arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert words in error and error.startswith("python -m studio: ")
    assert runs_left(tmp_path) == []


def test_a_bug_is_exit_code_one(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fake", str(photo), "--trouble", "bug", "--quiet"]) == 1
    assert "reference" in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_within_a_chunk(photo: Path, tmp_path: Path, number: signal.Signals) -> None:
    code = (
        "from pipelines import registry; registry.PIPELINES['fake'] = 'tests.studio.fake:FakePipeline'\n"
        "from studio.cli.main import main; main()"
    )
    arguments = [sys.executable, "-c", code, "fake", str(photo), "--steps", "1000", "--pause", "0.05"]
    with subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.PIPE, text=True) as program:
        while "counting" not in program.stderr.readline():
            assert program.poll() is None
        program.send_signal(number)
        assert program.wait(20) == 130  # its steps would have taken fifty seconds
        assert program.stderr.read().strip().splitlines()[-1] == "python -m studio: Stopped."
    [run_id] = runs_left(tmp_path)
    folder = tmp_path / "workspace" / "runs" / run_id
    assert [p.name for p in folder.iterdir()] == ["run.json"]
    assert json.loads((folder / "run.json").read_text())["state"] == "cancelled"


def test_runs_commands(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["fake", str(photo), "--quiet", "--title", "first one"])
    run(["fake", str(photo), "--quiet"])
    capsys.readouterr()
    assert run(["runs", "list", "--text", "first"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    run_id = line.split()[0]
    assert run(["runs", "show", run_id]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "first one"
    assert run(["runs", "sweep"]) == 0 and run(["runs", "delete", run_id]) == 0
    assert len(runs_left(tmp_path)) == 1
    assert run(["runs", "delete", "--all"]) == 0 and runs_left(tmp_path) == []


def test_weights_list_and_verify(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["weights", "list", "--long"]) == 0
    printed = capsys.readouterr().out
    assert "licence:" in printed and "missing" in printed
    assert run(["weights", "verify"]) == 0


def test_batch_goes_on_and_comes_back(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for name in ("b10.png", "b9.png"):
        (folder / name).write_bytes(photo.read_bytes())
    (folder / "bad.png").write_text("not a picture at all")
    out = tmp_path / "out"
    arguments = ["batch", "fake", str(folder), "--out", str(out), "--quiet", "--steps", "2"]
    assert run(arguments) == 1
    first = capsys.readouterr()
    assert [line.split()[1] for line in first.out.splitlines()] == ["b9:", "b10:", "bad:"]
    assert "1 failed" in first.err and "2 done" in first.err
    assert (out / "b9" / "picture.png").exists() and runs_left(tmp_path) == []

    (folder / "bad.png").write_bytes(photo.read_bytes())
    (out / "b10" / "picture.png").unlink()
    with (out / "manifest.jsonl").open("a") as manifest:
        manifest.write('{"key": "torn')
    assert run(arguments) == 0
    states = {line.split()[1]: line.split()[2] for line in capsys.readouterr().out.splitlines()}
    assert states == {"b9:": "skipped", "b10:": "done", "bad:": "done"}
    assert run(arguments) == 0
    assert "3 skipped" in capsys.readouterr().err


def test_batch_from_a_table(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "jobs.csv"
    table.write_text(f"name,photos,steps\none,{photo.name},4\ntwo,{photo.name};{photo.name},\nbad,{photo.name},0\n")
    out = tmp_path / "out"
    assert run(["batch", "fake", str(table), "--out", str(out), "--quiet", "--keep-runs"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "done" in lines[0] and "done" in lines[1] and "steps" in lines[2]
    assert len(runs_left(tmp_path)) == 2


def test_doctor_is_honest(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(["doctor"]) in (0, 1)
    lines = capsys.readouterr().out.splitlines()
    for name in ("python", "workspace", "disk", "memory", "ffmpeg", "weights", "device", "cuda", "onnxruntime", "tab"):
        assert any(line[7:].startswith(name) for line in lines), name
    assert run(["doctor", "--device", "nonsense"]) == 1
    [broken] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("BROKEN device")]
    assert "auto" in broken
    monkeypatch.setenv("STUDIO_WORKSPACE", "/proc/nowhere")
    assert run(["doctor"]) == 1
    assert "BROKEN workspace" in capsys.readouterr().out


def test_bench_lists_and_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench"]) == 0
    assert run(["bench", "nothing"]) == 2


def test_a_running_studio_does_the_work(
    settings: Settings, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO_API_TOKEN", "t0ken")
    there = settings.with_(tabs=("fake",), api_token="t0ken", workspace_dir=tmp_path / "there")
    with served(there) as (studio, client):
        server = ["--server", str(client.base_url), "--quiet"]
        out = tmp_path / "fetched"
        assert run(["fake", str(photo), "--steps", "2", *server, "--export-dir", str(out)]) == 0
        assert sorted(p.name for p in out.iterdir()) == ["picture.png", "poster.jpg"]
        assert studio.runs.count(state="done") == 1 and runs_left(tmp_path) == []
        assert run(["fake", str(photo), "--trouble", "bug", *server]) == 1
        monkeypatch.setenv("STUDIO_API_TOKEN", "wrong")
        assert run(["fake", str(photo), *server]) == 1
    assert run(["fake", str(photo), *server]) == 1
    assert "cannot be reached" in capsys.readouterr().err
