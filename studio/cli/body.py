"""What the body command takes beside its options: drawing saved bodies again, and the original's words for whom."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.runtime.errors import InputError
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from pipelines.base import Inputs, Pipeline
from studio.cli.words import RESULTS, Flag, Words
from studio.intake import assign
from studio.runs import RunStore

RENDER = "render"
_BIGGEST = Flag(
    "biggest",
    ("--biggest/--all",),
    bool | None,
    "Draw only the person largest in each frame, or everybody.",
    panel=RESULTS,
)


def render(pipeline: Pipeline, given: Mapping[str, Any], words: list[str]) -> None:
    """``render RUN|FOLDER [VIDEO]``: draws the bodies of a finished run, or of a folder in the original's layout.

    Raises:
        InputError: nothing saved is there, or nothing to draw it on.
    """
    from pipelines.body.options import BodyOptions, RangeOptions
    from pipelines.body.pipeline import body_model
    from pipelines.body.rerender import Saved, rerender
    from pipelines.body.source import open_source

    if not 1 <= len(words) <= 2:
        raise InputError("Say: body render RUN|FOLDER [VIDEO]")
    settings = Settings.from_env(os.environ, device=given["device"])
    weights = WeightsStore(settings)
    place = Path(words[0])
    inputs: Inputs | None = assign(pipeline, [Path(words[1])]) if len(words) == 2 else None
    span, body = RangeOptions(), "smplx" if weights.installed("smplx-neutral") else "mannequin"
    if place.is_dir() and not (place / "run.json").is_file():
        saved, out = Saved(place), place
    else:
        runs = RunStore(settings)
        try:
            record = runs.get(place.name)
            folder = runs.folder(record.id)
            if record.pipeline != pipeline.id:
                raise InputError(f"{place.name} is a run of {record.pipeline}, not of {pipeline.id}")
            archive = next((folder / o.path for o in record.outputs if o.role == "smplx"), None)
            if archive is None:
                raise InputError(f"Nobody was found in run {place.name}; there is nothing to draw")
            saved, out = Saved(archive), folder
            inputs = inputs or runs.inputs(record)
            span = BodyOptions.model_validate(record.options).range
            body = str(record.summary.get("body", body))
        finally:
            runs.close()
    if body == "mannequin" and given.get("show_body") == "smplx":
        raise InputError("The saved parameters are those of the mannequin, or SMPL-X is not installed")
    source = None if inputs is None else open_source(inputs, span, settings.limits)

    def say(frame: int) -> None:
        if not given["quiet"] and frame % 10 == 0:
            print(f"\rdrawing {frame}", end="", file=sys.stderr, flush=True)

    opacity = BodyOptions().show.opacity if given.get("show_opacity") is None else float(given["show_opacity"])
    made = rerender(
        saved, body_model(body, weights), source, given["export_dir"] or out, bool(given.get("biggest")),
        settings.limits, opacity, bool(given.get("show_show_verts")), say,
    )  # fmt: skip
    if not given["quiet"]:
        print(file=sys.stderr)
    print(made)


class BodyWords(Words):
    """People to draw, and drawing what was saved again."""

    flags = (_BIGGEST,)

    def about_inputs(self, pipeline: Pipeline) -> str:
        return f"{super().about_inputs(pipeline)} Or: {RENDER} RUN|FOLDER [VIDEO] draws what was saved again."

    def adapt(self, given: dict[str, Any], formats: frozenset[str]) -> None:
        if given.get("biggest") is not None:
            given["show_people"] = "biggest" if given["biggest"] else "all"

    def instead(self, pipeline: Pipeline, given: Mapping[str, Any]) -> bool:
        words = list(given["inputs"])
        if words[0] != RENDER:
            return False
        render(pipeline, given, words[1:])
        return True


WORDS = BodyWords()
