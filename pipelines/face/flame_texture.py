"""A texture for an installed head, larger than DECA's own: what the whole photo shows, else its mirror image, else a
smooth fill."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pipelines.export.obj_read import ObjMesh
from pipelines.face.deca_network import Face, photo_points
from pipelines.face.texture import SURE, UNSURE, blurred, fill, spread
from pipelines.render.raster import rasterize

Floats = NDArray[np.float32]
Image = NDArray[np.uint8]
STEEP, FRONTAL = 0.2, 0.5  # cosine towards the camera from which texels count, and count in full
HIDDEN_BY = 0.004  # of the head's height in front of a texel that hide it
SEEN_AT = 800  # pixels of the depth picture that decides what is hidden
FAR_AWAY = 100.0  # heads: so far off that depth is as good as linear across it
ALIKE = 0.01  # of the texture's side, within which both halves of a layout mirror each other
LOW_DETAIL = 0.03  # of the texture's side: how coarse the colours of the two sides are matched


class FlamePainter:
    """Paints textures (S, S, 3) in the layout of one installed template."""

    def __init__(self, template: ObjMesh, size: int) -> None:
        self.template, self.size = template, size
        corners = np.ones((len(template.uv_faces), 3, 3))
        corners[..., 0] = template.uv[template.uv_faces][..., 0] * size - 0.5
        corners[..., 1] = (1 - template.uv[template.uv_faces][..., 1]) * size - 0.5
        drawn = rasterize(corners, size, size)
        self.known = drawn.covered
        self.corners = template.faces[drawn.triangle[self.known]]  # (N, 3)
        self.weights = drawn.barycentric[self.known][..., None]
        self.symmetric = _symmetric(template)

    def paint(self, photo: Image, face: Face, tform: NDArray[np.floating], mask: Floats | None = None) -> Image:
        """The texture of a face in a photo (H, W, 3); tform (3, 3) leads from its pixels to the crop, ``mask`` (H, W)
        in 0..1 says where the person is."""
        factor = 112.0 / float(np.hypot(tform[0, 0], tform[0, 1]))  # photo pixels per crop coordinate
        points = np.concatenate([photo_points(face.trans_verts, tform), face.trans_verts[:, 2:] * factor], axis=1)
        place = (points[self.corners] * self.weights).sum(axis=1)
        facing = (face.normals[self.corners][..., 2] * self.weights[..., 0]).sum(axis=1)
        pixels = place[:, :2].astype(np.float32)
        inside = ((pixels >= 0) & (pixels <= np.array(photo.shape[1::-1]) - 1)).all(axis=1)
        x, y = (spread(pixels[:, i], self.known) for i in range(2))
        colours = cv2.remap(photo, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
        towards = np.clip((facing - STEEP) / (FRONTAL - STEEP), 0, 1)
        seen = spread((self._in_sight(points, place) & inside).astype(np.float32), self.known)
        clear = cv2.GaussianBlur(cv2.erode(seen, np.ones((3, 3))), (0, 0), self.size / 500)
        weight = spread((towards * towards * (3 - 2 * towards)).astype(np.float32), self.known) * clear
        if mask is not None:
            person = cv2.remap(mask, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            weight = weight * np.clip((person - UNSURE) / (SURE - UNSURE), 0, 1)
        texture = self._both_sides(colours, weight.astype(np.float32))
        return texture.clip(0, 255).astype(np.uint8)

    def _in_sight(self, points: NDArray[np.floating], place: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Which of the places (N, 3) nothing hides."""
        low, high = points.min(axis=0), points.max(axis=0)
        span = max(float((high - low)[:2].max()), 1e-6)
        shift = np.array([*low[:2], low[2] - FAR_AWAY * span])
        scale = SEEN_AT / span
        depth = rasterize(((points - shift) * scale)[self.template.faces], SEEN_AT + 1, SEEN_AT + 1).depth
        at = (place - shift) * scale
        column, row = np.clip(np.rint(at[:, :2]), 0, SEEN_AT).astype(int).T
        return at[:, 2] <= depth[row, column] + HIDDEN_BY * SEEN_AT

    def _both_sides(self, colours: Floats, weight: Floats) -> Floats:
        """Blends what was seen with its mirror image, matched in coarse colour, and fills what neither shows."""
        if not self.symmetric:
            return fill(colours, np.minimum(weight * 4, 1))
        mirrored, other = colours[:, ::-1], weight[:, ::-1]
        sigma = self.size * LOW_DETAIL
        both = np.minimum(weight, other)
        ratio = np.clip((blurred(colours, weight, sigma) + 8) / (blurred(mirrored, other, sigma) + 8), 0.6, 1.6)
        ratio = fill(ratio, both) if both.max() > 0.2 else np.ones_like(ratio)
        borrowed = other * (1 - weight)
        total = weight + borrowed
        matched = mirrored * cv2.GaussianBlur(ratio.astype(np.float32), (0, 0), sigma)
        mixed = colours * weight[..., None] + matched * borrowed[..., None]
        mixed /= np.maximum(total, 1e-6)[..., None]
        return fill(mixed.astype(np.float32), np.minimum(total * 4, 1).astype(np.float32))


def _symmetric(template: ObjMesh) -> bool:
    """Whether the layout's left half is the right one mirrored, told by where mirrored vertices lie in it."""
    at = np.zeros((len(template.vertices), 2))
    at[template.faces.ravel()] = template.uv[template.uv_faces.ravel()]
    middle = (template.vertices.min(axis=0) + template.vertices.max(axis=0)) / 2
    _, other = cKDTree(template.vertices).query((template.vertices - middle) * (-1, 1, 1) + middle)
    off = np.abs(at[other] - np.stack([1 - at[:, 0], at[:, 1]], axis=1)).max(axis=1)
    return bool(np.median(off) < ALIKE)
