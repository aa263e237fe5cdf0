"""Drawing the puppet: textured triangles laid over each other from back to front, with premultiplied colours."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray


def draw(
    vertices: NDArray[np.floating],
    rest: NDArray[np.floating],
    triangles: NDArray[np.int32],
    pages: NDArray[np.float32],
    page_of: NDArray[np.int8],
    size: tuple[int, int],
) -> NDArray[np.uint8]:
    """One picture (H, W, 4) uint8 RGBA, straight alpha.

    vertices (V, 2) in pixels of the picture, rest (V, 2) in pixels of the pages, triangles (F, 3) from back to front,
    pages (L, H, W, 4) with premultiplied colours in 0..1, page_of (F,).
    """
    canvas = np.zeros((*size, 4), np.float32)
    _fill(canvas, vertices.astype(np.float64), rest.astype(np.float64), triangles, pages, page_of)
    picture = np.empty((*size, 4), np.uint8)
    _straighten(canvas, picture)
    return picture


@numba.njit(cache=True, fastmath=True, nogil=True)
def _fill(canvas, vertices, rest, triangles, pages, page_of):  # pragma: no cover - compiled
    """Scan conversion: pixel centres by half-open spans, so that neighbours neither overlap nor leave gaps."""
    height, width = canvas.shape[:2]
    rows, columns = pages.shape[1], pages.shape[2]
    for f in range(triangles.shape[0]):
        a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        ax, ay, bx, by, cx, cy = (
            vertices[a, 0], vertices[a, 1], vertices[b, 0], vertices[b, 1], vertices[c, 0], vertices[c, 1],
        )  # fmt: skip
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if abs(area) < 1e-9:
            continue
        # the affine map from picture to page: p = origin + x * step_x + y * step_y
        ux, uy, vx, vy = (
            rest[b, 0] - rest[a, 0],
            rest[b, 1] - rest[a, 1],
            rest[c, 0] - rest[a, 0],
            rest[c, 1] - rest[a, 1],
        )
        sx_x = ((cy - ay) * ux - (by - ay) * vx) / area
        sx_y = ((cy - ay) * uy - (by - ay) * vy) / area
        sy_x = ((bx - ax) * vx - (cx - ax) * ux) / area
        sy_y = ((bx - ax) * vy - (cx - ax) * uy) / area
        page = page_of[f]
        first = max(0, int(np.ceil(min(ay, by, cy))))
        last = min(height - 1, int(np.ceil(max(ay, by, cy))) - 1)
        for y in range(first, last + 1):
            low, high = 1e30, -1e30
            for edge in range(3):
                if edge == 0:
                    px, py, qx, qy = ax, ay, bx, by
                elif edge == 1:
                    px, py, qx, qy = bx, by, cx, cy
                else:
                    px, py, qx, qy = cx, cy, ax, ay
                if py > qy:
                    px, py, qx, qy = qx, qy, px, py
                if py <= y < qy:  # half-open: a corner belongs to one of its edges
                    x = px + (y - py) * (qx - px) / (qy - py)
                    low, high = min(low, x), max(high, x)
            begin, end = max(0, int(np.ceil(low))), min(width, int(np.ceil(high)))
            for x in range(begin, end):
                u = rest[a, 0] + (x - ax) * sx_x + (y - ay) * sy_x
                v = rest[a, 1] + (x - ax) * sx_y + (y - ay) * sy_y
                if u <= -1 or v <= -1 or u >= columns or v >= rows:
                    continue
                j, i = int(np.floor(u)), int(np.floor(v))
                fu, fv = np.float32(u - j), np.float32(v - i)
                r = g = bl = al = np.float32(0)
                for di in range(2):
                    yy = i + di
                    if yy < 0 or yy >= rows:
                        continue
                    wy = fv if di else np.float32(1) - fv
                    for dj in range(2):
                        xx = j + dj
                        if xx < 0 or xx >= columns:
                            continue
                        w = wy * (fu if dj else np.float32(1) - fu)
                        r += w * pages[page, yy, xx, 0]
                        g += w * pages[page, yy, xx, 1]
                        bl += w * pages[page, yy, xx, 2]
                        al += w * pages[page, yy, xx, 3]
                if al > 0:
                    keep = np.float32(1) - al
                    canvas[y, x, 0] = r + keep * canvas[y, x, 0]
                    canvas[y, x, 1] = g + keep * canvas[y, x, 1]
                    canvas[y, x, 2] = bl + keep * canvas[y, x, 2]
                    canvas[y, x, 3] = al + keep * canvas[y, x, 3]


@numba.njit(cache=True, nogil=True)
def _straighten(canvas, picture):  # pragma: no cover - compiled
    """Premultiplied (H, W, 4) floats in 0..1 -> straight bytes."""
    for y in range(canvas.shape[0]):
        for x in range(canvas.shape[1]):
            alpha = canvas[y, x, 3]
            if alpha < 1 / 512:
                picture[y, x] = 0
                continue
            for c in range(3):
                picture[y, x, c] = np.uint8(min(max(canvas[y, x, c] / alpha, 0.0), 1.0) * 255 + 0.5)
            picture[y, x, 3] = np.uint8(min(alpha, 1.0) * 255 + 0.5)
