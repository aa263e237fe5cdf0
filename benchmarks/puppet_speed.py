"""Frames a second of the paper puppet, stage by stage: `python -m benchmarks.puppet_speed [--size N] [--motion BVH]`.

Deforming, drawing and encoding the studio's own drawing, to MP4. Prints the wall clock's frames per second and the
processor time per frame, which a busy machine does not change.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from models.runtime.settings import Limits
from pipelines.character.drawing import read_figure
from pipelines.character.moving import MOVES
from pipelines.character.puppet import Puppet
from pipelines.export.bvh import read_bvh
from pipelines.export.motion import read_motion
from pipelines.export.retarget import bvh_motion
from pipelines.media.video import BackgroundWriter, VideoWriter

DRAWING = Path(__file__).resolve().parents[1] / "examples" / "character"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--motion", type=Path)
    given = parser.parse_args()
    motion = bvh_motion(read_bvh(given.motion), given.motion.name) if given.motion else read_motion(MOVES / "dance.npz")
    figure, _ = read_figure(DRAWING / "drawing.png", None, DRAWING / "drawing.yaml", Limits())
    size = (given.size, given.size)
    next(Puppet(figure, motion, size).frames())  # compiles what is compiled at first use
    began, spent = time.perf_counter(), time.process_time()
    puppet = Puppet(figure, motion, size)
    print(f"set-up: {time.perf_counter() - began:.2f} s, {time.process_time() - spent:.2f} s of processor time")
    with tempfile.TemporaryDirectory() as folder:
        began, spent = time.perf_counter(), time.process_time()
        with VideoWriter(Path(folder) / "puppet.mp4", motion.fps, size) as video, BackgroundWriter(video.write) as out:
            for chunk in puppet.frames():
                for frame in chunk:
                    alpha = frame[..., 3:].astype(np.uint16)
                    out.put(((frame[..., :3] * alpha + 255 * (255 - alpha)) // 255).astype(np.uint8))
        wall, processor = time.perf_counter() - began, time.process_time() - spent
    count = len(puppet)
    print(
        f"{count} frames at {given.size}: {count / wall:.1f} a second, {1000 * processor / count:.1f} ms of processor"
    )
    print(f"machine: {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
