"""``batch PIPELINE INPUT... --out DIR``: many inputs, resumable."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import typer

from models.runtime.errors import StudioError
from models.runtime.settings import Settings
from pipelines import registry
from pipelines.base import Pipeline


def add(app: typer.Typer, arguments: list[str]) -> None:
    """Adds ``batch`` with one command per pipeline; only the one asked for is imported."""
    group = typer.Typer(help="Run a pipeline on many inputs; go on where an earlier batch ended.", no_args_is_help=True)
    words = [a for a in arguments if not a.startswith("-")]
    asked = words[1] if len(words) > 1 and words[0] == "batch" else ""
    for pipeline_id in registry.PIPELINES:
        if pipeline_id == asked:
            _add_pipeline(group, registry.get(pipeline_id))
        else:
            _add_stub(group, pipeline_id)
    app.add_typer(group, name="batch")


def _add_stub(group: typer.Typer, pipeline_id: str) -> None:
    @group.command(pipeline_id, help=f"Run the {pipeline_id} pipeline on many inputs.")
    def stub() -> None:
        raise StudioError(f"The {pipeline_id} command was not asked for")


def _add_pipeline(group: typer.Typer, pipeline: Pipeline) -> None:
    from studio.cli.pipeline_command import option_parameters, parameter, sign

    def command(**given: Any) -> None:
        _run(pipeline, given)

    about = "Folders (each file or subfolder is one item), patterns, or CSV tables."
    sources = typer.Argument(help=about, metavar="INPUT")
    own = [
        parameter("inputs", list[str], sources),
        parameter("out", Path, typer.Option(..., "--out", help="A folder per item, and manifest.jsonl.")),
        parameter("export_format", str, typer.Option(..., "--export-format", help="Which results to copy."), "all"),
        parameter("device", str | None, typer.Option(..., "--device", help="auto, cpu, cuda, cuda:N or mps."), None),
        parameter("quiet", bool, typer.Option(..., "--quiet", help="No progress within an item."), False),
        parameter("keep_runs", bool, typer.Option(..., "--keep-runs", help="Keep the runs in the Gallery too."), False),
    ]
    sign(command, [*own, *option_parameters(pipeline)])
    group.command(pipeline.id, help=f"{pipeline.tagline} Many inputs, one folder of results each.")(command)


def _run(pipeline: Pipeline, given: dict[str, Any]) -> None:
    from studio.batch import Item, read_items, run_batch
    from studio.cli.export import export, parse_formats
    from studio.cli.pipeline_command import read_options
    from studio.cli.progress import follow
    from studio.jobs import Job, JobSnapshot
    from studio.runs import RunRecord
    from studio.services import Studio

    options = read_options(pipeline, given)
    formats = parse_formats(pipeline.id, given["export_format"])
    items = read_items(given["inputs"])
    counts = {"done": 0, "failed": 0, "skipped": 0}
    with Studio.build(Settings.from_env(os.environ, device=given["device"])) as studio:

        def take(record: RunRecord, folder: Path) -> list[Path]:
            files = export(studio.runs, record, formats, folder)
            if not given["keep_runs"]:
                studio.runs.delete(record.id)
            return files

        def watch(item: Item, job: Job) -> JobSnapshot:
            return follow(studio, job, given["quiet"])

        for number, line in enumerate(run_batch(studio, pipeline, items, options, given["out"], take, watch), 1):
            counts[line.state] += 1
            print(f"[{number}/{len(items)}] {_told(line)}", flush=True)
    print(", ".join(f"{count} {state}" for state, count in counts.items()), file=sys.stderr)
    if counts["failed"]:
        raise typer.Exit(1)


def _told(line: Any) -> str:
    reason = f": {line.error}" if line.error else ""
    return f"{line.name}: {line.state}{reason}" + (f" in {line.seconds:.1f} s" if line.state == "done" else "")
