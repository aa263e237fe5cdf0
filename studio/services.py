"""The studio put together: settings, model cache, weights, runs and the job queue, built once and handed around."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from models.runtime.errors import InputError, NotFound, StudioError
from models.runtime.settings import Settings
from pipelines import registry
from pipelines.base import Event, Options, Pipeline, Result, RunContext, choose_engine
from studio.compiled import keep_compiled
from studio.forms import explain
from studio.jobs import Job, JobQueue
from studio.runs import Keep, RunRecord, RunStore

if TYPE_CHECKING:
    from models.runtime.cache import ModelCache
    from models.runtime.weights import WeightsStore

log = logging.getLogger("studio")
_SWEEP_SECONDS = 3600.0


class Studio:
    """What every surface works with. Model cache and weights come to life when first asked for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.runs = RunStore(settings)
        self.jobs = JobQueue(settings, self.runs, self._context, self._check_engine, self._licences)
        self._closing = threading.Event()
        self._sweeper: threading.Thread | None = None

    @classmethod
    def build(cls, settings: Settings) -> Studio:
        """The studio of these settings. The worker starts with the first job, the sweeper with ``start_sweeper``.

        On ZeroGPU, where this runs in the main thread before the page opens, networks are placed now.
        """
        keep_compiled(settings)
        studio = cls(settings)
        if settings.zero_gpu:
            studio.place_networks()
        return studio

    @cached_property
    def cache(self) -> ModelCache:
        from models.runtime.cache import ModelCache  # loads torch

        return ModelCache.from_settings(self.settings)

    @cached_property
    def weights(self) -> WeightsStore:
        from models.runtime.weights import WeightsStore

        return WeightsStore(self.settings)

    def place_networks(self) -> None:
        """Makes every tab's GPU functions known and places the networks of what is installed: what a worker process
        loads on ZeroGPU is lost with it."""
        for pipeline_id in registry.available(self.settings.tabs):
            pipeline = registry.get(pipeline_id)
            if hasattr(pipeline, "resident"):
                self.cache.preload(pipeline.resident(self.weights))

    def again(self, record: RunRecord, owner: str = "") -> Job:
        """Queues a new job with the inputs and options of a run. Raises NotFound when its inputs are gone."""
        pipeline = registry.get(record.pipeline)
        try:
            options = pipeline.options.model_validate(record.options)
        except ValidationError as error:
            raise InputError(f"The options of this run are from another version. {explain(error)}") from error
        inputs = self.runs.inputs(record)
        local = any(Path(item.path).is_absolute() for item in record.inputs)
        keep: Keep = "reference" if local else "copy"
        return self.jobs.submit(record.pipeline, inputs, options, owner, (record.id,), record.title, keep)

    def start_sweeper(self) -> None:
        """Sweeps old runs now and every hour, in the background. Only a server does this, once."""
        if self._sweeper is None:
            self._sweeper = threading.Thread(target=self._sweep, name="studio-sweeper", daemon=True)
            self._sweeper.start()

    def close(self) -> None:
        """Stops jobs and background threads and closes the index."""
        self._closing.set()
        self.jobs.close()
        if self._sweeper is not None:
            self._sweeper.join(10.0)
        self.runs.close()

    def __enter__(self) -> Studio:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _sweep(self) -> None:
        while not self._closing.is_set():
            try:
                swept = self.runs.sweep()
                if swept.runs:
                    log.info("swept %d old runs, %.0f MB", len(swept.runs), swept.bytes / 2**20)
            except (OSError, sqlite3.Error, StudioError):
                log.exception("sweeping failed; trying again in an hour")
            self._closing.wait(_SWEEP_SECONDS)

    def _context(self, folder: Path, progress: Callable[[Event], None], cancel_file: Path) -> RunContext:
        return RunContext(folder, self.settings, self.cache, self.weights, progress, cancel_file)

    def _check_engine(self, pipeline: Pipeline, options: Options) -> None:
        """Says at once when the engine asked for cannot work. Raises WeightsMissing."""
        choose_engine(pipeline, getattr(options, "engine", "auto"), self.weights)

    def _licences(self, pipeline: Pipeline, result: Result) -> tuple[str, ...]:
        """Licence and attribution of the engine and of every weights file that made a result."""
        notes = [e.licence for e in pipeline.engines if e.name == result.engine and e.licence]
        for weight_id in result.weights:
            try:
                entry = self.weights.get(weight_id)
            except NotFound:
                continue
            noncommercial = " (no commercial use)" if entry.commercial == "no" else ""
            notes.append(f"{entry.title}: {entry.licence}{noncommercial}. {entry.attribution}".strip())
        return tuple(dict.fromkeys(notes))
