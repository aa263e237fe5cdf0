"""The arithmetic of texture baking that runs over every texel, compiled: in numpy its temporaries cost more than it.

Pictures are (S, S) or (S, S, C) float32. Functions that fill their last arguments say so.
"""

from __future__ import annotations

import numba
import numpy as np

_compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=True)


@_compiled
def look_up(picture, triangle, lens, photo, view, depth, slack, steep, frontal, x, y, weight, seen):
    """Where the photo shows every texel, how much it counts there, and whether anything hides it.

    picture (S, S, 6) holds place and normal in camera axes, triangle (S, S) is -1 where no surface lies. lens (4,) and
    view (4,) are focal lengths and centre of the photo (width, height) and of the ``depth`` picture; a texel more than
    ``slack`` behind that is hidden. Weights rise from the cosine ``steep`` to ``frontal``. Fills x, y, weight, seen.
    """
    for i in range(triangle.shape[0]):
        for j in range(triangle.shape[1]):
            x[i, j] = y[i, j] = weight[i, j] = seen[i, j] = 0
            if triangle[i, j] < 0:
                continue
            px, py, pz = picture[i, j, 0], picture[i, j, 1], picture[i, j, 2]
            nx, ny, nz = picture[i, j, 3], picture[i, j, 4], picture[i, j, 5]
            u, v = px / pz * lens[0] + lens[2], py / pz * lens[1] + lens[3]
            x[i, j], y[i, j] = u, v
            if not (0 <= u <= photo[0] - 1 and 0 <= v <= photo[1] - 1):
                continue
            size = np.sqrt((px * px + py * py + pz * pz) * (nx * nx + ny * ny + nz * nz))
            facing = -(px * nx + py * ny + pz * nz) / max(size, 1e-9)
            towards = min(max((facing - steep) / (frontal - steep), 0.0), 1.0)
            weight[i, j] = towards * towards * (3 - 2 * towards)
            column = min(max(int(np.rint(px / pz * view[0] + view[2])), 0), depth.shape[1] - 1)
            row = min(max(int(np.rint(py / pz * view[1] + view[3])), 0), depth.shape[0] - 1)
            seen[i, j] = pz <= depth[row, column] + slack


@_compiled
def weighted(colours, weight):
    """Colours (H, W, 3) times weights (H, W)."""
    out = np.empty_like(colours)
    for i in range(colours.shape[0]):
        for j in range(colours.shape[1]):
            for c in range(3):
                out[i, j, c] = colours[i, j, c] * weight[i, j]
    return out


@_compiled
def divided(colours, weight, least):
    """Colours (H, W, 3) over weights (H, W) of at least ``least``; filled in place."""
    for i in range(colours.shape[0]):
        for j in range(colours.shape[1]):
            share = np.float32(1) / max(weight[i, j], np.float32(least))
            for c in range(3):
                colours[i, j, c] *= share
    return colours


@_compiled
def over(colours, weight, ground):
    """Colours (H, W, 3) laid over ``ground`` (H, W, 3), which is filled, with opacities (H, W)."""
    for i in range(colours.shape[0]):
        for j in range(colours.shape[1]):
            w = weight[i, j]
            for c in range(3):
                ground[i, j, c] = colours[i, j, c] * w + ground[i, j, c] * (1 - w)
    return ground


@_compiled
def with_mirrored(colours, weight, ratio, total):
    """What was seen (S, S, 3), completed by its mirror image times ``ratio`` (S, S, 3). Fills ``total`` weights."""
    out = np.empty_like(colours)
    last = colours.shape[1] - 1
    for i in range(colours.shape[0]):
        for j in range(colours.shape[1]):
            w = weight[i, j]
            borrowed = weight[i, last - j] * (1 - w)
            total[i, j] = w + borrowed
            share = np.float32(1) / max(w + borrowed, np.float32(1e-6))
            for c in range(3):
                mirrored = colours[i, last - j, c] * ratio[i, j, c]
                out[i, j, c] = (colours[i, j, c] * w + mirrored * borrowed) * share
    return out


@_compiled
def with_guess(colours, sure, hair, behind, guess, scalp, neck, known):
    """Colours (S, S, 3) as sure as ``sure`` (S, S), with hair or skin expected where skull and neck are not seen.

    ``guess`` is the weight of what is expected, ``hair`` (S, S) tells where it grows. Changes the colours, fills known.
    """
    for i in range(colours.shape[0]):
        for j in range(colours.shape[1]):
            s, h = sure[i, j], hair[i, j]
            g = np.float32(guess) * (1 - s) if behind[i, j] else np.float32(0)
            known[i, j] = s + g
            share = np.float32(1) / max(s + g, np.float32(1e-6))
            for c in range(3):
                expected = scalp[c] * h + neck[c] * (1 - h)
                colours[i, j, c] = (colours[i, j, c] * s + expected * g) * share
    return colours


@_compiled
def hair_detail(texture, coarse, scalp, skin, apart, alike, like_hair):
    """Detail (S, S, 3) of what looks like hair. Fills how much each texel does: along the line between the mean colours
    of scalp and skin, which lie ``apart``, 1 on hair's side of its middle, 0 on skin's; 1 everywhere if ``alike``."""
    out = np.empty_like(texture)
    for i in range(texture.shape[0]):
        for j in range(texture.shape[1]):
            to_scalp, to_skin = np.float32(0), np.float32(0)
            for c in range(3):
                to_scalp += (coarse[i, j, c] - scalp[c]) ** 2
                to_skin += (coarse[i, j, c] - skin[c]) ** 2
            share = np.float32(0.5) + np.float32(2) * (np.sqrt(to_skin) - np.sqrt(to_scalp)) / np.float32(apart)
            share = np.float32(1) if alike else min(max(share, np.float32(0)), np.float32(1))
            like_hair[i, j] = share
            for c in range(3):
                out[i, j, c] = (texture[i, j, c] - coarse[i, j, c]) * share
    return out


@_compiled
def reflected(distance, way, inner, outer, x, y):
    """Places from which every texel takes detail: on its ray from the middle, to and fro between ``inner`` and
    ``outer`` (W,), the ends of what is in sight in each direction. distance (S, S) from the middle, way (S, S) the
    ray's number. Fills x and y (S, S)."""
    size = distance.shape[0]
    middle = np.float32(size / 2)
    for i in range(size):
        for j in range(size):
            k = way[i, j]
            near, band = inner[k], outer[k] - inner[k]
            period = np.float32(2) * max(band, np.float32(1))
            beyond = distance[i, j] - near
            travelled = beyond - np.floor(beyond / period) * period
            place = near + (travelled if travelled < band else 2 * band - travelled)
            ratio = place / max(distance[i, j], np.float32(1))
            x[i, j] = (np.float32(j) + np.float32(0.5) - middle) * ratio + middle - np.float32(0.5)
            y[i, j] = (np.float32(i) + np.float32(0.5) - middle) * ratio + middle - np.float32(0.5)


@_compiled
def add_detail(texture, detail, hair, sure, way, wide):
    """Adds detail (S, S, 3) where hair (S, S) grows and nothing is seen, as much as ``wide`` (W,) allows per ray."""
    for i in range(texture.shape[0]):
        for j in range(texture.shape[1]):
            share = hair[i, j] * (1 - sure[i, j]) * wide[way[i, j]]
            for c in range(3):
                texture[i, j, c] += detail[i, j, c] * share
    return texture
