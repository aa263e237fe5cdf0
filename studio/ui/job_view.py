"""Run, Stop and progress of one tab. The page only follows its job: closing it or losing the network stops nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from models.runtime.errors import NotFound, StudioError, WeightsMissing
from pipelines.base import Inputs, Options
from studio.jobs import Job, JobSnapshot
from studio.privacy import Caller
from studio.services import Studio
from studio.ui import components as html
from studio.ui.handover import parents_of
from studio.ui.results import ResultsPanel, Updates
from studio.ui.visitor import caller_of

STAGE_WORDS = {
    "prepare": "Reading the input",
    "infer": "Working",
    "finish": "Writing the results",
}

_SHOW_RESULT = """() => {
  const head = document.querySelector("#ID");
  const place = head?.getBoundingClientRect();
  const hidden = place?.height && (place.bottom < 0 || place.top > 0.6 * innerHeight);
  if (hidden) head.scrollIntoView({ behavior: "smooth", block: "start" });
}"""

# What a tab does with the values of its controls: the inputs and options of a job. Raises StudioError.
ReadControls = Callable[..., tuple[Inputs, Options]]


@dataclass(frozen=True)
class Shell:
    """What the tabs share: the studio, the tab bar, and who sits at the browser.

    ``secret`` keeps the browser's own secret, ``last_job`` the job it started last (both in the browser's storage);
    ``opened`` carries "show this run" from Gallery and links to the tab of each pipeline: ``[run id, only to look,
    nonce]``, where the nonce lets the same run be opened twice; ``sent`` carries "take this file" from a result to
    another tab: ``[pipeline, file, run it comes from, nonce]``.
    """

    studio: Studio
    page: gr.Blocks
    tabs: gr.Tabs
    secret: gr.BrowserState
    last_job: gr.BrowserState
    opened: Mapping[str, gr.State]
    sent: gr.State


class JobView:
    """The Run and Stop buttons and the progress box of one tab, and the results panel they end in."""

    def __init__(
        self, shell: Shell, pipeline_id: str, panel: ResultsPanel, words: dict[str, str] | None = None
    ) -> None:
        self.shell = shell
        self.studio = shell.studio
        self.pipeline_id = pipeline_id
        self.panel = panel
        self.words = {**STAGE_WORDS, **(words or {})}

    def draw(self, label: str) -> None:
        """Run, Stop and the progress box, here."""
        with gr.Row(elem_classes="ls-run-row"):
            self.run = gr.Button(label, variant="primary", elem_id=f"{self.pipeline_id}-run", scale=3)
            self.stop = gr.Button("Stop", variant="stop", visible=False, elem_id=f"{self.pipeline_id}-stop", scale=1)
        self.job_id = gr.State("")
        self.origins = gr.State([])  # [file name, run id] of what other tabs sent here
        self.progress = html.block(visible=False, elem_id=f"{self.pipeline_id}-progress")

    @property
    def outputs(self) -> list[Component]:
        """Everything a follower may change; the drawing methods and the panel's must have run."""
        return [self.run, self.stop, self.progress, self.job_id, self.shell.last_job, *self.panel.outputs]

    def wire(self, read: ReadControls, controls: list[Component]) -> None:
        """Connects Run and Stop. ``read`` gets the values of ``controls``."""
        self.wire_run(self.run, read, controls)
        self.stop.click(
            self._stop,
            [self.job_id, self.shell.secret],
            [self.stop],
            queue=False,
            **html.QUIET,
        )

    def wire_run(self, button: gr.Button, read: ReadControls, controls: list[Component]) -> None:
        """Lets ``button`` start a job of this tab too, for example a short preview."""

        def start(secret: str | None, origins: list[list[str]], request: gr.Request, *values: Any) -> Iterator[Updates]:
            who = caller_of(self.studio.settings, secret, request)
            try:
                inputs, options = read(*values)
                parents = parents_of(inputs, origins)
                job = self.studio.jobs.submit(self.pipeline_id, inputs, options, who.owner, parents)
            except StudioError as error:
                yield {**self.idle(), **self.panel.clear(), **self._trouble(error)}
                raise gr.Error(error.message, title="Not started", print_exception=False) from error
            yield from self.follow(job, who)

        # A job waits in the studio's own queue, so any number of pages may follow theirs at the same time.
        started = button.click(
            start,
            [self.shell.secret, self.origins, *controls],
            self.outputs,
            **html.QUIET,
        )
        self.panel.then_view(started)
        # Run lies below the options, the result above or below it: whoever has not scrolled on is shown the result.
        js = _SHOW_RESULT.replace("ID", f"{self.pipeline_id}-result-head")
        started.success(None, None, None, js=js, api_visibility="private")

    def show(self, run_id: str, who: Caller) -> Iterator[Updates]:
        """A run by its id: followed while it is live, else shown."""
        try:
            yield from self.follow(self.studio.jobs.get(run_id), who)
        except NotFound:
            yield {**self.idle(), **self.panel.show(self.studio.runs.get(run_id), who)}

    def follow(self, job: Job, who: Caller) -> Iterator[Updates]:
        """Updates until the job ends. Leaving this generator leaves the job running."""
        mine = who.sees_all or who.admin or job.owner == who.owner
        created = self._created(job.id)
        yield {
            **self.panel.busy(),
            self.run: gr.update(interactive=False),
            self.stop: gr.update(visible=mine, interactive=True, value="Stop"),
            self.progress: gr.update(value=self._box(job.snapshot(), time.time() - created), visible=True),
            self.job_id: job.id,
            **({self.shell.last_job: [self.pipeline_id, job.id]} if mine else {}),
        }
        for snapshot in job.follow():
            if not snapshot.final:
                box = self._box(snapshot, time.time() - created)
                yield {self.progress: gr.update(value=box, visible=True)}
        yield from self._end(job.snapshot(), who)

    def _end(self, snapshot: JobSnapshot, who: Caller) -> Iterator[Updates]:
        error = snapshot.error
        if snapshot.state == "done":
            yield {**self.idle(), **self.panel.show(self.studio.runs.get(snapshot.id), who)}
        elif snapshot.state == "cancelled":
            stopped = html.note("Stopped. Nothing was kept; change what you like and run again.", "warn")
            yield {**self.idle(), **self.panel.clear(), self.progress: gr.update(value=stopped, visible=True)}
        else:
            error = error or StudioError("The job failed.")
            yield {**self.idle(), **self.panel.clear(), **self._trouble(error)}
            raise gr.Error(error.message, title="Not finished", print_exception=False)

    def idle(self) -> Updates:
        """Ready for the next run."""
        return {
            self.run: gr.update(interactive=True),
            self.stop: gr.update(visible=False),
            self.progress: gr.update(visible=False),
            self.job_id: "",
            self.shell.last_job: None,
        }

    def _created(self, run_id: str) -> float:
        try:
            return self.studio.runs.get(run_id).created
        except NotFound:  # refused already: such a job leaves no record
            return time.time()

    def _trouble(self, error: StudioError) -> Updates:
        action = html.models_link("Open Models") if isinstance(error, WeightsMissing) else ""
        return {self.progress: gr.update(value=html.note(error.message, "bad", action), visible=True)}

    def _box(self, snapshot: JobSnapshot, seconds: float) -> str:
        if snapshot.state == "queued":
            ahead = snapshot.position
            text = f"{ahead} {'job is' if ahead == 1 else 'jobs are'} before yours" if ahead else "Starting"
            return html.progress_box("In the queue", None, seconds, f"{text}. You may close this page.")
        progress = snapshot.progress
        stage = progress.stage if progress else "prepare"
        title = self.words.get(stage, stage.replace("_", " ").capitalize())
        return html.progress_box(title, progress, seconds)

    def _stop(self, job_id: str, secret: str | None, request: gr.Request) -> Any:
        if not job_id:
            return gr.skip()
        try:
            caller_of(self.studio.settings, secret, request).check_owns(self.studio.runs.get(job_id))
            self.studio.jobs.cancel(job_id)
        except StudioError as error:
            raise gr.Error(error.message, print_exception=False) from error
        return gr.update(value="Stopping ...", interactive=False)
