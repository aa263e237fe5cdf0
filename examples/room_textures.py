"""Textures of the example room, all made by code: (height, width, 3) uint8, decided by the given rng.

Nothing repeats exactly, so that a feature seen twice is the same place.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Texture = NDArray[np.uint8]
Colour = tuple[float, float, float]
Painter = Callable[[int, int, np.random.Generator], Texture]


def noise(
    height: int, width: int, rng: np.random.Generator, cell: float, octaves: int = 4, stretch: float = 1.0
) -> NDArray:
    """Smooth noise, mean 0, deviation 1; ``cell`` pixels is its coarsest grain, ``stretch`` makes it wider."""
    total = np.zeros((height, width), np.float32)
    weight = 1.0
    for octave in range(octaves):
        size = max(cell / 2**octave, 1.0)
        rows, columns = (int(np.ceil(n / s)) + 3 for n, s in ((height, size), (width, max(size * stretch, 1.0))))
        grid = rng.normal(size=(rows, columns)).astype(np.float32)
        fine = cv2.resize(grid, (max(width, columns), max(height, rows)), interpolation=cv2.INTER_CUBIC)
        total += weight * fine[:height, :width]
        weight *= 0.6
    return total / max(float(total.std()), 1e-6)


def finish(image: NDArray) -> Texture:
    """0..1 floating point to uint8."""
    return np.clip(np.asarray(image) * 255 + 0.5, 0, 255).astype(np.uint8)


def plain(colour: Colour, grain: float = 0.05, cell: float = 90) -> Painter:
    """A painted surface with blotches, speckle and a few scratches."""

    def paint(h: int, w: int, rng: np.random.Generator) -> Texture:
        tone = grain * noise(h, w, rng, cell, 6) + 0.5 * grain * rng.normal(size=(h, w))
        image = np.asarray(colour, np.float32) * (1 + tone[..., None])
        image = np.ascontiguousarray(image, np.float32)
        for _ in range(max(2, h * w // 9000)):
            x, y = rng.integers(0, w), rng.integers(0, h)
            angle, length = rng.uniform(0, np.pi), rng.uniform(2, 14)
            end = (int(x + length * np.cos(angle)), int(y + length * np.sin(angle)))
            shade = [float(c) for c in np.asarray(colour) * rng.uniform(0.55, 1.3)]
            cv2.line(image, (int(x), int(y)), end, shade, int(rng.integers(1, 3)), cv2.LINE_AA)
        return finish(image)

    return paint


def wood(colour: Colour, planks: int = 1) -> Painter:
    """Grain along x; ``planks`` boards side by side, each with its own tone, knots and joint."""

    def paint(h: int, w: int, rng: np.random.Generator) -> Texture:
        image = np.zeros((h, w, 3), np.float32)
        edges = np.linspace(0, h, planks + 1).astype(int)
        for top, bottom in pairwise(edges):
            cuts = [0, w] if planks == 1 else sorted({0, w, *rng.integers(w // 8, max(w, 9), 3).tolist()})
            for left, right in pairwise(cuts):
                board = _board(bottom - top, right - left, rng, colour)
                if planks > 1:
                    board[:2] *= 0.45
                    board[:, :2] *= 0.45
                image[top:bottom, left:right] = board
        return finish(image)

    return paint


def _board(h: int, w: int, rng: np.random.Generator, colour: Colour) -> NDArray:
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    warp = noise(h, w, rng, 60, 3, 6.0) * 5
    for _ in range(int(rng.integers(0, 3))):
        cx, cy, r = rng.uniform(0, w), rng.uniform(0, h), rng.uniform(4, 12)
        warp += 12 * np.exp(-(((x - cx) / (3 * r)) ** 2 + ((y - cy) / r) ** 2))
    rings = np.sin((y + warp) * rng.uniform(0.35, 0.7)) * 0.5 + np.sin((y + warp) * rng.uniform(1.1, 1.9)) * 0.3
    fibre = noise(h, w, rng, 5, 2, 14.0)
    tone = rng.uniform(0.75, 1.15) * (1 + 0.13 * rings + 0.1 * fibre + 0.06 * noise(h, w, rng, 80, 3))
    return np.asarray(colour, np.float32) * tone[..., None]


def bricks(h: int, w: int, rng: np.random.Generator) -> Texture:
    """Uneven courses of bricks, every one different."""
    mortar = 0.62 + 0.05 * noise(h, w, rng, 12, 3)
    image = np.repeat(mortar[..., None], 3, axis=2) * np.array([1, 0.97, 0.9], np.float32)
    y = 0
    while y < h:
        course = int(rng.integers(15, 20))
        x = -int(rng.integers(0, 45))
        while x < w:
            length = int(rng.integers(34, 60))
            tone = np.array([0.62, 0.32, 0.24]) * rng.uniform(0.65, 1.35) + rng.normal(0, 0.025, 3)
            x0, x1, y1 = max(x, 0), min(x + length - 3, w), min(y + course - 3, h)
            if x1 > x0 and y1 > y:
                image[y:y1, x0:x1] = tone * (1 + 0.16 * noise(y1 - y, x1 - x0, rng, 9, 3))[..., None]
            x += length
        y += course
    return finish(image)


def leaves(ground: Colour, tones: list[Colour], density: float = 1 / 900) -> Painter:
    """Wallpaper of scattered leaves on a mottled ground."""

    def paint(h: int, w: int, rng: np.random.Generator) -> Texture:
        image = np.ascontiguousarray(np.asarray(ground, np.float32) * (1 + 0.07 * noise(h, w, rng, 60, 6))[..., None])
        for _ in range(int(h * w * density)):
            centre = rng.uniform(0, [w, h])
            angle, length, fat = rng.uniform(0, 2 * np.pi), rng.uniform(9, 26), rng.uniform(0.22, 0.45)
            t = np.linspace(0, np.pi, 9)
            side = fat * np.sin(t) ** 1.3
            outline = np.concatenate([np.stack([-np.cos(t), side], 1), np.stack([np.cos(t), -side], 1)]) * length
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            tone = np.asarray(tones[int(rng.integers(len(tones)))]) * rng.uniform(0.75, 1.25)
            cv2.fillPoly(image, [np.round(outline @ turn.T + centre).astype(np.int32)], tone.tolist(), cv2.LINE_AA)
            tip = turn @ np.array([length, 0])
            a, b = (tuple(np.round(centre + s * tip).astype(int).tolist()) for s in (-1, 1))
            cv2.line(image, a, b, (tone * 0.6).tolist(), 1, cv2.LINE_AA)
        return finish(image * (1 + 0.03 * rng.normal(size=(h, w, 1))))

    return paint


def fabric(colour: Colour, accent: Colour) -> Painter:
    """Woven cloth with uneven stripes and blotches."""

    def paint(h: int, w: int, rng: np.random.Generator) -> Texture:
        stripes = np.cumsum(rng.normal(size=w))
        stripes = cv2.GaussianBlur(np.sign(np.sin(stripes))[None].astype(np.float32), (1, 5), 0)
        mix = np.clip(0.3 + 0.3 * stripes + 0.3 * noise(h, w, rng, 26, 4), 0, 1)[..., None]
        image = (1 - mix) * np.asarray(colour, np.float32) + mix * np.asarray(accent, np.float32)
        weave = 0.08 * rng.normal(size=(h, w)) + 0.06 * noise(h, w, rng, 4, 2)
        return finish(image * (1 + weave[..., None]))

    return paint


def rug(h: int, w: int, rng: np.random.Generator) -> Texture:
    """Borders and hand-made diamonds."""
    image = np.full((h, w, 3), (0.45, 0.12, 0.13), np.float32)
    for inset, tone in (
        (6, (0.8, 0.7, 0.5)),
        (16, (0.15, 0.2, 0.35)),
        (34, (0.72, 0.55, 0.3)),
        (42, (0.5, 0.14, 0.14)),
    ):
        cv2.rectangle(image, (inset, inset), (w - inset, h - inset), tone, -1)
    for _ in range(h * w // 700):
        cx, cy = rng.uniform(44, w - 44), rng.uniform(44, h - 44)
        rx, ry = rng.uniform(4, 20), rng.uniform(4, 20)
        tone = rng.choice(
            [(0.82, 0.72, 0.52), (0.16, 0.22, 0.4), (0.7, 0.4, 0.2), (0.3, 0.08, 0.1), (0.35, 0.45, 0.38)]
        )
        diamond = np.array([[cx - rx, cy], [cx, cy - ry], [cx + rx, cy], [cx, cy + ry]])
        cv2.fillPoly(image, [np.round(diamond).astype(np.int32)], (tone * rng.uniform(0.8, 1.2)).tolist(), cv2.LINE_AA)
    return finish(image * (1 + 0.1 * rng.normal(size=(h, w, 1)) + 0.06 * noise(h, w, rng, 20, 3)[..., None]))


def sheet(h: int, w: int, rng: np.random.Generator) -> Texture:
    """A printed page: headline, columns of word-like marks, a picture."""
    image = np.full((h, w, 3), (0.92, 0.9, 0.84), np.float32)
    ink = (0.08, 0.08, 0.1)
    cv2.rectangle(image, (w // 12, h // 16), (w - w // 12, h // 7), rng.uniform(0.1, 0.8, 3).tolist(), -1)
    _words(image, rng, w // 9, w - w // 9, h // 13, h // 8, max(6, h // 24), (0.95, 0.95, 0.92))
    split, middle = int(h * rng.uniform(0.42, 0.58)), w // 2
    picture = (w // 12, h // 6, w - w // 12, split)
    block = landscape(picture[3] - picture[1], picture[2] - picture[0], rng)
    image[picture[1] : picture[3], picture[0] : picture[2]] = block / 255.0
    size = max(3, h // 70)
    _words(image, rng, w // 12, middle - w // 40, split + h // 30, h - h // 16, size, ink)
    _words(image, rng, middle + w // 40, w - w // 12, split + h // 30, h - h // 16, size, ink)
    return finish(image + 0.015 * noise(h, w, rng, 40, 4)[..., None])


def _words(
    image: NDArray, rng: np.random.Generator, left: int, right: int, top: int, bottom: int, size: int, ink: Colour
) -> None:
    """Lines of strokes grouped like letters and words."""
    y = top
    while y + size < bottom:
        x = left
        stop = right if rng.uniform() > 0.2 else left + int((right - left) * rng.uniform(0.3, 0.9))
        while x < stop:
            for _ in range(int(rng.integers(2, 9))):
                a, b = rng.uniform(0, size, 2), rng.uniform(0, size, 2)
                ends = [(int(x + 0.6 * p[0]), int(y + p[1])) for p in (a, (a[0], b[1]), b)]
                if ends[-1][0] < stop:
                    cv2.polylines(image, [np.array(ends, np.int32)], False, ink, max(1, size // 6), cv2.LINE_AA)
                x += max(2, int(0.75 * size))
            x += size
        y += int(1.7 * size) + 1


def landscape(h: int, w: int, rng: np.random.Generator) -> Texture:
    """Sky, sun, ridges one behind the other, trees."""
    t = np.linspace(0, 1, h, dtype=np.float32)[:, None, None]
    top, low = rng.uniform([0.1, 0.2, 0.4], [0.4, 0.5, 0.8]), rng.uniform([0.7, 0.5, 0.3], [1, 0.8, 0.6])
    image = np.ascontiguousarray(np.broadcast_to((1 - t) * top + t * low, (h, w, 3)), np.float32)
    image += 0.07 * noise(h, w, rng, h / 4, 5, 3.0)[..., None]
    sun = (int(rng.uniform(0.15, 0.85) * w), int(rng.uniform(0.12, 0.4) * h))
    cv2.circle(image, sun, max(3, h // 11), (1.0, 0.93, 0.7), -1, cv2.LINE_AA)
    for layer in range(4):
        base = h * (0.42 + 0.15 * layer)
        ridge = base + h * 0.09 * noise(1, w, rng, w / 3, 6, 1.0)[0]
        tone = np.array([0.25, 0.33, 0.42]) * (1.35 - 0.3 * layer) * rng.uniform(0.75, 1.25, 3)
        mask = np.arange(h)[:, None] > ridge[None]
        ground = tone * (1 + 0.25 * noise(h, w, rng, 14, 5))[..., None]
        image = np.where(mask[..., None], ground, image)
        image = np.ascontiguousarray(image, np.float32)
        for _ in range(w // 8):
            x = int(rng.uniform(0, w - 1))
            y, size = int(ridge[x]), int(rng.uniform(0.02, 0.05) * h * (layer + 1) / 2) + 1
            crown = np.array([[x - size // 2, y + 2], [x, y - 2 * size], [x + size // 2, y + 2]], np.int32)
            cv2.fillPoly(image, [crown], (tone * rng.uniform(0.4, 0.8)).tolist(), cv2.LINE_AA)
    return finish(image)


def shapes(h: int, w: int, rng: np.random.Generator) -> Texture:
    """An abstract print of overlapping circles, bars and triangles."""
    image = np.ascontiguousarray(
        np.asarray(rng.uniform(0.75, 0.95, 3)) * (1 + 0.05 * noise(h, w, rng, 50, 5))[..., None], np.float32
    )
    palette = rng.uniform(0.05, 0.95, (6, 3))
    for _ in range(70):
        layer = image.copy()
        tone = (palette[rng.integers(6)] * rng.uniform(0.8, 1.2)).tolist()
        centre, size = rng.uniform(0, [w, h]), rng.uniform(0.02, 0.2) * w
        kind = rng.integers(3)
        if kind == 0:
            cv2.circle(
                layer, tuple(centre.astype(int).tolist()), int(size), tone, int(rng.choice([-1, 2, 5])), cv2.LINE_AA
            )
        else:
            angle = rng.uniform(0, np.pi) + np.arange(3 if kind == 1 else 4) * 2 * np.pi / (3 if kind == 1 else 4)
            ratio = np.array([1.0, rng.uniform(0.2, 1.0)])
            corners = centre + size * ratio * np.stack([np.cos(angle), np.sin(angle)], 1)
            cv2.fillPoly(layer, [np.round(corners).astype(np.int32)], tone, cv2.LINE_AA)
        image = cv2.addWeighted(image, 0.2, layer, 0.8, 0)
    return finish(image * (1 + 0.03 * rng.normal(size=(h, w, 1))))


def chart(h: int, w: int, rng: np.random.Generator) -> Texture:
    """A map: land and sea with contour lines, roads, places and labels."""
    relief = noise(h, w, rng, w / 3, 6)
    land = relief > -0.1
    green, sea = np.array([0.72, 0.78, 0.58]), np.array([0.55, 0.72, 0.82])
    image = np.where(land[..., None], green - 0.14 * np.clip(relief, 0, 2)[..., None] * np.array([0.2, 0.7, 0.9]), sea)
    levels = np.floor(relief * 4)
    lines = (levels != np.roll(levels, 1, 0)) | (levels != np.roll(levels, 1, 1))
    image[lines] = image[lines] * 0.62
    image = np.ascontiguousarray(image, np.float32)
    for _ in range(14):
        road = np.cumsum(rng.normal(0, w / 22, (18, 2)), axis=0) + rng.uniform(0, [w, h])
        cv2.polylines(image, [road.astype(np.int32)], False, (0.8, 0.3, 0.22), 2, cv2.LINE_AA)
    for _ in range(45):
        x, y = (int(v) for v in rng.uniform([4, 4], [max(w - 40, 5), max(h - 12, 5)]))
        cv2.circle(image, (x, y), int(rng.integers(2, 5)), (0.1, 0.1, 0.12), int(rng.choice([-1, 1])), cv2.LINE_AA)
        _words(image, rng, x + 6, x + int(rng.integers(22, 60)), y - 4, y + 6, 6, (0.1, 0.1, 0.12))
    cv2.rectangle(image, (0, 0), (w - 1, h - 1), (0.15, 0.15, 0.15), 5)
    return finish(image)


def mosaic(h: int, w: int, rng: np.random.Generator) -> Texture:
    """Irregular coloured stones with dark joints."""
    count = max(40, h * w // 500)
    seeds = rng.uniform(0, [w, h], (count, 2))
    y, x = np.mgrid[0:h, 0:w]
    distance, nearest = cKDTree(seeds).query(np.stack([x, y], -1).reshape(-1, 2), k=2)
    tones = np.clip(rng.uniform(0.1, 0.9, (count, 3)) * rng.uniform(0.6, 1.3, (count, 1)), 0, 1)
    image = tones[nearest[:, 0]].reshape(h, w, 3) * (1 + 0.08 * noise(h, w, rng, 8, 3))[..., None]
    joint = (distance[:, 1] - distance[:, 0]).reshape(h, w) < 1.6
    image[joint] = 0.12
    return finish(image)


def spine(h: int, w: int, rng: np.random.Generator) -> Texture:
    """A book's back, standing: bands, a title, wear."""
    tone = rng.uniform(0.08, 0.8, 3)
    image = np.ascontiguousarray(tone * (1 + 0.1 * noise(h, w, rng, 12, 4))[..., None], np.float32)
    light = np.clip(tone + rng.uniform(0.3, 0.6), 0, 1).tolist()
    for _ in range(int(rng.integers(1, 4))):
        y = int(rng.uniform(0.03, 0.95) * h)
        cv2.rectangle(image, (0, y), (w, y + int(rng.integers(1, 5))), light, -1)
    if h > 8 and w > 5:
        _words(
            image,
            rng,
            1,
            w - 1,
            int(h * rng.uniform(0.1, 0.3)),
            int(h * rng.uniform(0.5, 0.9)),
            max(3, w // 4),
            tuple(light),
        )
    return finish(image * (1 + 0.05 * rng.normal(size=(h, w, 1))))


def outdoors(h: int, w: int, rng: np.random.Generator) -> Texture:
    """What a window shows: a landscape behind bars."""
    image = 0.35 + 0.65 * landscape(h, w, rng).astype(np.float32) / 255
    bar = max(3, w // 40)
    for x in (0, w // 2 - bar // 2, w - bar):
        image[:, x : x + bar] = 0.82
    for y in (0, h // 2 - bar // 2, h - bar):
        image[y : y + bar] = 0.82
    return finish(image)
