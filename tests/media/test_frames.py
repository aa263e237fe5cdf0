"""Choosing frames: by time, by motion, and sharp ones."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from models.runtime.errors import InputError
from models.runtime.settings import Limits
from pipelines.media.frames import select_frames
from pipelines.media.image import read_image
from tests.media.make import write_video

LIMITS = Limits()
SIZE = (320, 192)


def scene(seed: int = 0) -> np.ndarray:
    """A wide textured wall to pan across."""
    rng = np.random.default_rng(seed)
    rough = rng.integers(30, 225, (24, 160, 3), np.uint8)
    wall = cv2.resize(rough, (1280, 192), interpolation=cv2.INTER_CUBIC)
    for _ in range(160):
        x, y = int(rng.integers(1280)), int(rng.integers(192))
        cv2.rectangle(wall, (x, y), (x + 12, y + 9), tuple(int(c) for c in rng.integers(0, 255, 3)), -1)
    return wall


def pan(path: Path, offsets: list[float], blurred: frozenset[int] = frozenset()) -> Path:
    wall = scene()
    pictures = []
    for number, x in enumerate(offsets):
        view = np.ascontiguousarray(wall[:, round(x) : round(x) + SIZE[0]])
        pictures.append(cv2.GaussianBlur(view, (0, 0), 4) if number in blurred else view)
    return write_video(path, [i / 25 for i in range(len(offsets))], size=SIZE, pictures=pictures)


def test_motion_not_time_decides(tmp_path: Path) -> None:
    still_then_moving = [0.0] * 75 + [4.0 * i for i in range(75)]
    path = pan(tmp_path / "a.mp4", still_then_moving)
    chosen = select_frames(path, LIMITS)
    times = [frame.time for frame in chosen]
    assert times == sorted(times)
    assert sum(t < 2.9 for t in times) <= 2
    moved = 4.0 * 74 / np.hypot(*SIZE)
    assert len(chosen) == pytest.approx(moved / 0.06 + 1, abs=3)
    steps = np.diff([t for t in times if t > 3.0])
    assert steps.max() < 2.5 * steps.min() + 0.1


def test_count_is_kept_and_spread(tmp_path: Path) -> None:
    path = pan(tmp_path / "a.mp4", [3.0 * i for i in range(150)])
    chosen = select_frames(path, LIMITS, count=10)
    assert len(chosen) == 10
    assert chosen[0].time < 0.6
    assert chosen[-1].time > 5.2
    assert [frame.index for frame in chosen] == list(range(10))


def test_sharp_moments_are_preferred(tmp_path: Path) -> None:
    blurred = frozenset(i for i in range(150) if i % 10 < 5)
    path = pan(tmp_path / "a.mp4", [3.0 * i for i in range(150)], blurred)
    chosen = select_frames(path, LIMITS, count=12)
    share = sum(round(frame.time * 25) in blurred for frame in chosen) / len(chosen)
    assert share < 0.25
    assert {round(f.time * 25) % 10 < 5 for f in select_frames(path, LIMITS, count=12, sharpness=False)} == {
        True,
        False,
    }


def test_by_rate(tmp_path: Path) -> None:
    path = pan(tmp_path / "a.mp4", [2.0 * i for i in range(100)])
    chosen = select_frames(path, LIMITS, fps=2)
    assert len(chosen) == pytest.approx(8, abs=1)
    assert np.diff([frame.time for frame in chosen]) == pytest.approx(0.5, abs=0.32)
    plain = select_frames(path, LIMITS, fps=5, sharpness=False)
    assert np.diff([frame.time for frame in plain]) == pytest.approx(0.2, abs=0.045)
    assert len(select_frames(path, LIMITS, fps=25, count=7)) == 7


def test_camera_at_rest_gives_two(tmp_path: Path) -> None:
    path = pan(tmp_path / "a.mp4", [0.0] * 50)
    chosen = select_frames(path, LIMITS)
    assert len(chosen) == 2
    assert len(select_frames(path, LIMITS, count=5)) == 5


def test_cut_and_one_frame(tmp_path: Path) -> None:
    path = pan(tmp_path / "a.mp4", [3.0 * i for i in range(100)])
    assert all(1.0 <= f.time < 2.0 for f in select_frames(path, LIMITS, start=1.0, end=2.0))
    one = pan(tmp_path / "one.mp4", [0.0])
    assert [f.time for f in select_frames(one, LIMITS)] == [0.0]
    assert len(select_frames(one, LIMITS, fps=3)) == 1


def test_writes_what_it_chose(tmp_path: Path) -> None:
    path = pan(tmp_path / "a.mp4", [3.0 * i for i in range(100)])
    chosen = select_frames(path, LIMITS, count=5, folder=tmp_path / "photos")
    assert [frame.path.name for frame in chosen] == [f"{i:04d}.jpg" for i in range(5)]
    wall = scene()
    for frame in chosen:
        x = round(3.0 * round(frame.time * 25))
        assert np.abs(read_image(frame.path, LIMITS).astype(int) - wall[:, x : x + SIZE[0]]).mean() < 12
    small = select_frames(path, LIMITS, count=2, folder=tmp_path / "small", max_side=160)
    assert read_image(small[0].path, LIMITS).shape == (96, 160, 3)


def test_options(tmp_path: Path) -> None:
    path = pan(tmp_path / "a.mp4", [0.0] * 3)
    with pytest.raises(InputError, match="frame rate"):
        select_frames(path, LIMITS, fps=0)
    with pytest.raises(InputError, match="At least one"):
        select_frames(path, LIMITS, count=0)
