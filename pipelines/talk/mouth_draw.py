"""Draws one speaking mouth into a frame: two smooth warps that part at the lips, and the inside between them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pipelines.talk.lip_edges import lip_edges, parted
from pipelines.talk.mouth_inside import (
    LEAST_TEETH,
    InsideView,
    Teeth,
    Tones,
    drawn_teeth,
    paint,
    patch_axes,
    taken_teeth,
)
from pipelines.talk.mouth_shape import CHIN_SHARE, HeadPose, MouthTarget, Person, head_pose, mouth_target
from pipelines.talk.warp import border_fade, displacement, sample
from pipelines.tracking import face_points as mp

# The region that is redrawn, from the middle of the mouth, in eye distances: left and right, up, down.
REGION = (0.98, 0.62, 1.0)
FINE_BELOW = 160.0  # pixels between the outer eye corners
SMALLEST_EYES = 12.0  # pixels between the outer eye corners below which a mouth cannot be drawn
_UPPER = tuple(dict.fromkeys((*mp.UPPER_OUTER, *mp.UPPER_INNER)))
_LOWER = tuple(dict.fromkeys((*mp.LOWER_OUTER, *mp.LOWER_INNER)))
_JAW = tuple(mp.JAW)
_JAW_SHARE = np.array([mp.JAW[i] for i in _JAW])


@dataclass(frozen=True)
class Region:
    """A rectangle of the picture that may stick out of it: left, top, width, height in pixels."""

    x: int
    y: int
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The region's pixels, the picture's border repeated outside of it."""
        height, width = image.shape[:2]
        x0, y0 = max(0, self.x), max(0, self.y)
        x1, y1 = min(width, self.x + self.width), min(height, self.y + self.height)
        part = image[y0:y1, x0:x1]
        left, top = x0 - self.x, y0 - self.y
        right, bottom = self.width - left - (x1 - x0), self.height - top - (y1 - y0)
        if not (left or top or right or bottom):
            return part
        return cv2.copyMakeBorder(part, top, bottom, left, right, cv2.BORDER_REPLICATE)

    def paste(self, image: np.ndarray, pixels: np.ndarray) -> None:
        """Writes the region's pixels back, what lies outside of the picture left out."""
        height, width = image.shape[:2]
        x0, y0 = max(0, self.x), max(0, self.y)
        x1, y1 = min(width, self.x + self.width), min(height, self.y + self.height)
        image[y0:y1, x0:x1] = pixels[y0 - self.y : y1 - self.y, x0 - self.x : x1 - self.x]

    def meets(self, image: np.ndarray) -> bool:
        height, width = image.shape[:2]
        return self.x < width and self.y < height and self.x + self.width > 0 and self.y + self.height > 0


def tones_of(image: np.ndarray, points: np.ndarray) -> Tones:
    """Skin and lip colours of a face with landmarks (468, 3) in a picture."""

    def colour(pairs: list[tuple[int, int]]) -> np.ndarray:
        height, width = image.shape[:2]
        found = []
        for a, b in pairs:
            x, y = (points[a, :2] + points[b, :2]) / 2
            x, y = int(np.clip(x, 1, width - 2)), int(np.clip(y, 1, height - 2))
            found.append(image[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3).mean(axis=0))
        return np.median(found, axis=0)

    skin = colour([(50, 50), (280, 280), (205, 205), (425, 425), (199, 199)])
    lips = colour([(17, 14), (0, 13), (84, 87), (314, 317)])
    return Tones(skin, lips)


class MouthArtist:
    """Draws one person. ``teeth`` may be taken from a frame of the clip with ``learn_teeth``."""

    def __init__(self, person: Person, tones: Tones) -> None:
        self.person = person
        self.tones = tones
        self.teeth: Teeth = drawn_teeth(tones)
        self._seam = float(person.shape[mp.INNER_TOP, 1])
        self._depth = float(person.shape[list(mp.LIPS), 2].mean())

    def learn_teeth(self, image: np.ndarray, points: np.ndarray) -> bool:
        """Takes the upper teeth from a picture in which they show; whether they do."""
        if mp.opening(points) < LEAST_TEETH * 0.5:
            return False
        pose = head_pose(self.person, points)
        us, vs = patch_axes()
        u, v = np.meshgrid(us, vs)
        there = np.stack([u, v + self._seam, np.full_like(u, self._depth)], axis=-1).reshape(-1, 3)
        at = pose.project(there).reshape(*u.shape, 2).astype(np.float32)
        patch = cv2.remap(image, at[..., 0], at[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        lips = pose.unproject(points.astype(float))[:, :2] - [0.0, self._seam]
        ring = np.concatenate([lips[list(mp.UPPER_INNER)], lips[list(mp.LOWER_INNER)][::-1]])
        scale = len(us) / (us[-1] - us[0] + us[1] - us[0])
        pixels = (ring - [us[0], vs[0]]) * scale
        inside = np.zeros(u.shape, np.uint8)
        cv2.fillPoly(inside, [np.round(pixels * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        found = taken_teeth(patch, inside / 255.0, self.tones)
        if found is not None:
            self.teeth = found
        return found is not None

    def draw(self, frame: np.ndarray, points: np.ndarray, curves: np.ndarray, strength: float = 1.0) -> None:
        """Redraws the mouth in ``frame`` (H, W, 3) uint8 in place, for landmarks (468, 3) and curves (6,)."""
        pose = head_pose(self.person, points)
        if pose.scale < SMALLEST_EYES:
            return
        region = self._region(pose)
        if not region.meets(frame):
            return
        target = mouth_target(self.person, curves, strength)
        pixels = region.cut(frame)
        region.paste(frame, self._redrawn(pixels, region, pose, points, target))

    def _region(self, pose: HeadPose) -> Region:
        centre = pose.project(np.array([[0.0, self._seam, self._depth]]))[0]
        side, up, down = (n * pose.scale for n in REGION)
        return Region(int(centre[0] - side), int(centre[1] - up), max(8, round(2 * side)), max(8, round(up + down)))

    def _redrawn(
        self, pixels: np.ndarray, region: Region, pose: HeadPose, points: np.ndarray, target: MouthTarget
    ) -> np.ndarray:
        origin = np.array([region.x, region.y])
        have = points[:, :2].astype(float) - origin
        want = have.copy()
        lips = list(mp.LIPS)
        want[lips] = pose.project(target.lips[lips]) - origin
        measured = pose.unproject(points.astype(float))
        source_drop = measured[mp.INNER_BOTTOM, 1] - self._seam
        jaw = CHIN_SHARE * (target.drop - max(source_drop, -0.02))
        want[list(_JAW)] += _JAW_SHARE[:, None] * pose.direct(np.array([[0.0, jaw, 0.0]]))
        fade = border_fade(region.size)
        still = list(mp.STILL)
        above, below = list(dict.fromkeys((*_UPPER, *still, *_JAW))), list(dict.fromkeys((*_LOWER, *_JAW, *still)))
        top = displacement(want[above], have[above], region.size, fade)
        bottom = displacement(want[below], have[below], region.size, fade)
        u, v = self._coordinates(region, pose)
        apart = parted(measured)
        if apart > 0:
            edges = lip_edges(pixels, origin, measured, pose, self._seam, self.tones.lips)
            top, bottom = edges.kept(top, u, v, pose, above=True), edges.kept(bottom, u, v, pose, above=False)
        upper, lower = self._lip_lines(target)
        line_top, line_bottom = (np.interp(u, x, y).astype(np.float32) for x, y in (upper, lower))
        half = float((upper[0][-1] - upper[0][0]) / 2)
        seam = (line_top + line_bottom) / 2
        # Parted lips are parted up to their corners; elsewhere the skin is one a little earlier.
        corners = half + apart * (float(np.abs(target.lips[list(mp.CORNERS), 0]).mean()) - half)
        outside = np.clip(np.abs(u) - (0.92 + 0.1 * apart) * corners, 0.0, None)
        softness = 0.7 / pose.scale + 0.55 * outside
        share = np.clip((v - seam) / (2 * softness) + 0.5, 0, 1)[..., None]
        share = share * share * (3 - 2 * share)
        # Away from the lips' span the two warps are blended before sampling, so that skin is never seen twice.
        inside = np.clip(outside / 0.06, 0, 1)[..., None]
        mixed = top * (1 - share) + bottom * share
        result = sample(pixels, top * (1 - inside) + mixed * inside).astype(np.float32)
        lower_skin = sample(pixels, bottom * (1 - inside) + mixed * inside).astype(np.float32)
        result += (lower_skin - result) * share
        touching = apart * np.clip(1 - (line_bottom - line_top) / 0.02, 0, 1)
        if apart > 0:
            result = _with_contact(result, v - seam, u / corners, max(0.008, 0.75 / pose.scale), touching)
        if target.aperture > 0.004:
            result = self._with_inside(result, pose, target, region, (u, v, line_top, line_bottom, half))
        return np.clip(result, 0, 255).astype(np.uint8)

    def _coordinates(self, region: Region, pose: HeadPose) -> tuple[np.ndarray, np.ndarray]:
        """u and v (H, W) float32 of the region's pixels on the plane of the lips."""
        plane = np.linalg.inv(pose.scale * pose.rotation[:2, :2])
        shift = pose.shift[:2] + pose.scale * pose.rotation[:2, 2] * self._depth
        xs = np.arange(region.width, dtype=np.float32) + np.float32(region.x - shift[0])
        ys = np.arange(region.height, dtype=np.float32) + np.float32(region.y - shift[1])
        plane = plane.astype(np.float32)
        u = plane[0, 0] * xs[None] + plane[0, 1] * ys[:, None]
        v = plane[1, 0] * xs[None] + plane[1, 1] * ys[:, None] - np.float32(self._seam)
        return u, v

    def _lip_lines(self, target: MouthTarget) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """Inner lips above and below as smooth lines (u, v)."""
        lines = []
        for group in (mp.UPPER_INNER, mp.LOWER_INNER):
            at = target.lips[list(group), :2] - [0.0, self._seam]
            at = at[np.argsort(at[:, 0])]
            steps = np.linspace(0, len(at) - 1, 61)
            known = np.arange(len(at))
            x, y = np.interp(steps, known, at[:, 0]), np.interp(steps, known, at[:, 1])
            kernel = np.hanning(9) / np.hanning(9).sum()
            y[4:-4] = np.convolve(y, kernel, mode="valid")
            lines.append((x, y))
        return lines[0], lines[1]

    def _with_inside(
        self,
        picture: np.ndarray,
        pose: HeadPose,
        target: MouthTarget,
        region: Region,
        field: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float],
    ) -> np.ndarray:
        u, v, top, bottom, half = field
        rows = np.flatnonzero(((v > top - 0.03) & (v < bottom + 0.03) & (np.abs(u) < half + 0.03)).any(axis=1))
        columns = np.flatnonzero((np.abs(u) < half + 0.05).any(axis=0))
        if not len(rows) or not len(columns):
            return picture
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        u, v, top, bottom = (part[box] for part in (u, v, top, bottom))
        fine = 1 if pose.scale > FINE_BELOW else 2  # small teeth are drawn twice as fine and averaged
        if fine > 1:
            size = (fine * u.shape[1], fine * u.shape[0])
            u, v, top, bottom = (cv2.resize(part, size, interpolation=cv2.INTER_LINEAR) for part in (u, v, top, bottom))
        soft = max(0.0045, 0.75 / pose.scale)
        cover = np.clip((v - top) / soft + 0.25, 0, 1) * np.clip((bottom - v) / soft + 0.25, 0, 1)
        cover *= np.clip((half - np.abs(u)) / (2 * soft), 0, 1) * np.clip(target.aperture / 0.012, 0, 1)
        view = InsideView(u, v, top, bottom, half, target)
        layer = np.concatenate([paint(view, self.teeth, self.tones) * cover[..., None], cover[..., None]], axis=-1)
        if fine > 1:
            size = (layer.shape[1] // fine, layer.shape[0] // fine)
            layer = cv2.resize(layer.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        result = picture.copy()
        result[box] = result[box] * (1 - layer[..., 3:]) + layer[..., :3]
        return result


def _with_contact(
    picture: np.ndarray, from_seam: np.ndarray, across: np.ndarray, width: float, amount: np.ndarray
) -> np.ndarray:
    """The shadow where lips touch, for lips that were parted in the source and so have none; ``across`` is -1..1,
    ``amount`` (H, W) 0..1."""
    line = np.exp(-((from_seam / width) ** 2)) * np.clip(1.06 - across**8, 0, 1) * amount
    shade = np.array([0.44, 0.52, 0.52])  # on lips red is lost least
    return picture * (1 - shade * line[..., None])
