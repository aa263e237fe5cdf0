"""Bodies drawn into the picture they came from, and seen from the side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from models.geometry.cameras import resize_intrinsics
from pipelines.body.clip import VIEWER
from pipelines.body.upright import level_axes
from pipelines.render.quick import blend, quick_mesh
from pipelines.render.shading import Camera, Lights

Array = np.ndarray
TO_CAMERA = np.concatenate([np.diag(VIEWER), np.zeros((3, 1))], axis=1)
NEAR = 0.05
SHARP_BELOW, DRAWN_SIDE = 160, 380  # long sides in pixels: up to which four samples a pixel are taken; at most drawn
EDGE = np.ones((3, 3), np.uint8)
LIGHTS = Lights()
GROUND, PAPER = (214, 216, 214), (238, 239, 237)


@dataclass(frozen=True)
class Drawn:
    """One body of one frame: vertices (V, 3) in viewer axes, faces (F, 3), colours (V, 3) or (3,), its camera
    (fx, fy, cx, cy) in pixels, its number, and its unit normals (V, 3)."""

    number: int
    vertices: Array
    faces: Array
    colors: Array
    camera: Array
    normals: Array


def camera_matrix(camera: Array) -> Array:
    """(fx, fy, cx, cy) -> (3, 3)."""
    fx, fy, cx, cy = (float(v) for v in camera)
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


def project(points: Array, camera: Array) -> Array:
    """Viewer-axes points (N, 3) -> pixels (N, 2)."""
    depth = np.maximum(-points[:, 2], NEAR)
    return np.stack(
        [points[:, 0] / depth * camera[0] + camera[2], -points[:, 1] / depth * camera[1] + camera[3]], axis=1
    )


def draw(picture: Array, bodies: Sequence[Drawn], opacity: float = 0.9, dots: bool = False) -> Array:
    """A copy of ``picture`` (H, W, 3) uint8 with the bodies in it, the farthest first.

    Cameras of different focal lengths look at the same picture, so depth counts in focal lengths.
    """
    out = picture.copy()
    for body in sorted(bodies, key=lambda b: float(np.median(b.vertices[:, 2]) / b.camera[0])):
        if dots:
            _dots(out, body)
        else:
            _surface(out, body, opacity)
    return out


def _surface(out: Array, body: Drawn, opacity: float) -> None:
    height, width = out.shape[:2]
    at = project(body.vertices, body.camera)
    x0, y0 = (max(0, int(np.floor(v)) - 1) for v in at.min(axis=0))
    x1, y1 = (min(n, int(np.ceil(v)) + 2) for n, v in zip((width, height), at.max(axis=0), strict=True))
    if x1 - x0 < 2 or y1 - y0 < 2:
        return
    width, height = x1 - x0, y1 - y0
    # Soft shading has no fine detail: large bodies are drawn smaller and enlarged, which also softens their edges.
    scale = min(1.0, DRAWN_SIDE / max(width, height))
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    intrinsics = camera_matrix(body.camera)
    intrinsics[:2, 2] -= (x0, y0)
    sharp = max(w, h) <= SHARP_BELOW
    if sharp:
        w, h = 2 * w, 2 * h
    camera = Camera(TO_CAMERA, resize_intrinsics(intrinsics, w / width, h / height), w, h)
    color, alpha = quick_mesh(camera, body.vertices, body.faces, body.colors, body.normals, LIGHTS)
    # Colours are carried a little beyond the edge, so that no background is mixed in.
    color = cv2.copyTo(color, alpha, cv2.dilate(color, EDGE))
    alpha = alpha if sharp else cv2.blur(alpha, (3, 3))
    if (w, h) != (width, height):
        way = cv2.INTER_AREA if sharp else cv2.INTER_LINEAR
        color, alpha = (cv2.resize(image, (width, height), interpolation=way) for image in (color, alpha))
    blend(out[y0:y1, x0:x1], color, alpha, np.float32(opacity / 255))


def _dots(out: Array, body: Drawn) -> None:
    height, width = out.shape[:2]
    at = np.rint(project(body.vertices, body.camera)).astype(int)
    inside = (at[:, 0] >= 0) & (at[:, 0] < width) & (at[:, 1] >= 0) & (at[:, 1] < height)
    mask = np.zeros((height, width), np.uint8)
    mask[at[inside, 1], at[inside, 0]] = 255
    if height > 500:
        mask = cv2.dilate(mask, np.ones((2, 2), np.uint8))
    color = np.asarray(body.colors if np.ndim(body.colors) == 1 else (70, 120, 255))
    out[mask > 0] = (0.2 * out[mask > 0] + 0.8 * color).astype(np.uint8)


def draw_box(out: Array, box: Array, color: tuple[int, int, int], text: str) -> None:
    """A person's box (4,) x0, y0, x1, y1 with their number, into ``out``."""
    x0, y0, x1, y1 = (round(float(v)) for v in box)
    cv2.rectangle(out, (x0, y0), (x1, y1), color, 2)
    cv2.putText(out, text, (x0 + 4, max(14, y0 - 6)), cv2.FONT_HERSHEY_SIMPLEX, 0.55, color, 2, cv2.LINE_AA)


@dataclass(frozen=True)
class SideStage:
    """A camera from the side that sees all bodies of a clip: a turn about the vertical through their middle."""

    middle: Array
    reach: float
    floor: float
    pitch: float = 0.0
    size: tuple[int, int] = (400, 400)

    @classmethod
    def around(cls, roots: Array, floor: float, pitch: float = 0.0) -> SideStage:
        """``roots`` (N, 3): places of all pelvises over the clip, in viewer axes; the camera looks down by ``pitch``
        radians and, once it is level, has the floor at the height ``floor``, or nan."""
        low, high = np.percentile(roots @ level_axes(pitch).T, [2, 98], axis=0)
        middle = (low + high) / 2
        reach = float(max(1.15, 0.5 * np.linalg.norm((high - low)[[0, 2]]) + 1.05))
        return cls(middle, reach, floor, pitch)

    def extrinsics(self) -> Array:
        """World-to-camera (3, 4): from the right-hand side, a little above."""
        yaw, pitch, distance = 1.35, 0.16, 3.2 * self.reach
        back = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
        eye = self.middle + distance * back
        z = -back
        x = np.cross(z, [0, 1.0, 0])
        x /= np.linalg.norm(x)
        R = np.stack([x, np.cross(z, x), z])
        return np.concatenate([R, (-R @ eye)[:, None]], axis=1)

    def intrinsics(self) -> Array:
        width, height = self.size
        focal = 0.5 * height * 3.2 / 1.12
        return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])

    def backdrop(self) -> Array:
        """The floor as a grid of half metres, where it is known."""
        width, height = self.size
        picture = np.full((height, width, 3), PAPER, np.uint8)
        if not np.isfinite(self.floor):
            return picture
        E, K = self.extrinsics(), self.intrinsics()
        span = np.arange(-6, 7) * 0.5
        for offset in span:
            for axis in (0, 2):
                ends = np.zeros((2, 3))
                ends[:, axis], ends[:, 2 - axis] = (-3.0, 3.0), offset
                ends += (self.middle[0], self.floor, self.middle[2])
                local = ends @ E[:, :3].T + E[:, 3]
                if (local[:, 2] < 0.2).any():
                    continue
                at = local @ K.T
                a, b = (tuple(np.rint(p[:2] / p[2]).astype(int).tolist()) for p in at)
                cv2.line(picture, a, b, GROUND, 1, cv2.LINE_AA)
        return picture

    def draw(self, backdrop: Array, bodies: Sequence[Drawn]) -> Array:
        """One frame (H, W, 3) uint8."""
        width, height = self.size
        if not bodies:
            return backdrop.copy()
        E, K = self.extrinsics(), self.intrinsics()
        E[:, :3] = E[:, :3] @ level_axes(self.pitch)
        offset, points, faces, colors, normals = 0, [], [], [], []
        for body in bodies:
            points.append(body.vertices)
            faces.append(body.faces + offset)
            colors.append(np.broadcast_to(body.colors, body.vertices.shape))
            normals.append(body.normals)
            offset += len(body.vertices)
        color, alpha = quick_mesh(
            Camera(E, K, width, height), np.concatenate(points), np.concatenate(faces), np.concatenate(colors),
            np.concatenate(normals), LIGHTS,
        )  # fmt: skip
        color = cv2.copyTo(color, alpha, cv2.dilate(color, EDGE))
        picture = backdrop.copy()
        blend(picture, color, cv2.blur(alpha, (3, 3)), np.float32(1 / 255))
        return picture
