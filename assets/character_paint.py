"""Pip's colours: a function of the place on the body, so that they are as fine as the texture they are baked into."""

from __future__ import annotations

import numpy as np

Array = np.ndarray
SKIN, BLUSH, LINE = (255, 226, 204), (246, 150, 140), (92, 52, 58)
HAIR, HAIR_DARK, HAIR_LIGHT, HAIR_TIP = (236, 122, 92), (186, 74, 74), (255, 190, 140), (250, 170, 120)
TIE, TIE_DOT = (66, 170, 176), (250, 246, 230)
JUMPER, STRIPE, STRIPE2, STAR = (250, 244, 228), (70, 150, 172), (240, 190, 92), (244, 122, 96)
SHORTS, DOT = (58, 72, 116), (232, 206, 140)
SOCK, SOCK2 = (252, 250, 244), (226, 104, 96)
SHOE, SOLE, LACE = (232, 92, 88), (250, 248, 240), (255, 255, 255)
WHITE, IRIS_TOP, IRIS_LOW, PUPIL = (255, 255, 255), (30, 74, 100), (96, 206, 198), (20, 38, 58)
SOFT = 0.0011  # half the width in metres over which edges are smoothed
EYE = (0.0735, 0.948)  # x, y of the middle of the left eye


def _mix(colors: Array, color: tuple[int, int, int] | Array, share: Array) -> None:
    share = np.clip(share, 0, 1)[:, None]
    colors[:] = colors * (1 - share) + np.asarray(color, float) * share


def _in(depth: Array, soft: float = SOFT) -> Array:
    """Share covered where ``depth`` metres lie inside an edge."""
    return np.clip(0.5 + depth / (2 * soft), 0, 1)


def _wave(x: Array, seed: int) -> Array:
    """Smooth noise of one variable in -1..1."""
    rng = np.random.default_rng(seed)
    out = np.zeros_like(x)
    for k in range(5):
        out += (
            rng.uniform(0.4, 1.0)
            * np.sin(x * rng.uniform(0.6, 1.4) * 2**k * 0.5 + rng.uniform(0, 6.28))
            / 2 ** (0.4 * k)
        )
    return out / 2.4


def paint(points: Array, group: Array, ambient: Array, normals: Array) -> Array:
    """Colours (N, 3) uint8 of surface points (N, 3) of the groups they belong to.

    ambient (N,): how open the surface lies, 0..1; normals (N, 3).
    """
    colors = np.tile(np.array(SKIN, float), (len(points), 1))
    for name, brush in _BRUSHES.items():
        mask = np.array([g.split("_")[-1] == name for g in np.unique(group)])
        chosen = np.isin(group, np.unique(group)[mask])
        if chosen.any():
            part = colors[chosen]
            brush(part, points[chosen], normals[chosen])
            colors[chosen] = part
    warm = np.array([0.62, 0.50, 0.56])  # shadows keep some red, as painters do
    light = np.clip(0.25 + 0.75 * ambient, 0, 1) * (0.93 + 0.07 * normals[:, 1])
    colors *= warm + (1 - warm) * np.clip(light, 0, 1)[:, None] ** 0.8
    return colors.clip(0, 255).astype(np.uint8)


def _hair(colors: Array, p: Array, n: Array) -> None:
    x, y, z = p.T
    angle = np.arctan2(x, z + 0.02)
    colors[:] = HAIR
    strand = _wave(angle * 16 + 2.2 * np.sin(y * 9), 5)
    _mix(colors, HAIR_DARK, 0.75 * np.clip(strand - 0.18, 0, 1) * 1.5)
    _mix(colors, HAIR_LIGHT, 0.55 * np.clip(-strand - 0.25, 0, 1) * 1.6)
    ring = np.exp(-(((y - 1.098 - 0.012 * np.sin(angle * 13)) / 0.020) ** 2)) * np.clip(1.2 - np.abs(angle) / 1.5, 0, 1)
    _mix(colors, (255, 222, 190), 0.85 * ring)
    _mix(colors, HAIR_TIP, 0.5 * np.clip((0.97 - y) / 0.15, 0, 1))


def _bunch(colors: Array, p: Array, n: Array) -> None:
    x, y, z = p.T
    colors[:] = HAIR
    middle = np.interp(y, [0.815, 0.865, 0.935, 1.02, 1.09], [0.352, 0.33, 0.352, 0.338, 0.278])
    around = np.arctan2(z + 0.08, np.abs(x) - middle)
    strand = _wave(around * 6 + 10 * (1.1 - y), 9)
    _mix(colors, HAIR_DARK, 0.7 * np.clip(strand - 0.12, 0, 1) * 1.6)
    _mix(colors, HAIR_LIGHT, 0.6 * np.clip(-strand - 0.2, 0, 1) * 1.6)
    shine = np.exp(-(((y - 1.035 - 0.02 * np.sin(around * 3)) / 0.03) ** 2))
    _mix(colors, (255, 222, 190), 0.55 * shine)
    _mix(colors, HAIR_TIP, np.clip((0.93 - y) / 0.12, 0, 1))


def _tie(colors: Array, p: Array, n: Array) -> None:
    colors[:] = TIE
    around = np.arctan2(p[:, 2] + 0.052, p[:, 1] - 1.088)
    _mix(colors, TIE_DOT, _in(0.30 - np.abs(((around * 8 / (2 * np.pi)) % 1) - 0.5), 0.05) * (np.abs(p[:, 0]) > 0.207))


def _ellipse(p: Array, x: float, y: float, a: float, b: float) -> Array:
    """Roughly the depth in metres inside an ellipse of the front view."""
    r = np.sqrt(((p[:, 0] - x) / a) ** 2 + ((p[:, 1] - y) / b) ** 2)
    return (1 - r) * min(a, b)


def _head(colors: Array, p: Array, n: Array) -> None:
    x, y, z = p.T
    front = z > 0.05
    for s in (1, -1):
        cheek = np.exp(-(((x - s * 0.108) / 0.030) ** 2) - ((y - 0.897) / 0.017) ** 2) * front
        _mix(colors, BLUSH, 0.55 * cheek)
        for k in (-1, 0, 1):  # three small strokes on each cheek
            stroke = 0.0012 - np.abs((x - s * (0.108 + k * 0.011)) - 0.35 * (y - 0.897))
            _mix(colors, (226, 104, 104), 0.6 * _in(stroke) * _in(0.007 - np.abs(y - 0.897)) * front)
        _eye(colors, p, s, front)
        inner = np.exp(-(((np.abs(x) - 0.19) / 0.02) ** 2) - ((y - 0.948) / 0.018) ** 2) * (~front) * (np.abs(x) > 0.17)
        _mix(colors, BLUSH, 0.5 * inner)
    _mix(colors, (238, 150, 130), 0.55 * _in(_ellipse(p, 0, 0.9195, 0.0075, 0.0050), 0.003) * front)
    _mouth(colors, p, front)


def _eye(colors: Array, p: Array, s: int, front: Array) -> None:
    x, y = (p[:, 0] - s * EYE[0]) * s, p[:, 1] - EYE[1]  # x grows outwards
    q = np.stack([x, y], axis=1)
    white = np.minimum(_ellipse(q, 0, 0, 0.0375, 0.047), 0.040 - y - 0.16 * x)
    _mix(colors, WHITE, _in(white) * front)
    iris = np.minimum(_ellipse(q, -0.002, -0.003, 0.0275, 0.0405), white)
    depth = np.clip((y + 0.04) / 0.075, 0, 1)[:, None]
    tone = np.array(IRIS_LOW, float) * (1 - depth) + np.array(IRIS_TOP, float) * depth
    _mix(
        colors, np.array(LINE, float) * 0.6, _in(np.minimum(_ellipse(q, -0.002, -0.003, 0.0292, 0.0422), white)) * front
    )
    share = (_in(iris) * front)[:, None]
    colors[:] = colors * (1 - share) + tone * share
    _mix(colors, PUPIL, _in(np.minimum(_ellipse(q, -0.002, 0.0, 0.0135, 0.0215), iris)) * front)
    glow = np.exp(-(((x + 0.002) / 0.014) ** 2) - ((y + 0.027) / 0.008) ** 2)
    _mix(colors, (190, 255, 240), 0.75 * glow * _in(iris) * front)
    # The light comes from one side for both eyes.
    _mix(colors, WHITE, _in(_ellipse(p, s * EYE[0] - 0.011, EYE[1] + 0.0175, 0.0092, 0.0105)) * front)
    _mix(colors, WHITE, _in(_ellipse(p, s * EYE[0] + 0.0105, EYE[1] - 0.0185, 0.0048, 0.0055)) * front)
    lid = np.sqrt(np.clip(1 - (x / 0.040) ** 2, 0, 1)) * 0.046
    top = np.minimum(lid, 0.040 - 0.16 * x)
    thick = 0.0042 + 0.0032 * np.clip((x + 0.03) / 0.07, 0, 1)
    lash = thick - np.abs(y - top)
    _mix(colors, LINE, _in(np.minimum(lash, 0.0405 - np.abs(x))) * front)
    wing = 0.0030 - np.abs(y - 0.020 - 0.55 * (x - 0.036)) * 0.85
    _mix(colors, LINE, _in(np.minimum(wing, 0.0085 - np.abs(x - 0.0405))) * front)
    low = 0.0011 - np.abs(y + lid)
    _mix(colors, LINE, 0.8 * _in(np.minimum(low, 0.022 - np.abs(x - 0.006))) * front)
    brow_y = 0.0665 - 5.2 * (x - 0.004) ** 2
    brow = 0.0034 - 0.02 * np.abs(x) - np.abs(y - brow_y)
    _mix(colors, HAIR_DARK, _in(np.minimum(brow, 0.029 - np.abs(x - 0.002))) * front)


def _mouth(colors: Array, p: Array, front: Array) -> None:
    x, y = p[:, 0], p[:, 1]
    top = 0.8855 + 4.5 * x**2
    bottom = 0.8655 + 22 * x**2
    inside = np.minimum(top - y, y - bottom)
    _mix(colors, LINE, _in(inside + 0.0022) * front)
    _mix(colors, (196, 66, 76), _in(inside) * front)
    tongue = np.minimum(_ellipse(p, 0, 0.8655, 0.017, 0.0095), inside)
    _mix(colors, (250, 150, 146), _in(tongue) * front)
    _mix(colors, WHITE, _in(np.minimum(np.minimum(0.0042 - (top - y), inside), 0.018 - np.abs(x))) * front)


def _trunk(colors: Array, p: Array, n: Array) -> None:
    x, y, z = p.T
    colors[:] = JUMPER
    band = (y - 0.47) % 0.058
    _mix(colors, STRIPE, _in(np.minimum(band - 0.006, 0.027 - band)) * (y < 0.712))
    _mix(colors, STRIPE2, _in(np.minimum(band - 0.0325, 0.0385 - band)) * (y < 0.70))
    knit = np.sin(np.arctan2(x, z) * 46) * np.sin(y * 520)
    _mix(colors, (150, 130, 120), 0.07 * np.clip(knit, 0, 1))
    for s in (1, -1):  # the hood's cords
        cord = np.minimum(0.0042 - np.abs(x - s * (0.030 + 0.10 * (0.74 - y))), np.minimum(0.74 - y, y - 0.655))
        _mix(colors, LINE, 0.5 * _in(cord + 0.0016) * (z > 0))
        _mix(colors, (255, 252, 240), _in(cord) * (z > 0))
        _mix(colors, STAR, _in(np.minimum(cord, 0.672 - y)) * (z > 0))
    patch = _ellipse(p, 0, 0.592, 0.052, 0.052)
    _mix(colors, JUMPER, _in(patch) * (z > 0))
    _mix(colors, STRIPE, _in(0.0022 - np.abs(patch - 0.0030)) * (z > 0))
    _mix(colors, STAR, _in(_star(x, y - 0.590, 0.036)) * (z > 0))
    rib = np.clip(np.sin(np.arctan2(x, z) * 30), 0, 1)
    hem = _in(0.468 - y)
    _mix(colors, STRIPE, hem)
    _mix(colors, (40, 104, 128), 0.55 * hem * rib)


def _star(x: Array, y: Array, radius: float) -> Array:
    """Depth in metres inside a five-pointed star with rounded points."""
    turn = 2 * np.pi / 5
    angle = (np.arctan2(x, y) + turn / 2) % turn - turn / 2
    r = np.hypot(x, y)
    px, py = r * np.sin(np.abs(angle)), r * np.cos(angle)
    inner = 0.5 * radius
    a, b = np.array([0.0, radius]), np.array([inner * np.sin(turn / 2), inner * np.cos(turn / 2)])
    outward = np.array([b[1] - a[1], a[0] - b[0]])
    outward *= np.sign(outward @ a) / np.hypot(*outward)
    return (a[0] - px) * outward[0] + (a[1] - py) * outward[1] + 0.001


def _hood(colors: Array, p: Array, n: Array) -> None:
    colors[:] = STRIPE
    _mix(colors, (40, 104, 128), 0.12 * np.clip(np.sin(p[:, 0] * 420) * np.sin(p[:, 1] * 420), 0, 1))
    _mix(colors, STRIPE2, _in(0.003 - np.abs(p[:, 2] - 0.052)))


def _shorts(colors: Array, p: Array, n: Array) -> None:
    x, y, z = p.T
    colors[:] = SHORTS
    step = 0.034
    u = np.arctan2(x - np.sign(x) * 0.062, z) * 0.076 / step
    v = (y - 0.25) / step
    shift = np.floor(v) % 2 * 0.5
    du, dv = (u + shift) % 1 - 0.5, v % 1 - 0.5
    _mix(colors, DOT, _in((0.24 - np.hypot(du, dv)) * step))
    _mix(colors, DOT, _in(np.minimum(0.274 - y, y - 0.268)))
    _mix(colors, (40, 52, 92), _in(0.0022 - np.abs(y - 0.279)))


def _leg(colors: Array, p: Array, n: Array) -> None:
    y = p[:, 1]
    knee = np.exp(-(((y - 0.218) / 0.02) ** 2)) * (p[:, 2] > 0.02)
    _mix(colors, BLUSH, 0.35 * knee)
    sock = _in(0.178 - y)
    _mix(colors, SOCK, sock)
    band = (y - 0.012) % 0.030
    _mix(colors, SOCK2, _in(np.minimum(band, 0.0135 - band)) * sock * (y < 0.168))


def _shoe(colors: Array, p: Array, n: Array) -> None:
    x, y, z = p.T
    out = np.abs(x)
    colors[:] = SHOE
    _mix(colors, SOLE, _in(0.0235 - y))
    _mix(colors, (150, 60, 64), _in(0.0013 - np.abs(y - 0.0265)))
    _mix(colors, SOLE, _in(z - 0.083) * (y > 0.024))
    _mix(colors, (150, 60, 64), _in(0.0011 - np.abs(z - 0.0815)) * (y > 0.027))
    middle = np.abs(out - 0.0745)
    for k in range(3):
        lace = 0.0032 - np.abs(z - 0.036 - 0.016 * k)
        _mix(colors, LACE, _in(np.minimum(lace, 0.024 - middle)) * (y > 0.05))
    _mix(colors, SOLE, _in(y - 0.098))
    _mix(colors, STRIPE2, _in(_side_star(p)) * (n[:, 0] * np.sign(x) > 0.3))


def _side_star(p: Array) -> Array:
    return _star(p[:, 2] - 0.005, p[:, 1] - 0.055, 0.020)


def _arm(colors: Array, p: Array, n: Array) -> None:
    x = np.abs(p[:, 0])
    colors[:] = JUMPER
    band = (x - 0.128) % 0.058
    _mix(colors, STRIPE, _in(np.minimum(band - 0.006, 0.027 - band)) * (x > 0.128))
    _mix(colors, STRIPE2, _in(np.minimum(band - 0.0325, 0.0385 - band)) * (x > 0.128))
    knit = np.sin(np.arctan2(p[:, 1] - 0.725, p[:, 2]) * 22) * np.sin(x * 520)
    _mix(colors, (150, 130, 120), 0.07 * np.clip(knit, 0, 1))


def _cuff(colors: Array, p: Array, n: Array) -> None:
    colors[:] = STRIPE
    rib = np.clip(np.sin(np.arctan2(p[:, 1] - 0.725, p[:, 2]) * 18), 0, 1)
    _mix(colors, (40, 104, 128), 0.55 * rib)


def _hand(colors: Array, p: Array, n: Array) -> None:
    x = np.abs(p[:, 0])
    _mix(colors, BLUSH, 0.30 * np.clip((x - 0.385) / 0.03, 0, 1))


_BRUSHES = {
    "hair": _hair, "bunch": _bunch, "tie": _tie, "head": _head, "trunk": _trunk, "hood": _hood,
    "shorts": _shorts, "leg": _leg, "shoe": _shoe, "arm": _arm, "cuff": _cuff, "hand": _hand,
}  # fmt: skip
