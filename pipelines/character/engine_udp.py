"""Engine ``udp``: every pixel of a frame is coloured from the drawings' pixels that show the same place on the body."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from models.runtime.errors import InputError
from models.runtime.settings import Limits
from pipelines.base import RunContext
from pipelines.character.bodies import PIP
from pipelines.character.lookup import SurfaceLookup
from pipelines.character.made_sheet import made_sheet
from pipelines.character.options import CharacterOptions
from pipelines.character.stage import Stage
from pipelines.character.udp_files import read_udp
from pipelines.character.work import CharacterWork
from pipelines.export.glb_read import read_character
from pipelines.media.image import read_image_rgba
from pipelines.render.skinned import SkinnedBody, a_pose, averaged, seen, window
from pipelines.render.udp import UdpConvention, sample_udp

Array = np.ndarray
CHUNK = 4
UNKNOWN_LENGTHS = (0.7, 0.25, 1.0)  # proportions of a body whose UDPs came without it


class UdpEngine:
    """Draws by lookup. A 3D character is first drawn from several sides, which makes its own sheet and UDPs."""

    def __init__(self, work: CharacterWork, options: CharacterOptions, ctx: RunContext) -> None:
        self.work, self.options = work, options
        self.notes: list[str] = []
        limits = ctx.settings.limits
        self._body: SkinnedBody | None = None
        if not work.sheet.udps:
            path = work.sheet.model or PIP
            known = known_character(path, path.stat().st_mtime_ns, options.udp.neighbours, limits)
            self._body, self._values, self._lookup = known
        else:
            drawings = read_sheet(work.sheet.drawings, work.sheet.udps, limits)
            self._lookup = SurfaceLookup(drawings, np.array(UNKNOWN_LENGTHS), options.udp.neighbours)
        self._stage = None
        if work.motion is not None and self._body is not None:
            self._stage = Stage(self._body, work.motion, options.view, work.size)
            self.size = work.size
        else:
            first = read_udp(work.udps[0])
            self.size = (first.shape[1], first.shape[0])

    def frames(self) -> Iterator[Array]:
        """Chunks (N, H, W, 4) uint8."""
        waiting: list[Array] = []
        for index in range(self.work.count):
            waiting.append(self._made(index) if self._stage is not None else self._read(index))
            if len(waiting) == CHUNK:
                yield np.stack(waiting)
                waiting.clear()
        if waiting:
            yield np.stack(waiting)

    def _made(self, index: int) -> Array:
        samples = self.options.udp.oversample
        vertices = self._stage.vertices(index)
        part = window(vertices, self._stage.camera(index))
        width, height = self.size
        if part is None:
            return np.zeros((height, width, 4), np.uint8)
        fragments = seen(self._body, vertices, part.camera, samples)
        covered = fragments.covered
        rgb = self._lookup.paint(sample_udp(self._body, fragments, self._values), covered)
        return part.whole(averaged(rgb, covered, samples), height, width)

    def _read(self, index: int) -> Array:
        path = self.work.udps[index]
        udp = read_udp(path)
        if (udp.shape[1], udp.shape[0]) != self.size:
            raise InputError(f"{path.name} is {udp.shape[1]}x{udp.shape[0]}, but the first frame {self.size}")
        udp = np.nan_to_num(udp).clip(0, 1)
        covered = udp[..., 3] > 0
        rgb = self._lookup.paint(udp[..., :3], covered)
        return np.dstack([rgb, np.rint(udp[..., 3] * 255).astype(np.uint8)])


@lru_cache(maxsize=2)
def known_character(
    path: Path, changed: int, neighbours: int, limits: Limits
) -> tuple[SkinnedBody, Array, SurfaceLookup]:
    """A 3D character, its UDP values and its drawn surface, kept for the next run. ``changed`` is the file's time."""
    del changed
    body = a_pose(read_character(path, limits))
    values, lengths = UdpConvention().values(body.rest)
    return body, values, SurfaceLookup(made_sheet(body, values), lengths, neighbours)


def read_sheet(drawings: tuple[Path, ...], udps: tuple[Path, ...], limits: Limits) -> list[tuple[Array, Array]]:
    """Drawings with their UDPs. Raises InputError when a pair differs in size."""
    pairs = []
    for drawing, udp_path in zip(drawings, udps, strict=True):
        rgba, udp = read_image_rgba(drawing, limits), read_udp(udp_path)
        if rgba.shape[:2] != udp.shape[:2]:
            raise InputError(
                f"{drawing.name} is {rgba.shape[1]}x{rgba.shape[0]} and {udp_path.name} {udp.shape[1]}x{udp.shape[0]}; "
                "a drawing and its UDP must be the same size"
            )
        pairs.append((rgba, np.nan_to_num(udp).clip(0, 1)))
    return pairs
