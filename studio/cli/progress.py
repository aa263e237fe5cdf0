"""Following a job in a terminal: a bar where there is one, plain lines where there is none."""

from __future__ import annotations

import sys
from typing import Protocol

from pipelines.base import Progress
from studio.jobs import Job, JobSnapshot
from studio.services import Studio

_STOP_SECONDS = 30.0


class Display(Protocol):
    """Somewhere to show progress."""

    def show(self, progress: Progress) -> None: ...

    def close(self) -> None: ...


class Lines:
    """A line per stage and per tenth of its steps, for logs and pipes."""

    def __init__(self) -> None:
        self._last: tuple[str, int] | None = None

    def show(self, progress: Progress) -> None:
        tenth = progress.done * 10 // progress.total if progress.total else 0
        if (progress.stage, tenth) != self._last:
            self._last = (progress.stage, tenth)
            count = f" {progress.done}/{progress.total}" if progress.total else ""
            note = f" ({progress.note})" if progress.note else ""
            print(f"{progress.stage}{count}{note}", file=sys.stderr, flush=True)

    def close(self) -> None:
        pass


class Bar:
    """One moving bar, named after the stage."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bars = Bars(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bars.add_task("", total=None)
        self._bars.start()

    def show(self, progress: Progress) -> None:
        words = f"{progress.stage} {progress.note}".strip()
        self._bars.update(self._task, description=words, completed=progress.done, total=progress.total)

    def close(self) -> None:
        self._bars.stop()


class Silent:
    """Nothing."""

    def show(self, progress: Progress) -> None:
        pass

    def close(self) -> None:
        pass


def display(quiet: bool) -> Display:
    return Silent() if quiet else Bar() if sys.stderr.isatty() else Lines()


def follow(studio: Studio, job: Job, quiet: bool = False) -> JobSnapshot:
    """Shows a job's progress until it ends. Ctrl-C stops the job, waits for it to let go, then goes on as Ctrl-C."""
    shown = display(quiet)
    last = job.snapshot()
    try:
        for last in job.follow(0.1):
            if last.progress is not None:
                shown.show(last.progress)
    except KeyboardInterrupt:
        studio.jobs.cancel(job.id)
        job.wait(_STOP_SECONDS)
        raise
    finally:
        shown.close()
    return last
