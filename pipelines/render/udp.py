"""Ultra-dense pose (UDP) maps of any skinned body: every pixel holds where its surface point lies on the rest model.

Lin et al., "Collaborative Neural Rendering using Anime Character Sheets", IJCAI 2023. X, Y, Z and visibility from 0 to
1; the axes of the rest model's box are each stretched to that range. XYZ is never blended between surface points;
visibility is soft at the rim.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.render.raster import Fragments, interpolate
from pipelines.render.shading import Camera
from pipelines.render.skinned import SkinnedBody, seen, window

Array = np.ndarray
_AXES = {"x": 0, "y": 1, "z": 2}


@dataclass(frozen=True)
class UdpConvention:
    """How surface points become X, Y, Z.

    ``axes`` names the body axis (x to its left, y up, z front) that each of X, Y and Z counts along, with its sign. The
    default makes X grow to the right of the picture in a front view, Y with depth towards the front, Z upwards.
    ``low`` and ``size`` (3,) are the box in body axes; None takes the rest model's own.
    """

    axes: tuple[str, str, str] = ("+x", "+z", "+y")
    low: tuple[float, float, float] | None = None
    size: tuple[float, float, float] | None = None

    def values(self, rest: Array) -> tuple[Array, Array]:
        """UDP coordinates (V, 3) float32 of rest vertices (V, 3), and the lengths (3,) of X, Y and Z in body units."""
        low = rest.min(axis=0) if self.low is None else np.array(self.low)
        size = rest.max(axis=0) - rest.min(axis=0) if self.size is None else np.array(self.size)
        share = (rest - low) / np.maximum(size, 1e-9)
        columns = []
        for axis in self.axes:
            column = share[:, _AXES[axis[-1]]]
            columns.append(1 - column if axis.startswith("-") else column)
        lengths = np.array([size[_AXES[axis[-1]]] for axis in self.axes])
        return np.clip(np.stack(columns, axis=1), 0, 1).astype(np.float32), lengths.astype(np.float64)


def sample_udp(body: SkinnedBody, fragments: Fragments, values: Array) -> Array:
    """X, Y, Z (H, W, 3) float32 of every sample; 0 where nothing is."""
    return interpolate(fragments, values[body.faces].astype(np.float64)).astype(np.float32)


def udp_frame(body: SkinnedBody, vertices: Array, camera: Camera, values: Array, samples: int = 3) -> Array:
    """One UDP map (H, W, 4) float32. ``values`` (V, 3) come from ``UdpConvention.values``.

    Of each pixel's samples the one nearest the middle that shows the body gives X, Y, Z; the share of them that does
    gives V.
    """
    part = window(vertices, camera)
    if part is None:
        return np.zeros((camera.height, camera.width, 4), np.float32)
    fragments = seen(body, vertices, part.camera, samples)
    xyz = sample_udp(body, fragments, values)
    h, w = part.camera.height, part.camera.width
    covered = fragments.covered.reshape(h, samples, w, samples).transpose(0, 2, 1, 3).reshape(h, w, -1)
    points = xyz.reshape(h, samples, w, samples, 3).transpose(0, 2, 1, 3, 4).reshape(h, w, samples * samples, 3)
    offset = np.arange(samples) - (samples - 1) / 2
    order = np.argsort(np.add.outer(offset**2, offset**2).ravel(), kind="stable")
    first = np.argmax(covered[..., order], axis=-1)
    chosen = np.take_along_axis(points[:, :, order], first[..., None, None], axis=2)[:, :, 0]
    visible = covered.mean(axis=-1, dtype=np.float32)
    made = np.dstack([np.where(visible[..., None] > 0, chosen, 0), visible]).astype(np.float32)
    return part.whole(made, camera.height, camera.width)


def preview(udp: Array) -> Array:
    """A UDP map as a picture: straight RGBA (H, W, 4) uint8 with X, Y, Z as red, green, blue."""
    return np.rint(udp * 255).clip(0, 255).astype(np.uint8)
