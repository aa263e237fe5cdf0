"""``runs list|show|delete|sweep``."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from models.runtime.errors import InputError
from models.runtime.settings import Settings
from studio.runs import RunStore

app = typer.Typer(help="The runs of this workspace: list, show, delete, sweep.", no_args_is_help=True)


@contextmanager
def _store() -> Iterator[RunStore]:
    runs = RunStore(Settings.from_env(os.environ))
    try:
        yield runs
    finally:
        runs.close()


@app.command("list")
def list_runs(
    pipeline: Annotated[str | None, typer.Option(help="Only this pipeline's.")] = None,
    state: Annotated[str | None, typer.Option(help="Only queued, running, done, failed or cancelled ones.")] = None,
    text: Annotated[str, typer.Option(help="Only those with these words in name, inputs or results.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 60,
) -> None:
    """List runs, newest first."""
    with _store() as runs:
        for record in runs.list(pipeline=pipeline, state=state, text=text, limit=limit):
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.created))
            size = f"{record.bytes / 2**20:8.1f} MB"
            print(f"{record.id}  {when}  {record.pipeline:<9}  {record.state:<9}  {size}  {record.title}")


@app.command()
def show(run_id: str) -> None:
    """Print a run's record and where its files lie."""
    with _store() as runs:
        record = runs.get(run_id)
        print(json.dumps(record.public() | {"folder": str(runs.folder(run_id))}, indent=1))


@app.command()
def delete(
    run_ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="The runs to delete.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Delete every run that is not working.")] = False,
) -> None:
    """Delete runs with their inputs, results and all cached traces."""
    if bool(run_ids) == everything:
        raise InputError("Name the runs to delete, or say --all")
    with _store() as runs:
        for run_id in run_ids or ():
            runs.delete(run_id)
        count = runs.delete_all(None) if everything else len(run_ids or ())
        print(f"Deleted {count} run{'s' if count != 1 else ''}")


@app.command()
def sweep() -> None:
    """Delete what is older or more than the settings allow."""
    with _store() as runs:
        swept = runs.sweep()
        print(f"Deleted {len(swept.runs)} runs ({swept.bytes / 2**20:.0f} MB), {swept.cached_files} cached files")
