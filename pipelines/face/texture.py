"""A texture for the face mesh: what the photo shows, else its mirror image, else a smooth fill."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.face import texels
from pipelines.face.canonical import OVAL_RING, canonical_face
from pipelines.face.cranium import hairy
from pipelines.face.facemesh import FaceLens, HeadFit
from pipelines.face.teeth import paint as teeth_paint
from pipelines.render.raster import Fragments, interpolate, rasterize, rasterize_mesh
from pipelines.render.shading import vertex_normals

Floats = NDArray[np.float32]
SIZE = 1024
STEEP, FRONTAL = 0.24, 0.52  # cosine towards the camera from which texels count, and count in full
HIDDEN_BY = 0.004  # metres in front of a texel that hide it
UNSURE, SURE = 0.7, 0.97  # of the person's mask, from which a pixel counts, and counts in full
LOW_DETAIL = 0.03  # of the texture's side: how coarse the colours of the two sides are matched
GUESS = 0.006  # weight of the expected colour of what nothing shows: it wins where the seen is far away
LEAST_KNOWN = 2e-4  # share of the texture that must be seen of hair or neck to know their colour
WAYS = 360
STRAND, LEAST_BAND = 0.015, 0.04  # of the texture's side: how fine hair's detail is; how much of it must be in sight
TOO_ALIKE = 30.0  # colour distance of hair and skin below which they are not told apart
COLOURFUL = 20.0  # range of the channels of the mean skin from which a photo counts as one in colour
LEAST_OPEN = 0.02  # share of the mouth's inside in sight from which the photo paints it
SEEN_AT = 1000  # pixels of the depth picture that decides what is hidden
GUM, TONGUE, THROAT, TOOTH = (128, 58, 60), (150, 74, 74), (38, 14, 16), (206, 196, 180)


@lru_cache(maxsize=2)
def _layout(size: int) -> Fragments:
    """Triangle (S, S) and weights (S, S, 3) of every texel; -1 where no triangle lies."""
    face = canonical_face()
    corners = np.zeros((len(face.faces), 3, 3))
    corners[..., 0] = face.uv[face.faces][..., 0] * size - 0.5
    corners[..., 1] = (1 - face.uv[face.faces][..., 1]) * size - 0.5
    corners[..., 2] = 1.0
    found = rasterize(corners, size, size)
    return Fragments(found.triangle, found.barycentric.astype(np.float32), found.depth.astype(np.float32))


def _over_texels(values: NDArray[np.floating], size: int) -> Floats:
    """Values at the vertices (V, C) -> (S, S, C), 0 where no triangle lies."""
    return interpolate(_layout(size), values.astype(np.float32)[canonical_face().faces])


@lru_cache(maxsize=2)
def _inside_paint(size: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Colours for the mouth's inside where the photo does not show it, and which texels those are."""
    face = canonical_face()
    triangle = _layout(size).triangle
    corners = face.faces[triangle]
    inner = (triangle >= 0) & ((corners >= face.inner_start) & (corners < face.inner_stop)).all(axis=-1)
    layers, ring = len(face.cavity), len(face.mouth)
    depth = np.zeros(face.count)
    inside = np.arange(face.teeth_start - face.inner_start)
    depth[face.inner_start : face.teeth_start] = np.minimum(inside // ring, layers)
    at = _over_texels(depth[:, None], size)[..., 0]
    around = np.zeros(face.count)
    upper = np.isin(face.mouth, np.asarray(face.mouth)[np.argsort(face.uv[face.mouth][:, 1])[ring // 2 :]])
    sides = np.where(upper, 1.0, -1.0)
    around[face.inner_start : face.inner_start + layers * ring] = np.tile(sides, layers)
    top = _over_texels(around[:, None], size)[..., 0] > 0
    paint = np.zeros((size, size, 3), np.float32)
    t = np.clip(at / layers, 0, 1)[..., None]
    paint[:] = np.array(GUM) * (1 - t) + np.array(THROAT) * t
    low = np.array(TONGUE) * (1 - t**2) + np.array(THROAT) * t**2
    paint = np.where(top[..., None], paint, low)
    paint[at > 2.2] = THROAT
    teeth = (triangle >= 0) & ((corners >= face.teeth_start) & (corners < face.inner_stop)).all(axis=-1)
    paint = np.where(teeth[..., None], teeth_paint(size, TOOTH, GUM), paint)
    return cv2.GaussianBlur(paint, (0, 0), size / 700).clip(0, 255).astype(np.uint8), inner


def bake(
    photo: NDArray[np.uint8], fit: HeadFit, lens: FaceLens, size: int = SIZE, mask: Floats | None = None
) -> NDArray[np.uint8]:
    """The texture (S, S, 3) uint8 of one face in a photo (H, W, 3); ``mask`` (H, W) 0..1 says where the person is."""
    face = canonical_face()
    vertices = fit.vertices(face)
    camera = fit.in_camera(vertices)
    known = _layout(size).covered
    picture = _over_texels(np.concatenate([camera, vertex_normals(camera, face.faces)], axis=1), size)
    x, y, weight, seen = (np.empty((size, size), np.float32) for _ in range(4))
    view, depth = _close_up(camera, face.faces, lens)
    texels.look_up(picture, _layout(size).triangle, np.concatenate([lens.focal, lens.centre]), photo.shape[1::-1], view,
                   depth, HIDDEN_BY, STEEP, FRONTAL, x, y, weight, seen)  # fmt: skip
    colours = cv2.remap(photo, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    if mask is not None:
        person = cv2.remap(mask, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        weight *= np.clip((person - UNSURE) / (SURE - UNSURE), 0, 1)
    paint, inner = _inside_paint(size)
    clear = cv2.GaussianBlur(cv2.erode(seen, np.ones((5, 5))), (0, 0), 2.5)
    surface = known & ~inner
    texture = _both_sides(colours, np.where(surface, weight * clear, 0).astype(np.float32), surface, size)
    skin = surface.reshape(-1).astype(np.float32) @ texture.reshape(-1, 3) / surface.sum()
    colourful = float(np.clip(np.ptp(skin) / COLOURFUL, 0, 1))  # a grey photo gets a grey mouth
    rows, columns = (_about(np.flatnonzero(inner.any(axis=axis)), size) for axis in (1, 0))
    paint, inner, part = paint[rows, columns], inner[rows, columns], texture[rows, columns]
    paint = paint * colourful + paint.mean(axis=-1, keepdims=True) * (1 - colourful)
    seen = np.where(inner, seen[rows, columns], 0).astype(np.float32)
    shown = seen[inner].mean() > LEAST_OPEN
    soft = cv2.GaussianBlur(seen, (0, 0), size / 500)[..., None] * shown
    part[:] = np.where(inner[..., None], colours[rows, columns] * soft + paint * (1 - soft), part)
    return fill(texture, known.astype(np.float32)).clip(0, 255).astype(np.uint8)


def _about(places: NDArray[np.integer], size: int) -> slice:
    """From the first to the last of some places, with room for what is blurred."""
    room = size // 50
    return slice(max(0, int(places[0]) - room), int(places[-1]) + 1 + room)


def spread(values: NDArray[np.floating], known: NDArray[np.bool_]) -> Floats:
    """Values of the known texels (N,) as a picture (S, S), 0 elsewhere."""
    picture = np.zeros(known.shape, np.float32)
    picture[known] = values
    return picture


def _close_up(
    camera: NDArray[np.floating], faces: NDArray[np.integer], lens: FaceLens
) -> tuple[NDArray[np.float64], NDArray[np.floating]]:
    """A depth picture that the head fills, with its focal lengths and centre (4,)."""
    pixels = camera[:, :2] / camera[:, 2:] * lens.focal + lens.centre
    low = pixels.min(axis=0)
    scale = SEEN_AT / max(float(np.ptp(pixels, axis=0).max()), 1e-6)
    window = np.array([[scale, 0, -low[0] * scale + 2], [0, scale, -low[1] * scale + 2], [0, 0, 1]]) @ lens.intrinsics
    side = SEEN_AT + 4
    depth = rasterize_mesh(camera, faces, np.eye(4), window, side, side).depth
    return np.array([window[0, 0], window[1, 1], window[0, 2], window[1, 2]]), depth


@lru_cache(maxsize=2)
def _zones(size: int) -> tuple[Floats, NDArray[np.bool_]]:
    """How much each texel (S, S) lies where hair grows, and which belong to skull and neck."""
    face = canonical_face()
    triangle = _layout(size).triangle
    share = np.zeros(face.count)
    share[face.inner_stop :] = hairy(face.sheet.positions).ravel()
    corners = face.faces[triangle]
    behind = (triangle >= 0) & (corners >= face.inner_stop).any(axis=-1)
    return np.where(behind, _over_texels(share[:, None], size)[..., 0], 0).astype(np.float32), behind


def _means(colours: Floats, weight: Floats, size: int) -> tuple[Floats, Floats, Floats]:
    """Mean colours (3,) of the hair, the neck and the face."""
    hair, behind = _zones(size)
    everything = (weight + 1e-6).reshape(-1)

    def mean(share: Floats) -> Floats:
        w = (weight * share).reshape(-1)
        w = w if w.sum() > LEAST_KNOWN * size * size else everything
        return (w @ colours.reshape(-1, 3)) / w.sum()

    return mean(hair**3), mean(behind * (1 - hair)), mean(~behind)


@lru_cache(maxsize=2)
def _polar(size: int) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Distance of every texel (S, S) from the layout's middle in texels, its direction as one of ``WAYS``, and the
    distance of the face's outline in each of those (WAYS,)."""
    y, x = np.mgrid[:size, :size] + 0.5 - size / 2
    face = canonical_face()
    outline = (face.uv[list(OVAL_RING)] - 0.5) * size * (1, -1)
    around = np.arctan2(outline[:, 1], outline[:, 0])
    order = np.argsort(around)
    ways = (np.arange(WAYS) + 0.5) / WAYS * 2 * np.pi - np.pi
    inner = np.interp(ways, around[order], np.linalg.norm(outline, axis=1)[order], period=2 * np.pi)
    way = np.floor((np.arctan2(y, x) + np.pi) / (2 * np.pi) * WAYS).astype(int) % WAYS
    return np.hypot(x, y).astype(np.float32), way, inner.astype(np.float32)


def _calmed(around: Floats) -> Floats:
    """Values (WAYS,) round the layout, smoothed."""
    return cv2.blur(np.tile(around, 3)[None], (WAYS // 24, 1))[0, WAYS : 2 * WAYS]


def _with_strands(texture: Floats, sure: Floats, scalp: Floats, skin: Floats, size: int) -> Floats:
    """Gives hair that nothing shows the fine detail of the hair in sight, reflected to and fro outwards.

    ``scalp`` and ``skin`` are the mean colours (3,) by which hair is told from a forehead.
    """
    distance, way, outline = _polar(size)
    hair, _ = _zones(size)
    coarse = softened(texture, size * STRAND)
    apart = float(np.linalg.norm(scalp - skin)) + 1
    like_hair = np.empty((size, size), np.float32)
    fine = texels.hair_detail(texture, coarse, scalp, skin, apart, apart <= TOO_ALIKE, like_hair)
    seen = (sure > 0.5) & (hair > 0.5) & (like_hair > 0.6)
    inner, outer = np.full(WAYS, np.inf, np.float32), np.zeros(WAYS, np.float32)
    np.minimum.at(inner, way[seen], distance[seen])
    np.maximum.at(outer, way[seen], distance[seen])
    inner, outer = _calmed(np.where(np.isfinite(inner), inner, outline)), _calmed(outer) * np.float32(0.97)
    x, y = (np.empty((size, size), np.float32) for _ in range(2))
    texels.reflected(distance, way, inner, outer, x, y)
    detail = cv2.remap(fine, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    wide = np.clip((outer - inner) / size / LEAST_BAND, 0, 1)  # too little in sight says nothing
    return texels.add_detail(texture, detail, hair, sure, way, wide)


def _both_sides(colours: Floats, weight: Floats, region: NDArray[np.bool_], size: int) -> Floats:
    """Blends what was seen with its mirror image, matched in coarse colour, and fills what neither shows."""
    sigma = colours.shape[0] * LOW_DETAIL
    near = blurred(colours, weight, sigma)
    far = near[:, ::-1]
    # Where both are seen the ratio is known; it is carried on to where only one is.
    both = np.minimum(weight, weight[:, ::-1])
    ratio = np.clip((near + 8) / (far + 8), 0.6, 1.6)
    ratio = fill(ratio, both) if both.max() > 0.2 else np.ones_like(ratio)
    total = np.empty_like(weight)
    mixed = texels.with_mirrored(colours, weight, softened(ratio, sigma), total)
    scalp, neck, skin = _means(mixed, total, size)
    sure = np.where(region, np.minimum(total * 4, 1), 0)
    known = np.empty_like(sure)
    hair, behind = _zones(size)
    expected = texels.with_guess(mixed, sure, hair, behind, GUESS, scalp, neck, known)
    return _with_strands(fill(expected, known), sure, scalp, skin, size)


def softened(picture: Floats, sigma: float) -> Floats:
    """A picture (H, W) or (H, W, C) blurred widely, at a quarter of its size."""
    small = cv2.resize(picture, (picture.shape[1] // 4, picture.shape[0] // 4), interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma / 4), picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def blurred(colours: Floats, weight: Floats, sigma: float) -> Floats:
    """Mean colours round each texel, of what is seen."""
    small = 4
    shape = (colours.shape[1] // small, colours.shape[0] // small)
    w = cv2.GaussianBlur(cv2.resize(weight, shape, interpolation=cv2.INTER_AREA), (0, 0), sigma / small)
    shown = cv2.resize(texels.weighted(colours, weight), shape, interpolation=cv2.INTER_AREA)
    mean = texels.divided(cv2.GaussianBlur(shown, (0, 0), sigma / small), w, 1e-4)
    return cv2.resize(mean, colours.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def fill(colours: Floats, weight: Floats) -> Floats:
    """Colours (H, W, 3) where ``weight`` (H, W) is 1, smoothly carried on to where it is 0: pull, then push."""
    weight = weight.astype(np.float32)
    height, width = weight.shape
    if min(height, width) <= 2:
        total = max(float(weight.sum()), 1e-6)
        mean = (colours * weight[..., None]).sum(axis=(0, 1)) / total
        return np.broadcast_to(mean, colours.shape).astype(np.float32)
    half = (width // 2, height // 2)
    w = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    c = texels.divided(cv2.resize(texels.weighted(colours, weight), half, interpolation=cv2.INTER_AREA), w, 1e-6)
    coarse = fill(c, np.minimum(w * 2, 1))
    return texels.over(colours, weight, cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR))
