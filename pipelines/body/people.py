"""What engines hand over: people with motions, cameras and boxes; kept in files between the stages of a run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from models.runtime.safe_load import load_npz
from pipelines.export.motion import Motion, read_motion, write_motion

Array = np.ndarray


@dataclass(frozen=True)
class Person:
    """One person of a run.

    ``first`` is the index of the motion's first frame. camera (T, 4): fx, fy, cx, cy in pixels of the picture, in which
    the motion's places hold. boxes (T, 4): x0, y0, x1, y1; contact (T, 2): left and right foot stand. ``pitch``: how
    far the camera looks down, in radians. ``floor``: its height in metres above the camera once that is level, nan
    where unknown. expression (T, 10) where the engine reads one, else empty.
    """

    number: int
    first: int
    motion: Motion
    camera: Array
    boxes: Array
    contact: Array
    floor: float = float("nan")
    error_mm: float = float("nan")
    pitch: float = 0.0
    expression: Array = field(default_factory=lambda: np.zeros((0, 10), np.float32))

    @property
    def name(self) -> str:
        return f"person_{self.number:02d}"

    @property
    def skin(self) -> str:
        """Name of the file with the skinned body, beside the motion."""
        return f"{self.name}.glb"

    def frame_of(self, frame: int) -> int | None:
        """The motion's row for a frame of the video; None where the person is not in sight."""
        row = frame - self.first
        return row if 0 <= row < len(self.motion) and bool(self.motion.seen[row]) else None


@dataclass
class BodyState:
    """A run between its stages: what was read, who was found, what to tell."""

    engine: str
    still: bool
    fps: float
    size: tuple[int, int]
    frames: int
    body: str
    warnings: list[str] = field(default_factory=list)
    summary: dict[str, float | int | str | bool] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "state.json").write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> BodyState:
        stored = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return cls(**{**stored, "size": tuple(stored["size"])})


def save_people(people: list[Person], out_dir: Path) -> None:
    """Motion files below ``motion/``, the rest below ``work/``."""
    work = out_dir / "work"
    work.mkdir(parents=True, exist_ok=True)
    for person in people:
        write_motion(
            out_dir / "motion" / f"{person.name}.npz",
            replace(person.motion, camera=person.camera, skin=person.skin),
        )
        np.savez(
            work / f"{person.name}.npz",
            number=person.number,
            first=person.first,
            camera=person.camera,
            boxes=person.boxes,
            contact=person.contact,
            floor=person.floor,
            error_mm=person.error_mm,
            pitch=person.pitch,
            expression=person.expression,
        )


def load_people(out_dir: Path) -> list[Person]:
    """What ``save_people`` wrote, by number."""
    people = []
    for path in sorted((out_dir / "work").glob("person_*.npz")):
        stored = load_npz(path)
        motion = read_motion(out_dir / "motion" / path.name)
        numbers = {k: int(stored[k]) for k in ("number", "first")}
        rest = {k: float(stored[k]) for k in ("floor", "error_mm", "pitch")}
        people.append(
            Person(
                motion=motion,
                camera=stored["camera"],
                boxes=stored["boxes"],
                contact=stored["contact"],
                expression=stored["expression"],
                **numbers,
                **rest,
            )
        )
    return people


def biggest(people: list[Person], frame: int) -> Person | None:
    """The person with the largest box in a frame."""
    present = [(p, p.frame_of(frame)) for p in people]
    sized = [
        (float(np.prod(p.boxes[row, 2:] - p.boxes[row, :2])), -p.number, p) for p, row in present if row is not None
    ]
    return max(sized, key=lambda s: s[:2])[2] if sized else None
