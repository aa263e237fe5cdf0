"""Engine ``conr``: CoNR paints every frame from the drawings and the frame's ultra-dense pose.

The sheet is parsed once and kept; frames are painted in batches. The crop of the original is kept exactly; only the way
back differs: colours are divided by alpha before they become bytes, so that soft rims are not dark.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from models.conr import checkpoint
from models.conr.network import OPAQUE, Conr, Sheet
from models.runtime.cache import ModelCache, ModelSpec
from models.runtime.errors import InputError
from models.runtime.gpu import gpu
from models.runtime.settings import Settings
from models.runtime.warm_memory import warm_memory
from models.runtime.weights import WeightsStore
from pipelines.base import RunContext
from pipelines.character.bodies import character_body, driving_body
from pipelines.character.crop import (
    CropRecord,
    crop_image,
    crop_udp,
    crop_window,
    paste_straight,
    premultiplied,
)
from pipelines.character.made_sheet import SHEET_VIEWS, made_sheet
from pipelines.character.options import CharacterOptions
from pipelines.character.stage import Stage
from pipelines.character.udp_files import read_udp, udp_mask
from pipelines.character.work import CharacterWork
from pipelines.media.image import read_image_rgba
from pipelines.render.udp import UdpConvention, udp_frame

Array = np.ndarray
WEIGHTS = dict(
    zip(checkpoint.PARTS, ("conr-udpparser", "conr-pose-encoder", "conr-shader", "conr-decoder"), strict=True)
)
SPAN = 24  # frames that travel to the network's process together
KEPT_SHEETS = 2
UDP_SAMPLES = 3
_sheets: OrderedDict[tuple[str, str], Sheet] = OrderedDict()


def spec_of(weights: WeightsStore) -> ModelSpec:
    """How the cache opens the four networks."""
    return _spec({part: weights.path(name) for part, name in WEIGHTS.items()})


def _spec(files: dict[str, Path]) -> ModelSpec:
    return ModelSpec(key="conr", load=lambda device: checkpoint.load(files, device))


def _seconds(files: dict[str, Path], settings: Settings, sheet: Array, poses: Array, *rest: object) -> int:
    return 20 + len(poses) * (2 + len(sheet))


@gpu(duration=_seconds)
def paint(
    files: dict[str, Path],
    settings: Settings,
    sheet: Array,
    poses: Array,
    detect: bool,
    batch: int,
    previous: int,
    before: Array,
) -> Array:
    """Premultiplied RGBA (N, S, S, 4) float32 in 0..1.

    Args:
        files: the checkpoint of each network; all arguments travel to a worker process on ZeroGPU.
        sheet: (M, S, S, 4) uint8 premultiplied drawings.
        poses: (N, S, S, 4): UDPs with soft visibility (float), or with ``detect`` premultiplied drawings (uint8).
        batch: frames at once; with ``previous`` frames as further references they come one by one.
        before: (K, S, S, 4) float32, what was painted last.
    """
    cache = ModelCache.shared(settings)

    def run(network: Conr, chunk: int) -> Array:
        device = next(network.parameters()).device
        parsed = _parsed(network, sheet, device)
        if previous:
            with warm_memory(device.type == "cpu"):
                return _steady(network, parsed, poses, detect, previous, list(before), device)
        with warm_memory(device.type == "cpu"):
            parts = range(0, len(poses), chunk)
            made = [_painted(network, parsed, poses[at : at + chunk], detect, device) for at in parts]
        return np.concatenate(made)

    with torch.inference_mode():
        return cache.run_chunked(_spec(files), run, batch)


def _planes(pictures: Array, device: torch.device) -> torch.Tensor:
    planes = torch.from_numpy(np.ascontiguousarray(pictures)).to(device).permute(0, 3, 1, 2).float()
    return planes / 255 if pictures.dtype == np.uint8 else planes


def _parsed(network: Conr, sheet: Array, device: torch.device) -> Sheet:
    """The parsed sheet, kept for the next call with the same drawings."""
    key = (hashlib.sha256(sheet.tobytes() + str((sheet.shape, id(network))).encode()).hexdigest(), str(device))
    if key not in _sheets:
        planes = _planes(sheet, device)
        _sheets[key] = network.parse(planes[:, :3], planes[:, 3:])
        while len(_sheets) > KEPT_SHEETS:
            _sheets.popitem(last=False)
    _sheets.move_to_end(key)
    return _sheets[key]


def _painted(network: Conr, sheet: Sheet, poses: Array, detect: bool, device: torch.device) -> Array:
    planes = _planes(poses, device)
    if detect:
        planes = network.estimate_udp(planes[:, :3])
    return network.render(sheet, planes, planes[:, 3:]).permute(0, 2, 3, 1).float().cpu().numpy()


def _steady(
    network: Conr, sheet: Sheet, poses: Array, detect: bool, previous: int, last: list[Array], device: torch.device
) -> Array:
    """Frame by frame, the last painted ones serving as references too."""
    made: list[Array] = []
    for index in range(len(poses)):
        seen = [frame for frame in last[-previous:] if 0 < frame[..., 3].mean() < OPAQUE]
        whole = sheet
        if seen:
            planes = _planes(np.stack(seen), device)
            whole = sheet.joined(network.parse(planes[:, :3], planes[:, 3:]))
        frame = _painted(network, whole, poses[index : index + 1], detect, device)[0]
        made.append(frame)
        last.append(frame)
    return np.stack(made)


class ConrEngine:
    """Draws with the CoNR networks."""

    def __init__(self, work: CharacterWork, options: CharacterOptions, ctx: RunContext) -> None:
        self.work, self.options, self.ctx = work, options, ctx
        self.notes: list[str] = []
        limits = ctx.settings.limits
        side = options.conr.size
        self._files = {part: ctx.weights.path(name) for part, name in WEIGHTS.items()}
        if work.sheet.drawings:
            drawings = [read_image_rgba(path, limits) for path in work.sheet.drawings]
            names = [path.name for path in work.sheet.drawings]
        else:
            body = character_body(work.sheet, limits)
            values, _ = UdpConvention().values(body.rest)
            drawings = [rgba for rgba, _ in made_sheet(body, values, SHEET_VIEWS[:4])]
            names = [f"view {i + 1}" for i in range(len(drawings))]
        self._sheet = cropped_sheet(drawings, names, side)
        self._stage: Stage | None = None
        self.size = work.size
        if work.motion is not None:
            body = driving_body(work.sheet, work.motion, options.conr.driver, ctx)
            self._stage = Stage(body, work.motion, options.view, work.size)
            self._values, _ = UdpConvention().values(self._stage.body.rest)
        else:
            first = self._given(0)
            self.size = (first.shape[1], first.shape[0])
        self._empty = 0

    def _given(self, index: int) -> Array:
        """A frame of the motion as it came: UDP (H, W, 4) float32, or drawing (H, W, 4) uint8."""
        if self.work.drawings:
            return read_image_rgba(self.work.drawings[index], self.ctx.settings.limits)
        return np.nan_to_num(read_udp(self.work.udps[index])).clip(0, 1)

    def _pose(self, index: int) -> tuple[Array, CropRecord | None]:
        """A frame's crop (S, S, 4) for the network and where it came from; None when it shows nobody."""
        size = (self.options.conr.size,) * 2
        if self._stage is not None:
            udp = udp_frame(
                self._stage.body, self._stage.vertices(index), self._stage.camera(index), self._values, UDP_SAMPLES
            )
        else:
            udp = self._given(index)
        if udp.dtype == np.uint8:
            drawing = premultiplied(udp)
            record = crop_window(drawing[..., 3], size)
            return crop_image(drawing, record, size), record
        beside = udp_mask(udp)
        record = crop_window(beside[..., 3], size)
        pose = crop_udp(udp, record, size)
        pose[..., 3] = crop_image(beside, record, size)[..., 3] / np.float32(255)
        return pose, record

    def frames(self) -> Iterator[Array]:
        """Chunks (N, H, W, 4) uint8."""
        conr = self.options.conr
        width, height = self.size
        before = np.zeros((0, conr.size, conr.size, 4), np.float32)
        span = max(conr.batch, min(SPAN, 4 * conr.batch))
        for start in range(0, self.work.count, span):
            made = [self._pose(i) for i in range(start, min(start + span, self.work.count))]
            kept = [i for i, (_, record) in enumerate(made) if record is not None]
            out = np.zeros((len(made), height, width, 4), np.uint8)
            self._empty += len(made) - len(kept)
            if kept:
                poses = np.stack([made[i][0] for i in kept])
                painted = paint(
                    self._files, self.ctx.settings, self._sheet, poses, bool(self.work.drawings), conr.batch,
                    conr.previous, before,
                )  # fmt: skip
                before = painted[-conr.previous :] if conr.previous else before
                for i, rgba in zip(kept, painted, strict=True):
                    frame = paste_straight(rgba, made[i][1])
                    if frame.shape[:2] != (height, width):
                        raise InputError(f"Frame {start + i + 1} of the motion differs in size from the first one")
                    out[i] = frame
            yield out
        if self._empty:
            self.notes.append(f"{self._empty} frames of the motion show nobody and stay empty")


def cropped_sheet(drawings: list[Array], names: list[str], side: int) -> Array:
    """Drawings (H, W, 4) as the networks take them: (M, side, side, 4) uint8 premultiplied, each filling its square.

    Raises:
        InputError: a drawing has no transparent background or shows nothing.
    """
    made = []
    for rgba, name in zip(drawings, names, strict=True):
        if (rgba[..., 3] == 255).mean() >= OPAQUE:
            raise InputError(
                f"{name} has no transparent background: cut the figure out first (the tab's cut-out does it) and save "
                "it as PNG with transparency"
            )
        pixels = premultiplied(rgba)
        record = crop_window(pixels[..., 3], (side, side))
        if record is None:
            raise InputError(f"{name} shows nothing: nearly all of it is transparent")
        made.append(crop_image(pixels, record, (side, side)))
    return np.stack(made)
