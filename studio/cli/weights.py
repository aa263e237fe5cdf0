"""``weights list|get|add|verify|remove``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from models.runtime.weights_entry import WeightEntry
from models.runtime.weights_fetch import FetchProgress, Report

app = typer.Typer(help="Model weights: list, get, add, verify, remove.", no_args_is_help=True)


def _store() -> WeightsStore:
    return WeightsStore(Settings.from_env(os.environ))


@app.command("list")
def list_weights(
    pipeline: Annotated[str | None, typer.Option(help="Only those of this pipeline.")] = None,
    long: Annotated[bool, typer.Option("--long", help="Also licence, attribution and source.")] = False,
) -> None:
    """List everything the studio can use: installed or not, what it unlocks, under which licence."""
    store = _store()
    for entry in store.entries():
        if pipeline is None or pipeline in entry.pipelines:
            _print(entry, store.status(entry.id).state, long)


def _print(entry: WeightEntry, state: str, long: bool) -> None:
    size = f"{entry.bytes / 2**20:.0f} MB" if entry.bytes else "?"
    print(f"{entry.id:<28}  {state:<9}  {size:>8}  {entry.title}")
    if long:
        print(f"    unlocks: {entry.unlocks}")
        print(f"    licence: {entry.licence}; commercial use: {entry.commercial}; {entry.attribution}")
        print(f"    source: {entry.page}{' (registration)' if entry.registration else ''}")


@app.command()
def get(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Ids, or a group such as embedded.")],
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing when all is there.")] = False,
) -> None:
    """Fetch weights that may be fetched; what is installed already is left alone."""
    store = _store()
    for name in names:
        missing = [e.id for e in store.select(name) if not store.installed(e.id)]
        paths = store.fetch(name, _report(quiet))
        if missing or not quiet:
            print(f"{name}: {len(missing)} fetched, {len(paths)} installed")


def _report(quiet: bool) -> Report:
    shown: dict[str, int] = {}

    def report(progress: FetchProgress) -> None:
        if quiet:
            return
        tenth = progress.done * 10 // progress.total if progress.total else -1
        if progress.note or shown.get(progress.id) != tenth:
            shown[progress.id] = tenth
            amount = f" {progress.done / 2**20:.0f}/{progress.total / 2**20:.0f} MB" if progress.total else ""
            print(f"{progress.id}{amount} {progress.note}".rstrip(), file=sys.stderr, flush=True)

    return report


@app.command()
def add(name: Annotated[str, typer.Argument(metavar="ID")], file: Path) -> None:
    """Install a file, folder or ZIP you have; it is checked strictly before anything is accepted."""
    print(f"Installed {_store().add(name, file)}")


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Without one: all installed.")] = None,
) -> None:
    """Check installed weights thoroughly: hashes, names and shapes."""
    store = _store()
    ids = [e.id for n in names for e in store.select(n)] if names else [e.id for e in store.entries()]
    damaged = 0
    for weight_id in ids:
        status = store.verify(weight_id)
        if names or status.state != "missing":
            print(f"{weight_id}: {status.state}{f' ({status.note})' if status.note else ''}", flush=True)
        damaged += status.state == "damaged" or (bool(names) and status.state == "missing")
    raise typer.Exit(1 if damaged else 0)


@app.command()
def remove(names: Annotated[list[str], typer.Argument(metavar="ID...")]) -> None:
    """Delete installed weights."""
    store = _store()
    for name in names:
        store.remove(name)
        print(f"Removed {name}")
