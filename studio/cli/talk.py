"""What the talk command takes beside its options: the video, the voice and the file to write, each by its own flag."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.runtime.errors import InputError
from pipelines.base import Inputs, Pipeline
from studio.cli.words import Flag, Words
from studio.intake import assign
from studio.runs import RunRecord, RunStore

_FLAGS = (
    Flag("video", ("--video", "--source", "-v"), Path | None, "The video or photo of a face."),
    Flag("audio", ("--audio", "--voice", "-a"), Path | None, "The recorded voice."),
    Flag("output", ("--output", "-o"), Path | None, "Write the video here."),
)


def inputs_of(pipeline: Pipeline, given: Mapping[str, Any]) -> Inputs:
    """Files named by flags, and loose ones sorted by what they are.

    Raises:
        InputError: a file is missing, or there is none.
    """
    loose = [Path(p) for p in given["inputs"] or ()]
    named = {"source": given["video"], "voice": given["audio"]}
    for path in (Path(p) for p in named.values() if p):
        if not path.is_file():
            raise InputError(f"There is no file {str(path)!r}")
    files = {} if not loose and any(named.values()) else dict(assign(pipeline, loose).files)
    files |= {role: (Path(path),) for role, path in named.items() if path}
    return Inputs(files)


def deliver(runs: RunStore, record: RunRecord, target: Path) -> list[Path]:
    """Copies the finished video to ``target``; a folder gets it under the run's name. Raises InputError."""
    if target.is_dir():
        target = target / f"talk-{record.id[:8]}.mp4"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(runs.file(record.id, "talk.mp4"), target)
    except OSError as error:
        raise InputError(f"Cannot write {target}: {error.strerror}") from error
    return [target]


class TalkWords(Words):
    """Video and voice by flags or loose, and the file to write."""

    flags = _FLAGS
    inputs_needed = False

    def inputs(self, pipeline: Pipeline, given: Mapping[str, Any]) -> Inputs:
        return inputs_of(pipeline, given)

    def deliver(self, runs: RunStore, record: RunRecord, target: Path) -> list[Path]:
        return deliver(runs, record, target)


WORDS = TalkWords()
