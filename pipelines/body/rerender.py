"""Drawing saved bodies again: from a run's archive or a folder in SMPLer-X's layout, over the pictures they came from.

Both hold ``smplx/FRAME_PERSON.npz`` and ``meta/FRAME_PERSON.json``, frames counted from 1.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from models.bodies.smplx import BodyPose
from models.runtime.errors import InputError
from models.runtime.settings import Limits
from pipelines.body.clip import VIEWER
from pipelines.body.figures import BodyModel, color_of
from pipelines.body.overlay import Drawn, draw
from pipelines.body.source import Source
from pipelines.media.image import read_image, write_image
from pipelines.media.video import VideoWriter
from pipelines.render.shading import vertex_normals

Array = np.ndarray
PICTURES = ("orig_img", "img", "frames", "images")  # folders of numbered pictures beside ``smplx``
OVERLAYS, VIDEO, STILL = "smplerx_overlay_img", "rendered.mp4", "rendered.jpg"
POSE = {"global_orient": 3, "body_pose": 63, "betas": 10, "expression": 10, "left_hand_pose": 45,
        "right_hand_pose": 45, "jaw_pose": 3, "leye_pose": 3, "reye_pose": 3, "transl": 3}  # fmt: skip


@dataclass(frozen=True)
class SavedBody:
    """One person in one frame: parameters by the original's names, camera (fx, fy, cx, cy), box x, y, w, h."""

    person: int
    fields: dict[str, Array]
    camera: Array
    box: Array


class Saved:
    """What a folder or ZIP holds; a frame's bodies are read when they are asked for."""

    def __init__(self, place: Path) -> None:
        """Raises InputError where there is nothing to draw."""
        self.place = place
        self._zip = zipfile.ZipFile(place) if place.is_file() and zipfile.is_zipfile(place) else None
        names = self._zip.namelist() if self._zip else [f"smplx/{p.name}" for p in (place / "smplx").glob("*.npz")]
        self.frames: dict[int, list[tuple[int, str]]] = {}
        for name in sorted(n for n in names if n.startswith("smplx/") and n.endswith(".npz")):
            frame, _, person = Path(name).stem.partition("_")
            if not (frame.isdigit() and person.isdigit()):
                raise InputError(f"{name} is not named FRAME_PERSON.npz")
            self.frames.setdefault(int(frame), []).append((int(person), Path(name).stem))
        if not self.frames:
            raise InputError(f"{place.name} holds no saved bodies: no smplx/FRAME_PERSON.npz inside")

    def bodies(self, frame: int) -> list[SavedBody]:
        """All people of a frame, counted from 1."""
        return [self._read(person, stem) for person, stem in self.frames.get(frame, ())]

    def _read(self, person: int, stem: str) -> SavedBody:
        try:
            meta = json.loads(self._bytes(f"meta/{stem}.json"))
            camera = np.array([*meta["focal"], *meta["princpt"]], np.float64)
            box = np.array(meta["bbox"], np.float64)
            with np.load(io.BytesIO(self._bytes(f"smplx/{stem}.npz")), allow_pickle=False) as file:
                fields = {name: file[name] for name in file.files}
        except (KeyError, TypeError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{self.place.name}: {stem}.npz or its {stem}.json is missing or damaged") from error
        missing = [n for n in ("global_orient", "body_pose", "transl") if n not in fields]
        if missing:
            raise InputError(f"{self.place.name}: smplx/{stem}.npz has no {', '.join(missing)}")
        return SavedBody(person, fields, camera, box)

    def _bytes(self, name: str) -> bytes:
        return self._zip.read(name) if self._zip else (self.place / name).read_bytes()


def posed(body: SavedBody, model: BodyModel) -> Drawn:
    """The body as it is drawn."""
    parts = {
        name: torch.from_numpy(np.asarray(body.fields[name], np.float32).reshape(1, -1)[:, :width])
        for name, width in POSE.items()
        if name in body.fields
    }
    with torch.inference_mode():
        vertices = model.layer(BodyPose(**parts)).vertices[0].numpy() * VIEWER.astype(np.float32)
    normals = vertex_normals(vertices, model.data.faces).astype(np.float32)
    color = np.array(color_of(body.person + 1), np.uint8)
    shown = model.drawn
    return Drawn(body.person + 1, vertices[shown], model.drawn_faces, color, body.camera, normals[shown])


def rerender(
    saved: Saved, model: BodyModel, source: Source | None, out: Path, biggest: bool, limits: Limits,
    opacity: float = 0.9, dots: bool = False, say: Callable[[int], None] = lambda frame: None,
) -> Path:  # fmt: skip
    """Draws everybody, or only the person with the largest box in each frame; returns the video, picture or folder.

    ``source`` is what the bodies were found in, or None for the numbered pictures beside the parameters.

    Raises:
        InputError: there are no pictures to draw on.
    """

    def drawn(picture: Array, frame: int) -> Array:
        bodies = saved.bodies(frame)
        if biggest and bodies:
            bodies = [max(bodies, key=lambda b: float(b.box[2] * b.box[3]))]
        say(frame)
        return draw(picture, [posed(b, model) for b in bodies], opacity, dots)

    out.mkdir(parents=True, exist_ok=True)
    if source is None:
        target = out / OVERLAYS
        target.mkdir(exist_ok=True)
        for frame, path in numbered(saved.place):
            write_image(target / f"{frame:06d}.jpg", drawn(read_image(path, limits), frame))
        return target
    if source.info is None:
        write_image(out / STILL, drawn(read_image(source.path, limits), 1))
        return out / STILL
    sound = source.path if source.info.has_audio else None
    frames = source.frames(limits)
    first = next(frames)
    size = (first.rgb.shape[1], first.rgb.shape[0])
    with VideoWriter(out / VIDEO, source.info.fps, size, sound, audio_start=first.time, limits=limits) as writer:
        for frame in chain([first], frames):
            writer.write(drawn(frame.rgb, frame.index + 1))
    return out / VIDEO


def numbered(folder: Path) -> Iterator[tuple[int, Path]]:
    """Numbered pictures of the first folder that has some. Raises InputError when none has."""
    for name in PICTURES:
        found = sorted(p for p in (folder / name).glob("*") if p.stem.isdigit() and p.suffix in (".jpg", ".png"))
        if found:
            yield from ((int(p.stem), p) for p in found)
            return
    raise InputError(f"{folder.name} has no pictures ({', '.join(PICTURES)}) to draw on; name the video after it")
