"""What every pipeline is: options, inputs, engines, results, and the one way through prepare -> infer -> finish."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from models.runtime.errors import Cancelled, InputError, WeightsMissing
from models.runtime.settings import Settings

if TYPE_CHECKING:
    from models.runtime.cache import ModelCache, ModelSpec
    from models.runtime.weights import WeightsStore

MediaKind = Literal["image", "video", "audio", "archive", "folder", "model3d", "motion", "data", "text"]
OutputKind = Literal["model3d", "splat", "image", "video", "audio", "plot", "table", "data", "archive", "text"]


class Options(BaseModel):
    """Base of the per-pipeline options: frozen, bounded, described; unknown names are refused.

    UI controls, CLI flags, REST forms and MCP schemas are all made from the model's fields, so every field has a
    default, bounds and a one-line description. Options hold no files, no paths and no server settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class InputRole:
    """One named place for input files, for example ``photos`` (1..200 images)."""

    name: str
    title: str
    kinds: tuple[MediaKind, ...]
    minimum: int = 0
    maximum: int = 1


@dataclass(frozen=True)
class Inputs:
    """Local input files by role, already safe: copied into the run folder or chosen by the local user."""

    files: Mapping[str, tuple[Path, ...]]

    def get(self, role: str) -> tuple[Path, ...]:
        return tuple(self.files.get(role, ()))

    def one(self, role: str) -> Path | None:
        paths = self.get(role)
        return paths[0] if paths else None


@dataclass(frozen=True)
class Engine:
    """One way to compute a pipeline's result.

    ``weights`` lists alternatives: any one complete group of weights-registry ids makes the engine ready.
    """

    name: str
    title: str
    embedded: bool
    weights: tuple[tuple[str, ...], ...] = ((),)
    licence: str = ""
    needs: str = ""


@dataclass(frozen=True)
class Progress:
    """``done`` of ``total`` steps of a stage; ``total`` is None while unknown."""

    stage: str
    done: int = 0
    total: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Preview:
    """A file under the run folder that can be shown before the job ends; ``kind`` as in ``Output``."""

    role: str
    path: str
    kind: OutputKind


Event = Progress | Preview


@dataclass(frozen=True)
class Output:
    """One result file. ``path`` is relative to the run folder, with forward slashes."""

    role: str
    path: str
    kind: OutputKind
    title: str


@dataclass(frozen=True)
class Result:
    """What a run made. ``summary`` holds plain numbers and words for tables and APIs; ``warnings`` are for the user."""

    engine: str
    outputs: tuple[Output, ...]
    summary: Mapping[str, float | int | str | bool] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()

    def first(self, role: str) -> Output | None:
        return next((o for o in self.outputs if o.role == role), None)


def _ignore(event: Event) -> None:
    del event


@dataclass(frozen=True)
class RunContext:
    """What a pipeline may use while it runs.

    ``progress`` works in the process that started the run; code that may run in a worker process yields events instead.
    Cancellation is a file, so that it reaches worker processes too.
    """

    out_dir: Path
    settings: Settings
    cache: ModelCache
    weights: WeightsStore
    progress: Callable[[Event], None] = _ignore
    cancel_file: Path | None = None

    def cancelled(self) -> bool:
        return self.cancel_file is not None and self.cancel_file.exists()

    def check(self) -> None:
        """Raises Cancelled when the user has stopped the job."""
        if self.cancelled():
            raise Cancelled("Stopped.")


@runtime_checkable
class Pipeline(Protocol):
    """One tab's work: ``prepare`` plans, ``infer`` streams through the media, ``finish`` encodes and exports."""

    id: str
    title: str
    tagline: str
    options: type[Options]
    roles: tuple[InputRole, ...]
    engines: tuple[Engine, ...]  # in the order in which "auto" prefers them

    def resident(self, weights: WeightsStore) -> tuple[ModelSpec, ...]:
        """Networks of installed checkpoints that a ZeroGPU Space places before it opens; asking makes the pipeline's
        GPU functions known to the platform. Empty for pipelines that never use the GPU."""
        ...

    def prepare(self, inputs: Inputs, options: Any, ctx: RunContext) -> Any:
        """A small picklable plan. Raises InputError for input that cannot work."""
        ...

    def infer(self, plan: Any, options: Any, ctx: RunContext) -> Iterator[Event]:
        """Does the work in chunks, writing chunk files under ``ctx.out_dir`` and yielding events."""
        ...

    def finish(self, plan: Any, options: Any, ctx: RunContext) -> Result:
        """Encodes and exports what ``infer`` left."""
        ...


def ready_weights(engine: Engine, weights: WeightsStore) -> tuple[str, ...] | None:
    """The first complete group of installed weights of an engine, or None."""
    return next((group for group in engine.weights if all(weights.installed(w) for w in group)), None)


def choose_engine(pipeline: Pipeline, name: str, weights: WeightsStore) -> Engine:
    """The engine to use: ``auto`` takes the first that is ready, a name is honoured or refused, never replaced.

    Raises:
        InputError: the pipeline has no engine of that name.
        WeightsMissing: the engine asked for, or every engine, lacks weights.
    """
    if name == "auto":
        for engine in pipeline.engines:
            if ready_weights(engine, weights) is not None:
                return engine
        wanted = pipeline.engines[-1]
    else:
        found = next((e for e in pipeline.engines if e.name == name), None)
        if found is None:
            known = ", ".join(e.name for e in pipeline.engines)
            raise InputError(f"{pipeline.title} has no engine {name!r}; known are auto, {known}")
        if ready_weights(found, weights) is not None:
            return found
        wanted = found
    missing = [w for w in wanted.weights[0] if not weights.installed(w)]
    raise WeightsMissing(
        f"Engine {wanted.name} needs {', '.join(missing)}: open the Models tab or run "
        f"`python -m studio weights get {missing[0]}`"
    )


@dataclass
class Timings:
    """Seconds per stage, filled by ``run``."""

    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, value: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + value


def run(
    pipeline: Pipeline, inputs: Inputs, options: Options, ctx: RunContext, timings: Timings | None = None
) -> Iterator[Event]:
    """Takes one job through prepare, infer and finish; the generator's return value is the ``Result``.

    Raises:
        Cancelled: between chunks, once the cancel file exists.
    """
    timings = timings or Timings()
    clock = time.perf_counter

    start = clock()
    yield Progress("prepare")
    ctx.check()
    plan = pipeline.prepare(inputs, options, ctx)
    timings.add("prepare", clock() - start)

    start = clock()
    stage = "infer"
    for event in pipeline.infer(plan, options, ctx):
        if isinstance(event, Progress) and event.stage != stage:
            timings.add(stage, clock() - start)
            stage, start = event.stage, clock()
        yield event
        ctx.check()
    timings.add(stage, clock() - start)

    start = clock()
    yield Progress("finish")
    result = pipeline.finish(plan, options, ctx)
    timings.add("finish", clock() - start)
    return result
