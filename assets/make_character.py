"""Makes Pip, the studio's own character: `python -m assets.make_character [--out FILE]`. Same code, same file.

The field of ``character_shape`` becomes a mesh as the mannequin's does; the mesh is cut into charts that look one way
each, and ``character_paint`` is baked into their texture together with how open each place lies.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import fast_simplification
import numpy as np
from scipy import sparse
from scipy.interpolate import RegularGridInterpolator
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from assets.character_paint import paint
from assets.character_shape import SIDES, field_of_groups, joints, total_field
from assets.make_mannequin import neighbours, relax, surface_net, triangles
from models.bodies.joints import INDEX, NAMES, PARENTS
from pipelines.export.glb import GlbBuilder, Material
from pipelines.export.glb_rig import add_skeleton, bind
from pipelines.export.retarget import Rig
from pipelines.render.raster import rasterize
from pipelines.render.shading import vertex_normals
from pipelines.render.skinned import SkinnedBody, Surface, a_pose

Array = np.ndarray
FILE = Path(__file__).resolve().parent / "character" / "pip.glb"
STEP = 0.0135
FINE = 0.0085
TEXTURE_SIDE = 1024
PAD = 3  # texels between charts
JPEG = 86
TRIANGLES = 15_000
KEPT = [name for name in NAMES if name in joints()]
FINE_GROUPS = {"head": 1.75, "trunk": 1.15}  # these get more texels


def grid() -> tuple[Array, Array, Array]:
    """Finer where hands and strands are thin."""

    def axis(*spans: tuple[float, float, float]) -> Array:
        pieces = [np.linspace(a, b, max(2, round((b - a) / step) + 1))[:-1] for a, b, step in spans]
        return np.concatenate([*pieces, [spans[-1][1]]])

    half = axis((0.0, 0.33, STEP), (0.33, 0.46, FINE))
    x = np.concatenate([-half[:0:-1], half]) + 1e-5
    return (
        x,
        axis((-0.03, 0.10, 0.011), (0.10, 0.95, STEP), (0.95, 1.06, 0.0095), (1.06, 1.31, STEP)),
        axis((-0.27, 0.0, STEP), (0.0, 0.28, 0.0115)),
    )


@dataclass(frozen=True)
class Shape:
    """The mesh with what is needed to paint it."""

    vertices: Array
    faces: Array
    family: Array
    weights: Array
    open_at: RegularGridInterpolator


def sculpt() -> Shape:
    """The mesh, the group of every vertex and its weights (V, 55)."""
    axes = grid()
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    shape = points.shape[:3]
    fields = field_of_groups(points.reshape(-1, 3))
    total = total_field(fields).reshape(shape)
    vertices, quads = surface_net(total, axes)
    vertices = relax(vertices, quads, total, axes, rounds=10)
    weights = skin_weights(vertices, quads, families(vertices))
    faces = triangles(vertices, quads)
    field = RegularGridInterpolator(axes, total, bounds_error=False, fill_value=0.2)
    points, kept = fast_simplification.simplify(vertices, faces.astype(np.int32), 1 - TRIANGLES / len(faces))
    points = points.astype(np.float64)
    _, near = cKDTree(vertices).query(points, k=3)
    return Shape(points, kept.astype(np.int64), families(points), weights[near].mean(axis=1), field)


def families(points: Array) -> Array:
    """The group (N,) whose own surface each point lies nearest to."""
    fields = field_of_groups(points)
    names = list(fields)
    return np.array(names)[np.argmin([fields[n] for n in names], axis=0)]


def _may_follow(joint: str, family: str) -> bool:
    side, _, rest = joint.partition("_")
    its_side, _, part = family.partition("_")
    if family in ("head", "hair", "bunch", "tie"):
        return joint == "head"
    if family in ("trunk", "hood"):
        return joint in ("pelvis", "spine1", "spine2", "spine3") or rest == "collar"
    if family == "shorts":
        return joint == "pelvis"
    if side != its_side:
        return joint == "pelvis" and part == "shorts"
    return rest in {
        "leg": ("hip", "knee", "ankle"),
        "shorts": ("hip",),
        "shoe": ("ankle", "foot"),
        "arm": ("shoulder", "elbow"),
        "cuff": ("elbow", "wrist"),
        "hand": ("wrist", "middle1", "thumb1"),
    }.get(part, ())


def bones() -> list[tuple[str, Array, Array]]:
    """Segments (joint that moves it, start, end)."""
    at = {name: np.array(place) for name, place in joints().items()}
    found = [("pelvis", at["pelvis"] - (0, 0.03, 0), at["spine1"]), ("spine1", at["spine1"], at["spine2"]),
             ("spine2", at["spine2"], at["spine3"]), ("spine3", at["spine3"], at["neck"]),
             ("head", at["head"], at["head"] + (0, 0.2, 0))]  # fmt: skip
    for name, s in SIDES:
        found += [(f"{name}_{a}", at[f"{name}_{a}"], at[f"{name}_{b}"]) for a, b in
                  (("hip", "knee"), ("knee", "ankle"), ("ankle", "foot"), ("shoulder", "elbow"), ("elbow", "wrist"),
                   ("wrist", "middle1"), ("collar", "shoulder"))]  # fmt: skip
        found += [
            (f"{name}_foot", at[f"{name}_foot"], at[f"{name}_foot"] + (0, 0, 0.05)),
            (f"{name}_middle1", at[f"{name}_middle1"], at[f"{name}_middle1"] + (s * 0.04, 0, 0)),
            (f"{name}_thumb1", at[f"{name}_thumb1"], at[f"{name}_thumb1"] + (s * 0.02, 0, 0.03)),
            (f"{name}_ankle", at[f"{name}_ankle"], at[f"{name}_ankle"] + (0, -0.04, -0.04)),
        ]
    return found


def skin_weights(vertices: Array, quads: Array, family: Array) -> Array:
    """(V, 55): the nearest bone of the own part, spread along the surface."""
    groups = np.unique(family)
    best = np.full(len(vertices), np.inf)
    owner = np.zeros(len(vertices), int)
    for joint, start, end in bones():
        along = end - start
        share = np.clip((vertices - start) @ along / (along @ along), 0, 1)
        gap = np.linalg.norm(vertices - (start + share[:, None] * along), axis=1)
        allowed = np.isin(family, [g for g in groups if _may_follow(joint, g)])
        gap = np.where(allowed, gap, np.inf)
        owner[gap < best] = INDEX[joint]
        best = np.minimum(best, gap)
    weights = np.zeros((len(vertices), len(NAMES)))
    weights[np.arange(len(vertices)), owner] = 1
    mean = neighbours(quads, len(vertices))
    stiff = np.isin(family, ["head", "hair", "bunch", "tie"])
    shoe = np.array([f.endswith(("_shoe", "_hand")) for f in family])
    for i in range(9):
        new = 0.4 * weights + 0.6 * (mean @ weights)
        frozen = stiff | (shoe & (i >= 2))
        weights = np.where(frozen[:, None], weights, new)
    return weights / weights.sum(axis=1, keepdims=True)


def charts(vertices: Array, faces: Array) -> Array:
    """The chart (F,) of every face: pieces of surface that look about the same way."""
    p = vertices[faces]
    normals = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    a = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    keys = a[:, 0].astype(np.int64) * len(vertices) + a[:, 1]
    order = np.argsort(keys, kind="stable")
    same = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    one, two = order[same] // 3, order[same + 1] // 3
    graph = sparse.coo_matrix((np.ones(len(one)), (one, two)), (len(faces), len(faces))).tocsr()
    graph = graph + graph.T
    smooth = normals.copy()
    degree = np.asarray(graph.sum(axis=1)) + 1
    for _ in range(6):
        smooth = (smooth + graph @ smooth) / degree
    directions = np.concatenate([np.eye(3), -np.eye(3)])
    label = np.argmax(smooth @ directions.T * [1, 0.85, 1.1, 1, 0.85, 1.1], axis=1)
    for _ in range(4):  # stray faces join those around them
        votes = np.stack([graph @ (label == k) for k in range(6)], axis=1) + 0.5 * np.eye(6)[label]
        votes[(normals @ directions.T) < 0.15] = -1
        label = np.argmax(votes, axis=1)
    agree = label[one] == label[two]
    kept = sparse.coo_matrix((np.ones(agree.sum()), (one[agree], two[agree])), graph.shape)
    _, chart = connected_components(kept, directed=False)
    return chart * 6 + label


def unwrap(vertices: Array, faces: Array, family: Array) -> tuple[Array, Array, Array]:
    """Charts laid side by side: for the new vertices their old ones (N,), uv (N, 2) from the top left, faces (F, 3)."""
    chart = charts(vertices, faces)
    pieces = []
    for name in np.unique(chart):
        chosen = np.flatnonzero(chart == name)
        ids, local = np.unique(faces[chosen], return_inverse=True)
        axis = name % 3
        plane = [k for k in range(3) if k != axis]
        flat = vertices[ids][:, plane]
        groups = [f.split("_")[-1] for f in family[ids]]
        common = max(set(groups), key=groups.count)
        scale = FINE_GROUPS.get(common, 1.0)
        pieces.append((chosen, ids, local.reshape(-1, 3), (flat - flat.min(axis=0)) * scale))
    pieces.sort(key=lambda piece: -float(piece[3][:, 1].max()))
    density = 900.0
    while True:
        placed = _packed([(flat.max(axis=0) * density) for *_, flat in pieces])
        if placed is not None:
            break
        density *= 0.97
    old, uv = [], []
    new_faces = np.empty_like(faces)
    count = 0
    for (chosen, ids, local, flat), corner in zip(pieces, placed, strict=True):
        new_faces[chosen] = local + count
        old.append(ids)
        uv.append((flat * density + corner) / TEXTURE_SIDE)
        count += len(ids)
    print(f"{len(pieces)} charts, {density:.0f} texels a metre")
    return np.concatenate(old), np.concatenate(uv), new_faces


def _packed(sizes: list[Array]) -> list[Array] | None:
    """Corners of boxes in rows on the texture, or None when they do not fit."""
    x = y = row = 0.0
    corners = []
    for width, height in sizes:
        if x + width + 2 * PAD > TEXTURE_SIDE:
            x, y, row = 0.0, y + row, 0.0
        if y + height + 2 * PAD > TEXTURE_SIDE or width + 2 * PAD > TEXTURE_SIDE:
            return None
        corners.append(np.array([x + PAD, y + PAD]))
        x, row = x + width + 2 * PAD, max(row, height + 2 * PAD)
    return corners


def bake(shape: Shape, old: Array, uv: Array, faces: Array) -> Array:
    """The texture (S, S, 3) uint8."""
    side = TEXTURE_SIDE
    corners = np.concatenate([uv * side - 0.5, np.ones((len(uv), 1))], axis=1)[faces]
    # Charts are drawn a little larger first, so that their borders are painted beyond the edge.
    place = np.full((side, side, 3), np.nan)
    normal = np.zeros((side, side, 3))
    normals = vertex_normals(shape.vertices, shape.faces)[old]
    points = shape.vertices[old]
    for growth in (0.6, 0.3, 0.0):
        middle = corners[..., :2].mean(axis=1, keepdims=True)
        away = corners[..., :2] - middle
        grown = corners.copy()
        grown[..., :2] = corners[..., :2] + away * growth
        fragments = rasterize(grown, side, side)
        hit = fragments.covered
        weights, face = fragments.barycentric[hit], faces[fragments.triangle[hit]]
        place[hit] = (points[face] * weights[..., None]).sum(axis=1)
        normal[hit] = (normals[face] * weights[..., None]).sum(axis=1)
    known = np.isfinite(place[..., 0])
    spot, direction = place[known], normal[known]
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-9)
    texture = np.full((side, side, 3), 128, np.uint8)
    texture[known] = paint(spot, families(spot), openness(shape.open_at, spot, direction), direction)
    return texture


def openness(field: RegularGridInterpolator, points: Array, normals: Array) -> Array:
    """How much of the way out along the normal is free (N,), 0..1 (Quilez, distance-field occlusion)."""
    closed = np.zeros(len(points))
    for step, weight in ((0.012, 0.9), (0.025, 0.55), (0.05, 0.35), (0.09, 0.22)):
        free = field(points + step * normals)
        closed += weight * np.clip(1 - free / step, 0, 1)
    return np.clip(1 - 0.62 * closed, 0, 1)


def build(path: Path) -> Path:
    """Writes the character as a GLB with its arms lowered."""
    shape = sculpt()
    old, uv, faces = unwrap(shape.vertices, shape.faces, shape.family)
    texture = bake(shape, old, uv, faces)
    places = joints()
    parents = tuple(KEPT.index(_kept_parent(name)) if name != "pelvis" else -1 for name in KEPT)
    rig = Rig(np.array([places[name] for name in KEPT]), parents, {name: i for i, name in enumerate(KEPT)})
    weights = shape.weights[:, [INDEX[name] for name in KEPT]]
    ids = np.argsort(-weights, axis=1, kind="stable")[:, :4]
    share = np.take_along_axis(weights, ids, axis=1)
    share /= share.sum(axis=1, keepdims=True)
    flat = np.zeros(len(faces), np.int32)
    surface = Surface(uv, (texture,), flat, flat.astype(bool))
    body = SkinnedBody(
        shape.vertices[old].astype(np.float32), faces, ids[old], share[old].astype(np.float32), rig, surface
    )
    lowered = a_pose(body)
    builder = GlbBuilder()
    material = Material(texture=texture, unlit=True, double_sided=False, jpeg_quality=JPEG)
    flipped = np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1)
    node = builder.add_mesh(lowered.rest, faces, uv=flipped, material=material, name="Pip")
    skeleton = add_skeleton(builder, KEPT, parents, lowered.rig.joints)
    bind(builder, node, skeleton, weights[old])
    path.parent.mkdir(parents=True, exist_ok=True)
    return builder.save(path)


def _kept_parent(name: str) -> str:
    at = PARENTS[INDEX[name]]
    while NAMES[at] not in KEPT:
        at = PARENTS[at]
    return NAMES[at]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FILE)
    path = build(parser.parse_args().out)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
