"""The child process: same answers as in the process, and hangs and crashes stay in it."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from models.runtime.errors import InputError, LimitExceeded
from models.runtime.settings import Limits
from pipelines.media.audio import probe_audio, read_audio, write_wav
from pipelines.media.guard import DecodeWorker, vet
from pipelines.media.image import read_image, read_image_rgba, write_image
from pipelines.media.video import VideoReader, probe
from tests.media.make import picture, tone, write_video

LIMITS = Limits()
TIMES = [i / 25 for i in range(10)]


@pytest.fixture(scope="module")
def worker():
    with DecodeWorker(LIMITS) as worker:
        yield worker


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "v.mp4", TIMES, sound=("aac", tone(0.4, 16000), 16000, 0.0))


def test_same_answers(worker: DecodeWorker, video: Path, tmp_path: Path) -> None:
    photo = write_image(tmp_path / "a.png", picture(3))
    sound = write_wav(tmp_path / "a.wav", tone(1.0, 8000), 8000)
    assert np.array_equal(worker.read_image(photo), read_image(photo, LIMITS))
    assert np.array_equal(worker.read_image_rgba(photo), read_image_rgba(photo, LIMITS))
    assert worker.image_size(photo) == (160, 96)
    assert worker.probe(video) == probe(video, LIMITS)
    assert worker.probe_audio(sound) == probe_audio(sound, LIMITS)
    assert np.array_equal(worker.read_audio(sound, 16000), read_audio(sound, 16000, LIMITS))
    for options in ({}, {"fps": Fraction(10)}, {"start": 0.1, "end": 0.3}, {"times": [0.2], "max_side": 80}):
        mine, theirs = list(worker.frames(video, **options)), list(VideoReader(video, LIMITS, **options))
        assert [(f.index, f.time) for f in mine] == [(f.index, f.time) for f in theirs]
        assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(mine, theirs, strict=True))


def test_errors_come_through_and_the_child_stays(worker: DecodeWorker, tmp_path: Path, video: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("hello")
    worker.probe(video)
    child = worker._child.pid
    with pytest.raises(InputError, match=r"text\.jpg is a text file"):
        worker.read_image(text)
    with pytest.raises(InputError, match="end of the cut"):
        list(worker.frames(video, start=2, end=1))
    assert worker._child.pid == child
    with DecodeWorker(replace(LIMITS, video_side=64)) as strict, pytest.raises(LimitExceeded, match="160x96"):
        strict.probe(video)


def test_crash_is_told_and_the_next_call_works(worker: DecodeWorker, video: Path) -> None:
    frames = worker.frames(video)
    assert next(frames).index == 0
    os.kill(worker._child.pid, signal.SIGKILL)
    with pytest.raises(InputError, match="broke down"):
        list(frames)
    assert worker.probe(video).frames == 10


def test_hang_is_killed(worker: DecodeWorker, video: Path) -> None:
    worker.probe(video)
    os.kill(worker._child.pid, signal.SIGSTOP)  # as good as a decoder that never returns
    worker.limits = replace(LIMITS, decode_seconds=0.3)
    with pytest.raises(LimitExceeded, match="stood still"):
        worker.probe(video)
    worker.limits = LIMITS
    assert worker.probe(video).frames == 10


def test_leaving_early_ends_the_child(video: Path) -> None:
    with DecodeWorker(LIMITS) as worker:
        for frame in worker.frames(video):
            child = worker._child
            assert frame.index == 0
            break
        del frame
        assert child.wait(5) is not None
        assert worker.probe(video).frames == 10


def test_vet(video: Path, tmp_path: Path) -> None:
    photo = write_image(tmp_path / "a.png", picture(3))
    sound = write_wav(tmp_path / "a.wav", tone(1.0, 8000), 8000)
    (tmp_path / "notes.txt").write_text("hello")
    found = vet([photo, video, sound, tmp_path / "notes.txt"], LIMITS)
    assert [v.kind for v in found] == ["image", "video", "audio", "text"]
    assert [(v.width, v.height) for v in found[:2]] == [(160, 96), (160, 96)]
    assert [round(v.seconds, 2) for v in found] == [0, 0.4, 1.0, 0]
    assert [v.has_audio for v in found] == [False, True, True, False]
    photo.write_bytes(photo.read_bytes()[:300])
    with pytest.raises(InputError, match=r"a\.png is damaged"):
        vet([photo], LIMITS)
    assert vet([], LIMITS) == []
