"""What is behind the lips: upper teeth taken from the clip or drawn, a hint of lower teeth and tongue, and shadow.

The inside is painted in mouth coordinates: u along the line of the corners, v down across it, in eye distances, with
the origin where the resting lips meet. Upper teeth stay with the skull, lower teeth and tongue go with the jaw.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pipelines.talk.mouth_shape import MouthTarget

TEETH_HALF_WIDTH = 0.205  # of the visible upper row, eye distances
TEETH_EDGE = 0.018  # how far below the lips' meeting line the incisors end
TEETH_LENGTH = 0.085
PATCH_SCALE = 220.0  # pixels per eye distance of a stored row of teeth
PATCH_HALF = (0.26, 0.11)  # half extent of the stored patch in u and v
LEAST_TEETH = 0.06  # opening of the source mouth from which its teeth can be taken
BRIGHT_TEETH = 0.62  # share of the skin's brightness from which a pixel counts as tooth
LOWER_TEETH_SHOWN = 0.02  # of the lower teeth above the lip that goes with them
BEHIND_POUT = (0.065, 0.38, 0.46, 0.48)  # how far rounded lips hide the upper teeth, and their shade in RGB
RIM = 0.013  # eye distances of a lip's wet inner side that show
COVERED = 0.3  # share of the row's width that must show teeth for the clip's own to be used


@dataclass(frozen=True)
class Teeth:
    """The upper row: ``rgb`` (H, W, 3) float32 0..255 and ``alpha`` (H, W) in mouth coordinates at ``PATCH_SCALE``."""

    rgb: np.ndarray
    alpha: np.ndarray
    own: bool


@dataclass(frozen=True)
class Tones:
    """Colours of one person, RGB 0..255: the skin around the mouth and the lips."""

    skin: np.ndarray
    lips: np.ndarray

    @property
    def cavity(self) -> np.ndarray:
        """The dark of the open mouth: a deep shade of the lips."""
        return np.clip(0.19 * self.lips * np.array([1.3, 0.8, 0.8]) + 6.0, 8.0, 75.0)

    @property
    def tongue(self) -> np.ndarray:
        return np.clip(self.lips * np.array([0.84, 0.6, 0.62]), 20.0, 200.0)

    @property
    def enamel(self) -> np.ndarray:
        """Teeth under the light that falls on the skin."""
        light = float(self.skin.mean())
        return np.clip(np.array([1.02, 0.98, 0.90]) * np.clip(0.98 * light + 18.0, 70.0, 205.0), 0, 235.0)


def patch_axes() -> tuple[np.ndarray, np.ndarray]:
    """u (W,) and v (H,) of the pixels of a stored patch."""
    half_u, half_v = PATCH_HALF
    columns, rows = round(2 * half_u * PATCH_SCALE), round(2 * half_v * PATCH_SCALE)
    us = (np.arange(columns) + 0.5) / PATCH_SCALE - half_u
    vs = (np.arange(rows) + 0.5) / PATCH_SCALE - half_v
    return us, vs


def drawn_teeth(tones: Tones) -> Teeth:
    """A plain upper row: eight teeth, an arch, soft gaps, gums above."""
    us, vs = patch_axes()
    u, v = np.meshgrid(us, vs)
    arch = TEETH_EDGE - 0.20 * u**2 / TEETH_HALF_WIDTH
    widths = np.array([0.046, 0.038, 0.040, 0.036, 0.034])
    bounds = np.concatenate([[0.0], np.cumsum(widths)])
    gap = np.min(np.abs(np.abs(u)[..., None] - bounds), axis=-1)
    shade = 1.0 - 0.13 * np.exp(-((gap / 0.0035) ** 2))
    tooth = np.clip(np.searchsorted(bounds, np.abs(us)) - 1, 0, len(widths) - 1)
    length = np.array([0.0, -0.004, -0.001, -0.006, -0.009])[tooth]
    edge = arch + length[None]
    curve = 1.0 - 0.10 * np.clip((v - (edge - 0.02)) / 0.02, 0, 1) ** 3
    round_off = np.clip(1.0 - (np.abs(u) / (1.08 * TEETH_HALF_WIDTH)) ** 3, 0.25, 1.0)
    rgb = tones.enamel * (shade * curve * round_off)[..., None]
    gums = np.clip(np.array([1.0, 0.55, 0.55]) * tones.lips.mean() * 0.9, 20, 200)
    above = np.clip((edge - TEETH_LENGTH - v) / 0.008, 0, 1)[..., None]
    rgb = rgb * (1 - above) + gums * above
    alpha = np.clip((edge - v) / 0.005 + 0.5, 0, 1) * np.clip((1.12 * TEETH_HALF_WIDTH - np.abs(u)) / 0.03, 0, 1)
    return Teeth(rgb.astype(np.float32), alpha.astype(np.float32), own=False)


def taken_teeth(patch: np.ndarray, inside: np.ndarray, tones: Tones) -> Teeth | None:
    """The upper row out of a picture of the open mouth, or None where too little of it shows.

    Args:
        patch: (H, W, 3) uint8, the picture in mouth coordinates.
        inside: (H, W) 0..1, what of it lies between the lips.
    """
    rgb = patch.astype(np.float32)
    light, skin = rgb.mean(axis=-1), float(tones.skin.mean())
    saturation = 1.0 - rgb.min(axis=-1) / np.maximum(rgb.max(axis=-1), 1.0)
    tooth = (light > BRIGHT_TEETH * skin) & (saturation < 0.45) & (inside > 0.6)
    tooth = cv2.morphologyEx(tooth.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(tooth)
    if count < 2:
        return None
    upper = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    row = labels == upper
    columns = np.flatnonzero(row.any(axis=0))
    if len(columns) < COVERED * row.shape[1] or stats[upper, cv2.CC_STAT_HEIGHT] < 0.02 * PATCH_SCALE:
        return None
    top = np.array([np.flatnonzero(row[:, c])[0] for c in columns])
    bottom = np.array([np.flatnonzero(row[:, c])[-1] for c in columns])
    top_of = _smooth(np.interp(np.arange(row.shape[1]), columns, top))
    bottom_of = _smooth(np.interp(np.arange(row.shape[1]), columns, bottom))
    rows = np.arange(row.shape[0])[:, None]
    # Above what shows the row goes on: its own topmost pixels, getting darker towards the gums.
    source = np.clip(rows, top_of[None] + 2, np.maximum(bottom_of[None] - 1, top_of[None] + 2))
    nearest = np.clip(np.arange(row.shape[1]), columns[0] + 1, columns[-1] - 1)[None].repeat(row.shape[0], axis=0)
    filled = cv2.remap(rgb, nearest.astype(np.float32), source.astype(np.float32), cv2.INTER_LINEAR)
    hidden = np.clip((top_of[None] - rows) / (0.06 * PATCH_SCALE), 0, 1)[..., None]
    filled = filled * (1 - 0.25 * hidden)
    soft = 0.006 * PATCH_SCALE
    alpha = np.clip((bottom_of[None] - rows) / soft + 0.5, 0, 1)
    place = np.arange(row.shape[1])
    ends = np.clip(np.minimum(place - columns[0], columns[-1] - place) / (0.02 * PATCH_SCALE) + 1.0, 0, 1)[None]
    return Teeth(filled.astype(np.float32), (alpha * ends).astype(np.float32), own=True)


def _smooth(values: np.ndarray, width: int = 9) -> np.ndarray:
    padded = np.pad(values, width // 2, mode="edge")
    return np.convolve(padded, np.ones(width) / width, mode="valid")


@dataclass(frozen=True)
class InsideView:
    """Where the inside is drawn this frame: ``u``, ``v`` (H, W) mouth coordinates of the pixels, ``top`` and ``bottom``
    (H, W) v of the inner lips above and below each pixel, ``half`` the mouth's half width; what the mouth does."""

    u: np.ndarray
    v: np.ndarray
    top: np.ndarray
    bottom: np.ndarray
    half: float
    target: MouthTarget


def paint(view: InsideView, teeth: Teeth, tones: Tones) -> np.ndarray:
    """The inside of the mouth (H, W, 3) float32 0..255, to be shown through the opening only."""
    u, v, target = view.u, view.v, view.target
    gap = np.maximum(view.bottom - view.top, 1e-4)
    depth = np.clip((v - view.top) / gap, 0, 1)
    across = np.clip(np.abs(u) / max(view.half, 1e-3), 0, 1)
    # Light falls in from above and in front: the floor of the mouth is lit, its roof is not.
    picture = tones.cavity * (0.7 + 0.75 * depth[..., None])
    # Lower teeth: the edge of the row, just above the lower lip, in the shade.
    low_edge = target.drop - LOWER_TEETH_SHOWN + 0.16 * u**2 / TEETH_HALF_WIDTH
    low = np.clip((v - low_edge) / 0.006 + 0.5, 0, 1) * np.clip((0.15 - np.abs(u)) / 0.03, 0, 1)
    parted = float(np.clip((target.aperture - 0.015) / 0.03, 0, 1)) * (1 - target.rounded)
    picture = _over(picture, tones.enamel * 0.62, 0.75 * low * parted)
    # The tongue: a mound on the floor of the mouth, whose tip comes up for sounds made with it.
    height = (0.34 + 0.42 * target.tongue) * target.aperture
    mound = view.bottom - height * np.clip(1 - (u / (0.78 * view.half)) ** 2, 0, 1)
    cover = np.clip((v - mound) / 0.016 + 0.5, 0, 1) * np.clip(1.3 - across * 1.25, 0, 1)
    lit = 0.5 + 0.35 * np.clip((v - mound) / 0.05, 0, 1) + 0.22 * target.tongue
    groove = 1.0 - 0.14 * np.exp(-((u / 0.014) ** 2))
    shown = 0.6 + 0.38 * target.tongue
    picture = _over(picture, tones.tongue * (lit * groove)[..., None], cover * shown)
    # Lips pushed forward stand before the teeth, which lie higher and in the shade behind them.
    row, alpha = _teeth_at(teeth, u, v + BEHIND_POUT[0] * target.rounded)
    row = row * (1 - target.rounded * np.array(BEHIND_POUT[1:]))
    picture = _over(picture, row, alpha)
    # Shadow: of the upper lip on the teeth, and towards the corners.
    under_lip = 1.0 - 0.42 * np.exp(-np.clip(v - view.top, 0, None) / 0.014)
    corners = 1.0 - 0.5 * across**2.2
    picture = picture * (under_lip * corners)[..., None]
    # Lips turn inwards before they end, the lower one in the light.
    turn = np.minimum(RIM, 0.2 * gap)
    above, below = (np.clip(1 - d / turn, 0, 1) ** 2 for d in (v - view.top, view.bottom - v))
    picture = _over(picture, tones.lips * np.array([0.42, 0.36, 0.36]), 0.55 * above)
    return _over(picture, tones.lips * np.array([0.72, 0.62, 0.62]), 0.8 * below)


def _teeth_at(teeth: Teeth, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    half_u, half_v = PATCH_HALF
    xs = ((u + half_u) * PATCH_SCALE - 0.5).astype(np.float32)
    ys = ((v + half_v) * PATCH_SCALE - 0.5).astype(np.float32)
    row = cv2.remap(teeth.rgb, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = (np.abs(u) < half_u) & (v < half_v)
    alpha = cv2.remap(teeth.alpha, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return row, alpha * inside


def _over(below: np.ndarray, above: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return below + (above - below) * alpha[..., None]
