"""Awkward inputs go the whole way: nobody, one frame, somebody who leaves; and saved bodies are drawn again."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from models.bodies.joints import INDEX
from models.runtime.cache import ModelCache
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from pipelines.base import Inputs, Result, RunContext, run
from pipelines.body.options import BodyOptions
from pipelines.body.pipeline import NOBODY, BodyPipeline, body_model
from pipelines.body.rerender import OVERLAYS, Saved, rerender
from pipelines.body.source import Source, open_source
from pipelines.export.bvh import read_bvh
from pipelines.export.motion import read_motion
from pipelines.media.image import read_image, write_image
from pipelines.media.video import VideoReader, VideoWriter
from tests.media.make import write_video

CLIP = Path(__file__).resolve().parents[2] / "examples" / "body" / "walking.mp4"
SIZE = (640, 480)


@pytest.fixture(scope="module")
def settings() -> Settings:
    return Settings.from_env(os.environ, device="cpu")


def carried_out(given: Path, out: Path, settings: Settings) -> Result:
    """The pipeline on a video or photo, its files in ``out``."""
    store = WeightsStore(settings)
    if not store.installed("mediapipe-pose-landmark-full"):
        pytest.skip("needs the embedded models: python -m studio weights get embedded")
    out.mkdir()
    ctx = RunContext(out, settings, ModelCache.from_settings(settings), store)
    role = "video" if given.suffix == ".mp4" else "photo"
    steps = run(BodyPipeline(), Inputs({role: (given,)}), BodyOptions(engine="blazepose"), ctx)
    try:
        while True:
            next(steps)
    except StopIteration as end:
        return end.value


def written(path: Path, frames: list[np.ndarray]) -> Path:
    with VideoWriter(path, 30, SIZE) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def walker(settings: Settings, count: int) -> list[np.ndarray]:
    """The first frames of the example."""
    return [f.rgb for f in VideoReader(CLIP, settings.limits, 0.0, count / 30) if f.index < count]


def test_nobody_is_told_and_nothing_is_lost(tmp_path: Path, settings: Settings) -> None:
    grey = [np.full((SIZE[1], SIZE[0], 3), 90 + 5 * i, np.uint8) for i in range(4)]
    result = carried_out(written(tmp_path / "empty.mp4", grey), tmp_path / "out", settings)
    assert NOBODY in result.warnings and result.summary["people"] == 0
    assert [o.role for o in result.outputs if o.kind == "video"] == ["overlay"]
    assert sum(1 for _ in VideoReader(tmp_path / "out" / "overlay.mp4", settings.limits)) == len(grey)


def test_one_frame_is_enough(tmp_path: Path, settings: Settings) -> None:
    result = carried_out(written(tmp_path / "one.mp4", walker(settings, 1)), tmp_path / "out", settings)
    assert result.summary["people"] == 1 and result.summary["frames"] == 1
    by_role = {o.role: tmp_path / "out" / o.path for o in result.outputs}
    motion = read_motion(by_role["motion"])
    assert len(motion) == 1 and (by_role["motion"].parent / motion.skin).is_file()
    bvh = read_bvh(by_role["bvh"])
    order = [bvh.names.index(name) for name in motion.names]
    assert np.abs(bvh.joints()[:, order] / 100 - motion.joints()).max() < 0.005
    # Drawn again from the archive, over the video and over numbered pictures in the original's layout.
    saved = Saved(by_role["smplx"])
    model = body_model("mannequin", WeightsStore(settings))
    source = open_source(Inputs({"video": (tmp_path / "one.mp4",)}), BodyOptions().range, settings.limits)
    again = rerender(saved, model, source, tmp_path / "again", False, settings.limits)
    first, second = (next(iter(VideoReader(p, settings.limits))).rgb for p in (by_role["overlay"], again))
    assert np.abs(first.astype(int) - second).mean() < 2
    folder = tmp_path / "folder"
    with zipfile.ZipFile(by_role["smplx"]) as archive:
        archive.extractall(folder)
    write_image(folder / "orig_img" / "000001.png", walker(settings, 1)[0])
    made = rerender(Saved(folder), model, None, folder, True, settings.limits)
    assert made == folder / OVERLAYS
    third = read_image(made / "000001.jpg", settings.limits)
    assert np.abs(first.astype(int) - third).mean() < 4
    assert isinstance(source, Source)


def test_somebody_leaves(tmp_path: Path, settings: Settings) -> None:
    there = walker(settings, 8)
    empty = np.full_like(there[0], 120)
    clip = written(tmp_path / "leaves.mp4", [*there, *[empty] * 6])
    result = carried_out(clip, tmp_path / "out", settings)
    assert result.summary == {**result.summary, "people": 1, "frames": 14}
    assert any("person 1 in" in warning and "of 14 frames" in warning for warning in result.warnings)
    motion = read_motion(tmp_path / "out" / "motion" / "person_01.npz")
    assert 7 <= len(motion) <= 9 and motion.seen[0]
    frames = [f.rgb for f in VideoReader(tmp_path / "out" / "overlay.mp4", settings.limits)]
    assert len(frames) == 14
    assert np.abs(frames[2].astype(int) - there[2]).mean() > 2  # somebody is drawn
    assert np.abs(frames[12].astype(int) - 120).mean() < 3  # nobody is


def test_a_telephone_held_upright(tmp_path: Path, settings: Settings) -> None:
    upright = [f[:, 140:500] for f in walker(settings, 4)]
    lying = [np.ascontiguousarray(np.rot90(f)) for f in upright]  # as the sensor has it; players turn it back
    clip = write_video(tmp_path / "v.mp4", [k / 30 for k in range(4)], size=(480, 360), fps=30, rotation=90,
                       pictures=lying)  # fmt: skip
    shown = next(iter(VideoReader(clip, settings.limits))).rgb
    assert shown.shape == (480, 360, 3) and np.abs(shown.astype(int) - upright[0]).mean() < 6
    result = carried_out(clip, tmp_path / "out", settings)
    assert result.summary["people"] == 1 and result.summary["frames"] == 4
    joints = read_motion(tmp_path / "out" / "motion" / "person_01.npz").joints()
    assert (joints[:, INDEX["head"], 1] > joints[:, INDEX["left_foot"], 1] + 1.2).all()
    drawn = next(iter(VideoReader(tmp_path / "out" / "overlay.mp4", settings.limits))).rgb
    assert drawn.shape == shown.shape


def test_half_a_person_stands_on_legs_nobody_saw(tmp_path: Path, settings: Settings) -> None:
    waist_up = walker(settings, 1)[0][:250]
    result = carried_out(write_image(tmp_path / "half.png", waist_up), tmp_path / "out", settings)
    assert result.summary["people"] == 1
    assert any("legs of person 1" in warning for warning in result.warnings)
    joints = read_motion(tmp_path / "out" / "motion" / "person_01.npz").joints()[0]
    down = joints[INDEX["left_ankle"]] - joints[INDEX["left_hip"]]
    assert down[1] < -0.9 * np.linalg.norm(down)


@pytest.mark.slow
def test_twelve_people(tmp_path: Path, settings: Settings) -> None:
    frames = [f.rgb[:, 120:520] for f in VideoReader(CLIP, settings.limits) if f.index % 7 == 5][:12]
    rows = [np.concatenate(frames[k : k + 6], axis=1) for k in (0, 6)]
    result = carried_out(write_image(tmp_path / "crowd.png", np.concatenate(rows)), tmp_path / "out", settings)
    assert result.summary["people"] == 12
    assert sum(o.role == "bvh" for o in result.outputs) == 12
