"""Sizes of the DECA networks and the layout of their code vectors (Feng et al., SIGGRAPH 2021)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DecaConfig:
    """Widths of the released DECA model. Code order: shape, tex, exp, pose, cam, light."""

    image_size: int = 224
    uv_size: int = 256
    n_shape: int = 100
    n_tex: int = 50
    n_exp: int = 50
    n_pose: int = 6
    n_cam: int = 3
    n_light: int = 27
    n_detail: int = 128
    n_jaw: int = 3
    max_displacement: float = 0.01  # metres that a detail network output of 1 stands for
    detail_norm_eps: float = 0.8  # the released detail decoder was trained with this batch-norm epsilon

    @property
    def code_sizes(self) -> dict[str, int]:
        """Width of each part of the coarse code, in the order in which they are packed."""
        return {
            "shape": self.n_shape,
            "tex": self.n_tex,
            "exp": self.n_exp,
            "pose": self.n_pose,
            "cam": self.n_cam,
            "light": self.n_light,
        }

    @property
    def n_coarse(self) -> int:
        return sum(self.code_sizes.values())

    @property
    def n_latent(self) -> int:
        """Width of the detail decoder's input: jaw pose, expression, detail code."""
        return self.n_jaw + self.n_exp + self.n_detail
