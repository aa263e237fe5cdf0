"""DECA's codes through a clip: held steady without lag, each parameter by its own speed, the camera in the photo."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from models.deca.network import DecaCode
from pipelines.face.deca_network import code_map, rows
from pipelines.tracking.one_euro import OneEuro, OneEuroConfig

Array = NDArray[np.float64]
HALF = 112.0  # crop pixels per crop coordinate
RESTING, QUICK = 6.0, 0.6  # Hz at rest for hardly any smoothing, and for the most
UNITS = {"exp": 1.0, "pose": 0.15, "light": 1.0, "shape": 1.0, "tex": 1.0, "detail": 1.0}
FIXED = ("shape", "tex", "detail")


@dataclass(frozen=True)
class Track:
    """One face through a clip: ``frames`` (N,) in which it is seen, their times in seconds, its codes (batch N) and
    the transforms (N, 3, 3) from the clip's pixels to the crops."""

    number: int
    frames: NDArray[np.int64]
    times: Array
    code: DecaCode
    tforms: Array

    @property
    def best(self) -> int:
        """Index of the frame that shows the face from the front and at rest."""
        turned = self.code.pose[:, :3].norm(dim=1).numpy()
        return int(np.argmin(turned + 0.05 * self.code.exp.norm(dim=1).numpy()))

    def at(self, index: int) -> DecaCode:
        """The code (batch 1) of one of the seen frames."""
        return rows(self.code, [index])


def steady(track: Track, strength: float, one_shape: bool) -> Track:
    """The same track, smoothed; ``strength`` 0..1, 0 leaves the values as they are."""
    parts = {name: getattr(track.code, name).numpy().astype(np.float64) for name in UNITS}
    place = _in_photo(track.code.cam.numpy().astype(np.float64), track.tforms)
    if strength > 0:
        config = OneEuroConfig(RESTING * (QUICK / RESTING) ** strength, 3.0 * (1 - 0.8 * strength), 1.5)
        for name, unit in UNITS.items():
            if not (one_shape and name in FIXED):
                parts[name] = _filtered(parts[name], track, config, unit)
        unit = np.array([1.0, *(np.exp(np.median(place[:, 0])) / 10,) * 2])  # a decimetre in pixels
        place = _filtered(place / unit, track, config, 0.1) * unit
    if one_shape:
        parts |= {name: np.broadcast_to(np.median(parts[name], axis=0), parts[name].shape) for name in FIXED}
    tensors = {name: torch.from_numpy(np.array(value, np.float32)) for name, value in parts.items()}
    cam = torch.from_numpy(_in_crop(place, track.tforms).astype(np.float32))
    return replace(track, code=DecaCode(**tensors, cam=cam))


def _filtered(values: Array, track: Track, config: OneEuroConfig, unit: float) -> Array:
    """Values (N, ...) filtered forwards and backwards, whose lags cancel, over every stretch without a gap."""
    out = values.copy()
    gaps = np.flatnonzero(np.diff(track.frames) > 1) + 1
    for stretch in np.split(np.arange(len(values)), gaps):
        both = []
        for order in (stretch, stretch[::-1]):
            euro = OneEuro(config)
            start = track.times[order[0]]
            passed = [euro(values[i].reshape(-1, 1), abs(float(track.times[i] - start)), unit) for i in order]
            both.append(np.stack(passed).reshape(values[stretch].shape))
        out[stretch] = (both[0] + both[1][::-1]) / 2
    return out


def _in_photo(cam: Array, tforms: Array) -> Array:
    """Log of the size in pixels per metre, and place in pixels, of DECA's cameras (N, 3) in the photo: independent of
    how the crops jitter. Crops must not be turned."""
    factor = tforms[:, 0, 0]
    size = HALF * cam[:, 0] / factor
    x = (HALF * (1 + cam[:, 0] * cam[:, 1]) - tforms[:, 0, 2]) / factor
    y = (HALF * (1 - cam[:, 0] * cam[:, 2]) - tforms[:, 1, 2]) / factor
    return np.stack([np.log(size), x, y], axis=1)


def _in_crop(place: Array, tforms: Array) -> Array:
    """The inverse of ``_in_photo``."""
    factor = tforms[:, 0, 0]
    scale = np.exp(place[:, 0]) * factor / HALF
    x = ((place[:, 1] * factor + tforms[:, 0, 2]) / HALF - 1) / scale
    y = (1 - (place[:, 2] * factor + tforms[:, 1, 2]) / HALF) / scale
    return np.stack([scale, x, y], axis=1)


def worn(code: DecaCode, other: DecaCode, strength: float) -> DecaCode:
    """A person (batch 1) with the jaw turns and expressions of others (batch N), as strong as asked for."""
    many = code_map(code, lambda part: part.expand(len(other.exp), *part.shape[1:]))
    taken = many.with_expression_of(other)
    pose = torch.cat([taken.pose[:, :3], taken.pose[:, 3:] * strength], dim=1)
    return replace(taken, exp=taken.exp * strength, pose=pose)
