"""Memory and speed of a whole talking job for voices of several lengths, on a clip that is played back and forth.

    python -m benchmarks.talk_memory --video CLIP --audio VOICE [--seconds 60 600] [--engine viseme]

The voice is repeated to each length. Every length runs twice in a process of its own; printed are the peak memory of
that process at the end of every stage (its ffmpeg besides), seconds per stage of both runs - the second takes the
faces from the measurement cache - and frames drawn a second.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from models.runtime.cache import ModelCache
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from models.talking.phones import RATE
from pipelines.base import Inputs, Progress, RunContext, Timings, run
from pipelines.media.audio import read_audio, write_wav
from pipelines.talk.options import TalkOptions
from pipelines.talk.pipeline import TalkPipeline

MEGABYTE = 1024  # ru_maxrss counts kilobytes


def one(video: Path, audio: Path, seconds: float, engine: str, runs: int) -> dict[str, object]:
    """Runs the pipeline in this process; the second run has its measurements from the first."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.from_env(os.environ).with_(workspace_dir=Path(folder))
        limits = settings.limits
        voice = read_audio(audio, RATE, limits, 0.0, None)
        repeated = np.tile(voice, int(np.ceil(seconds * RATE / len(voice))))[: int(seconds * RATE)]
        source = write_wav(Path(folder) / "voice.wav", repeated, RATE)
        del voice, repeated
        ctx = RunContext(Path(folder), settings, ModelCache.from_settings(settings), WeightsStore(settings))
        options = TalkOptions.model_validate({"engine": engine})
        stages, drawn, peaks = [], [], {"start": peak_mb()}
        for _ in range(runs):
            timings = Timings()
            steps = run(TalkPipeline(), Inputs({"source": (video,), "voice": (source,)}), options, ctx, timings)
            result = None
            while result is None:
                try:
                    event = next(steps)
                except StopIteration as end:
                    result = end.value
                else:
                    if isinstance(event, Progress):
                        peaks[event.stage] = peak_mb()
            stages.append({name: round(value, 2) for name, value in timings.seconds.items()})
            drawn.append(result.summary["frames_per_second_drawn"])
        return {
            "seconds": seconds,
            "frames": result.summary["frames"],
            "peak_mb": peak_mb(),
            "peak_mb_by_stage": peaks,
            "ffmpeg_peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // MEGABYTE,
            "frames_per_second_drawn": drawn,
            "stages": stages,
        }


def peak_mb() -> int:
    """The most memory this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // MEGABYTE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--audio", type=Path, required=True)
    parser.add_argument("--seconds", type=float, nargs="*", default=[60.0, 600.0])
    parser.add_argument("--engine", default="viseme")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--here", action="store_true", help="measure in this process, one length only")
    given = parser.parse_args()
    if given.here:
        print(json.dumps(one(given.video, given.audio, given.seconds[0], given.engine, given.runs)), flush=True)
        return
    for seconds in given.seconds:
        command = [sys.executable, "-m", "benchmarks.talk_memory", "--video", str(given.video), "--audio"]
        command += [str(given.audio), "--seconds", str(seconds), "--engine", given.engine, "--here", "--runs"]
        subprocess.run([*command, str(given.runs)], check=True)


if __name__ == "__main__":
    main()
