"""What ``infer`` hands to ``finish``, through a file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from models.runtime.errors import InputError
from pipelines.base import Output


@dataclass
class CharacterState:
    """Files made so far, numbers and words for the user."""

    outputs: list[Output] = field(default_factory=list)
    summary: dict[str, float | int | str | bool] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "state.json").write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> CharacterState:
        try:
            stored = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError("The frames were not drawn to the end; run it again") from error
        return cls([Output(**o) for o in stored["outputs"]], stored["summary"], stored["warnings"])
