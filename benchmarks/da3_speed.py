"""Speed of the Depth Anything 3 networks on this machine, beside the original where a checkout of it is at hand.

``python -m benchmarks.da3_speed [--original CHECKOUT] [--case small-1v ...] [--rounds 7] [--dtype bfloat16]``

Every round runs each competitor once, in turn, on the same stand-in weights and images, and a large matrix product
whose rate is the yardstick. Printed are medians and best times, the ratio to the original (of the best times, and the
median of the ratios within a round) and the share of the matrix rate that the arithmetic of our network reached. On a
machine that others use too, ``--clock cpu`` counts the processor time of a single thread, which neighbours hardly move.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from models.depth_anything_3.checkpoint import from_state
from models.depth_anything_3.config import variant
from models.depth_anything_3.network import Request, build
from tests.parity.synth import synth_tensor


@dataclass(frozen=True)
class Job:
    variant: str
    views: int
    height: int
    width: int
    ray_poses: bool = False
    target: float = 0.0  # ratio to the original


JOBS = {
    "small-1v": Job("da3-small", 1, 378, 504, target=1.4),
    "small-4v": Job("da3-small", 4, 140, 182, target=1.4),
    "small-2v-rays": Job("da3-small", 2, 378, 504, ray_poses=True, target=2.0),
    "small-10v": Job("da3-small", 10, 378, 504, target=1.0),
    "base-1v": Job("da3-base", 1, 378, 504, target=1.3),
}
MATRIX = 2048


def stand_in(name: str) -> dict[str, Tensor]:
    """Released names and shapes of a variant, filled from a seed."""
    with torch.device("meta"):
        shapes = build(variant(name)).state_dict()
    state = {f"model.{key}": synth_tensor(f"model.{key}", tensor.shape) for key, tensor in shapes.items()}
    state["model.cam_dec.fc_fov.0.bias"].fill_(1.0)
    return state


def original(checkout: Path, name: str, state: dict[str, Tensor]) -> nn.Module:
    """The original's network from its source folder, under the same weights."""
    sys.path.insert(0, str(checkout / "src"))
    from depth_anything_3.cfg import create_object, load_config
    from depth_anything_3.registry import MODEL_REGISTRY

    network = create_object(load_config(MODEL_REGISTRY[name])).eval()
    bare = {key.removeprefix("model."): value for key, value in state.items()}
    shared = {key: bare[f"{key[: key.index('_aux.') + 5]}0{key[key.index('_aux.') + 6 :]}"]
              for key in network.state_dict() if key not in bare}  # fmt: skip
    network.load_state_dict(bare | shared)
    return network


def timed(run: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    run()
    return clock() - start


def measure(
    job: Job, checkout: Path | None, rounds: int, dtype: torch.dtype, clock: Callable[[], float] = time.perf_counter
) -> dict[str, object]:
    """Seconds per competitor, and what follows from them."""
    state = stand_in(job.variant)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(1, job.views, 3, job.height, job.width, generator=generator)
    ours = from_state(variant(job.variant), state, torch.device("cpu"), dtype)
    request = Request(ray_poses=job.ray_poses)
    a, b = torch.randn(2, MATRIX, MATRIX)
    competitors: dict[str, Callable[[], object]] = {
        "matrix": lambda: torch.mm(a, b),
        "ours": lambda: ours(images, request=request, generator=torch.Generator().manual_seed(0)),
    }
    if checkout is not None:
        theirs = original(checkout, job.variant, state)

        @torch.inference_mode()
        def run_original() -> object:
            torch.manual_seed(0)
            return theirs(images, None, None, [], False, job.ray_poses, "saddle_balanced")

        competitors["original"] = run_original
    for run in competitors.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in competitors}
    for _ in range(rounds):
        for name, run in competitors.items():
            seconds[name].append(timed(run, clock))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    best = {name: min(values) for name, values in seconds.items()}
    with FlopCounterMode(display=False) as counter:
        competitors["ours"]()
    rate = 2 * MATRIX**3 / best["matrix"]
    result: dict[str, object] = {
        "median_s": {name: round(value, 4) for name, value in median.items()},
        "best_s": {name: round(value, 4) for name, value in best.items()},
        "matrix_gflops": round(rate / 1e9, 1),
        "gflop": round(counter.get_total_flops() / 1e9, 1),
        "share_of_matrix_rate": round(counter.get_total_flops() / best["ours"] / rate, 3),
    }
    if checkout is not None:
        pairs = zip(seconds["original"], seconds["ours"], strict=True)
        result |= {
            "ratio_best": round(best["original"] / best["ours"], 3),
            "ratio_median": round(statistics.median(theirs / ours for theirs, ours in pairs), 3),
            "target": job.target,
        }
        result["largest_relative_depth_error"] = _depth_error(competitors)
    return result


def _depth_error(competitors: dict[str, Callable[[], object]]) -> float:
    ours, theirs = competitors["ours"]().depth, competitors["original"]()["depth"]
    return float(((ours - theirs).abs() / theirs).max())


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.da3_speed")
    parser.add_argument("--original", type=Path, help="checkout of the original, its requirements installed")
    parser.add_argument("--case", nargs="*", default=list(JOBS), choices=list(JOBS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of our backbone")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: one thread's processor time")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1 if options.clock == "cpu" else options.threads)
    clock = time.thread_time if options.clock == "cpu" else time.perf_counter
    for name in options.case:
        result = measure(JOBS[name], options.original, options.rounds, getattr(torch, options.dtype), clock)
        print(json.dumps({"case": name, "dtype": options.dtype, "clock": options.clock, **result}), flush=True)


if __name__ == "__main__":
    main()
