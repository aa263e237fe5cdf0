"""Frames a second of the Body pipeline's embedded engine, end to end and stage by stage.

`python -m benchmarks.body_speed [VIDEO] [--seconds N]`. Without a video the example of the walking mannequin is used,
enlarged to 720 lines. Prints seconds per stage, frames per second, and the processor time per frame, which a busy
machine does not change.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import cv2

from models.runtime.cache import ModelCache
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from pipelines.base import Inputs, RunContext, Timings, run
from pipelines.body.options import BodyOptions, RangeOptions
from pipelines.body.pipeline import BodyPipeline
from pipelines.media.video import VideoReader, VideoWriter

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "body" / "walking.mp4"
SIZE = (960, 720)


def enlarged(path: Path, folder: Path, settings: Settings) -> Path:
    """The example at 720 lines."""
    out = folder / "walking_720.mp4"
    with VideoWriter(out, 30, SIZE) as writer:
        for frame in VideoReader(path, settings.limits):
            writer.write(cv2.resize(frame.rgb, SIZE, interpolation=cv2.INTER_CUBIC))
    return out


def measure(video: Path, settings: Settings, seconds: float, folder: Path) -> None:
    """Runs the pipeline twice, the first time to warm up, and prints the second."""
    for attempt in ("warm", "timed"):
        out = folder / attempt
        out.mkdir()
        ctx = RunContext(out, settings, ModelCache.from_settings(settings), WeightsStore(settings))
        end = 0.5 if attempt == "warm" else seconds
        options = BodyOptions(engine="blazepose", range=RangeOptions(end=end))
        timings, wall, cpu = Timings(), time.perf_counter(), time.process_time()
        steps = run(BodyPipeline(), Inputs({"video": (video,)}), options, ctx, timings)
        try:
            while True:
                next(steps)
        except StopIteration as finished:
            result = finished.value
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    frames = int(result.summary["frames"])
    for stage, spent in timings.seconds.items():
        print(f"{stage:10s} {spent:7.2f} s  {1000 * spent / frames:7.1f} ms a frame")
    print(f"{frames} frames, {result.summary['people']} people: {frames / wall:.1f} frames a second")
    print(f"processor time {1000 * cpu / frames:.1f} ms a frame")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path, nargs="?")
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    settings = Settings.from_env(os.environ)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure(given.video or enlarged(EXAMPLE, folder, settings), settings, given.seconds, folder)


if __name__ == "__main__":
    main()
