"""Speed and memory of the Face tab's embedded engine on a video, from file to finished files.

    python -m benchmarks.face_speed VIDEO [--minutes 1 10]

The video is worked on once as it is: frames per second by the clock, processor seconds (this process and what it
started) per frame and per stage, and what the frame rate would be with two cores to itself: two over the processor time
of a frame, if nothing but processor time counted. With ``--minutes`` it is looped into clips of that length, and the
largest resident memory of each is printed; every length runs in a process of its own. The clock says little on a busy
machine, processor time more.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from itertools import chain, repeat
from pathlib import Path

from models.runtime.cache import ModelCache
from models.runtime.settings import Limits, Settings
from models.runtime.weights import WeightsStore
from pipelines.base import Inputs, Result, RunContext, Timings, run
from pipelines.face.options import FaceOptions
from pipelines.face.pipeline import FacePipeline
from pipelines.media.video import VideoReader, VideoWriter, probe


def loop(source: Path, minutes: float, target: Path) -> Path:
    """A clip of that length made of the frames of another, played to and fro."""
    info = probe(source, Limits())
    frames = [frame.rgb for frame in VideoReader(source, Limits(), end=8.0)]
    wanted = round(minutes * 60 * float(info.fps))
    there_and_back = chain.from_iterable(repeat([*frames, *frames[-2:0:-1]]))
    with VideoWriter(target, info.fps, (info.width, info.height), preset="ultrafast") as video:
        for _, frame in zip(range(wanted), there_and_back, strict=False):
            video.write(frame)
    return target


def spent() -> float:
    """Processor seconds of this process and its children so far."""
    return sum(
        u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def job(source: Path, folder: Path) -> tuple[Result, Timings]:
    """One run of the engine, nothing measured before."""
    folder.mkdir()
    settings = Settings(workspace_dir=folder / "workspace")
    context = RunContext(folder, settings, ModelCache.from_settings(settings), WeightsStore(settings))
    timings = Timings()
    steps = run(FacePipeline(), Inputs({"source": (source,)}), FaceOptions(engine="facemesh"), context, timings)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value, timings


def measure(source: Path) -> dict[str, object]:
    info = probe(source, Limits())
    with tempfile.TemporaryDirectory() as folder:
        clock, processor = time.perf_counter(), spent()
        result, timings = job(source, Path(folder) / "run")
        clock, processor = time.perf_counter() - clock, spent() - processor
    frames = int(result.summary["frames"])
    return {
        "size": f"{info.width}x{info.height}",
        "frames": frames,
        "seconds": round(clock, 2),
        "fps": round(frames / clock, 1),
        "processor_ms_per_frame": round(1000 * processor / frames, 1),
        "fps_of_two_free_cores": round(2 * frames / processor, 1),
        "stages": {stage: round(spent, 2) for stage, spent in timings.seconds.items()},
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--minutes", type=Fraction, nargs="*", default=[])
    parser.add_argument("--warm", action="store_true", help="run twice, the first time for compiled code to be ready")
    given = parser.parse_args()
    if given.warm:
        measure(given.video)
    print(json.dumps({"video": given.video.name, **measure(given.video)}), flush=True)
    for minutes in given.minutes:
        with tempfile.TemporaryDirectory() as folder:
            clip = loop(given.video, float(minutes), Path(folder) / "clip.mp4")
            command = [sys.executable, "-m", "benchmarks.face_speed", str(clip)]
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        print(json.dumps({"minutes": float(minutes), **json.loads(told.splitlines()[-1])}), flush=True)


if __name__ == "__main__":
    main()
