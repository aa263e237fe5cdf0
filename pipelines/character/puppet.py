"""A figure and a motion -> pictures: the puppet set up once, then posed and drawn frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from models.runtime.errors import InputError
from pipelines.character.figure import SMALLEST_SIDE, Figure, check_joints
from pipelines.character.options import PuppetOptions, ViewOptions
from pipelines.character.puppet_arap import Deformer
from pipelines.character.puppet_draw import draw
from pipelines.character.puppet_mesh import build_mesh
from pipelines.character.puppet_motion import PlanarMotion, lay_flat
from pipelines.character.puppet_parts import LAYERS, bones_of, take_apart
from pipelines.character.puppet_swing import Swing, looseness
from pipelines.export.motion import Motion

CHUNK = 12  # frames deformed together
MARGIN = 0.06  # of the picture left free on each side
CALM_SECONDS = 0.7  # over which a following camera is smoothed
_FINE = 1.25  # texture pixels per picture pixel: bilinear reading is soft, more would shimmer
_LARGEST_GAIN = 2.0  # drawings are not enlarged further
_ROUGH = 240  # pixels of height at which the motion is laid out to find the picture's frame


class Puppet:
    """One figure through one motion, in pictures of ``size`` (width, height).

    Raises:
        InputError: joints that cannot belong to the figure, or a figure too small to be moved.
    """

    def __init__(
        self,
        figure: Figure,
        motion: Motion,
        size: tuple[int, int],
        options: PuppetOptions | None = None,
        view: ViewOptions | None = None,
        still_place: bool = False,
    ) -> None:
        self.size, self.fps = size, motion.fps
        self._options, self._view = options or PuppetOptions(), view or ViewOptions()
        self._still = still_place
        check_joints(figure.joints, figure.rgba.shape)
        if figure.height < SMALLEST_SIDE:
            raise InputError(
                f"The figure is only {figure.height} pixels high; a puppet needs {SMALLEST_SIDE}, better some hundreds"
            )
        figure = _cropped(figure)
        scale, centres = self._framing(figure, motion)
        gain = min(scale * _FINE, _LARGEST_GAIN)
        self.figure = figure.scaled(gain)
        self.scale = scale / gain
        self._centres = centres * gain
        self.parts = take_apart(self.figure)
        self.mesh = build_mesh(self.parts, self.figure.height)
        self.motion: PlanarMotion = self._flat(motion, self.parts.bones)
        self._deform = Deformer(self.mesh, self.parts.bones)
        self._rest = np.stack([self.mesh.rest.real, self.mesh.rest.imag], 1)
        faces = [self.mesh.triangles[self.mesh.layer_of == layer] for layer in range(len(LAYERS))]
        self._faces = [(f, np.ascontiguousarray(f[::-1])) for f in faces]

    def __len__(self) -> int:
        return len(self.motion.pose)

    def _flat(self, motion: Motion, bones: tuple) -> PlanarMotion:
        options = self._options
        return lay_flat(
            motion,
            bones,
            arms=options.arms,
            legs=options.legs,
            foreshortening=options.foreshortening,
            follow_root=not self._still,
        )

    def _framing(self, figure: Figure, motion: Motion) -> tuple[float, NDArray[np.complex128]]:
        """Picture pixels per pixel of the drawing, and what lies in the picture's middle (T,), from the drawn root."""
        rough = figure.scaled(min(1.0, _ROUGH / figure.height))
        ratio = rough.height / figure.height
        inside = rough.rgba[..., 3] > 127
        depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)
        bones = bones_of(rough, inside, depth)
        flat = self._flat(motion, bones)
        points = np.concatenate([flat.pose.start, flat.ends(bones)], axis=1)
        places = np.concatenate([[b.start for b in bones], [b.end for b in bones]])
        x, y = np.rint(places).astype(int).T
        around = depth[y.clip(0, depth.shape[0] - 1), x.clip(0, depth.shape[1] - 1)] + 0.03 * rough.height
        way = flat.root
        centre = way.real.copy()
        if self._view.follow and len(way) > 1:
            centre = gaussian_filter1d(centre, CALM_SECONDS * self.fps, mode="nearest")
        else:
            centre[:] = 0.5 * ((points.real - around).min() + (points.real + around).max())
        top, bottom = (points.imag - around).min(), (points.imag + around).max()
        wide = (np.abs(points.real - centre[:, None]) + around).max()
        room = 1 - 2 * MARGIN
        scale = min(self.size[1] * room / (bottom - top), self.size[0] * room / (2 * wide)) * self._view.zoom
        return scale * ratio, (centre + 0.5j * (top + bottom)) / ratio

    def vertices(self) -> Iterator[tuple[int, NDArray[np.complex128]]]:
        """Chunks: the first frame's number and vertices (N, V) in pixels of the figure, its drawn root at 0."""
        swing = None
        if self._options.swing > 0:
            loose = looseness(self.mesh, self.parts)
            swing = Swing(loose, self.fps, self.figure.height, self._options.swing)
        for first in range(0, len(self), CHUNK):
            placed = self._deform(self.motion.pose[first : first + CHUNK])
            if swing is not None:
                placed = np.stack([swing(frame) for frame in placed])
            yield first, placed

    def picture(self, frame: int, placed: NDArray[np.complex128]) -> NDArray[np.uint8]:
        """One frame (H, W, 4) uint8 straight RGBA from its vertices (V,)."""
        width, height = self.size
        at = (placed - self._centres[frame]) * self.scale + complex((width - 1) / 2, (height - 1) / 2)
        order, folded = self.motion.order[frame], self.motion.folded[frame]
        faces = [self._faces[layer][int(folded[layer])] for layer in order]
        pages = np.repeat(order, [len(f) for f in faces]).astype(np.int8)
        points = np.stack([at.real, at.imag], 1)
        return draw(points, self._rest, np.concatenate(faces), self.parts.pages, pages, (height, width))

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """Chunks (N, H, W, 4) uint8 of straight RGBA; the next chunk is deformed while this one is drawn."""
        with ThreadPoolExecutor(2) as pool:
            for first, placed in self.vertices():
                numbers = range(first, first + len(placed))
                yield np.stack(list(pool.map(self.picture, numbers, placed)))


def _cropped(figure: Figure) -> Figure:
    """The figure without empty borders, some pixels kept."""
    seen = figure.rgba[..., 3] > 0
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    pad = 4
    rgba = figure.rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    rgba = np.pad(rgba, ((pad, pad), (pad, pad), (0, 0)))
    return Figure(rgba, figure.joints - (columns[0] - pad, rows[0] - pad))
