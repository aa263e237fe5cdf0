"""Training SMPLer-X: Adam, one cosine over all steps, a checkpoint per epoch in the released layout."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

from models.bodies.smplx import Smplx, SmplxData
from models.runtime.errors import InputError, WeightsInvalid
from models.runtime.safe_load import load_torch
from models.runtime.state_dict import check_state
from models.smplerx.checkpoint import config_of, network_state
from models.smplerx.config import VARIANTS
from models.smplerx.losses import losses, training_outputs
from models.smplerx.network import Smplerx
from pipelines.body.training.dataset import Bodies, walk_of
from pipelines.body.training.distributed import Ranks, ranks
from pipelines.body.training.humandata import HumanData
from pipelines.body.training.options import TrainBodyOptions
from pipelines.media.atomic import replacing

SNAPSHOT = "snapshot_{}.pth.tar"
NECK = ("box_net", "hand_roi_net")


class Judged(nn.Module):
    """The network with its losses: one forward pass, as the wrapper that joins gradients needs it."""

    def __init__(self, network: Smplerx, body: Smplx) -> None:
        super().__init__()
        self.network, self.body = network, body

    def forward(self, crops: Tensor, targets: Mapping[str, Tensor], valid: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return losses(training_outputs(self.network, crops), self.body, targets, valid)


def train(
    files: Sequence[Path],
    images: Path,
    smplx: Path,
    out: Path,
    options: TrainBodyOptions,
    device: torch.device,
    start: Path | None = None,
    vitpose: Path | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Trains and returns the last checkpoint; goes on after the newest checkpoint found in ``out``.

    ``start`` is a checkpoint to fine-tune; ``vitpose`` fills a new network's backbone. Under torchrun every rank calls
    this.

    Raises:
        InputError: the files or checkpoints do not fit.
    """
    torch.manual_seed(options.seed)
    data = SmplxData.load(smplx)
    sets = [HumanData(path, images, data.hand_means, options.data.every) for path in files]
    walk = walk_of([len(s) for s in sets], options.data.strategy, options.data.total)
    bodies = Bodies(sets, Smplx(data), walk, options.augment, options.seed)
    with ranks(device) as team:
        steps = len(bodies) // team.count // options.batch
        if steps == 0:
            raise InputError(f"{len(bodies)} items are fewer than one batch of {options.batch} on {team.count} ranks")
        done = latest(out)
        state = _state(done) if done else _state(start) if start else None
        network = Smplerx(config_of(state)) if state is not None else fresh(options.variant, vitpose)
        if state is not None:
            check_state(state, network.state_dict(), str(done or start))
            network.load_state_dict(state)
        choose(network, options.parts)
        judged: nn.Module = Judged(network, Smplx(data)).to(team.device)
        if team.count > 1:
            if team.device.type == "cuda":
                judged = nn.SyncBatchNorm.convert_sync_batchnorm(judged)
            # boxes of hands and faces that no item of a rank shows leave their heads without a gradient
            judged = DistributedDataParallel(judged, find_unused_parameters=True)
        optimizer = torch.optim.Adam([p for p in judged.parameters() if p.requires_grad], lr=options.rate)
        first = 0
        if done is not None:
            first = _resume(done, optimizer) + 1
            say(f"goes on after {done.name}")
        for epoch in range(first, options.epochs):
            _epoch(judged, optimizer, bodies, team, options, epoch, steps, say)
            if team.first:
                save(out / SNAPSHOT.format(epoch), epoch, network, optimizer)
                say(f"epoch {epoch} saved as {SNAPSHOT.format(epoch)}")
    return out / SNAPSHOT.format(options.epochs - 1)


def _epoch(
    judged: nn.Module, optimizer: torch.optim.Optimizer, bodies: Bodies, team: Ranks, options: TrainBodyOptions,
    epoch: int, steps: int, say: Callable[[str], None],
) -> None:  # fmt: skip
    bodies.epoch = epoch
    sampler: DistributedSampler[dict[str, dict[str, Tensor]]] = DistributedSampler(
        bodies, team.count, team.rank, shuffle=True, seed=options.seed, drop_last=True
    )
    sampler.set_epoch(epoch)
    loader = DataLoader(bodies, options.batch, sampler=sampler, num_workers=options.data.workers, drop_last=True)
    judged.train()
    began = time.perf_counter()
    for step, item in enumerate(loader):
        at = epoch * steps + step
        for group in optimizer.param_groups:
            group["lr"] = cosine(at, steps * options.epochs, options.rate, options.floor)
        found = judged(item["image"]["crop"].to(team.device), _moved(item["target"], team), _moved(item["valid"], team))
        total = torch.stack(list(found.values())).sum()
        if not bool(torch.isfinite(total)):
            raise InputError(f"The loss of step {at} is not a number; the data or the learning rate are at fault")
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()
        if team.first and at % options.log_every == 0:
            each = " ".join(f"{name} {float(value):.4f}" for name, value in found.items())
            pace = (time.perf_counter() - began) / (step + 1)
            say(f"epoch {epoch} step {step + 1}/{steps} {pace:.2f} s/step total {float(total):.4f} {each}")


def _moved(values: Mapping[str, Tensor], team: Ranks) -> dict[str, Tensor]:
    return {name: value.to(team.device) for name, value in values.items()}


def cosine(step: int, steps: int, top: float, floor: float) -> float:
    """The learning rate at a step: half a cosine from ``top`` to ``floor`` (Loshchilov and Hutter 2017)."""
    return floor + (top - floor) * (1 + math.cos(math.pi * min(step / max(steps, 1), 1))) / 2


def fresh(variant: str, vitpose: Path | None) -> Smplerx:
    """A new network: small normal weights in the heads; the backbone from a ViTPose checkpoint, where given."""
    network = Smplerx(VARIANTS[variant])
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, 0, 0.001)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for linear in (m for m in network.encoder.modules() if isinstance(m, (nn.Linear, nn.Conv2d))):
        nn.init.trunc_normal_(linear.weight, std=0.02)
    for table in (network.encoder.task_tokens, network.encoder.pos_embed):
        nn.init.trunc_normal_(table, std=0.02)
    if vitpose is not None:
        stored = load_torch(vitpose)
        state = stored.get("state_dict") if isinstance(stored, Mapping) else None
        if not isinstance(state, Mapping):
            raise WeightsInvalid(f"{vitpose.name} is no ViTPose checkpoint: no entry 'state_dict' inside")
        found = {n.removeprefix("backbone."): t for n, t in state.items() if n.startswith("backbone.")}
        found["task_tokens"] = network.encoder.task_tokens.data
        check_state(found, network.encoder.state_dict(), vitpose.name)
        network.encoder.load_state_dict(found)
    return network


def choose(network: Smplerx, parts: str) -> None:
    """Which parameters are trained: ``all``, ``backbone``, ``neck_and_head`` or ``head``."""
    for name, value in network.named_parameters():
        top = name.partition(".")[0]
        where = "backbone" if top == "encoder" else "neck" if top in NECK else "head"
        value.requires_grad_(parts == "all" or where in parts.split("_and_"))


def save(path: Path, epoch: int, network: Smplerx, optimizer: torch.optim.Optimizer) -> None:
    """Writes a checkpoint in the layout of the released ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {f"module.{name}": value.detach().cpu() for name, value in network.state_dict().items()}
    with replacing(path) as temporary:
        torch.save({"epoch": epoch, "network": state, "optimizer": optimizer.state_dict()}, temporary)


def latest(folder: Path) -> Path | None:
    """The newest checkpoint of a folder, by epoch."""
    found = {int(p.name.split("_")[1].split(".")[0]): p for p in folder.glob(SNAPSHOT.format("[0-9]*"))}
    return found[max(found)] if found else None


def _state(path: Path) -> dict[str, Tensor]:
    return network_state(load_torch(path))


def _resume(path: Path, optimizer: torch.optim.Optimizer) -> int:
    """Fills the optimiser from a checkpoint and returns its epoch."""
    stored = load_torch(path)
    try:
        optimizer.load_state_dict(stored["optimizer"])
        return int(stored["epoch"])
    except (KeyError, ValueError) as error:
        raise InputError(
            f"{path.name} was trained with other parts or another size; start it in a folder of its own: {error}"
        ) from error
