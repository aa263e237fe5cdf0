"""The figure taken apart: which pixels belong to which limb, and one picture per layer.

A limb is one with the body round its first joint (the weld): there both layers hold the same pixels and move alike, so
nothing can open. Elsewhere, where an arm is drawn against the body, the layers are cut apart and the body goes on a
little beneath the arm.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.graph import MCP_Geometric

from pipelines.character.figure import Figure

LAYERS = ("body", "head", "right_arm", "left_arm", "right_leg", "left_leg")
BODY, HEAD = 0, 1
_COARSE = 224  # pixels of the longer side at which distances inside the outline are measured
_FILL = 0.9  # of a limb's half width that the body goes on beneath it
_WELD = 1.15  # half widths of a limb round its first joint in which layers are one
_GLUED = 0.62  # of a limb's length along which it must touch the body to count as drawn against it
_FAR = np.float32(1e4)


@dataclass(frozen=True)
class Bone:
    """A straight piece of the figure from ``start`` to ``end`` (x, y), with the layer it belongs to."""

    name: str
    layer: int
    start: NDArray[np.float64]
    end: NDArray[np.float64]

    @property
    def length(self) -> float:
        return float(np.linalg.norm(self.end - self.start))

    @property
    def direction(self) -> complex:
        """Unit vector x + iy."""
        along = (self.end - self.start) / max(self.length, 1e-9)
        return complex(along[0], along[1])


@dataclass(frozen=True)
class Weld:
    """Where a layer is one with ``other``: ``zone`` (H, W) bool, round ``centre`` (x, y)."""

    layer: int
    other: int
    centre: NDArray[np.float64]
    zone: NDArray[np.bool_]


@dataclass(frozen=True)
class Parts:
    """The layers: ``pages`` (L, H, W, 4) float32, colours premultiplied, 0..1; ``labels`` (H, W) int8, -1 outside.

    ``radii`` holds each bone's half width in pixels.
    """

    bones: tuple[Bone, ...]
    pages: NDArray[np.float32]
    labels: NDArray[np.int8]
    welds: tuple[Weld, ...]
    radii: NDArray[np.float64]

    def bone(self, name: str) -> int:
        return next(i for i, b in enumerate(self.bones) if b.name == name)


def take_apart(figure: Figure) -> Parts:
    """Layers, bones and welds of a figure."""
    alpha = figure.rgba[..., 3].astype(np.float32) / 255
    inside = alpha > 0.5
    depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)
    bones = bones_of(figure, inside, depth)
    radii = np.array([_half_width(bone, depth) for bone in bones])
    labels = _labels(bones, radii, inside)
    whole = np.dstack([figure.rgba[..., :3].astype(np.float32) / 255 * alpha[..., None], alpha])
    welds = _welds(bones, radii, labels, inside)
    pages = np.stack([_page(layer, whole, labels, welds) for layer in range(len(LAYERS))])
    _fill_beneath(pages[BODY], whole, labels, welds, radii[[_of(bones, f"{s}_upper_arm") for s in ("right", "left")]])
    return Parts(bones, pages, np.where(alpha > 0, labels, -1).astype(np.int8), welds, radii)


def bones_of(figure: Figure, inside: NDArray[np.bool_], depth: NDArray[np.float32]) -> tuple[Bone, ...]:
    """The bones, parents first: trunk, head, limbs, with palms, soles and crown added beyond the last joints."""
    at = figure.at
    nape = _narrowest(at("torso"), at("neck"), depth)
    bones = [
        Bone("spine", BODY, at("root"), at("torso")),
        Bone("nape", BODY, at("torso"), nape),
        Bone("head", HEAD, nape, at("neck")),
        Bone("crown", HEAD, at("neck"), _go_on(nape, at("neck"), inside, 1.5)),
    ]
    for side, arm, leg in (("right", 2, 4), ("left", 3, 5)):
        shoulder, elbow, hand = (at(f"{side}_{part}") for part in ("shoulder", "elbow", "hand"))
        hip, knee, foot = (at(f"{side}_{part}") for part in ("hip", "knee", "foot"))
        bones += [
            Bone(f"{side}_collar", BODY, at("torso"), shoulder),
            Bone(f"{side}_pelvis", BODY, at("root"), hip),
            Bone(f"{side}_upper_arm", arm, shoulder, elbow),
            Bone(f"{side}_forearm", arm, elbow, hand),
            Bone(f"{side}_palm", arm, hand, _go_on(elbow, hand, inside, 0.8)),
            Bone(f"{side}_thigh", leg, hip, knee),
            Bone(f"{side}_shin", leg, knee, foot),
            Bone(f"{side}_sole", leg, foot, _toe(knee, foot, inside)),
        ]
    return tuple(bones)


def _of(bones: tuple[Bone, ...], name: str) -> int:
    return next(i for i, b in enumerate(bones) if b.name == name)


def _named(bones: tuple[Bone, ...], name: str) -> Bone:
    return bones[_of(bones, name)]


def _samples(start: NDArray, end: NDArray, count: int = 24) -> NDArray[np.float64]:
    return start + (end - start) * np.linspace(0, 1, count)[:, None]


def _read(field: NDArray, points: NDArray) -> NDArray:
    """``field`` (H, W) at the pixels nearest to points (N, 2); zero outside."""
    x, y = np.rint(points).astype(int).T
    there = (x >= 0) & (y >= 0) & (x < field.shape[1]) & (y < field.shape[0])
    values = np.zeros(len(points), field.dtype)
    values[there] = field[y[there], x[there]]
    return values


def _narrowest(torso: NDArray, head: NDArray, depth: NDArray) -> NDArray[np.float64]:
    line = _samples(torso, head, 40)[4:30]
    widths = _read(depth, line)
    return line[int(np.argmin(widths))] if widths.max() > 0 else line[8]


def _go_on(before: NDArray, last: NDArray, inside: NDArray, most: float) -> NDArray[np.float64]:
    """The point where the line from ``before`` through ``last`` leaves the outline, ``most`` lengths on at most."""
    step = last - before
    line = last + step * np.linspace(0.1, most, 24)[:, None]
    kept = np.cumprod(_read(inside, line).astype(int)).sum()
    return line[max(kept - 2, 0)]


def _toe(knee: NDArray, foot: NDArray, inside: NDArray) -> NDArray[np.float64]:
    """The pixel beyond the ankle that lies farthest from it, within reach of a foot."""
    shin = foot - knee
    reach = 0.7 * float(np.linalg.norm(shin))
    y, x = np.nonzero(inside)
    off = np.stack([x, y], 1) - foot
    far = np.linalg.norm(off, axis=1)
    beyond = (off @ shin > 0.1 * np.linalg.norm(shin) * far) & (far < reach)
    if not beyond.any():
        return foot + 0.25 * shin
    found = foot + off[beyond][int(np.argmax(far[beyond]))]
    return foot + 0.8 * (found - foot) if np.linalg.norm(found - foot) > 2 else foot + 0.25 * shin


def _half_width(bone: Bone, depth: NDArray) -> float:
    widths = _read(depth, _samples(bone.start, bone.end)[6:])
    most = 0.6 * bone.length if bone.layer > HEAD else np.inf
    return float(np.clip(np.median(widths), 1.5, max(most, 1.5)))


def _labels(bones: tuple[Bone, ...], radii: NDArray, inside: NDArray) -> NDArray[np.int8]:
    """The layer of every pixel: that of the bone whose capsule is nearest along ways inside the outline."""
    radius = {b.name: r for b, r in zip(bones, radii, strict=True)}
    groups: dict[tuple[int, float], list[Bone]] = {}
    for bone in bones:
        side = bone.name.split("_")[0]
        width = radius[bone.name]
        if bone.name.endswith("collar"):  # as thick as the arm that begins there, so that the arm begins at its joint
            width = radius[f"{side}_upper_arm"]
        elif bone.name.endswith("pelvis"):
            width = radius[f"{side}_thigh"]
        elif bone.name == "spine":  # arms drawn against the body do not make it wider
            apart = np.linalg.norm(_named(bones, "left_collar").end - _named(bones, "right_collar").end)
            width = min(width, max(0.55 * float(apart), 2.0))
        elif bone.name in ("nape", "head", "crown"):
            width = radius["nape"] if bone.name == "nape" else min(radius["head"], radius["nape"])
        elif bone.layer > HEAD:
            width = radius[f"{side}_{'upper_arm' if bone.layer < 4 else 'thigh'}"]
        groups.setdefault((bone.layer, width), []).append(bone)
    scale = min(1.0, _COARSE / max(inside.shape))
    small = cv2.resize(inside.astype(np.float32), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) > 0.5
    best = np.full(inside.shape, np.inf, np.float32)
    labels = np.zeros(inside.shape, np.int8)
    for (layer, width), members in groups.items():
        lines = np.concatenate([_samples(b.start, b.end, 60) for b in members]) * scale
        reach = _spread(_within(small, lines)) / scale - width
        field = cv2.resize(reach, inside.shape[::-1], interpolation=cv2.INTER_LINEAR)
        labels = np.where(field < best, layer, labels).astype(np.int8)
        best = np.minimum(best, field)
    return labels


def _within(inside: NDArray[np.bool_], points: NDArray) -> NDArray[np.float32]:
    """Length (H, W) of the shortest way inside the outline to points (N, 2) x, y; infinite where there is none."""
    y, x = np.nonzero(inside)
    seeds = np.unique(np.rint(points).astype(int)[_read(inside, points)], axis=0)
    if not len(seeds):
        middle = points[len(points) // 2]
        nearest = int(np.argmin((x - middle[0]) ** 2 + (y - middle[1]) ** 2))
        seeds = np.array([[x[nearest], y[nearest]]])
    costs, _ = MCP_Geometric(np.where(inside, 1.0, np.inf)).find_costs(list(seeds[:, ::-1]))
    return costs.astype(np.float32)


def _spread(field: NDArray[np.float32]) -> NDArray[np.float32]:
    """The field with the value of the nearest pixel wherever it is infinite."""
    known = np.isfinite(field)
    return np.where(known, field, _FAR) if known.all() or not known.any() else _nearest(field, known)


def _nearest(values: NDArray, known: NDArray[np.bool_]) -> NDArray:
    """Values (H, W[, C]) of the nearest pixel where ``known``."""
    _, index = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    table = np.zeros((index.max() + 1, *values.shape[2:]), values.dtype)
    table[index[known]] = values[known]
    return table[index]


def _welds(bones: tuple[Bone, ...], radii: NDArray, labels: NDArray, inside: NDArray) -> tuple[Weld, ...]:
    firsts = ("head", "right_upper_arm", "left_upper_arm", "right_thigh", "left_thigh")
    scale = min(1.0, _COARSE / max(inside.shape))
    small = cv2.resize(inside.astype(np.float32), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) > 0.5
    body = cv2.dilate((inside & (labels == BODY)).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    welds = []
    for name in firsts:
        bone = bones[_of(bones, name)]
        width = radii[_of(bones, "nape" if name == "head" else name)]
        way = _spread(_within(small, bone.start[None] * scale)) / scale
        way = cv2.resize(way, inside.shape[::-1], interpolation=cv2.INTER_LINEAR)
        seam = _seam(way, body & inside & (labels == bone.layer))
        reach = sum(b.length for b in bones if b.layer == bone.layer and not b.name.endswith(("palm", "sole")))
        radius = _WELD * width
        along = ((seam - bone.start) @ (bone.end - bone.start)).max(initial=0) / bone.length
        if name == "head" or along < _GLUED * reach:  # it hangs free: its whole root is welded
            radius = max(radius, float(way[tuple(seam.T[::-1])].max(initial=0)) + 2)
        welds.append(Weld(bone.layer, BODY, bone.start, way < radius))
    return tuple(welds)


def _seam(way: NDArray, seam: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Pixels (N, 2) x, y of the piece of a seam that passes nearest to a joint, ``way`` (H, W) away."""
    if not seam.any():
        return np.zeros((0, 2), np.int64)
    _, piece = cv2.connectedComponents(cv2.dilate(seam.astype(np.uint8), np.ones((5, 5), np.uint8)))
    nearest = np.unravel_index(np.argmin(np.where(seam, way, np.inf)), way.shape)
    y, x = np.nonzero(seam & (piece == piece[nearest]))
    return np.stack([x, y], 1)


def _page(layer: int, whole: NDArray, labels: NDArray, welds: tuple[Weld, ...]) -> NDArray[np.float32]:
    """One layer's pixels: its own and those of its welds, cut softly against the other layers."""
    mine = labels == layer
    for weld in welds:
        if weld.layer == layer:
            mine |= weld.zone & (labels == weld.other)
        elif weld.other == layer:
            mine |= weld.zone & (labels == weld.layer)
    soft = cv2.blur(mine.astype(np.float32), (3, 3))
    return whole * soft[..., None]


def _fill_beneath(
    page: NDArray, whole: NDArray, labels: NDArray, welds: tuple[Weld, ...], widths: NDArray[np.float64]
) -> None:
    """The body goes on beneath arms that are drawn against it, in the colours of its nearest pixels."""
    solid = whole[..., 3] > 0.5
    welded = np.any([w.zone for w in welds], axis=0)
    body = solid & (labels == BODY)
    for layer, width in zip((2, 3), widths, strict=True):
        arm = solid & (labels == layer) & ~welded
        near = cv2.dilate(arm.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        cut = body & near & ~welded
        if not cut.any():
            continue
        far = cv2.distanceTransform((~cut).astype(np.uint8), cv2.DIST_L2, 5)
        beneath = (arm | (solid & (labels == layer))) & (far < _FILL * width) & (page[..., 3] < 0.999)
        inner = cv2.erode(body.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        source = cv2.blur(_nearest(whole, inner if inner.any() else body), (5, 5))
        rim = np.clip(_FILL * width - far, 0, 1)[..., None]
        page[beneath] = np.maximum(page, source * rim)[beneath]
        seam = body & (cv2.dilate(beneath.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0)
        page[seam] = whole[seam]
