"""The job queue: order, following, stopping, failing."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from models.runtime.errors import InputError, LimitExceeded, NotFound, QueueFull
from models.runtime.settings import Limits, Settings
from pipelines.base import Inputs
from studio.services import Studio
from tests.studio.conftest import make_studio
from tests.studio.fake import VISITOR, FakeOptions


def test_a_job_becomes_a_run(studio: Studio, inputs: Inputs) -> None:
    job = studio.jobs.submit("fake", inputs, FakeOptions(steps=4), owner="me", parents=["p"])
    last = list(job.follow(0.01))[-1]
    assert last.state == "done" and last.result.engine == "plain"
    record = studio.runs.get(job.id)
    assert record.state == "done" and record.parents == ("p",) and record.owner == "me"
    assert record.summary == {"names": "my photo.png", "score": 0.5, "steps": 4}
    assert set(record.seconds) == {"prepare", "infer", "counting", "finish"}
    assert record.licences == ("Plain licence",)
    assert record.options["steps"] == 4 and record.title == "my photo.png"
    assert record.poster == "poster.jpg" and (studio.runs.folder(job.id) / "poster.jpg").stat().st_size > 500
    assert record.bytes > 1000
    assert studio.jobs.snapshot(job.id).final


def test_leaving_the_follower_stops_nothing(studio: Studio, inputs: Inputs) -> None:
    job = studio.jobs.submit("fake", inputs, FakeOptions(steps=20, pause=0.01))
    next(job.follow(0.01))
    assert job.wait().state == "done"


def test_stop_reaches_the_running_job_and_the_next_one_runs(studio: Studio, inputs: Inputs) -> None:
    slow = studio.jobs.submit("fake", inputs, FakeOptions(steps=1000, pause=0.02))
    second = studio.jobs.submit("fake", inputs, FakeOptions())
    third = studio.jobs.submit("fake", inputs, FakeOptions())
    follow = slow.follow(0.01)
    while next(follow).progress is None or slow.snapshot().progress.done < 2:
        pass
    assert second.snapshot().position == 1 and third.snapshot().position == 2
    studio.jobs.cancel(third.id)
    started = time.perf_counter()
    studio.jobs.cancel(slow.id)
    assert slow.wait().state == "cancelled"
    assert time.perf_counter() - started < 10  # its steps would have taken twenty
    assert second.wait().state == "done"
    assert third.wait().state == "cancelled"
    assert [p.name for p in studio.runs.folder(slow.id).iterdir()] == ["run.json"]
    assert studio.runs.get(slow.id).state == "cancelled"
    studio.jobs.cancel(second.id)  # too late: nothing happens
    assert studio.runs.get(second.id).state == "done"


def test_an_input_error_leaves_nothing(studio: Studio, inputs: Inputs) -> None:
    job = studio.jobs.submit("fake", inputs, FakeOptions(trouble="input"))
    last = job.wait()
    assert last.state == "failed" and isinstance(last.error, InputError) and "sharper" in last.error.message
    assert not studio.runs.folder(job.id).exists() and studio.runs.count() == 0
    assert studio.jobs.snapshot(job.id).error is last.error


@pytest.mark.parametrize(("trouble", "words"), [("bug", "Something went wrong"), ("disk", "disk is full")])
def test_a_failure_leaves_its_record_and_no_secret(
    studio: Studio, inputs: Inputs, trouble: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    job = studio.jobs.submit("fake", inputs, FakeOptions(trouble=trouble))
    last = job.wait()
    assert words in last.error.message and "secret" not in last.error.message
    assert studio.runs.get(job.id).error == last.error.message
    assert [p.name for p in studio.runs.folder(job.id).iterdir()] == ["run.json"]
    if trouble == "bug":
        reference = last.error.message.split("reference ")[1].rstrip(")")
        assert reference in caplog.text and "/secret/place" in caplog.text
    assert studio.jobs.submit("fake", inputs, FakeOptions()).wait().state == "done"


@pytest.mark.parametrize(
    "files", [{}, {"photos": ()}, {"other": (Path("x"),)}, {"photos": (Path("x"),) * 5}, {"photos": (Path("gone"),)}]
)
def test_wrong_inputs_are_refused_at_once(studio: Studio, files: dict) -> None:
    with pytest.raises(InputError):
        studio.jobs.submit("fake", Inputs(files), FakeOptions())
    assert list(studio.settings.runs_dir.iterdir()) == []


def test_the_queue_is_bounded(settings: Settings, fake_pipeline: None, inputs: Inputs) -> None:
    with make_studio(settings.with_(limits=Limits(queue_size=2))) as studio:
        first = studio.jobs.submit("fake", inputs, FakeOptions(steps=1000, pause=0.02))
        while first.snapshot().state == "queued":
            time.sleep(0.005)
        for _ in range(2):
            studio.jobs.submit("fake", inputs, FakeOptions())
        with pytest.raises(QueueFull):
            studio.jobs.submit("fake", inputs, FakeOptions())
        assert len(studio.jobs.active()) == 3
        assert len(list(studio.settings.runs_dir.iterdir())) == 3


def test_too_many_bytes_are_refused(settings: Settings, fake_pipeline: None, tmp_path: Path) -> None:
    big = tmp_path / "big.png"
    big.write_bytes(b"0" * 5000)
    with make_studio(settings.with_(limits=Limits(upload_bytes=1000))) as studio:
        with pytest.raises(LimitExceeded):
            studio.jobs.submit("fake", Inputs({"photos": (big,)}), FakeOptions())
        local = studio.jobs.submit("fake", Inputs({"photos": (big,)}), FakeOptions(), keep="reference")
        assert local.wait().state == "done"
        assert big.exists() and not (studio.runs.folder(local.id) / "inputs").exists()


def test_work_runs_in_the_context_of_its_submitter(studio: Studio, inputs: Inputs) -> None:
    seen = []

    def visitor(name: str) -> None:
        VISITOR.set(name)
        seen.append((name, studio.jobs.submit("fake", inputs, FakeOptions())))

    for name in ("ann", "bob"):
        thread = threading.Thread(target=visitor, args=(name,))
        thread.start()
        thread.join()
    for name, job in seen:
        assert job.wait().progress is not None
        notes = {s.progress.note for s in job.follow() if s.progress and s.progress.stage == "counting"}
        assert notes <= {name}


def test_unknown_job(studio: Studio) -> None:
    with pytest.raises(NotFound):
        studio.jobs.get("nothing")
    with pytest.raises(NotFound):
        studio.jobs.snapshot("nothing-that-anyone-knows-of")


def test_another_process_can_stop_a_job(settings: Settings, studio: Studio, inputs: Inputs) -> None:
    job = studio.jobs.submit("fake", inputs, FakeOptions(steps=1000, pause=0.02))
    with make_studio(settings) as other:
        other.jobs.cancel(job.id)
        assert job.wait(15).state == "cancelled"
        assert other.jobs.snapshot(job.id).state == "cancelled"


def test_closing_stops_everything(settings: Settings, fake_pipeline: None, inputs: Inputs) -> None:
    studio = make_studio(settings)
    jobs = [studio.jobs.submit("fake", inputs, FakeOptions(steps=1000, pause=0.02)) for _ in range(3)]
    studio.close()
    assert {job.snapshot().state for job in jobs} == {"cancelled"}
