"""Memory of long videos in the Scene tab's learned engine: ``python -m benchmarks.scene_long [--frames 120 600]``.

Every length runs in a process of its own: a video of so many frames (the walk of the examples, to and fro), stand-in
weights of da3-small, small pictures. Printed are the largest resident memory of the process, its largest child's, and
the seconds; the last line compares the lengths.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import torch
from safetensors.torch import save_file

from benchmarks.da3_speed import stand_in
from models.runtime.cache import ModelCache
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from pipelines import registry
from pipelines.base import Inputs, RunContext, run
from pipelines.media.video import VideoWriter
from pipelines.scene.options import Da3Options, SceneOptions, VideoOptions

WALK = Path(__file__).resolve().parent.parent / "examples" / "scene" / "room" / "walk.mp4"
SIZE = (320, 240)
FPS = 24
MIB = 1024  # kilobytes


def write_checkpoint(folder: Path) -> Path:
    """A released folder of da3-small under stand-in weights."""
    folder.mkdir(parents=True)
    save_file(stand_in("da3-small"), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_name": "da3-small"}))
    return folder


def write_video(path: Path, frames: int) -> Path:
    """The walk at 320 x 240, forwards and backwards until there are enough frames."""
    with av.open(str(WALK)) as source:
        walk = [f.reformat(*SIZE, format="rgb24").to_ndarray() for f in source.decode(video=0)]
    round_trip = [*walk, *walk[-2:0:-1]]
    with VideoWriter(path, FPS, SIZE) as video:
        for i in range(frames):
            video.write(round_trip[i % len(round_trip)])
    return path


def measure(frames: int, resolution: int, folder: Path) -> dict[str, object]:
    """One run in this process."""
    torch.set_num_threads(2)
    settings = Settings(
        weights_dir=folder / "weights", workspace_dir=folder, device="cpu", extra={"DA3_MODEL_DIR": str(folder / "da3")}
    )
    out = folder / f"run-{frames}"
    out.mkdir()
    context = RunContext(out, settings, ModelCache.from_settings(settings), WeightsStore(settings))
    options = SceneOptions(
        engine="da3",
        video=VideoOptions(fps=FPS, max_frames=frames),
        da3=Da3Options(process_res=resolution, precision="float32"),
    )
    video = write_video(folder / f"{frames}.mp4", frames)
    start = time.perf_counter()
    steps = run(registry.get("scene"), Inputs({"video": (video,)}), options, context)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result = end.value
            break
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / MIB
    summary = {name: result.summary[name] for name in ("photos", "parts", "loops", "points") if name in result.summary}
    seconds = round(time.perf_counter() - start, 1)
    return {"frames": frames, **summary, "peak_mib": round(peak), "child_mib": round(child), "seconds": seconds}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scene_long")
    parser.add_argument("--frames", nargs="*", type=int, default=[120, 600])
    parser.add_argument("--resolution", type=int, default=112)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.run:
        print(json.dumps(measure(given.frames[0], given.resolution, given.run)))
        return
    with tempfile.TemporaryDirectory() as name:
        write_checkpoint(Path(name) / "da3")
        found = []
        for frames in given.frames:
            command = [sys.executable, "-m", "benchmarks.scene_long", "--run", name, "--frames", str(frames)]
            command += ["--resolution", str(given.resolution)]
            line = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
            print(line, flush=True)
            found.append(json.loads(line)["peak_mib"])
    print(json.dumps({"peak_over_first": [round(peak / found[0], 3) for peak in found]}))


if __name__ == "__main__":
    main()
