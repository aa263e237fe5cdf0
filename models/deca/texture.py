"""FLAME albedo spaces: a linear texture model sampled at the UV size DECA uses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.runtime.errors import WeightsInvalid
from models.runtime.safe_load import load_npz


@dataclass(frozen=True)
class TextureSpace:
    """Field names and value range of one published texture file."""

    mean: str
    components: str
    scale: float


BFM = TextureSpace(mean="MU", components="PC", scale=1.0)
FLAME = TextureSpace(mean="mean", components="tex_dir", scale=1.0 / 255.0)


class AlbedoModel(nn.Module):
    """Linear albedo: (B, n_tex) codes -> (B, 3, uv, uv) RGB, nominally in [0, 1].

    The file stores blue first at 512 x 512; nearest sampling to 256 keeps even rows and columns, so the components are
    thinned once at construction instead of after every product.
    """

    def __init__(self, mean: np.ndarray, components: np.ndarray, n_tex: int = 50, uv_size: int = 256) -> None:
        super().__init__()
        size = mean.shape[0]
        rows = (np.arange(uv_size) * size) // uv_size  # nearest-neighbour rule of an exact down-scaling
        grid = np.ix_(rows, rows)
        mean = mean[grid][..., ::-1]  # (uv, uv, 3) RGB
        components = components[..., :n_tex][grid][..., ::-1, :]  # (uv, uv, 3, n_tex)
        self.register_buffer("mean", torch.from_numpy(np.ascontiguousarray(mean, dtype=np.float32)))
        flat = np.ascontiguousarray(components, dtype=np.float32).reshape(-1, components.shape[-1])
        self.register_buffer("components", torch.from_numpy(flat))

    def forward(self, code: Tensor) -> Tensor:
        offset = (code @ self.components.T).view(len(code), *self.mean.shape)
        return (self.mean + offset).permute(0, 3, 1, 2)  # (B, 3, uv, uv)


def load_albedo(path: Path, n_tex: int = 50, uv_size: int = 256) -> AlbedoModel:
    """Reads ``FLAME_albedo_from_BFM.npz`` or ``FLAME_texture.npz``, told apart by their fields.

    Raises:
        WeightsInvalid: neither set of fields is there, or the shapes do not fit.
    """
    arrays = load_npz(path)
    for space in (BFM, FLAME):
        if space.mean in arrays and space.components in arrays:
            mean = np.asarray(arrays[space.mean], dtype=np.float32)
            side = round((mean.size / 3) ** 0.5)
            components = np.asarray(arrays[space.components], dtype=np.float32)
            if side * side * 3 != mean.size or components.size % mean.size or components.size // mean.size < n_tex:
                raise WeightsInvalid(f"{path.name}: {space.mean} and {space.components} do not fit together")
            shape = (side, side, 3)
            return AlbedoModel(
                mean.reshape(shape) * space.scale, components.reshape(*shape, -1) * space.scale, n_tex, uv_size
            )
    raise WeightsInvalid(f"{path.name}: neither MU and PC (from BFM) nor mean and tex_dir (FLAME) are in this file")
