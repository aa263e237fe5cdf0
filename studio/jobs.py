"""The one job queue of the server: browser, REST, tools, batch and command line all feed it.

Jobs belong to the queue, not to whoever asked: following a job and leaving it changes nothing, only ``cancel``
stops it. One worker takes one job after the other, so jobs never fight for the device. A job's work runs in the
context variables of its submitter, because ZeroGPU finds the visitor's quota there.

What stays behind: a finished job its results; a failed or cancelled job its record alone; a job refused because of its
input (``InputError`` and its kin), or for want of weights or of a device, nothing at all.
"""

from __future__ import annotations

import contextlib
import contextvars
import errno
import logging
import math
import secrets
import shutil
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from models.runtime.errors import (
    Cancelled,
    EngineUnavailable,
    InputError,
    LimitExceeded,
    NotFound,
    QueueFull,
    StudioError,
    WeightsMissing,
)
from models.runtime.settings import MIB, Settings
from pipelines import registry
from pipelines.base import Event, Inputs, Options, Pipeline, Preview, Progress, Result, RunContext, Timings, run
from studio import traces
from studio.poster import ensure_poster
from studio.runs import Keep, OutputRecord, RunRecord, RunState, RunStore

log = logging.getLogger("studio.jobs")
CANCEL_FILE = "cancel.request"
REFUSED = (InputError, WeightsMissing, EngineUnavailable)
_FINAL: tuple[RunState, ...] = ("done", "failed", "cancelled")
_REMEMBERED = 256
_SPARE_BYTES = 256 * MIB
_DISK_FULL = "The disk is full: delete old runs in the Gallery or free some space, then try again"

ContextMaker = Callable[[Path, Callable[[Event], None], Path], RunContext]


@dataclass(frozen=True)
class JobSnapshot:
    """A job at one moment. ``position`` counts the jobs before it while queued; ``error`` is fit for its user."""

    id: str
    pipeline: str
    state: RunState
    position: int = 0
    progress: Progress | None = None
    previews: tuple[Preview, ...] = ()
    error: StudioError | None = None
    result: Result | None = None

    @property
    def final(self) -> bool:
        return self.state in _FINAL


class Job:
    """One piece of work in the queue; its id is the id of its run."""

    def __init__(
        self, queue: JobQueue, record: RunRecord, pipeline: Pipeline, options: Options, inputs: Inputs
    ) -> None:
        self.id = record.id
        self.owner = record.owner
        self.pipeline = pipeline
        self.options = options
        self.inputs = inputs
        self.context = contextvars.copy_context()
        self._queue = queue
        self._changed = threading.Condition()
        self._snapshot = JobSnapshot(record.id, pipeline.id, "queued")

    def snapshot(self) -> JobSnapshot:
        with self._changed:
            snapshot = self._snapshot
        if snapshot.state == "queued":
            return replace(snapshot, position=self._queue.position(self.id))
        return snapshot

    def follow(self, interval: float = 0.25) -> Iterator[JobSnapshot]:
        """Snapshots as they change, at most every ``interval`` seconds, the last one final. Leaving stops nothing."""
        last: JobSnapshot | None = None
        while True:
            snapshot = self.snapshot()
            if snapshot != last:
                last = snapshot
                yield snapshot
            if snapshot.final:
                return
            with self._changed:
                # Progress may come hundreds of times a second; only the end is worth waking up early for.
                self._changed.wait_for(lambda: self._snapshot.final, timeout=interval)

    def wait(self, timeout: float | None = None) -> JobSnapshot:
        """Blocks until the job has ended, or for ``timeout`` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._snapshot.final, timeout)
            return self._snapshot

    def update(self, **changes: object) -> JobSnapshot:
        """The queue's worker tells what happened."""
        with self._changed:
            self._snapshot = replace(self._snapshot, **changes)
            self._changed.notify_all()
            return self._snapshot

    def note(self, event: Event) -> None:
        """Takes in a progress report or a preview from the pipeline."""
        if isinstance(event, Progress):
            self.update(progress=event)
        else:
            with self._changed:
                same = (event.role, event.path)
                kept = tuple(p for p in self._snapshot.previews if (p.role, p.path) != same)
                self.update(previews=(*kept, event))


class JobQueue:
    """A bounded queue with one worker thread, which starts with the first job."""

    def __init__(
        self,
        settings: Settings,
        runs: RunStore,
        make_context: ContextMaker,
        check_engine: Callable[[Pipeline, Options], None],
        licences: Callable[[Pipeline, Result], tuple[str, ...]],
    ) -> None:
        self.settings = settings
        self.runs = runs
        self._make_context = make_context
        self._check_engine = check_engine
        self._licences = licences
        self._lock = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._worker: threading.Thread | None = None
        self._closed = False

    # ---- for those who ask

    def submit(
        self,
        pipeline_id: str,
        inputs: Inputs,
        options: Options,
        owner: str = "",
        parents: Iterable[str] = (),
        title: str = "",
        keep: Keep = "copy",
    ) -> Job:
        """Takes the inputs into a new run folder and queues the job. ``keep="reference"`` uses local files in place.

        Raises:
            NotFound: no such pipeline.
            InputError: inputs are missing, too many, or of a role the pipeline has not.
            LimitExceeded: the inputs are larger than the upload limit.
            WeightsMissing: the engine asked for, or every engine, lacks weights.
            QueueFull: too many jobs are waiting.
        """
        pipeline = registry.get(pipeline_id)
        check_inputs(pipeline, inputs)
        self._check_engine(pipeline, options)
        if keep != "reference":
            self._check_size(inputs)
        self.check_room()
        record = self.runs.create(pipeline_id, options, inputs, owner, parents, title, keep)
        job = Job(self, record, pipeline, options, self.runs.inputs(record))
        try:
            with self._lock:
                self.check_room()
                self._waiting.append(job)
                self._jobs[job.id] = job
                self._forget_old()
                if self._worker is None:
                    self._worker = threading.Thread(target=self._work, name="studio-jobs", daemon=True)
                    self._worker.start()
                self._lock.notify_all()
        except QueueFull:
            self.runs.discard(record.id)
            raise
        return job

    def get(self, job_id: str) -> Job:
        """Raises NotFound for a job this process does not remember; its run may still exist."""
        with self._lock:
            job = self._jobs.get(job_id)
        if job is None:
            raise NotFound("There is no such job")
        return job

    def snapshot(self, job_id: str) -> JobSnapshot:
        """The state of a job, from its run record once the job itself is forgotten. Raises NotFound."""
        try:
            return self.get(job_id).snapshot()
        except NotFound:
            record = self.runs.get(job_id)
        error = StudioError(record.error) if record.error else None
        result = record.result() if record.state == "done" else None
        return JobSnapshot(record.id, record.pipeline, record.state, error=error, result=result)

    def cancel(self, job_id: str) -> None:
        """Stops a job: one that waits at once, one that runs at its next chunk, one that has ended not at all.

        Raises NotFound when there is no such job, here or in another process of the same workspace.
        """
        try:
            job = self.get(job_id)
        except NotFound:
            if self.runs.get(job_id).live:
                self._request_stop(job_id)
            return
        with self._lock:
            waiting = job in self._waiting
            if waiting:
                self._waiting.remove(job)
            elif self._running is job:
                self._request_stop(job_id)
        if waiting:
            self._end(job, "cancelled", error=Cancelled("Stopped before it began."))

    def _request_stop(self, job_id: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self.runs.folder(job_id) / CANCEL_FILE).touch()

    def active(self) -> list[Job]:
        """The running job, then those that wait, in order."""
        with self._lock:
            return [*([self._running] if self._running else []), *self._waiting]

    def position(self, job_id: str) -> int:
        """How many jobs come before this one; 0 for one that does not wait."""
        with self._lock:
            for place, job in enumerate(self._waiting):
                if job.id == job_id:
                    return place + (1 if self._running else 0)
        return 0

    def close(self, timeout: float = 10.0) -> None:
        """Cancels everything and waits a little for the worker to end."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        for job in self.active():
            self.cancel(job.id)
        if self._worker is not None:
            self._worker.join(timeout)

    # ---- the worker

    def _work(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                job = self._running = self._waiting.popleft()
            try:
                job.context.run(self._run, job)
            finally:
                with self._lock:
                    self._running = None
                    traces.remove(self.runs.folder(job.id) / CANCEL_FILE)  # from a Stop that came too late

    def _run(self, job: Job) -> None:
        timings = Timings()
        try:
            result = self._drive(job, timings)
        except Cancelled:
            self._end(job, "cancelled", timings, error=Cancelled("Stopped."))
        except StudioError as error:
            self._end(job, "failed", timings, error=error)
        except Exception as error:
            self._end(job, "failed", timings, error=_explain(job, error))
        else:
            self._end(job, "done", timings, result=result)

    def _drive(self, job: Job, timings: Timings) -> Result:
        folder = self.runs.folder(job.id)
        cancel_file = folder / CANCEL_FILE
        self.runs.save(self.runs.get(job.id).model_copy(update={"state": "running", "started": time.time()}))
        job.update(state="running")
        context = self._make_context(folder, job.note, cancel_file)
        events = run(job.pipeline, job.inputs, job.options, context, timings)
        try:
            while True:
                job.note(next(events))
        except StopIteration as end:
            result: Result = end.value
        finally:
            events.close()
        context.check()
        return replace(
            result,
            outputs=ensure_poster(folder, result.outputs, self.settings.limits),
            summary={key: _plain(value) for key, value in result.summary.items()},
        )

    def _end(
        self,
        job: Job,
        state: RunState,
        timings: Timings | None = None,
        result: Result | None = None,
        error: StudioError | None = None,
    ) -> None:
        try:
            if isinstance(error, REFUSED):
                self.runs.discard(job.id)
            else:
                self._record_end(job, state, timings or Timings(), result, error)
        except Exception as trouble:  # a full disk or a deleted folder must not end the worker
            log.exception("job %s could not be recorded", job.id)
            state, result, error = "failed", None, error or _explain(job, trouble)
        job.update(state=state, result=result, error=error)
        with self._lock:
            job.inputs, job.context = Inputs({}), contextvars.Context()

    def _record_end(
        self, job: Job, state: RunState, timings: Timings, result: Result | None, error: StudioError | None
    ) -> None:
        folder = self.runs.folder(job.id)
        traces.remove(folder / CANCEL_FILE)
        if result is None:
            self.runs.strip(job.id)
        changes: dict[str, object] = {
            "state": state,
            "finished": time.time(),
            "seconds": {stage: round(value, 3) for stage, value in timings.seconds.items()},
            "bytes": traces.size_of(folder),
            "error": error.message if error and state == "failed" else None,
        }
        if result is not None:
            changes |= {
                "engine": result.engine,
                "weights": tuple(result.weights),
                "outputs": tuple(OutputRecord(**vars(output)) for output in result.outputs),
                "summary": dict(result.summary),
                "warnings": tuple(result.warnings),
                "licences": self._licences(job.pipeline, result),
            }
        self.runs.save(self.runs.get(job.id).model_copy(update=changes))

    # ---- bounds

    def check_room(self) -> None:
        """Raises QueueFull when no further job is taken, StudioError when there is no room on the disk."""
        with self._lock:
            waiting = len(self._waiting)
        if self._closed:
            raise QueueFull("The studio is shutting down")
        if waiting >= self.settings.limits.queue_size:
            raise QueueFull(f"{waiting} jobs are waiting already; please try again in a few minutes")
        if shutil.disk_usage(self.settings.runs_dir).free < _SPARE_BYTES:
            raise StudioError(_DISK_FULL)

    def _check_size(self, inputs: Inputs) -> None:
        limit = self.settings.limits.upload_bytes
        total = sum(traces.size_of(path) for paths in inputs.files.values() for path in paths)
        if total > limit:
            raise LimitExceeded(
                f"The files are {total / 2**20:.0f} MB together; at most {limit / 2**20:.0f} MB are taken. "
                "Give fewer or smaller files, or raise STUDIO_UPLOAD_MB"
            )

    def _forget_old(self) -> None:
        ended = [key for key, job in self._jobs.items() if job.snapshot().final]
        for key in ended[: max(0, len(self._jobs) - _REMEMBERED)]:
            del self._jobs[key]


def check_inputs(pipeline: Pipeline, inputs: Inputs) -> None:
    """Whether the files fit the pipeline's roles in name and number.

    Raises:
        InputError: the message says which role lacks files or has too many.
    """
    roles = {role.name: role for role in pipeline.roles}
    for name in inputs.files:
        if name not in roles:
            raise InputError(f"{pipeline.title} takes no {name!r}; it takes {', '.join(roles)}")
    for role in pipeline.roles:
        count = len(inputs.get(role.name))
        if count < role.minimum:
            least = "a file" if role.minimum == 1 else f"at least {role.minimum} files"
            raise InputError(f"{pipeline.title} needs {least} for {role.title!r}; {count or 'none'} given")
        if count > role.maximum:
            raise LimitExceeded(f"{pipeline.title} takes at most {role.maximum} for {role.title!r}; {count} given")
    if not any(inputs.files.values()):
        raise InputError(f"{pipeline.title} needs an input: {', '.join(role.title for role in pipeline.roles)}")


def _explain(job: Job, error: Exception) -> StudioError:
    """What the user hears of an unexpected error; the traceback goes to the server's log under the same reference."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return StudioError(_DISK_FULL)
    reference = secrets.token_hex(4)
    log.error("job %s (%s) failed, reference %s", job.id, job.pipeline.id, reference, exc_info=error)
    return StudioError(f"Something went wrong inside the studio (reference {reference})")


def _plain(value: object) -> float | int | str | bool:
    """Numbers of numerical libraries as plain ones, so that they can be written as JSON."""
    item = getattr(value, "item", None)
    plain = item() if callable(item) else value
    if isinstance(plain, float) and not math.isfinite(plain):
        return str(plain)  # JSON knows no infinity
    return plain if isinstance(plain, bool | int | float | str) else str(plain)
