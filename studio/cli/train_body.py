"""``train body`` and ``test body``: SMPLer-X on HumanData files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from models.runtime.device import resolve_device
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from pipelines.body.training.options import TestBodyOptions, TrainBodyOptions
from studio.cli.pipeline_command import options_of
from studio.cli.train import Device, Processes, command, say, spread

Data = Annotated[list[Path], typer.Argument(help="HumanData files (.npz).", exists=True, dir_okay=False)]
Images = Annotated[Path, typer.Option(help="Folder the files' picture paths start from.", exists=True, file_okay=False)]
Model = Annotated[Path | None, typer.Option(help="SMPL-X model file; without it the installed one.", exists=True)]


def add(train: typer.Typer, test: typer.Typer) -> None:
    """Adds both commands to their groups."""
    command(train, "body", TrainBodyOptions)(_train)
    command(test, "body", TestBodyOptions)(_test)


def _train(
    data: Data,
    images: Images,
    out: Annotated[Path, typer.Option(help="Folder of the checkpoints.")],
    smplx: Model = None,
    start: Annotated[Path | None, typer.Option(help="Checkpoint to fine-tune.", exists=True)] = None,
    vitpose: Annotated[Path | None, typer.Option(help="ViTPose checkpoint for a new backbone.", exists=True)] = None,
    processes: Processes = 1,
    device: Device = None,
    **given: Any,
) -> None:
    """Train SMPLer-X; goes on where the newest checkpoint in the folder ended."""
    options = options_of(TrainBodyOptions, given)
    if spread(processes):
        return
    from pipelines.body.training.train import train

    settings = Settings.from_env(os.environ, device=device)
    last = train(data, images, _model(smplx, settings), out, options, resolve_device(settings), start, vitpose, say)
    if _first():
        print(last)


def _test(
    data: Data,
    images: Images,
    weights: Annotated[Path, typer.Option(help="The checkpoint to judge.", exists=True, dir_okay=False)],
    smplx: Model = None,
    parts: Annotated[Path | None, typer.Option(help="Folder with SMPL-X's index files.", exists=True)] = None,
    table: Annotated[Path | None, typer.Option(help="CSV file that gets one row per person.")] = None,
    processes: Processes = 1,
    device: Device = None,
    **given: Any,
) -> None:
    """Errors of a SMPLer-X checkpoint in millimetres: PVE, MPJPE, and both after Procrustes."""
    options = options_of(TestBodyOptions, given)
    if spread(processes):
        return
    from pipelines.body.training.evaluate import evaluate

    settings = Settings.from_env(os.environ, device=device)
    model = _model(smplx, settings)
    found = evaluate(data, images, model, weights, options, resolve_device(settings), parts, table, say)
    if _first():
        for name, value in found.errors.items():
            print(f"{name:18s} {value:9.2f} mm")
        print(f"{found.people} people")


def _model(given: Path | None, settings: Settings) -> Path:
    return given if given is not None else WeightsStore(settings).path("smplx-neutral")


def _first() -> bool:
    return os.environ.get("RANK", "0") == "0"
