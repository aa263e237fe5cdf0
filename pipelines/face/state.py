"""What ``infer`` leaves for ``finish``, through a file of the run folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from models.runtime.errors import InputError
from pipelines.base import Output

_FILE = "state.json"


@dataclass
class FaceState:
    """Results so far, numbers for the summary and remarks for the user."""

    outputs: list[Output] = field(default_factory=list)
    summary: dict[str, float | int | str | bool] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def first(self, made: int) -> None:
        """Puts the results after the first ``made`` before those: what a job was for is looked at first."""
        self.outputs = self.outputs[made:] + self.outputs[:made]

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> FaceState:
        """Raises InputError when ``infer`` did not come to its end."""
        try:
            told = json.loads((folder / _FILE).read_text(encoding="utf-8"))
            return cls([Output(**o) for o in told["outputs"]], told["summary"], told["warnings"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError("The heads were not computed to their end; run it again") from error
