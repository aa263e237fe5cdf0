"""A photo comes to life: small movements of the head, and blinks. All of it follows from a seed, so it repeats."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pipelines.export.expression import ExpressionClip
from pipelines.talk.mouth_draw import Region
from pipelines.talk.warp import border_fade, displacement, sample
from pipelines.tracking import face_points as mp

SWAY = (0.022, 0.016)  # eye distances sideways and up and down
TILT = 0.9  # degrees
BLINK_SECONDS = 0.24
BLINK_EVERY = (2.2, 5.0)
FOLLOWED_TURN = 20.0  # degrees of a driving head that use up most of the movement
FOLLOWED_SHIFT = 0.06  # eye distances
FOLLOWED_TILT = 4.0  # degrees
SHUT_FROM, SHUT_AT = 0.2, 0.7  # blink curve of eyes that are open, and shut
LEAST_EYE = 0.12  # height over width of an eye that is open enough to blink


def smooth_noise(count: int, fps: float, period: float, rng: np.random.Generator) -> np.ndarray:
    """(count,) slow random movement of unit size: cosines of nearby periods with random phases."""
    time = np.arange(count) / fps
    waves = [np.cos(2 * np.pi * (time / (period * scale) + rng.random())) for scale in (0.63, 1.0, 1.71, 2.9)]
    return np.mean(waves, axis=0) * 1.4


def blink_curve(count: int, fps: float, rng: np.random.Generator) -> np.ndarray:
    """(count,) 0 open .. 1 shut: quick down, a little slower up, at irregular times."""
    time = (np.arange(count) + 0.5) / fps
    shut = np.zeros(count)
    at = rng.uniform(0.8, BLINK_EVERY[1])
    while at < count / fps:
        phase = (time - at) / BLINK_SECONDS
        down, up = np.clip(phase / 0.36, 0, 1), np.clip((1 - phase) / 0.52, 0, 1)
        shut = np.maximum(shut, np.where((phase > 0) & (phase < 1), np.minimum(down, up), 0.0))
        at += rng.uniform(*BLINK_EVERY)
    return shut * shut * (3 - 2 * shut)


@dataclass(frozen=True)
class StillMotion:
    """Movements of one face of a photo, per frame: ``shift`` (F, 2) eye distances, ``tilt`` (F,) degrees, ``blink``."""

    shift: np.ndarray
    tilt: np.ndarray
    blink: np.ndarray

    @classmethod
    def make(cls, count: int, fps: float, energy: np.ndarray, seed: int, motion: bool, blinks: bool) -> StillMotion:
        """``energy`` (F,) 0..1 of the voice makes the head livelier while it speaks."""
        rng = np.random.default_rng(seed)
        lively = 0.55 + 0.45 * cv2.GaussianBlur(energy.reshape(-1, 1), (1, 2 * round(0.4 * fps) + 1), 0)[:, 0]
        sideways, nod, tilt = (smooth_noise(count, fps, p, rng) for p in (3.4, 2.3, 4.6))
        begin = np.clip(np.arange(count) / fps / 0.8, 0, 1)  # starts as the photo is
        scale = lively * begin if motion else np.zeros(count)
        shift = np.stack([SWAY[0] * sideways, SWAY[1] * nod], axis=1) * scale[:, None]
        return cls(shift, TILT * tilt * scale, blink_curve(count, fps, rng) if blinks else np.zeros(count))

    @classmethod
    def follow(cls, clip: ExpressionClip, count: int, fps: float) -> StillMotion:
        """The blinks and small movements of somebody else's clip, back and forth where it is shorter."""
        times = np.arange(count) / fps
        turned = [clip.played(times, clip.head[:, axis] - np.median(clip.head[:, axis])) for axis in range(3)]
        nod, yaw, roll = (np.degrees(angle) for angle in turned)
        # A photo can be shifted and tilted a little, not turned: large movements are held at what looks natural.
        shift = np.stack([np.tanh(yaw / FOLLOWED_TURN), np.tanh(nod / FOLLOWED_TURN)], axis=1) * FOLLOWED_SHIFT
        tilt = -FOLLOWED_TILT * np.tanh(roll / FOLLOWED_TILT)
        shut = clip.played(times, clip.curve("eyeBlinkLeft", "eyeBlinkRight"))
        return cls(shift, tilt, np.clip((shut - SHUT_FROM) / (SHUT_AT - SHUT_FROM), 0, 1))

    def apply(self, frame: np.ndarray, points: np.ndarray, number: int) -> None:
        """Changes ``frame`` (H, W, 3) uint8 in place, of a photo with face landmarks (468, 3) pixels."""
        if self.blink[number] > 0.02:
            for eye, brow in ((mp.RIGHT_EYE, "right"), (mp.LEFT_EYE, "left")):
                close_eye(frame, points, eye, mp.BROWS[brow], float(self.blink[number]))
        if np.abs(self.shift[number]).max() > 1e-4 or abs(self.tilt[number]) > 1e-3:
            move_head(frame, points, self.shift[number], float(self.tilt[number]))


def close_eye(
    frame: np.ndarray, points: np.ndarray, eye: dict[str, tuple[int, ...]], brow: tuple[int, ...], amount: float
) -> None:
    """Draws the upper lid down over one eye: the skin above it is stretched, the eye below the lid stays."""
    upper, lower = points[list(eye["upper"]), :2].astype(float), points[list(eye["lower"]), :2].astype(float)
    width = float(np.linalg.norm(upper[-1] - upper[0]))
    height = float(np.linalg.norm(upper[4] - lower[4]))
    if width < 6 or height / width < LEAST_EYE:
        return
    centre = (upper[0] + upper[-1]) / 2
    side = 0.95 * width
    region = Region(int(centre[0] - side), int(centre[1] - side), round(2 * side), round(1.7 * side))
    if not region.meets(frame):
        return
    origin = np.array([region.x, region.y])
    upper, lower = upper - origin, lower - origin
    # Shut lids meet a little above the lower one.
    shut = upper + (lower - upper) * 0.86 * amount
    still = np.concatenate([points[list(brow), :2] - origin, lower[[0, -1]]])
    have, want = np.concatenate([upper, still]), np.concatenate([shut, still])
    pixels = region.cut(frame)
    lid = sample(pixels, displacement(want, have, region.size, border_fade(region.size, 0.2))).astype(np.float32)
    # The lid covers what lies between where it was and where it is now, and hands over to the untouched skin above.
    lashes = max(1.0, 0.035 * width)
    edge = shut + np.array([0.0, 0.5 * lashes])
    outline = np.concatenate([upper - [0.0, 0.55 * height + 2.0], edge[::-1]])
    cover = np.zeros(pixels.shape[:2], np.uint8)
    cv2.fillPoly(cover, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(cover.astype(np.float32) / 255, (0, 0), max(0.6, 0.018 * width))
    line = np.zeros(pixels.shape[:2], np.uint8)
    cv2.polylines(line, [np.round(shut * 16).astype(np.int32)], False, 255, max(1, round(lashes)), cv2.LINE_AA, 4)
    dark = cv2.GaussianBlur(line.astype(np.float32) / 255, (0, 0), max(0.5, 0.5 * lashes))
    lid *= (1 - 0.45 * amount * dark)[..., None]
    result = pixels + (lid - pixels) * soft[..., None]
    region.paste(frame, np.clip(result, 0, 255).astype(np.uint8))


def move_head(frame: np.ndarray, points: np.ndarray, shift: np.ndarray, tilt: float) -> None:
    """Shifts and tilts the head a little around the neck; the movement dies out towards shoulders and background."""
    chin, top = points[mp.CHIN, :2].astype(float), points[mp.FOREHEAD, :2].astype(float)
    eyes = float(np.linalg.norm(points[mp.EYES[0], :2] - points[mp.EYES[1], :2]))
    tall = float(np.linalg.norm(chin - top))
    centre = (chin + top) / 2
    half_w, up, down = 1.35 * tall, 1.25 * tall, 1.2 * tall
    region = Region(int(centre[0] - half_w), int(centre[1] - up), round(2 * half_w), round(up + down))
    if not region.meets(frame):
        return
    pixels = region.cut(frame)
    ys, xs = np.mgrid[0 : region.height : 4, 0 : region.width : 4].astype(np.float32)
    x, y = xs + region.x - centre[0], ys + region.y - centre[1]
    # An upright ellipse over face and hair moves as one, then the movement fades.
    distance = np.sqrt((x / (0.62 * tall)) ** 2 + ((y + 0.08 * tall) / (0.74 * tall)) ** 2)
    weight = np.clip((1.62 - distance) / 0.72, 0, 1)
    weight = weight * weight * (3 - 2 * weight)
    angle = np.radians(tilt)
    below = y - 0.75 * tall  # turns about the neck
    dx = weight * (shift[0] * eyes - angle * below)
    dy = weight * (shift[1] * eyes + angle * x)
    back = cv2.resize(np.stack([-dx, -dy], axis=-1).astype(np.float32), region.size, interpolation=cv2.INTER_LINEAR)
    region.paste(frame, sample(pixels, back))
