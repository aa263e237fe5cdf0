"""Plane sweep over inverse depth with semi-global aggregation: one depth map of one reference view.

Kernels hold no lock and use one thread; ``pipelines.scene.dense`` runs one view per thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

_UNSEEN = np.float32(0.2)  # correlation assumed where no source looks: neither attractive nor worse than a mismatch
COST_MAX = 127  # uint8 costs: 0 = identical windows, 127 = no correlation


@dataclass(frozen=True)
class SweepSettings:
    """How one view is swept. Costs are 0..127 per path.

    ``radius``: half window of the correlation; ``keep``: how many (1..3) of the best source views count at a pixel, so
    that a surface hidden in some of them keeps a low cost; ``p1``/``p2``: penalties for a step of one plane and for any
    larger step, the latter divided by the image gradient; ``noise``: grey levels below which texture counts as noise.
    """

    radius: int = 2
    keep: int = 2
    p1: float = 8.0
    p2: float = 200.0
    p2_min: float = 12.0
    edge: float = 12.0
    noise: float = 1.0


@dataclass(frozen=True)
class PlaneFamily:
    """Planes to try: plane d meets pixel p = (x, y, 1) at inverse depth ``values[d] * (slope @ p)``.

    ``slope`` (0, 0, 1) makes planes parallel to the image; n^T K^-1 makes planes of normal n (in camera axes) at
    distance 1 / value. Rows above ``first_row`` are not searched.
    """

    slope: np.ndarray
    values: np.ndarray
    first_row: int = 0


@dataclass(frozen=True)
class SweepResult:
    """``inverse`` (H, W) float32 inverse depth; ``score`` (H, W) correlation at it, 0..1; ``margin`` (H, W): how
    much worse the best other depth is, as a share of the best cost."""

    inverse: np.ndarray
    score: np.ndarray
    margin: np.ndarray


@njit(nogil=True, cache=True)
def box_mean(image: np.ndarray, radius: int) -> np.ndarray:
    """Mean over (2 radius + 1)² windows with replicated borders. image (H, W) float32 -> (H, W) float32."""
    h, w = image.shape
    rows = np.empty((h, w), np.float64)
    out = np.empty((h, w), np.float32)
    for y in range(h):
        total = 0.0
        for x in range(-radius, radius + 1):
            total += image[y, min(max(x, 0), w - 1)]
        rows[y, 0] = total
        for x in range(1, w):
            total += image[y, min(x + radius, w - 1)] - image[y, max(x - radius - 1, 0)]
            rows[y, x] = total
    norm = 1.0 / (2 * radius + 1) ** 2
    column = np.zeros(w, np.float64)
    for y in range(-radius, radius + 1):
        yy = min(max(y, 0), h - 1)
        for x in range(w):
            column[x] += rows[yy, x]
    for y in range(h):
        for x in range(w):
            out[y, x] = column[x] * norm
        low, high = max(y - radius, 0), min(y + radius + 1, h - 1)
        for x in range(w):
            column[x] += rows[high, x] - rows[low, x]
    return out


@njit(nogil=True, cache=True, fastmath=True)
def cost_volume(
    ref: np.ndarray,
    sources: np.ndarray,
    sizes: np.ndarray,
    M: np.ndarray,
    radius: int,
    keep: int,
    noise: float,
) -> np.ndarray:
    """Correlation costs of every pixel at every plane.

    ref (H, W) float32; sources (S, H', W') float32 with valid ``sizes`` (S, 2) as (h, w); M (D, S, 3, 3) float32
    homographies of the planes: pixel (x, y, 1) lands at M[d, s] (x, y, 1) in source s if it lies on plane d.
    Returns (H, W, D) uint8. A plane whose point falls outside every source counts as a poor match.
    """
    h, w = ref.shape
    n_src = sources.shape[0]
    n_planes = M.shape[0]
    cost = np.empty((h, w, n_planes), np.uint8)
    side = 2 * radius + 1
    area = np.float32(1.0 / (side * side))
    floor = np.float32(noise * noise)
    ref_mean = box_mean(ref, radius)
    ref_var = box_mean(ref * ref, radius) - ref_mean * ref_mean
    band = 32
    rows_max = band + 2 * radius
    wide = w + 2 * radius
    padded = np.empty((rows_max, wide), np.float32)
    warped = np.empty((rows_max, wide), np.float32)
    inside = np.empty((rows_max, w), np.bool_)
    sum_w = np.empty(wide, np.float32)
    sum_ww = np.empty(wide, np.float32)
    sum_wr = np.empty(wide, np.float32)
    place_u = np.empty(w, np.float32)
    place_v = np.empty(w, np.float32)
    stride = np.int32(sources.shape[2])
    below = np.uint32(sources.shape[2])
    one = np.uint32(1)
    box_w = np.empty(w, np.float32)
    box_ww = np.empty(w, np.float32)
    box_wr = np.empty(w, np.float32)
    scores = np.empty((n_src, band, w), np.float32)
    first = np.empty(w, np.float32)
    second = np.empty(w, np.float32)
    third = np.empty(w, np.float32)
    for y0 in range(0, h, band):
        n_rows = min(band, h - y0)
        for j in range(n_rows + 2 * radius):
            y = min(max(y0 + j - radius, 0), h - 1)
            for x in range(wide):
                padded[j, x] = ref[y, min(max(x - radius, 0), w - 1)]
        for d in range(n_planes):
            for s in range(n_src):
                flat = sources[s].ravel()
                u_max = np.float32(sizes[s, 1] - 1)
                v_max = np.float32(sizes[s, 0] - 1)
                m = M[d, s]
                a00, a10, a20 = m[0, 0], m[1, 0], m[2, 0]
                for j in range(n_rows + 2 * radius):
                    y = np.float32(min(max(y0 + j - radius, 0), h - 1))
                    c0 = m[0, 1] * y + m[0, 2]
                    c1 = m[1, 1] * y + m[1, 2]
                    c2 = m[2, 1] * y + m[2, 2]
                    for x in range(w):
                        fx = np.float32(x)
                        z = a20 * fx + c2
                        inv = np.float32(1.0) / (z if abs(z) > 1e-6 else np.float32(1e-6))
                        u = (a00 * fx + c0) * inv
                        v = (a10 * fx + c1) * inv
                        ok = (z > 1e-6) & (u >= 0) & (v >= 0) & (u <= u_max) & (v <= v_max)
                        inside[j, x] = ok
                        place_u[x] = min(max(u, np.float32(0.0)), u_max - np.float32(0.001))
                        place_v[x] = min(max(v, np.float32(0.0)), v_max - np.float32(0.001))
                    for x in range(w):
                        iu = np.int32(place_u[x])
                        iv = np.int32(place_v[x])
                        fu = place_u[x] - np.float32(iu)
                        fv = place_v[x] - np.float32(iv)
                        at = np.uint32(iv * stride + iu)
                        p00 = flat[at]
                        p01 = flat[at + one]
                        p10 = flat[at + below]
                        p11 = flat[at + below + one]
                        top = p00 + fu * (p01 - p00)
                        bottom = p10 + fu * (p11 - p10)
                        warped[j, x + radius] = top + fv * (bottom - top)
                    for k in range(radius):
                        warped[j, k] = warped[j, radius]
                        warped[j, w + radius + k] = warped[j, w + radius - 1]
                for j in range(n_rows):
                    if j == 0:
                        for x in range(wide):
                            sum_w[x] = sum_ww[x] = sum_wr[x] = 0
                        for k in range(side):
                            for x in range(wide):
                                value = warped[k, x]
                                sum_w[x] += value
                                sum_ww[x] += value * value
                                sum_wr[x] += value * padded[k, x]
                    else:  # the window moves down: one row comes, one goes
                        for x in range(wide):
                            value, gone = warped[j + side - 1, x], warped[j - 1, x]
                            sum_w[x] += value - gone
                            sum_ww[x] += value * value - gone * gone
                            sum_wr[x] += value * padded[j + side - 1, x] - gone * padded[j - 1, x]
                    for x in range(w):
                        box_w[x], box_ww[x], box_wr[x] = sum_w[x], sum_ww[x], sum_wr[x]
                    for k in range(1, side):
                        for x in range(w):
                            box_w[x] += sum_w[x + k]
                            box_ww[x] += sum_ww[x + k]
                            box_wr[x] += sum_wr[x + k]
                    y = y0 + j
                    for x in range(w):
                        mean = box_w[x] * area
                        var = max(box_ww[x] * area - mean * mean, np.float32(0.0)) + floor
                        cov = box_wr[x] * area - mean * ref_mean[y, x]
                        value = cov / np.sqrt(var * (max(ref_var[y, x], np.float32(0.0)) + floor))
                        scores[s, j, x] = value if inside[j + radius, x] else np.float32(-9.0)
            for j in range(n_rows):
                for x in range(w):
                    first[x] = second[x] = third[x] = np.float32(-9.0)
                for s in range(n_src):
                    for x in range(w):  # the three best so far, sorted
                        value = scores[s, j, x]
                        rest = min(value, first[x])
                        first[x] = max(value, first[x])
                        value = min(rest, second[x])
                        second[x] = max(rest, second[x])
                        third[x] = max(value, third[x])
                for x in range(w):
                    total = first[x]
                    used = np.float32(1.0)
                    if keep > 1 and second[x] > -8:
                        total += second[x]
                        used += np.float32(1.0)
                    if keep > 2 and third[x] > -8:
                        total += third[x]
                        used += np.float32(1.0)
                    total = total / used if first[x] > -8 else _UNSEEN
                    total = min(max(total, np.float32(0.0)), np.float32(1.0))
                    cost[y0 + j, x, d] = np.uint8((np.float32(1.0) - total) * np.float32(COST_MAX) + np.float32(0.5))
    return cost


@njit(nogil=True, cache=True)
def _step(prev, lowest, cost, p1, p2, out, n):
    """One step along a path (Hirschmueller 2008, eq. 13): out[1:n+1] from prev; both padded by one on either side."""
    jump = np.uint16(lowest + p2)
    low = np.uint16(65535)
    for d in range(n):
        value = min(prev[d + 1], jump)
        side = np.uint16(min(prev[d], prev[d + 2]) + p1)
        value = np.uint16(min(value, side) - lowest + cost[d])
        out[d + 1] = value
        low = min(low, value)
    return low


@njit(nogil=True, cache=True)
def aggregate(
    cost: np.ndarray, guide: np.ndarray, p1: float, p2: float, p2_min: float, edge: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums eight paths and takes the best plane with a parabola through its neighbours.

    cost (H, W, D) uint8, guide (H, W) float32 grey image. Returns the plane index (H, W) float32, the raw cost at it
    (H, W) float32 and the margin (H, W) float32: (second best - best) / best sum, outside of the direct neighbours.
    """
    h, w, n = cost.shape
    big = np.uint16(30000)
    total = np.empty((h, w, n), np.uint16)
    index = np.zeros((h, w), np.float32)
    raw = np.zeros((h, w), np.float32)
    margin = np.zeros((h, w), np.float32)
    step1 = np.uint16(p1)
    row = np.empty((2, 3, w + 2, n + 2), np.uint16)  # (parity, direction, x + 1, plane + 1)
    row_low = np.zeros((2, 3, w + 2), np.uint16)
    line = np.empty((2, n + 2), np.uint16)
    zeros = np.zeros(n, np.uint16)
    sums = np.empty(n, np.uint16)
    for sweep in range(2):
        row[:] = 0
        row_low[:] = 0
        row[:, :, :, 0] = big
        row[:, :, :, n + 1] = big
        for jy in range(h):
            y = jy if sweep == 0 else h - 1 - jy
            y_prev = y - 1 if sweep == 0 else y + 1
            now, old = jy & 1, (jy + 1) & 1
            line[:] = 0
            line[:, 0] = big
            line[:, n + 1] = big
            line_low = np.uint16(0)
            for jx in range(w):
                x = jx if sweep == 0 else w - 1 - jx
                c = cost[y, x]
                here = guide[y, x]
                x_prev = x - 1 if sweep == 0 else x + 1
                gradient = abs(here - guide[y, x_prev]) if jx > 0 else np.float32(0.0)
                jump = np.uint16(max(p2_min, p2 / (1.0 + gradient / edge)))
                a, o = jx & 1, (jx + 1) & 1
                line_low = _step(line[o], line_low, c, step1, jump, line[a], n)
                for k in range(3):
                    xs = x + k - 1
                    edge_pixel = jy == 0 or xs < 0 or xs >= w
                    gradient = np.float32(0.0) if edge_pixel else abs(here - guide[y_prev, xs])
                    jump = np.uint16(max(p2_min, p2 / (1.0 + gradient / edge)))
                    if edge_pixel:
                        out = row[now, k, x + 1]
                        low = np.uint16(65535)
                        for d in range(n):
                            out[d + 1] = c[d]
                            low = min(low, np.uint16(c[d]))
                        row_low[now, k, x + 1] = low
                    else:
                        row_low[now, k, x + 1] = _step(
                            row[old, k, xs + 1], row_low[old, k, xs + 1], c, step1, jump, row[now, k, x + 1], n
                        )
                l0, l1, l2, l3 = line[a], row[now, 0, x + 1], row[now, 1, x + 1], row[now, 2, x + 1]
                acc = total[y, x]
                start = zeros if sweep == 0 else acc
                for d in range(n):
                    sums[d] = start[d] + l0[d + 1] + l1[d + 1] + l2[d + 1] + l3[d + 1]
                if sweep == 0:
                    for d in range(n):
                        acc[d] = sums[d]
                    continue
                low = np.uint16(65535)
                for d in range(n):
                    low = min(low, sums[d])
                at = 0
                for d in range(n):
                    if sums[d] == low:
                        at = d
                        break
                second = np.uint16(65535)
                for d in range(at - 2):
                    second = min(second, sums[d])
                for d in range(at + 3, n):
                    second = min(second, sums[d])
                offset = 0.0
                if 0 < at < n - 1:
                    left, right, mid = float(sums[at - 1]), float(sums[at + 1]), float(low)
                    bend = left + right - 2.0 * mid
                    if bend > 0:
                        offset = 0.5 * (left - right) / bend
                index[y, x] = at + offset
                raw[y, x] = c[at]
                margin[y, x] = (float(second) - float(low)) / (float(low) + 1.0)
    return index, raw, margin


def stack_sources(sources: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Images (h, w) of any sizes in one array (S, H, W) float32, and their sizes (S, 2)."""
    sizes = np.array([s.shape for s in sources], np.int64)
    stack = np.zeros((len(sources), *sizes.max(0)), np.float32)
    for i, source in enumerate(sources):
        stack[i, : source.shape[0], : source.shape[1]] = source
    return stack, sizes


def family_homographies(A: np.ndarray, b: np.ndarray, family: PlaneFamily) -> np.ndarray:
    """(D, S, 3, 3) float32 as ``cost_volume`` takes them, for rows counted from ``family.first_row``."""
    M = A[None] + family.values[:, None, None, None] * (b[:, :, None] * family.slope)[None]
    down = np.eye(3)
    down[1, 2] = family.first_row
    return np.ascontiguousarray(M @ down, np.float32)


def sweep_view(
    ref: np.ndarray,
    sources: Sequence[np.ndarray],
    A: np.ndarray,
    b: np.ndarray,
    family: PlaneFamily,
    settings: SweepSettings,
) -> SweepResult:
    """Inverse depth of one view from its source views.

    ref (H, W) and sources (each (H', W')) float32 grey 0..255; a pixel p = (x, y, 1) at inverse depth q lands at
    A[s] p + q b[s] in source s (A = K_s R K_r^-1 (S, 3, 3), b = K_s t (S, 3)). Rows above ``family.first_row`` and
    pixels no plane of the family meets in front of the camera come back as inverse depth 0.
    """
    stack, sizes = stack_sources(sources)
    M = family_homographies(A, b, family)
    top = family.first_row
    part = np.ascontiguousarray(ref[top:])
    cost = cost_volume(part, stack, sizes, M, settings.radius, settings.keep, settings.noise)
    index, raw, margin = aggregate(cost, part, settings.p1, settings.p2, settings.p2_min, settings.edge)
    h, w = ref.shape
    x, y = np.meshgrid(np.arange(w), np.arange(top, h))
    facing = np.maximum(family.slope[0] * x + family.slope[1] * y + family.slope[2], 0)
    inverse, score, sure = (np.zeros((h, w), np.float32) for _ in range(3))
    inverse[top:] = np.interp(index, np.arange(len(family.values)), family.values) * facing
    score[top:] = 1.0 - raw / np.float32(COST_MAX)
    sure[top:] = margin
    return SweepResult(inverse, score, sure)
