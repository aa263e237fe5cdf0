"""SMPLer-X's network made ready for inference beside the layers it was published with: transposed convolutions and
their norms. Random weights, equal outputs, runs of both in turn; processor time, which a busy machine changes least.

`python -m benchmarks.smplerx_speed [--variants s32 b32] [--crops 1 4] [--repeats 7] [--threads 2]`
"""

from __future__ import annotations

import argparse
import copy
import time
from statistics import median

import torch
from torch import Tensor, nn

from models.smplerx.checkpoint import prepared
from models.smplerx.config import CROP, VARIANTS
from models.smplerx.network import Smplerx


def spent(network: nn.Module, crops: Tensor) -> tuple[float, Tensor]:
    """Processor seconds of one pass, and its joints."""
    start = time.process_time()
    with torch.inference_mode():
        found = network(crops)
    return time.process_time() - start, found.joint_img


def matrix_rate(size: int = 1024) -> float:
    """GFLOP per processor second of a large product."""
    a = torch.rand(size, size)
    start = time.process_time()
    for _ in range(4):
        a = a @ a * 1e-3
    return 8 * size**3 / (time.process_time() - start) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", nargs="+", default=["s32", "b32"], choices=sorted(VARIANTS))
    parser.add_argument("--crops", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print("| network | crops | published (s) | here (s) | ratio | matrix rate (GFLOP/s) | largest difference |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for variant in given.variants:
        torch.manual_seed(0)
        plain = Smplerx(VARIANTS[variant]).eval()
        ours = prepared(copy.deepcopy(plain))
        for count in given.crops:
            crops = torch.rand(count, 3, *CROP)
            gap = (spent(plain, crops)[1] - spent(ours, crops)[1]).abs().max().item()
            pairs, rates = [], []
            for _ in range(given.repeats):
                rates.append(matrix_rate())
                pairs.append((spent(plain, crops)[0], spent(ours, crops)[0]))
            before, after = (median(p[i] for p in pairs) for i in (0, 1))
            ratio = median(a / b for a, b in pairs)
            print(
                f"| {variant} | {count} | {before:.3f} | {after:.3f} | {ratio:.2f} | {max(rates):.0f} | {gap:.1e} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
