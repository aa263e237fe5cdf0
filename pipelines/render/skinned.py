"""A textured body with a skeleton, posed by world turns of its joints: a GLB, the mannequin or SMPL-X alike."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numba
import numpy as np
import torch

from models.bodies.joints import INDEX, PARENTS
from models.bodies.smplx import SmplxData
from models.geometry.cameras import crop_intrinsics, resize_intrinsics
from models.geometry.skinning import blend_shapes
from pipelines.export.retarget import Rig, place, shortest_turn
from pipelines.render.raster import Fragments, interpolate, rasterize_mesh
from pipelines.render.shading import Camera

Array = np.ndarray
INFLUENCES = 4
_NEAR = 0.05  # metres
A_POSE_DEGREES = 40.0  # of the arms below the horizontal


@dataclass(frozen=True)
class Surface:
    """What a body looks like: uv (V, 2) with the origin top left, textures (h, w, 3) uint8, the texture of each face
    (F,), and the faces (F,) whose back is not drawn."""

    uv: Array
    textures: tuple[Array, ...]
    texture_of: Array
    one_sided: Array


@dataclass(frozen=True)
class SkinnedBody:
    """rest (V, 3) float32 in the rig's axes (x left, y up, z front); faces (F, 3); ids and share (V, 4)."""

    rest: Array
    faces: Array
    ids: Array
    share: Array
    rig: Rig
    surface: Surface

    def posed(self, turns: Array, root: Array) -> Array:
        """Vertices (V, 3) float32 from world turns (J, 3, 3) and the place of the root joint (3,)."""
        at = place(turns[None], self.rig, np.asarray(root, np.float64)[None])[0]
        moved = at - (turns @ self.rig.joints[..., None])[..., 0]
        transforms = np.concatenate([turns, moved[..., None]], axis=2).astype(np.float32)
        return skin_points(self.rest, self.rest, self.ids, self.share, transforms)[0]

    def at_rest(self, turns: Array) -> SkinnedBody:
        """The same body with another rest pose, given by world turns (J, 3, 3) from the present one."""
        root = self.rig.joints[0]
        joints = place(turns[None], self.rig, root[None])[0]
        return replace(self, rest=self.posed(turns, root), rig=replace(self.rig, joints=joints))


def a_pose(body: SkinnedBody) -> SkinnedBody:
    """The body at rest with its arms ``A_POSE_DEGREES`` below the horizontal, the pose in which UDPs are counted."""
    rig = body.rig
    turns = np.tile(np.eye(3), (len(rig.parents), 1, 1))
    slope = np.radians(A_POSE_DEGREES)
    for side, sign in (("left", 1), ("right", -1)):
        shoulder, elbow = rig.known[f"{side}_shoulder"], rig.known[f"{side}_elbow"]
        wanted = np.array([sign * np.cos(slope), -np.sin(slope), 0])
        turns[shoulder] = shortest_turn(rig.joints[elbow] - rig.joints[shoulder], wanted)
        for joint, parent in enumerate(rig.parents):
            if joint != shoulder and _below(joint, shoulder, rig.parents):
                turns[joint] = turns[parent]
    return body.at_rest(turns)


def _below(joint: int, top: int, parents: tuple[int, ...]) -> bool:
    while joint >= 0:
        if joint == top:
            return True
        joint = parents[joint]
    return False


def body_of(data: SmplxData, betas: Array, colors: Array | None = None) -> SkinnedBody:
    """The mannequin or SMPL-X in a shape, painted by vertex colours (V, 3) uint8 or one plain tone."""
    betas = np.asarray(betas, np.float32)[: data.identity]
    directions = torch.from_numpy(data.shapedirs[:, :, : len(betas)])
    shaped = data.v_template + blend_shapes(torch.from_numpy(betas)[None], directions)[0].numpy()
    ids = np.argsort(-data.weights, axis=1)[:, :INFLUENCES]
    share = np.take_along_axis(data.weights, ids, axis=1)
    share = (share / share.sum(axis=1, keepdims=True)).astype(np.float32)
    count = len(shaped)
    if colors is None:
        colors = np.full((count, 3), 190, np.uint8)
    # Vertex colours as a texture of one texel per vertex would not blend; palettes of a body are flat anyway.
    side = int(np.ceil(np.sqrt(count)))
    texture = np.zeros((side, side, 3), np.uint8)
    texture.reshape(-1, 3)[:count] = colors
    uv = np.stack([np.arange(count) % side + 0.5, np.arange(count) // side + 0.5], axis=1) / side
    joints = (data.J_regressor @ shaped).astype(np.float64)
    faces = len(data.faces)
    surface = Surface(uv.astype(np.float32), (texture,), np.zeros(faces, np.int32), np.ones(faces, bool))
    return SkinnedBody(
        np.ascontiguousarray(shaped, np.float32), data.faces, ids, share, Rig(joints, PARENTS, dict(INDEX)), surface
    )


def seen(body: SkinnedBody, vertices: Array, camera: Camera, samples: int = 1) -> Fragments:
    """What each of ``samples`` x ``samples`` points of each pixel shows; triangles count in ``body.faces``."""
    K = resize_intrinsics(camera.intrinsics, samples, samples)
    E = np.asarray(camera.extrinsics, np.float64)
    local = vertices @ E[:3, :3].T + E[:3, 3]
    corners = local[body.faces]
    outward = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    front = (outward * corners[:, 0]).sum(axis=1) < 0
    kept = np.flatnonzero(front | ~body.surface.one_sided)
    fragments = rasterize_mesh(
        vertices, body.faces[kept], camera.extrinsics, K, camera.height * samples, camera.width * samples
    )
    hit = fragments.triangle >= 0
    fragments.triangle[hit] = kept[fragments.triangle[hit]]
    return fragments


def painted(body: SkinnedBody, fragments: Fragments) -> Array:
    """The body's own colours without light, (H, W, 3) uint8."""
    surface = body.surface
    uv = interpolate(fragments, surface.uv[body.faces].astype(np.float64)).astype(np.float32)
    out = np.zeros((*fragments.triangle.shape, 3), np.uint8)
    material = np.where(fragments.covered, surface.texture_of[fragments.triangle], -1)
    for index, texture in enumerate(surface.textures):
        mask = material == index
        if mask.any():
            height, width = texture.shape[:2]
            x, y = uv[..., 0] * width - 0.5, uv[..., 1] * height - 0.5
            colors = cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
            out[mask] = colors[mask]
    return out


def averaged(colors: Array, covered: Array, samples: int) -> Array:
    """Straight RGBA (H, W, 4) uint8 from samples: colours (H s, W s, 3) uint8 and what is covered (H s, W s)."""
    if samples == 1:
        return np.dstack([colors * covered[..., None], covered.astype(np.uint8) * 255])
    out = np.zeros((covered.shape[0] // samples, covered.shape[1] // samples, 4), np.uint8)
    _average(np.ascontiguousarray(colors), np.ascontiguousarray(covered), samples, out)
    return out


@numba.njit(nogil=True, cache=True)
def _average(colors, covered, samples, out):  # pragma: no cover - compiled
    count = samples * samples
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            r, g, b, n = 0, 0, 0, 0
            for v in range(y * samples, (y + 1) * samples):
                for u in range(x * samples, (x + 1) * samples):
                    if covered[v, u]:
                        r += colors[v, u, 0]
                        g += colors[v, u, 1]
                        b += colors[v, u, 2]
                        n += 1
            if n:
                out[y, x, 0] = (r + n // 2) // n
                out[y, x, 1] = (g + n // 2) // n
                out[y, x, 2] = (b + n // 2) // n
                out[y, x, 3] = (255 * n + count // 2) // count


@dataclass(frozen=True)
class Window:
    """The part of a camera's picture that a body takes: a camera for it alone, and its place in the picture."""

    camera: Camera
    rows: slice
    columns: slice

    def whole(self, part: Array, height: int, width: int) -> Array:
        """The part (h, w, C) in a picture (height, width, C), 0 elsewhere."""
        out = np.zeros((height, width, *part.shape[2:]), part.dtype)
        out[self.rows, self.columns] = part
        return out


def window(vertices: Array, camera: Camera) -> Window | None:
    """Where a body lies in the picture; None when it lies outside or reaches behind the camera's near plane."""
    E, K = np.asarray(camera.extrinsics, np.float64), np.asarray(camera.intrinsics, np.float64)
    local = vertices @ E[:3, :3].T + E[:3, 3]
    if local[:, 2].min() < _NEAR:
        return Window(camera, slice(0, camera.height), slice(0, camera.width))
    pixels = local @ K.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    low = np.maximum(np.floor(pixels.min(axis=0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(pixels.max(axis=0)).astype(int) + 2, [camera.width, camera.height])
    if (high <= low).any():
        return None
    width, height = (high - low).tolist()
    moved = Camera(camera.extrinsics, crop_intrinsics(K, float(low[0]), float(low[1])), width, height)
    return Window(moved, slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0])))


def picture(body: SkinnedBody, vertices: Array, camera: Camera, samples: int = 3) -> Array:
    """The body drawn without light: straight RGBA (H, W, 4) uint8."""
    part = window(vertices, camera)
    if part is None:
        return np.zeros((camera.height, camera.width, 4), np.uint8)
    fragments = seen(body, vertices, part.camera, samples)
    made = averaged(painted(body, fragments), fragments.covered, samples)
    return part.whole(made, camera.height, camera.width)


@numba.njit(nogil=True, cache=True)
def skin_points(rest, normals, ids, share, transforms):  # pragma: no cover - compiled
    """Linear blend skinning of points and normals (V, 3) by transforms (J, 3, 4)."""
    points, turned = np.empty_like(rest), np.empty_like(normals)
    blend = np.empty((3, 4), np.float32)
    for v in range(len(rest)):
        blend[:] = 0
        for k in range(ids.shape[1]):
            for r in range(3):
                for c in range(4):
                    blend[r, c] += share[v, k] * transforms[ids[v, k], r, c]
        length = np.float32(1e-12)
        for r in range(3):
            points[v, r] = blend[r, 3]
            turned[v, r] = 0
            for c in range(3):
                points[v, r] += blend[r, c] * rest[v, c]
                turned[v, r] += blend[r, c] * normals[v, c]
            length += turned[v, r] ** 2
        for r in range(3):
            turned[v, r] /= np.sqrt(length)
    return points, turned
