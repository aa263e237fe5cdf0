"""Long streams pass through without piling up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from models.runtime.settings import Limits
from pipelines.media.audio import stream_audio
from pipelines.media.queues import BackgroundWriter, prefetch
from pipelines.media.video import VideoReader, VideoWriter

def resident():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024

def copy(source, target, frames):
    with VideoWriter(target, 25, (640, 360), audio_from=source if source else None) as video, \\
            BackgroundWriter(video.write, 4) as writer:
        for number, rgb in enumerate(frames):
            writer.put(rgb)
            if number in (60, 299):
                print(round(resident()), flush=True)

folder = Path(sys.argv[1])
noise = np.random.default_rng(0).integers(0, 255, (400, 700, 3), np.uint8)
made = (np.ascontiguousarray(noise[n % 40 : n % 40 + 360, n % 60 : n % 60 + 640]) for n in range(300))
copy(None, folder / "a.mp4", made)
copy(None, folder / "b.mp4", (f.rgb for f in prefetch(VideoReader(folder / "a.mp4", Limits()), 4)))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_stays_flat_over_a_long_video(tmp_path: Path) -> None:
    """300 frames of 640x360 would be 207 MB if anything held them."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[2],
        check=True,
    )
    early_a, late_a, early_b, late_b = (int(line) for line in done.stdout.split())
    assert late_a - early_a < 40
    assert late_b - early_b < 40
