"""A texture for the face mesh: what the photo shows, else its mirror image, else a smooth fill."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

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
    place, normal = picture[known][:, :3], picture[known][:, 3:]
    length = np.linalg.norm(normal, axis=-1) * np.linalg.norm(place, axis=-1)
    facing = -(normal * place).sum(-1) / np.maximum(length, 1e-9)
    pixels = lens.project(place).astype(np.float32)
    inside = ((pixels >= 0) & (pixels <= np.array(photo.shape[1::-1]) - 1)).all(axis=1)
    x, y = (spread(pixels[:, i], known) for i in range(2))
    colours = cv2.remap(photo, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    towards = np.clip((facing - STEEP) / (FRONTAL - STEEP), 0, 1)
    seen = spread((_in_sight(camera, face.faces, place, lens) & inside).astype(np.float32), known)
    weight = spread((towards * towards * (3 - 2 * towards) * inside).astype(np.float32), known)
    if mask is not None:
        person = cv2.remap(mask, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        weight *= np.clip((person - UNSURE) / (SURE - UNSURE), 0, 1)
    paint, inner = _inside_paint(size)
    clear = cv2.GaussianBlur(cv2.erode(seen, np.ones((5, 5))), (0, 0), 2.5)
    surface = known & ~inner
    texture = _both_sides(colours, np.where(surface, weight * clear, 0).astype(np.float32), surface, size)
    skin = texture[known & ~inner].mean(axis=0)
    colourful = float(np.clip(np.ptp(skin) / COLOURFUL, 0, 1))  # a grey photo gets a grey mouth
    paint = paint * colourful + paint.mean(axis=-1, keepdims=True) * (1 - colourful)
    shown = seen[inner].mean() > LEAST_OPEN
    soft = cv2.GaussianBlur(np.where(inner, seen, 0).astype(np.float32), (0, 0), size / 500)[..., None] * shown
    texture = np.where(inner[..., None], colours * soft + paint * (1 - soft), texture)
    return fill(texture.astype(np.float32), known.astype(np.float32)).clip(0, 255).astype(np.uint8)


def spread(values: NDArray[np.floating], known: NDArray[np.bool_]) -> Floats:
    """Values of the known texels (N,) as a picture (S, S), 0 elsewhere."""
    picture = np.zeros(known.shape, np.float32)
    picture[known] = values
    return picture


def _in_sight(
    camera: NDArray[np.floating], faces: NDArray[np.integer], place: NDArray[np.floating], lens: FaceLens
) -> NDArray[np.bool_]:
    """Which of the places (N, 3) nothing hides."""
    pixels = camera[:, :2] / camera[:, 2:] * lens.focal + lens.centre
    low = pixels.min(axis=0)
    scale = SEEN_AT / max(float(np.ptp(pixels, axis=0).max()), 1e-6)
    window = np.array([[scale, 0, -low[0] * scale + 2], [0, scale, -low[1] * scale + 2], [0, 0, 1]]) @ lens.intrinsics
    side = SEEN_AT + 4
    depth = rasterize_mesh(camera, faces, np.eye(4), window, side, side).depth
    at = place[:, :2] / place[:, 2:] * (window[0, 0], window[1, 1]) + window[:2, 2]
    column, row = np.clip(np.rint(at), 0, side - 1).astype(int).T
    return place[:, 2] <= depth[row, column] + HIDDEN_BY


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


def _strands(texture: Floats, sure: Floats, scalp: Floats, skin: Floats, size: int) -> Floats:
    """Fine detail (S, S, 3) for hair that nothing shows: that of the hair in sight, reflected to and fro outwards.

    ``scalp`` and ``skin`` are the mean colours (3,) by which hair is told from a forehead.
    """
    distance, way, outline = _polar(size)
    hair, _ = _zones(size)
    coarse = softened(texture, size * STRAND)
    apart = float(np.linalg.norm(scalp - skin)) + 1
    to_scalp, to_skin = (np.linalg.norm(coarse - c, axis=-1) for c in (scalp, skin))
    # Along the line between the two colours: 1 on hair's side of its middle, 0 on skin's.
    like_hair = np.clip(0.5 + 2 * (to_skin - to_scalp) / apart, 0, 1) if apart > TOO_ALIKE else np.ones_like(to_skin)
    fine = (texture - coarse) * like_hair[..., None]
    seen = (sure > 0.5) & (hair > 0.5) & (like_hair > 0.6)
    inner, outer = np.full(WAYS, np.inf, np.float32), np.zeros(WAYS, np.float32)
    np.minimum.at(inner, way[seen], distance[seen])
    np.maximum.at(outer, way[seen], distance[seen])
    inner, outer = _calmed(np.where(np.isfinite(inner), inner, outline)), _calmed(outer) * 0.97
    band = (outer - inner)[way]
    travelled = np.mod(distance - inner[way], 2 * np.maximum(band, 1))
    reflected = inner[way] + np.where(travelled < band, travelled, 2 * band - travelled)
    y, x = np.mgrid[:size, :size].astype(np.float32) + 0.5 - size / 2
    ratio = reflected / np.maximum(distance, 1)
    at = [(c * ratio + size / 2 - 0.5).astype(np.float32) for c in (x, y)]
    detail = cv2.remap(fine, at[0], at[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    wide = np.clip(band / size / LEAST_BAND, 0, 1)  # too little in sight says nothing
    return detail * (hair * (1 - sure) * wide)[..., None]


def _both_sides(colours: Floats, weight: Floats, region: NDArray[np.bool_], size: int) -> Floats:
    """Blends what was seen with its mirror image, matched in coarse colour, and fills what neither shows."""
    mirrored, other = colours[:, ::-1], weight[:, ::-1]
    sigma = colours.shape[0] * LOW_DETAIL
    near, far = blurred(colours, weight, sigma), blurred(mirrored, other, sigma)
    # Where both are seen the ratio is known; it is carried on to where only one is.
    both = np.minimum(weight, other)
    ratio = np.clip((near + 8) / (far + 8), 0.6, 1.6)
    ratio = fill(ratio, both) if both.max() > 0.2 else np.ones_like(ratio)
    matched = mirrored * softened(ratio.astype(np.float32), sigma)
    borrowed = other * (1 - weight)
    total = weight + borrowed
    mixed = colours * weight[..., None] + matched * borrowed[..., None]
    mixed = mixed / np.maximum(total, 1e-6)[..., None]
    sure = np.where(region, np.minimum(total * 4, 1), 0)
    guess = np.where(_zones(size)[1], GUESS * (1 - sure), 0)
    means = _means(mixed.astype(np.float32), total, size)
    hair = _zones(size)[0][..., None]
    both = mixed * sure[..., None] + (means[0] * hair + means[1] * (1 - hair)) * guess[..., None]
    known = (sure + guess).astype(np.float32)
    filled = fill((both / np.maximum(known, 1e-6)[..., None]).astype(np.float32), known)
    return filled + _strands(filled, sure.astype(np.float32), means[0], means[2], size)


def softened(picture: Floats, sigma: float) -> Floats:
    """A picture (H, W) or (H, W, C) blurred widely, at a quarter of its size."""
    small = cv2.resize(picture, (picture.shape[1] // 4, picture.shape[0] // 4), interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma / 4), picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def blurred(colours: Floats, weight: Floats, sigma: float) -> Floats:
    """Mean colours round each texel, of what is seen."""
    small = 4
    shape = (colours.shape[1] // small, colours.shape[0] // small)
    w = cv2.GaussianBlur(cv2.resize(weight, shape, interpolation=cv2.INTER_AREA), (0, 0), sigma / small)
    weighted = cv2.resize(colours * weight[..., None], shape, interpolation=cv2.INTER_AREA)
    mean = cv2.GaussianBlur(weighted, (0, 0), sigma / small) / np.maximum(w, 1e-4)[..., None]
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
    c = cv2.resize(colours * weight[..., None], half, interpolation=cv2.INTER_AREA) / np.maximum(w, 1e-6)[..., None]
    coarse = fill(c.astype(np.float32), np.minimum(w * 2, 1))
    wide = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return (colours * weight[..., None] + wide * (1 - weight[..., None])).astype(np.float32)
