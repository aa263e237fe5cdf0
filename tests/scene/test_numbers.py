"""The numbers the engine stands for, on subjects whose truth is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.scene_sfm import Number, castle, motorcycle_rectified, motorcycle_unposed, room


def check(numbers: list[Number], ignore: str = "") -> None:
    missed = [str(n) for n in numbers if not n.holds and (not ignore or ignore not in n.name)]
    assert not missed, "; ".join(missed)


def test_motorcycle_as_a_rectified_pair(tmp_path: Path) -> None:
    check(motorcycle_rectified(tmp_path))


def test_motorcycle_as_two_photos(tmp_path: Path) -> None:
    check(motorcycle_unposed(tmp_path))


@pytest.mark.slow
def test_room(tmp_path: Path) -> None:
    check(room(tmp_path))


@pytest.mark.slow
@pytest.mark.media
def test_castle(testdata: Path, tmp_path: Path) -> None:
    check(castle(testdata / "scene" / "castle", tmp_path), ignore="seconds")  # a busy machine proves nothing about time
