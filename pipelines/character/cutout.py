"""Cutting a figure out of an opaque picture: from the border inwards, by colours with brush strokes, or as a person.

All ways end in straight alpha with a soft rim whose colours come from inside the figure, so that no rim of the old
background shows on a new one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from models.runtime.errors import InputError

Way = Literal["auto", "border", "colors", "person"]
Segmenter = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
KEEP, REMOVE = 1, 2  # marks of the brush
_SEEN = 0.98  # share of opaque pixels below which a picture already is cut out
_LEAST, _MOST = 0.01, 0.97  # share of the picture that a figure covers
_GRABCUT_SIDE, _GRABCUT_ROUNDS = 640, 4
_RIM = 0.008  # of the longer side: how far inwards a rim of background colour is looked for


def has_alpha(rgba: NDArray[np.uint8]) -> bool:
    """Whether a picture (H, W, 4) is cut out already."""
    return float((rgba[..., 3] > 127).mean()) < _SEEN


def cut_out(
    rgba: NDArray[np.uint8],
    way: Way = "auto",
    *,
    tolerance: float = 14.0,
    marks: NDArray[np.uint8] | None = None,
    segment: Segmenter | None = None,
) -> NDArray[np.uint8]:
    """A picture (H, W, 4) uint8 with the background made transparent.

    Args:
        way: ``border`` floods from the picture's edge, ``colors`` is GrabCut, ``person`` asks ``segment``; ``auto``
            keeps transparency that is there, floods, and where that finds no figure turns to the others.
        tolerance: how far (CIE Lab) a colour may be from the background's to belong to it.
        marks: (H, W) uint8 brush strokes, ``KEEP`` and ``REMOVE``.
        segment: probability (H, W) of people in an RGB picture, for photos.

    Raises:
        InputError: nothing, or everything, would be left.
    """
    if way == "auto" and has_alpha(rgba) and not _marked(marks):
        return rgba
    rgb = np.ascontiguousarray(rgba[..., :3])
    mask = _found(rgb, way, tolerance, marks, segment)
    if marks is not None and marks.any():
        mask = np.where(marks == KEEP, True, np.where(marks == REMOVE, False, mask))
    if has_alpha(rgba):
        mask &= rgba[..., 3] > 127
    mask = main_pieces(mask)
    if not _plausible(mask):
        raise InputError(
            "No figure could be told from the background: brush over it to keep it (and over what must go), or give a "
            "PNG with transparency"
        )
    return with_rim(rgb, mask)


def with_rim(rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """RGBA (H, W, 4) from colours and a hard mask: alpha soft over two pixels, rim colours from inside."""
    inside = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0) > 0.5  # rounds off the steps of the pixels
    within = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 5)
    signed = np.where(inside, within - 0.5, 0.5 - outside)
    alpha = np.clip((signed + 0.25) / 1.5, 0, 1)  # a little inwards: the outermost pixels are mixed ones
    depth = max(_RIM * max(mask.shape), 2.0)
    deep, far = signed >= depth, signed <= -1.5
    colours = rgb
    if deep.any() and far.any():  # a rim that looks like what lies outside, not like what lies inside, is background
        inner, outer = nearest_colours(rgb, deep), nearest_colours(rgb, far)
        foreign = (signed < depth) & (_apart(rgb, outer) < _apart(rgb, inner))
        colours = np.where(foreign[..., None], inner, rgb)
    sure = signed >= 1.2
    if sure.any():
        colours = np.where((signed < 1.2)[..., None], nearest_colours(colours, sure), colours)
    return np.dstack([colours, np.rint(255 * alpha).astype(np.uint8)])


def _apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.int32]:
    return ((one.astype(np.int32) - other) ** 2).sum(2)


def nearest_colours(rgb: NDArray[np.uint8], known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The colour (H, W, 3) of the nearest pixel where ``known``."""
    _, index = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    table = np.zeros((int(index.max()) + 1, 3), np.uint8)
    table[index[known]] = rgb[known]
    return table[index]


def main_pieces(mask: NDArray[np.bool_], smallest: float = 0.02) -> NDArray[np.bool_]:
    """The largest piece of a mask and those not much smaller, without pin holes."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return mask
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = np.isin(labels, 1 + np.flatnonzero(areas >= smallest * areas.max()))
    holes, labels, stats, _ = cv2.connectedComponentsWithStats((~kept).astype(np.uint8), connectivity=4)
    tiny = 1 + np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] < 2e-4 * mask.size) if holes > 1 else []
    return kept | np.isin(labels, tiny)


def _marked(marks: NDArray | None) -> bool:
    return marks is not None and bool(marks.any())


def _plausible(mask: NDArray[np.bool_]) -> bool:
    return _LEAST < float(mask.mean()) < _MOST


def _found(
    rgb: NDArray, way: Way, tolerance: float, marks: NDArray | None, segment: Segmenter | None
) -> NDArray[np.bool_]:
    if way == "person":
        if segment is None:
            raise InputError("People in photos are found by the selfie segmentation model, which is not installed")
        return segment(rgb) > 0.5
    if way == "border":
        return flood(rgb, tolerance)
    if way == "colors":
        return grab(rgb, marks, flood(rgb, tolerance))
    flooded = flood(rgb, tolerance)
    if _plausible(main_pieces(flooded)) and _calm_border(flooded):
        return flooded
    if _marked(marks):
        return grab(rgb, marks, flooded)
    people = segment(rgb) > 0.5 if segment is not None else np.zeros(flooded.shape, bool)
    return people if _plausible(people) else grab(rgb, marks, flooded)


def _calm_border(figure: NDArray[np.bool_]) -> bool:
    """Whether nearly all of the picture's edge was taken for background."""
    edge = np.concatenate([figure[0], figure[-1], figure[:, 0], figure[:, -1]])
    return float(edge.mean()) < 0.2


def flood(rgb: NDArray[np.uint8], tolerance: float) -> NDArray[np.bool_]:
    """What is not connected to the picture's edge by colours like those near it.

    The background's colour may drift over the picture (paper under a lamp): it is fitted by a plane per channel to the
    edge's pixels, outliers left out.
    """
    lab = cv2.cvtColor(cv2.GaussianBlur(rgb, (3, 3), 0).astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    height, width = lab.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32) / max(height, width)
    band = max(1, round(0.012 * max(height, width)))
    edge = np.ones((height, width), bool)
    edge[band:-band, band:-band] = False
    design = np.stack([np.ones_like(x), x, y], -1)
    chosen = edge.copy()
    centre = np.median(lab[edge], axis=0)
    chosen &= np.linalg.norm(lab - centre, axis=2) < 2.5 * tolerance
    for _ in range(3):
        if chosen.sum() < 12:
            break
        plane, *_ = np.linalg.lstsq(design[chosen], lab[chosen], rcond=None)
        off = np.linalg.norm(lab - design @ plane, axis=2)
        chosen = edge & (off < 1.5 * tolerance)
    if chosen.sum() < 12:
        off = np.linalg.norm(lab - centre, axis=2)
    like = off < tolerance
    count, labels = cv2.connectedComponents(like.astype(np.uint8), connectivity=4)
    touching = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    background = np.isin(labels, touching[touching > 0]) if count > 1 else np.zeros_like(like)
    return ~background


def grab(rgb: NDArray[np.uint8], marks: NDArray[np.uint8] | None, guess: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """GrabCut from a guess and brush strokes, at a bounded size."""
    height, width = rgb.shape[:2]
    scale = min(1.0, _GRABCUT_SIDE / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    rough = cv2.resize(guess.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    if not 0.02 < rough.mean() < 0.9:  # no guess: the middle of the picture
        rough[:] = 0
        rough[size[1] // 20 : -max(1, size[1] // 20), size[0] // 8 : -max(1, size[0] // 8)] = 1
    state = np.where(rough > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    rim = np.ones_like(state, bool)
    rim[2:-2, 2:-2] = False
    state[rim & (rough == 0)] = cv2.GC_BGD
    if marks is not None and marks.any():
        strokes = cv2.resize(marks, size, interpolation=cv2.INTER_NEAREST)
        state[strokes == KEEP] = cv2.GC_FGD
        state[strokes == REMOVE] = cv2.GC_BGD
    known = (state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD)
    if known.all() or not known.any():
        return guess
    cv2.setRNGSeed(0)
    cv2.grabCut(small, state, None, np.zeros((1, 65)), np.zeros((1, 65)), _GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = ((state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD)).astype(np.float32)
    return cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5
