"""Makes the mannequin's file: `python -m assets.make_mannequin [--out FILE]`. Same code, same file.

The field of ``mannequin_shape`` is sampled on a grid that is fine at hands, feet and face; surface nets turn it into a
closed mesh, which is relaxed; skinning weights start at the nearest bone and are spread along the surface.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.interpolate import RegularGridInterpolator

from assets.mannequin_shape import JOINTS, TIPS, join, parts
from models.bodies.joints import INDEX, NAMES, PARENTS
from models.bodies.mannequin import FILE, quantize
from pipelines.render.shading import vertex_normals

Array = np.ndarray
SIDES = ("left", "right")


def _axis(*spans: tuple[float, float, float]) -> Array:
    """Coordinates with a step per span (start, end, step)."""
    pieces = [np.linspace(a, b, max(2, round((b - a) / step) + 1))[:-1] for a, b, step in spans]
    return np.concatenate([*pieces, [spans[-1][1]]])


def grid() -> tuple[Array, Array, Array]:
    half = _axis((0.0, 0.10, 0.0072), (0.10, 0.21, 0.0125), (0.21, 0.66, 0.018), (0.66, 0.92, 0.0075))
    x = np.concatenate([-half[:0:-1], half]) + 1e-5
    y = _axis((-0.03, 0.11, 0.0095), (0.11, 0.80, 0.021), (0.80, 1.36, 0.0165), (1.36, 1.432, 0.0056),
              (1.432, 1.50, 0.009), (1.50, 1.66, 0.0062), (1.66, 1.80, 0.0095))  # fmt: skip
    z = _axis((-0.19, -0.085, 0.0125), (-0.085, 0.025, 0.0062), (0.025, 0.085, 0.0072), (0.085, 0.13, 0.0066),
              (0.13, 0.23, 0.011))  # fmt: skip
    return x, y, z


def sample(axes: tuple[Array, Array, Array]) -> tuple[Array, dict[str, Array]]:
    """The whole field on the grid, and the groups' own."""
    shape = tuple(len(a) for a in axes)
    fields: dict[str, Array] = {}
    cuts: list[tuple[tuple[slice, ...], Array, float]] = []
    for part in parts():
        low, high = part.bounds(0.06 + part.blend)
        box = tuple(slice(*np.searchsorted(a, (lo, hi))) for a, lo, hi in zip(axes, low, high, strict=True))
        points = np.stack(np.meshgrid(*(a[b] for a, b in zip(axes, box, strict=True)), indexing="ij"), axis=-1)
        values = part.field(points)
        if part.cut:
            cuts.append((box, values, part.blend))
            continue
        field = fields.setdefault(part.group, np.full(shape, 0.3))
        field[box] = join(field[box], values, part.blend)
    total = fields["trunk"].copy()
    for group, field in fields.items():
        if group not in ("trunk", "eye", "hair"):
            total = join(total, field, _seam(group))
        if group == "head":
            for box, values, blend in cuts:
                total[box] = -join(-total[box], values, blend)
    fields["hair"] = _open_to_face(fields["hair"], axes)
    for group, seam in (("eye", 0.0), ("hair", 0.004)):
        total = join(total, fields[group], seam)
    return total, fields


def _open_to_face(hair: Array, axes: tuple[Array, Array, Array]) -> Array:
    _, y, z = np.meshgrid(*axes, indexing="ij")
    # The hair line: up before the ears, across the forehead, down to the nape.
    line = z - np.interp(y, [1.53, 1.60, 1.635, 1.665, 1.685, 1.70], [-0.05, -0.028, 0.0, 0.036, 0.078, 0.2])
    return np.maximum(hair, np.maximum(0.7 * line, 1.53 - y))


def _seam(group: str) -> float:
    if group.endswith("_leg"):
        return 0.05
    if group.endswith("_arm"):
        return 0.055
    return 0.03 if group == "head" else 0.010 if group.endswith("thumb") else 0.006


def surface_net(field: Array, axes: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    """Vertices (V, 3) and quads (Q, 4) of the field's zero (Gibson 1998): one vertex per cell that is crossed."""
    inside = field < 0
    n = tuple(s - 1 for s in field.shape)
    total, count = np.zeros((*n, 3)), np.zeros(n)
    quads_of: list[tuple[int, Array, Array]] = []
    for axis in range(3):
        lower = [slice(None)] * 3
        upper = [slice(None)] * 3
        lower[axis], upper[axis] = slice(0, -1), slice(1, None)
        a, b = field[tuple(lower)], field[tuple(upper)]
        crossed = inside[tuple(lower)] != inside[tuple(upper)]
        ijk = np.argwhere(crossed)
        t = a[crossed] / (a[crossed] - b[crossed])
        points = np.stack([axes[k][ijk[:, k]] for k in range(3)], axis=1)
        points[:, axis] += t * (axes[axis][ijk[:, axis] + 1] - axes[axis][ijk[:, axis]])
        others = [k for k in range(3) if k != axis]
        for du in (0, -1):
            for dv in (0, -1):
                cell = ijk.copy()
                cell[:, others[0]] += du
                cell[:, others[1]] += dv
                at = tuple(cell.T)
                np.add.at(total, at, points)
                np.add.at(count, at, 1)
        quads_of.append((axis, ijk, inside[tuple(lower)][crossed]))
    used = count > 0
    ids = np.full(n, -1)
    ids[used] = np.arange(int(used.sum()))
    vertices = total[used] / count[used][:, None]
    quads = []
    for axis, ijk, starts_inside in quads_of:
        u, v = [(1, 2), (2, 0), (0, 1)][axis]
        ring = []
        for du, dv in ((0, 0), (-1, 0), (-1, -1), (0, -1)):
            cell = ijk.copy()
            cell[:, u] += du
            cell[:, v] += dv
            ring.append(ids[tuple(cell.T)])
        quad = np.stack(ring, axis=1)
        quads.append(np.where(starts_inside[:, None], quad, quad[:, ::-1]))
    return vertices, np.concatenate(quads)


def neighbours(quads: Array, count: int) -> sparse.csr_matrix:
    """Row-stochastic averaging over the ends of each vertex' edges."""
    a = quads.reshape(-1)
    b = np.roll(quads, -1, axis=1).reshape(-1)
    graph = sparse.coo_matrix((np.ones(2 * len(a)), (np.r_[a, b], np.r_[b, a])), shape=(count, count)).tocsr()
    graph.data[:] = 1
    return sparse.diags(1 / np.asarray(graph.sum(axis=1)).ravel()) @ graph


def relax(vertices: Array, quads: Array, field: Array, axes: tuple[Array, Array, Array], rounds: int = 12) -> Array:
    """Evens the mesh out along the surface and puts every vertex back on it."""
    value = RegularGridInterpolator(axes, field, bounds_error=False, fill_value=0.1)
    mean = neighbours(quads, len(vertices))
    step = 1e-3
    for _ in range(rounds):
        moved = vertices + 0.6 * (mean @ vertices - vertices)
        slope = np.stack([(value(moved + d) - value(moved - d)) / (2 * step) for d in np.eye(3) * step], axis=1)
        length = np.maximum((slope**2).sum(axis=1, keepdims=True), 0.2)
        vertices = moved - np.clip(value(moved)[:, None] * slope / length, -0.004, 0.004)
    return vertices


def triangles(vertices: Array, quads: Array) -> Array:
    """Each quad cut along its shorter diagonal."""
    p = vertices[quads]
    first = np.linalg.norm(p[:, 0] - p[:, 2], axis=1) <= np.linalg.norm(p[:, 1] - p[:, 3], axis=1)
    one = np.concatenate([quads[first][:, [0, 1, 2]], quads[first][:, [0, 2, 3]]])
    two = np.concatenate([quads[~first][:, [1, 2, 3]], quads[~first][:, [1, 3, 0]]])
    return np.concatenate([one, two])


def bones() -> list[tuple[int, Array, Array]]:
    """Segments (joint that moves it, start, end)."""
    at = {name: JOINTS[i] for name, i in INDEX.items()}
    found = []
    for child, parent in enumerate(PARENTS):
        if parent < 0 or NAMES[child] in ("jaw", "left_eye", "right_eye"):
            continue
        if "hip" in NAMES[child] or "collar" in NAMES[child] or (NAMES[parent].endswith("wrist")):
            continue
        found.append((parent, JOINTS[parent], JOINTS[child]))
    for side in SIDES:
        wrist = at[f"{side}_wrist"]
        for finger in ("index", "middle", "ring", "pinky"):
            found.append((INDEX[f"{side}_wrist"], wrist, wrist + 0.92 * (at[f"{side}_{finger}1"] - wrist)))
        for finger, tip in TIPS.items():
            last = at[f"{side}_{finger}3"] - at[f"{side}_{finger}2"]
            end = at[f"{side}_{finger}3"] + last / np.linalg.norm(last) * tip
            found.append((INDEX[f"{side}_{finger}3"], at[f"{side}_{finger}3"], end))
        foot = at[f"{side}_foot"]
        found.append((INDEX[f"{side}_foot"], foot, foot + np.array([0, -0.01, 0.09])))
        found.append((INDEX[f"{side}_ankle"], at[f"{side}_ankle"], at[f"{side}_ankle"] + (0, -0.05, -0.03)))
        hip = at[f"{side}_hip"]
        found.append((INDEX["pelvis"], at["pelvis"], hip + np.array([0, 0.045, 0])))
        found.append((INDEX["spine3"], at["spine3"], at[f"{side}_collar"] - (0, 0.09, 0)))
    found.append((INDEX["head"], at["head"], at["head"] + (0, 0.15, 0)))
    return found


def families(vertices: Array, fields: dict[str, Array], axes: tuple[Array, Array, Array]) -> Array:
    """The group whose own surface each vertex lies nearest to."""
    names = list(fields)
    values = [RegularGridInterpolator(axes, fields[n], bounds_error=False, fill_value=0.3)(vertices) for n in names]
    return np.array(names)[np.argmin(values, axis=0)]


def _allowed(joint: str, family: str) -> bool:
    side, _, rest = joint.partition("_")
    if family in ("head", "hair", "eye"):
        return joint in ("head", "neck")
    if family == "trunk":
        return joint in ("pelvis", "spine1", "spine2", "spine3", "neck") or joint.endswith("collar")
    its_side, _, limb = family.partition("_")
    if side != its_side:
        return False
    if limb == "leg":
        return rest in ("hip", "knee", "ankle", "foot")
    if limb == "arm":
        return rest in ("shoulder", "elbow", "wrist", "thumb1")
    return rest.startswith(limb)


def skin_weights(vertices: Array, quads: Array, family: Array) -> Array:
    """(V, 55): nearest bone of the own limb, spread along the surface; the jaw and the eyes by place."""
    weights = np.full((len(vertices), len(NAMES)), 0.0)
    best = np.full(len(vertices), np.inf)
    owner = np.zeros(len(vertices), int)
    for joint, start, end in bones():
        along = end - start
        share = np.clip((vertices - start) @ along / (along @ along), 0, 1)
        gap = np.linalg.norm(vertices - (start + share[:, None] * along), axis=1)
        allowed = np.array([_allowed(NAMES[joint], f) for f in np.unique(family)])
        ok = dict(zip(np.unique(family), allowed, strict=True))
        gap = np.where([ok[f] for f in family], gap, np.inf)
        owner[gap < best] = joint
        best = np.minimum(best, gap)
    weights[np.arange(len(vertices)), owner] = 1
    mean = neighbours(quads, len(vertices))
    fine = np.array([f.split("_")[-1] in TIPS or f in ("head", "hair", "eye") for f in family])
    hand = np.abs(vertices[:, 0]) > 0.665
    for i in range(34):
        new = 0.35 * weights + 0.65 * (mean @ weights)
        frozen = (fine & (i >= 5)) | (hand & ~fine & (i >= 9)) | ((np.abs(vertices[:, 0]) > 0.36) & (i >= 14))
        weights = np.where(frozen[:, None], weights, new)
    _face(weights, vertices, family)
    return weights / weights.sum(axis=1, keepdims=True)


def _face(weights: Array, vertices: Array, family: Array) -> None:
    y, z = vertices[:, 1], vertices[:, 2]
    low = np.clip((1.5535 - 0.12 * (z - 0.09) - y) / 0.009, 0, 1)
    front = np.clip((z - 0.004) / 0.06, 0, 1) * np.clip((y - 1.468) / 0.034, 0, 1)
    jaw = np.where(np.isin(family, ["head"]), low * front, 0)
    weights *= 1 - jaw[:, None]
    weights[:, INDEX["jaw"]] += jaw
    for side in SIDES:
        middle = JOINTS[INDEX[f"{side}_eye"]]
        ball = (family == "eye") & (np.linalg.norm(vertices - middle, axis=1) < 0.016)
        weights[ball] = 0
        weights[ball, INDEX[f"{side}_eye"]] = 1


def shape_directions(vertices: Array, quads: Array, weights: Array) -> tuple[Array, Array]:
    """Ten ways to differ: how vertices (V, 3, 10) and joints (55, 3, 10) move per unit.

    0 size, 1 legs, 2 arms, 3 trunk, 4 shoulders, 5 hips, 6 head, 7 hands, 8 feet, 9 girth.
    """

    def below(*tops: str) -> set[int]:
        kept = {INDEX[t] for t in tops}
        for child, parent in enumerate(PARENTS):
            if parent in kept:
                kept.add(child)
        return kept

    both = lambda n: [f"{s}_{n}" for s in SIDES]  # noqa: E731
    spine = {INDEX[n] for n in ("spine1", "spine2", "spine3", "neck", "head", *both("collar"))}
    stretched = [
        (set(range(1, 55)), 0.06),
        ({INDEX[n] for n in (*both("knee"), *both("ankle"))}, 0.08),
        ({INDEX[n] for n in (*both("elbow"), *both("wrist"))}, 0.08),
        (spine, 0.08),
        ({INDEX[n] for n in both("shoulder")}, 0.12),
        ({INDEX[n] for n in both("hip")}, 0.12),
        ({INDEX["head"]} | below("head") - {INDEX["head"]}, 0.08),
        (below(*both("wrist")) - {INDEX[n] for n in both("wrist")}, 0.08),
        ({INDEX[n] for n in both("foot")}, 0.08),
        (set(), 0.0),
    ]
    moved = np.zeros((len(JOINTS), 3, 10))
    for k, (joints, share) in enumerate(stretched):
        for child, parent in enumerate(PARENTS):
            if parent >= 0:
                moved[child, :, k] = moved[parent, :, k] + (child in joints) * share * (JOINTS[child] - JOINTS[parent])
    directions = np.zeros((len(vertices), 3, 10))
    for joint in range(len(JOINTS)):
        w = weights[:, joint, None, None]
        directions += w * _bone_stretch(joint, vertices, moved, stretched)
    trunk = weights[:, :15].sum(axis=1) - weights[:, [4, 5, 7, 8, 10, 11, 12]].sum(axis=1)
    limb = weights[:, [4, 5, 12, 16, 17, 18, 19]].sum(axis=1)
    out = vertex_normals(vertices, quads[:, :3]) * (0.017 * trunk + 0.006 * limb)[:, None]
    mean = neighbours(quads, len(vertices))
    for _ in range(6):
        out = mean @ out
    directions[:, :, 9] = out
    return directions, moved


def _bone_stretch(joint: int, vertices: Array, moved: Array, stretched: list[tuple[set[int], float]]) -> Array:
    """How vertices fixed to a joint move: with the joint, and on towards its child as far as they lie along."""
    children = [c for c, p in enumerate(PARENTS) if p == joint]
    shift = np.broadcast_to(moved[joint], (len(vertices), 3, 10)).copy()
    chief = {0: [3], 9: [12], 15: []}.get(joint, children[:1] if len(children) == 1 else [])
    for child in chief:
        along = JOINTS[child] - JOINTS[joint]
        share = np.clip((vertices - JOINTS[joint]) @ along / (along @ along), 0, 1)
        shift += share[:, None, None] * (moved[child] - moved[joint])
    if joint == 0:  # hips go sideways with their sockets
        side = np.clip(vertices[:, 0] / JOINTS[1, 0], -1.6, 1.6)
        shift[:, 0] += side[:, None] * moved[1, 0]
    if joint == 9:
        side = np.clip((np.abs(vertices[:, 0]) - 0.05) / 0.13, 0, 1) * np.sign(vertices[:, 0])
        shift[:, 0] += 0.7 * side[:, None] * moved[16, 0]
    if not children or joint == 15:  # ends grow with what they belong to
        factor = np.array([share if joint in joints or k == 0 else 0.0 for k, (joints, share) in enumerate(stretched)])
        shift += (vertices - JOINTS[joint])[:, :, None] * factor
    return shift


def regressor(vertices: Array, weights: Array, directions: Array, moved: Array) -> Array:
    """(55, V): combinations of near vertices that give every joint, and its motion with shape, exactly."""
    rows = np.zeros((len(JOINTS), len(vertices)))
    for j, joint in enumerate(JOINTS):
        near = np.argsort(np.linalg.norm(vertices - joint, axis=1) + 0.05 * (weights[:, j] < 0.05))[:160]
        design = np.concatenate([np.ones((1, len(near))), vertices[near].T, directions[near].reshape(len(near), -1).T])
        target = np.concatenate([[1], joint, moved[j].reshape(-1)])
        rows[j, near] = np.linalg.lstsq(design, target, rcond=1e-9)[0]
    return rows


def paint(vertices: Array, family: Array, weights: Array) -> Array:
    """Colours (V, 3) uint8: skin, hair, a shirt, trousers and shoes, so that it reads as a person."""
    skin, hair, shirt = (224, 178, 150), (74, 52, 40), (92, 130, 158)
    trousers, shoes, belt = (66, 70, 84), (205, 200, 194), (50, 48, 52)
    x, y, z = np.abs(vertices[:, 0]), vertices[:, 1], vertices[:, 2]
    colors = np.tile(np.array(skin, float), (len(vertices), 1))
    arm = np.array([f.endswith("_arm") or f.split("_")[-1] in TIPS for f in family])
    leg = np.array([f.endswith("_leg") for f in family])

    def cover(color: tuple[int, int, int], inside: Array, where: Array, soft: float = 0.007) -> None:
        """Lays a colour over where ``inside`` (metres within its border) is positive, with a soft edge."""
        share = np.where(where, np.clip(0.5 + inside / (2 * soft), 0, 1), 0)[:, None]
        colors[:] = colors * (1 - share) + np.array(color) * share

    cover(shirt, 1.452 - 0.35 * np.clip(z, 0, 0.1) - y, ~arm & (y > 0.9))
    cover(shirt, 0.335 - x, arm, 0.009)
    cover(belt, 1.0 - y, ~arm & (y > 0.5))
    cover(trousers, 0.975 - y, ~arm)
    cover(shoes, 0.115 - y, leg, 0.005)
    colors[family == "hair"] = hair
    eye = family == "eye"
    colors[eye] = (240, 238, 234)
    for s in (1, -1):
        iris = np.linalg.norm(vertices - (s * 0.0315, 1.622, 0.0865), axis=1) < 0.0070
        colors[iris & eye] = (46, 38, 34)
    lips = (np.abs(y - 1.5485) < 0.0085) & (x < 0.022) & (z > 0.082)
    colors[lips] = (190, 116, 104)
    brow = (np.abs(y - 1.6435) < 0.004) & (x > 0.014) & (x < 0.046) & (z > 0.06)
    colors[brow] = (96, 70, 56)
    return colors.astype(np.uint8)


def build() -> dict[str, Array]:
    axes = grid()
    field, fields = sample(axes)
    vertices, quads = surface_net(field, axes)
    vertices = relax(vertices, quads, field, axes)
    family = families(vertices, fields, axes)
    weights = skin_weights(vertices, quads, family)
    kept = np.argsort(-weights, axis=1)[:, :4]
    top = np.take_along_axis(weights, kept, axis=1)
    sharp = np.zeros_like(weights)
    np.put_along_axis(sharp, kept, top / top.sum(axis=1, keepdims=True), axis=1)
    directions, moved = shape_directions(vertices, quads, sharp)
    rows = regressor(vertices, sharp, directions, moved)
    return {
        "vertices": vertices,
        "faces": triangles(vertices, quads),
        "weights": sharp,
        "directions": directions,
        "regressor": rows,
        "colors": paint(vertices, family, sharp),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FILE)
    options = parser.parse_args()
    made = build()
    stored = quantize(**made)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(options.out, **stored)
    size = options.out.stat().st_size
    print(f"{options.out}: {len(made['vertices'])} vertices, {len(made['faces'])} triangles, {size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
