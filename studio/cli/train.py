"""``train`` and ``test``: teaching a network and judging it, one subcommand per network.

A network joins with a module of its own that has ``add(train, test)`` and a line in ``LEARNERS``; ``command`` gives a
function the flags of an options model, and ``spread`` runs it on several processes.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated

import typer

from models.runtime.errors import StudioError
from pipelines.base import Options
from studio.cli.pipeline_command import model_parameters, sign

LEARNERS = {"body": "studio.cli.train_body"}
GROUPS = {
    "train": "Train a network on data of one's own.",
    "test": "Judge a checkpoint on data with known truth.",
}
Processes = Annotated[int, typer.Option(min=1, max=64, help="Processes on this machine, one per GPU.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")]


def add(app: typer.Typer, asked: str) -> None:
    """Adds both groups to ``app``; what they hold is imported only when one of them is asked for."""
    if asked not in GROUPS:
        for name, about in GROUPS.items():
            app.command(name, help=about)(_not_asked)
        return
    groups = {name: typer.Typer(help=about, no_args_is_help=True) for name, about in GROUPS.items()}
    for module in LEARNERS.values():
        import_module(module).add(**groups)
    for name, group in groups.items():
        app.add_typer(group, name=name)


def command(group: typer.Typer, name: str, model: type[Options]) -> Callable[[Callable[..., None]], None]:
    """Registers a function as a subcommand; its ``**given`` takes the flags made from ``model``."""

    def register(function: Callable[..., None]) -> None:
        own = inspect.signature(function, eval_str=True).parameters.values()
        named = [p for p in own if p.kind is not inspect.Parameter.VAR_KEYWORD]
        kept = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in named]

        def run(**given: object) -> None:
            function(**given)

        run.__doc__ = function.__doc__
        sign(run, [*kept, *model_parameters(model)])
        group.command(name)(run)

    return register


def spread(processes: int) -> bool:
    """Runs this very command again on several processes through torchrun; False when it is to run right here."""
    if processes <= 1 or "WORLD_SIZE" in os.environ:
        return False
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    finished = subprocess.run([*launcher, "-m", "studio", *sys.argv[1:]], check=False)
    if finished.returncode:
        raise StudioError(f"{processes} processes ended with code {finished.returncode}; what they said stands above")
    return True


def say(text: str) -> None:
    """A line of a log, at once."""
    print(text, flush=True)


def _not_asked() -> None:
    raise StudioError("Neither train nor test was asked for")
