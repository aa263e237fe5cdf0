"""One process or many: what torchrun's environment says, and what ranks do together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Ranks:
    """This process' place among all of one job."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        return self.rank == 0


@contextmanager
def ranks(device: torch.device) -> Iterator[Ranks]:
    """Joins the other ranks of a job started by torchrun (NCCL on GPUs, Gloo elsewhere); alone without one."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks(0, 1, device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), count, device)
    finally:
        dist.destroy_process_group()


def gathered(values: list[dict[str, float]], team: Ranks) -> list[dict[str, float]]:
    """The values of all ranks, on every rank."""
    if team.count == 1:
        return values
    parts: list[list[dict[str, float]]] = [[] for _ in range(team.count)]
    dist.all_gather_object(parts, values)
    return [value for part in parts for value in part]
