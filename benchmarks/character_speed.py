"""How fast the Character pipeline draws, beside CoNR's own code where that is at hand.

`python -m benchmarks.character_speed [--frames N] [--original DIR] [--size 256] [--references 4] [--pairs 3]`

Without ``--original`` the engine `udp` draws the studio's own character. ``--original`` names a checkout of CoNR: its
networks and ours get the same stand-in weights and inputs, are run in turns, and are compared by processor time (which
a busy machine changes less than the clock) and by their results. References are parsed before: a cached frame is timed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch

from models.conr.checkpoint import PARTS, empty
from models.conr.network import Conr
from models.runtime.settings import Settings
from models.runtime.state_dict import load_strict
from models.runtime.warm_memory import warm_memory
from pipelines.base import RunContext
from pipelines.character.engine_udp import UdpEngine
from pipelines.character.inputs import CharacterSheet
from pipelines.character.moving import MOVES
from pipelines.character.options import CharacterOptions
from pipelines.character.work import CharacterWork
from pipelines.export.motion import read_motion

Array = np.ndarray
THREADS = 2


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def lookup(frames: int) -> None:
    """The engine `udp` at 512 on the studio's own character, its first frames left out as warming up."""
    motion = read_motion(MOVES / "dance.npz")
    options = CharacterOptions()
    with tempfile.TemporaryDirectory() as folder:
        work = CharacterWork(CharacterSheet(), motion, (), (), motion.fps, options.picture)
        ctx = RunContext(Path(folder), Settings(), None, None)  # type: ignore[arg-type]
        for attempt in ("warm", "timed"):
            setup: list[UdpEngine] = []
            spent = timed(lambda kept=setup: kept.append(UdpEngine(work, options, ctx)))
            drawn = 0

            def draw(engine: UdpEngine = setup[0]) -> None:
                nonlocal drawn
                for chunk in engine.frames():
                    drawn += len(chunk)
                    if drawn >= frames:
                        return

            wall, cpu = timed(draw)
            print(
                f"udp {attempt}: sheet {spent[1]:.1f} s of processor; {drawn} frames, {drawn / wall:.1f} a second by "
                f"the clock, {1000 * cpu / drawn:.0f} ms of processor each"
            )


def weights(seed: int = 0) -> dict[str, dict[str, torch.Tensor]]:
    """Stand-in weights for the four networks, of moderate size."""
    made = {}
    for part in PARTS:
        generator = torch.Generator().manual_seed(seed)
        state = {}
        for name, tensor in empty(part).state_dict().items():
            fan = max(tensor[0].numel(), 1) if tensor.ndim > 1 else 1
            noise = torch.randn(tensor.shape, generator=generator)
            state[name] = (
                noise / fan**0.5 if tensor.ndim > 1 else (1 + 0.1 * noise if "weight" in name else 0.02 * noise)
            )
        made[part] = state
    return made


def inputs(size: int, references: int) -> dict[str, torch.Tensor]:
    """Random references (1, M, ...), their masks, and one pose with its mask."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(1, references, 3, size, size, generator=generator)
    masks = (torch.rand(1, references, 1, size, size, generator=generator) > 0.4).float()
    udp = torch.rand(1, 3, size, size, generator=generator)
    alpha = (torch.rand(1, 1, size, size, generator=generator) > 0.4).float()
    return {"character_images": images, "character_masks": masks, "pose_label": udp, "pose_mask": alpha}


class Original:
    """The checkout's networks. They live in a process of their own: memory settings of ours do not reach them."""

    kept: Original | None = None

    def __init__(self, folder: Path, size: int, references: int) -> None:
        torch.set_num_threads(THREADS)
        sys.path.insert(0, str(folder))
        from conr import CoNR

        self.networks = CoNR(Namespace(local_rank=1, distributed=False, test_pose_use_parser_udp=False))
        for part, state in weights().items():
            getattr(self.networks, part).load_state_dict(state)
        self.data = {**inputs(size, references), "num_character_images": references, "num_samples": 1}

    @classmethod
    def open(cls, *arguments: object) -> None:
        cls.kept = cls(*arguments)

    @classmethod
    def frame(cls) -> tuple[float, float, Array]:
        """One frame by the clock and of the processor, and the picture."""
        out: dict[str, torch.Tensor] = {}
        with torch.inference_mode():
            spent = timed(lambda: out.update(cls.kept.networks.model_step(dict(cls.kept.data))["shader"]))
        return *spent, out["y_weighted_warp_decoded_rgba"].numpy()


def beside(original: Path, size: int, references: int, pairs: int) -> dict[str, float]:
    """Ours and the original in turns on cached frames."""
    torch.set_num_threads(THREADS)
    states = weights()
    with torch.device("meta"):
        ours = Conr()
    for part in PARTS:
        load_strict(getattr(ours, part), states[part], part)
    ours.eval().prepared()
    given = inputs(size, references)
    mine, their = [], []
    out: dict[str, torch.Tensor] = {}
    process = ProcessPoolExecutor(
        1, multiprocessing.get_context("spawn"), initializer=Original.open, initargs=(original, size, references)
    )
    with process, torch.inference_mode():
        process.submit(Original.frame).result()  # parses the references
        sheet = ours.parse(given["character_images"][0], given["character_masks"][0])

        def draw() -> None:
            out["rgba"] = ours.render(sheet, given["pose_label"], given["pose_mask"])

        for pair in range(pairs):
            with warm_memory():  # as the engine draws; pages are fetched once per job, not per frame
                draw()
                mine.append(timed(draw))
            *spent, picture = process.submit(Original.frame).result()
            their.append(spent)
            print(
                f"pair {pair + 1}: ours {mine[-1][0]:.2f} s ({mine[-1][1]:.2f} s of processor), "
                f"original {spent[0]:.2f} s ({spent[1]:.2f} s)",
                flush=True,
            )
    ratio = statistics.median(t[1] / m[1] for m, t in zip(mine, their, strict=True))
    by_clock = statistics.median(t[0] / m[0] for m, t in zip(mine, their, strict=True))
    return {
        "ours_s": round(statistics.median(m[0] for m in mine), 2),
        "original_s": round(statistics.median(t[0] for t in their), 2),
        "ours_cpu_s": round(statistics.median(m[1] for m in mine), 2),
        "original_cpu_s": round(statistics.median(t[1] for t in their), 2),
        "speedup_cpu": round(ratio, 2),
        "speedup_clock": round(by_clock, 2),
        "largest_difference": float(np.abs(out["rgba"].numpy() - picture).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--original", type=Path)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--references", type=int, default=4)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    if options.original:
        print(json.dumps(beside(options.original.resolve(), options.size, options.references, options.pairs), indent=1))
    else:
        lookup(options.frames)


if __name__ == "__main__":
    main()
