"""What ``infer`` hands to ``finish`` through the run folder, so that the two may run in different processes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from models.runtime.safe_load import load_npz


@dataclass
class SceneState:
    """Engine, kind of input, warnings, summary numbers, weights used beside the engine's own, and the sparse points
    (P, 3) with colours (P, 3) uint8."""

    engine: str
    kind: str
    warnings: list[str] = field(default_factory=list)
    summary: dict[str, float | int | str | bool] = field(default_factory=dict)
    weights: list[str] = field(default_factory=list)
    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    colors: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.uint8))
    fps: float = 0.0

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        text = {k: getattr(self, k) for k in ("engine", "kind", "warnings", "summary", "weights", "fps")}
        (folder / "state.json").write_text(json.dumps(text))
        np.savez(folder / "sparse.npz", points=self.points, colors=self.colors)

    @classmethod
    def load(cls, folder: Path) -> SceneState:
        arrays = load_npz(folder / "sparse.npz")
        return cls(**json.loads((folder / "state.json").read_text()), **arrays)
