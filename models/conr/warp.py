"""Backward warping by flows in pixels: channel 0 points right, channel 1 down.

On the CPU pictures are sampled channels-last by compiled code, so that the convolutions around it need no other layout;
elsewhere by ``grid_sample``. Both give the same numbers up to rounding.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numba
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Array = np.ndarray
BANDS = 4  # pieces of work a thread gets


def warp(x: Tensor, flow: Tensor) -> Tensor:
    """Samples ``x`` (B, C, H, W) at every pixel plus its flow; the border is repeated outwards.

    ``flow`` (B, 2 G, H, W) holds one flow for each of G groups of consecutive channels.
    """
    if x.device.type == "cpu":
        return _sampled(x, flow)
    groups = flow.shape[1] // 2
    batch, channels, height, width = x.shape
    x = x.reshape(batch * groups, channels // groups, height, width)
    flow = flow.reshape(batch * groups, 2, height, width)
    rows = torch.linspace(-1, 1, height, dtype=x.dtype, device=x.device)
    columns = torch.linspace(-1, 1, width, dtype=x.dtype, device=x.device)
    grid_x = columns + flow[:, 0] / ((width - 1) / 2)
    grid_y = rows[:, None] + flow[:, 1] / ((height - 1) / 2)
    grid = torch.stack([grid_x, grid_y], dim=-1)  # (B, H, W, 2)
    warped = F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=True)
    return warped.view(batch, channels, height, width)


def _sampled(x: Tensor, flow: Tensor) -> Tensor:
    """``warp`` on the CPU; the result is channels-last."""
    pixels = x.permute(0, 2, 3, 1).contiguous()
    flows = flow.permute(0, 2, 3, 1).contiguous()
    out = torch.empty_like(pixels)
    batch, height = pixels.shape[:2]
    threads = torch.get_num_threads()
    count = min(height, -(-threads * BANDS // batch))
    edges = np.linspace(0, height, count + 1).astype(int)
    bands = [(b, top, end) for b in range(batch) for top, end in pairwise(edges.tolist())]
    lines = [torch.linspace(-1, 1, side).numpy() for side in pixels.shape[1:3]]
    arrays = pixels.numpy(), flows.numpy(), *lines, out.numpy()
    # plain threads: numba's own may neither be entered by two callers at once nor survive a fork
    with ThreadPoolExecutor(max_workers=threads) as pool:
        list(pool.map(lambda band: _sample_rows(*arrays, *band), bands))
    return out.permute(0, 3, 1, 2)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _sample_rows(pixels, flows, rows, columns, out, picture, first, stop):  # pragma: no cover
    """Rows ``first .. stop - 1`` of one picture: pixels and out (B, H, W, C), flows (B, H, W, 2 G), all float32.

    Positions go through -1 .. 1 (``rows``, ``columns``) as ``grid_sample`` has them, for the same rounding.
    """
    _, height, width, channels = pixels.shape
    groups = flows.shape[3] // 2
    each = channels // groups
    right, bottom = np.float32(width - 1), np.float32(height - 1)
    one = np.float32(1)
    half_x, half_y = right / np.float32(2), bottom / np.float32(2)
    # flat arrays and unsigned places: signed ones may count from the end, which keeps the inner loop from vectors
    source, target, flow = pixels.reshape(-1), out.reshape(-1), flows.reshape(-1)
    for row in range(first, stop):
        for column in range(width):
            here = (picture * height + row) * width + column
            for group in range(groups):
                at = np.uint64(2 * (here * groups + group))
                x = (columns[column] + flow[at] / half_x + one) * half_x
                y = (rows[row] + flow[at + np.uint64(1)] / half_y + one) * half_y
                # written so that what is no number ends at the border too
                x = min(x, right) if x > 0 else np.float32(0)
                y = min(y, bottom) if y > 0 else np.float32(0)
                x0, y0 = np.int64(x), np.int64(y)
                x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
                across, down = x - np.float32(x0), y - np.float32(y0)
                a, b = (one - across) * (one - down), across * (one - down)
                c, d = (one - across) * down, across * down
                start = group * each
                above, below = (picture * height + y0) * width, (picture * height + y1) * width
                p, q = np.uint64((above + x0) * channels + start), np.uint64((above + x1) * channels + start)
                r, s = np.uint64((below + x0) * channels + start), np.uint64((below + x1) * channels + start)
                to = np.uint64(here * channels + start)
                for k in range(np.uint64(each)):
                    target[to + k] = a * source[p + k] + b * source[q + k] + c * source[r + k] + d * source[s + k]


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of (B, C, h, w) to ``size`` with pixel areas aligned."""
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def rescale_flow(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """A flow at another resolution, its lengths scaled with the width."""
    factor = size[1] / flow.shape[-1]
    return flow if factor == 1 else resize(flow, size) * factor
