"""What one pipeline's command says and takes beside its options: the seam between commands that are otherwise alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipelines.base import Inputs, Pipeline
from studio.intake import assign, wanted
from studio.runs import RunRecord, RunStore

RESULTS = "Results and machine"  # panel of the help


@dataclass(frozen=True)
class Flag:
    """A flag that fills no option: the parameter's name, its spellings, type, default, help and panel of the help."""

    name: str
    spellings: tuple[str, ...]
    kind: Any
    help: str
    default: Any = None
    panel: str | None = None


class Words:
    """The plain command: files are sorted by what they are. Pipelines with more to say override parts of it."""

    flags: tuple[Flag, ...] = ()
    aliases: Mapping[str, tuple[str, ...]] = {}  # further spellings of options
    inputs_needed = True  # false where every file may come by a flag

    def about_inputs(self, pipeline: Pipeline) -> str:
        words = wanted(pipeline)
        return f"{words[:1].upper()}{words[1:]}."

    def about(self, pipeline: Pipeline) -> str:
        """The command's help."""
        return f"{pipeline.tagline} Takes {wanted(pipeline)}."

    def adapt(self, given: dict[str, Any], formats: frozenset[str]) -> None:
        """Puts what the flags say where the options look for it."""

    def instead(self, pipeline: Pipeline, given: Mapping[str, Any]) -> bool:
        """Does something other than a run where the words ask for it; true when that was so."""
        del pipeline, given
        return False

    def inputs(self, pipeline: Pipeline, given: Mapping[str, Any]) -> Inputs:
        """The files by role. Raises InputError."""
        return assign(pipeline, [Path(p) for p in given["inputs"] or ()])

    def server(self, given: Mapping[str, Any]) -> str | None:
        """The studio that is to do the work; None is this process."""
        return given["server"]

    def environment(self, given: Mapping[str, Any], env: Mapping[str, str]) -> dict[str, str]:
        """``env`` with what the flags say."""
        del given
        return dict(env)

    def deliver(self, runs: RunStore, record: RunRecord, target: Path) -> list[Path]:
        """Writes what ``--output`` names; for commands that have it."""
        raise AssertionError(f"{record.pipeline} has no --output, so {target} cannot be asked for in {runs}")


def words_of(pipeline_id: str) -> Words:
    """``WORDS`` of ``studio/cli/<pipeline>.py``, or the plain ones."""
    name = f"studio.cli.{pipeline_id}"
    return import_module(name).WORDS if find_spec(name) else Words()
