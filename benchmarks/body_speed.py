"""Frames a second of the Body pipeline's embedded engine, end to end and stage by stage; memory against length.

`python -m benchmarks.body_speed [VIDEO] [--seconds N] [--repeat N] [--size W H]`. Without a video the example of the
walking mannequin is used, enlarged to 720 lines. The first of the runs opens the networks and compiles; what follows is
what a running studio takes. `--memory N...` plays the clip back and forth until it has N frames and prints the most
memory the process has held after each length instead.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2

from models.runtime.cache import ModelCache
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from pipelines.base import Inputs, Progress, Result, RunContext, run
from pipelines.body.options import BodyOptions, RangeOptions
from pipelines.body.pipeline import BodyPipeline
from pipelines.media.video import VideoReader, VideoWriter

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "body" / "walking.mp4"
SIZE = (960, 720)


def enlarged(path: Path, folder: Path, settings: Settings, size: tuple[int, int] = SIZE) -> Path:
    """The example enlarged to ``size`` (width, height), its edges carried on where the shape is another."""
    out = folder / "walking_720.mp4"
    with VideoWriter(out, 30, size) as writer:
        for frame in VideoReader(path, settings.limits):
            height, width = frame.rgb.shape[:2]
            scale = min(size[0] / width, size[1] / height)
            picture = cv2.resize(
                frame.rgb, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_CUBIC
            )
            left, top = (size[0] - picture.shape[1]) // 2, (size[1] - picture.shape[0]) // 2
            right, bottom = size[0] - picture.shape[1] - left, size[1] - picture.shape[0] - top
            writer.write(cv2.copyMakeBorder(picture, top, bottom, left, right, cv2.BORDER_REPLICATE))
    return out


def lengthened(path: Path, out: Path, frames: int, settings: Settings) -> Path:
    """The clip, played forwards and backwards in turn until it has ``frames`` frames."""
    with VideoWriter(out, 30, SIZE) as writer:
        pictures = [cv2.resize(f.rgb, SIZE) for f in VideoReader(path, settings.limits, end=1.0)]
        there_and_back = [*pictures, *pictures[-2:0:-1]]
        for k in range(frames):
            writer.write(there_and_back[k % len(there_and_back)])
    return out


class Clock:
    """Clock and processor seconds since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def __str__(self) -> str:
        return f"{time.perf_counter() - self._wall:7.2f} s, processor {time.process_time() - self._cpu:7.2f} s"


def carried_out(video: Path, seconds: float, out: Path, ctx: Callable[[Path], RunContext]) -> tuple[Result, str]:
    """One whole run, and a line for each of its stages."""
    out.mkdir()
    options = BodyOptions(engine="blazepose", range=RangeOptions(end=seconds))
    steps = run(BodyPipeline(), Inputs({"video": (video,)}), options, ctx(out))
    stage, clock, lines = "prepare", Clock(), []
    while True:
        try:
            event = next(steps)
        except StopIteration as finished:
            lines.append(f"{stage:10s} {clock}")
            return finished.value, "\n".join(lines)
        if isinstance(event, Progress) and event.stage != stage:
            lines.append(f"{stage:10s} {clock}")
            stage, clock = event.stage, Clock()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path, nargs="?")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--size", type=int, nargs=2, default=SIZE)
    parser.add_argument("--memory", type=int, nargs="+", default=())
    given = parser.parse_args()
    settings = Settings.from_env(os.environ)
    cache, weights = ModelCache.from_settings(settings), WeightsStore(settings)

    def ctx(out: Path) -> RunContext:
        return RunContext(out, settings, cache, weights)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for frames in given.memory:
            video = lengthened(given.video or EXAMPLE, folder / f"{frames}.mp4", frames, settings)
            result, _ = carried_out(video, 0.0, folder / f"run_{frames}", ctx)
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{result.summary['frames']} frames: at most {most:.0f} MiB", flush=True)
        if given.memory:
            return
        video = given.video or enlarged(EXAMPLE, folder, settings, tuple(given.size))
        for attempt in range(given.repeat):
            clock, wall, cpu = Clock(), time.perf_counter(), time.process_time()
            result, lines = carried_out(video, given.seconds, folder / f"run_{attempt}", ctx)
            frames = int(result.summary["frames"])
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            print(f"run {attempt + 1}: {frames} frames, {result.summary['people']} people\n{lines}\nall        {clock}")
            print(f"{frames / wall:.1f} frames a second, processor {1000 * cpu / frames:.0f} ms a frame", flush=True)


if __name__ == "__main__":
    main()
