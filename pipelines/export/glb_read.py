"""Reading 3D characters: the skinned meshes of a GLB or VRM with their skeleton and textures, at rest."""

from __future__ import annotations

import io
import json
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from models.runtime.errors import InputError
from models.runtime.settings import Limits
from pipelines.export.retarget import Rig, understand, upright
from pipelines.media.image import FORMATS
from pipelines.render.skinned import INFLUENCES, SkinnedBody, Surface

Array = np.ndarray
_TYPES = {5120: np.int8, 5121: np.uint8, 5122: np.int16, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_JSON, _BINARY = 0x4E4F534A, 0x004E4942
_UNREADABLE = ("KHR_draco_mesh_compression", "EXT_meshopt_compression")
MOST_VERTICES = 400_000
MOST_NODES = 4000
TEXTURE_SIDE = 2048
_CLEAR = 128  # alpha below which a texel counts as not there


@dataclass
class _Part:
    positions: Array
    faces: Array
    ids: Array
    share: Array
    uv: Array
    texture: Array
    one_sided: bool


class _File:
    """The chunks of a GLB and typed access to what its JSON describes."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        try:
            magic, version, _ = struct.unpack_from("<4sII", data)
            if magic != b"glTF" or version != 2:
                raise InputError(f"{path.name} is no glTF 2.0 binary (.glb or .vrm)")
            chunks, at = {}, 12
            while at + 8 <= len(data):
                length, kind = struct.unpack_from("<II", data, at)
                chunks.setdefault(kind, data[at + 8 : at + 8 + length])
                at += 8 + length
            self.tree: dict[str, Any] = json.loads(chunks[_JSON])
            self.binary = chunks.get(_BINARY, b"")
        except (struct.error, KeyError, ValueError) as error:
            raise InputError(f"{path.name} is damaged and cannot be read as a 3D model") from error
        for name in self.tree.get("extensionsRequired", ()):
            if name in _UNREADABLE:
                raise InputError(f"{path.name} is compressed with {name}; export it without compression")

    def view(self, index: int) -> bytes:
        view = self.tree["bufferViews"][index]
        if view.get("buffer", 0) != 0 or "uri" in self.tree["buffers"][0]:
            raise InputError("The model keeps data in other files; export it as one .glb file")
        start = view.get("byteOffset", 0)
        return self.binary[start : start + view["byteLength"]]

    def array(self, index: int) -> Array:
        """The values (N,) or (N, width) of an accessor; normalised integers as shares of 1."""
        entry = self.tree["accessors"][index]
        kind = np.dtype(_TYPES[entry["componentType"]]).newbyteorder("<")
        width, count = _WIDTHS[entry["type"]], int(entry["count"])
        if "sparse" in entry:
            raise InputError("The model holds sparse data, which is not read here; export it plainly")
        if "bufferView" not in entry:
            return np.zeros((count, width), np.float32)
        data = self.view(entry["bufferView"])
        stride = self.tree["bufferViews"][entry["bufferView"]].get("byteStride") or kind.itemsize * width
        start = entry.get("byteOffset", 0)
        needed = start + stride * (count - 1) + kind.itemsize * width if count else 0
        if needed > len(data):
            raise InputError("The model is cut short: its data end before they should")
        out = np.ndarray((count, width), kind, data, start, (stride, kind.itemsize))
        if entry.get("normalized") and kind.kind != "f":
            out = np.maximum(out.astype(np.float32) / np.iinfo(kind).max, -1)
        return out[:, 0] if width == 1 else out


def read_character(path: Path, limits: Limits) -> SkinnedBody:
    """The character in a GLB or VRM, turned so that x is its left, y up and z its front.

    Raises:
        InputError: damaged, without a skinned mesh, or with a skeleton whose joints have unknown names.
    """
    file = _File(path)
    try:
        return _character(file, path.name, limits)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path.name} is damaged: its parts do not fit together") from error


def _character(file: _File, name: str, limits: Limits) -> SkinnedBody:
    nodes = file.tree.get("nodes", [])
    if not file.tree.get("skins"):
        raise InputError(
            f"{name} has no skeleton: a 3D character needs a skinned mesh, as VRoid, Mixamo or Blender export it"
        )
    if len(nodes) > MOST_NODES:
        raise InputError(f"{name} has {len(nodes)} nodes, more than the {MOST_NODES} that are read")
    parents, order = _tree(nodes)
    world = _places(nodes, parents, order)
    place_of = {node: i for i, node in enumerate(order)}
    ordered_parents = tuple(place_of[parents[n]] if parents[n] >= 0 else -1 for n in order)
    names = [str(nodes[n].get("name", f"node {n}")) for n in order]
    known = _vrm_names(file.tree, place_of) or understand(names, ordered_parents, name)
    materials = _Materials(file, limits)
    parts = [p for n in order if "mesh" in nodes[n] for p in _parts(file, n, world, place_of, materials)]
    if not parts:
        raise InputError(f"{name} has no triangles to draw")
    total = sum(len(p.positions) for p in parts)
    if total > MOST_VERTICES:
        raise InputError(
            f"{name} has {total} vertices, more than the {MOST_VERTICES} that are drawn; simplify it first"
        )
    joints = np.array([world[n][:3, 3] for n in order])
    axes = upright(joints, known, name)
    starts = np.cumsum([0, *(len(p.positions) for p in parts[:-1])])
    surface = Surface(
        np.concatenate([p.uv for p in parts]).astype(np.float32),
        tuple(p.texture for p in parts),
        np.concatenate([np.full(len(p.faces), i, np.int32) for i, p in enumerate(parts)]),
        np.concatenate([np.full(len(p.faces), p.one_sided) for p in parts]),
    )
    return SkinnedBody(
        np.ascontiguousarray(np.concatenate([p.positions for p in parts]) @ axes.T, np.float32),
        np.concatenate([p.faces + s for p, s in zip(parts, starts, strict=True)]).astype(np.int64),
        np.concatenate([p.ids for p in parts]).astype(np.int64),
        np.concatenate([p.share for p in parts]).astype(np.float32),
        Rig(joints @ axes.T, ordered_parents, known),
        surface,
    )


def _tree(nodes: list[dict[str, Any]]) -> tuple[list[int], list[int]]:
    """Parents (-1 for roots), and an order in which parents come first. Raises ValueError for a loop."""
    parents = [-1] * len(nodes)
    for index, node in enumerate(nodes):
        for child in node.get("children", ()):
            parents[child] = index
    order: list[int] = []
    waiting = [i for i, p in enumerate(parents) if p < 0]
    while waiting:
        index = waiting.pop()
        order.append(index)
        waiting.extend(nodes[index].get("children", ()))
        if len(order) > len(nodes):
            raise ValueError("nodes form a loop")
    if len(order) != len(nodes):
        raise ValueError("nodes form a loop")
    return parents, order


def _places(nodes: list[dict[str, Any]], parents: list[int], order: list[int]) -> dict[int, Array]:
    world: dict[int, Array] = {}
    for index in order:
        own = _local(nodes[index])
        world[index] = own if parents[index] < 0 else world[parents[index]] @ own
    return world


def _local(node: dict[str, Any]) -> Array:
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = np.array(node.get("rotation", (0, 0, 0, 1)), np.float64)
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    out = np.eye(4)
    out[:3, :3] = turn * np.array(node.get("scale", (1, 1, 1)), np.float64)
    out[:3, 3] = node.get("translation", (0, 0, 0))
    return out


def _vrm_names(tree: dict[str, Any], place_of: dict[int, int]) -> dict[str, int] | None:
    """Joints as a VRM names them itself, in both versions of the format."""
    extensions = tree.get("extensions", {})
    if "VRMC_vrm" in extensions:
        bones = {b: v["node"] for b, v in extensions["VRMC_vrm"]["humanoid"]["humanBones"].items()}
    elif "VRM" in extensions:
        bones = {b["bone"]: b["node"] for b in extensions["VRM"]["humanoid"]["humanBones"]}
    else:
        return None
    names = list(bones)
    spine = ("neck", "upperChest", "chest", "spine", "hips")
    chain = [bone for bone in spine if bone in bones]
    above = dict(pairwise(chain))  # only the spine's order is asked for
    parents = [names.index(above[bone]) if bone in above else -1 for bone in names]
    found = understand(names, parents, "the VRM")
    return {name: place_of[bones[names[index]]] for name, index in found.items()}


class _Materials:
    """Textures with their factors multiplied in, decoded once."""

    def __init__(self, file: _File, limits: Limits) -> None:
        self._file, self._limits = file, limits
        self._images: dict[int, Array] = {}
        self._made: dict[int, tuple[Array, bool, bool]] = {}

    def get(self, index: int | None) -> tuple[Array, bool, bool]:
        """Texture (h, w, 4) uint8, whether only fronts are drawn, and whether clear texels are holes."""
        if index is None:
            return np.full((1, 1, 4), 200, np.uint8), False, False
        if index not in self._made:
            material = self._file.tree["materials"][index]
            surface = material.get("pbrMetallicRoughness", {})
            factor = np.array(surface.get("baseColorFactor", (1, 1, 1, 1)), np.float64)
            factor[:3] = np.clip(factor[:3], 0, 1) ** (1 / 2.2)
            texture = np.full((1, 1, 4), 255, np.uint8)
            if "baseColorTexture" in surface:
                source = self._file.tree["textures"][surface["baseColorTexture"]["index"]]
                texture = self._image(source["source"])
            texture = np.rint(texture * factor.clip(0, 1)).astype(np.uint8)
            holes = material.get("alphaMode", "OPAQUE") != "OPAQUE"
            self._made[index] = (texture, not material.get("doubleSided", False), holes)
        return self._made[index]

    def _image(self, index: int) -> Array:
        if index not in self._images:
            entry = self._file.tree["images"][index]
            if "bufferView" not in entry:
                raise InputError("The model keeps its pictures in other files; export it as one .glb file")
            try:
                with Image.open(io.BytesIO(self._file.view(entry["bufferView"])), formats=FORMATS) as image:
                    if image.width * image.height > self._limits.image_pixels:
                        raise InputError("A texture of the model is too large")
                    image.thumbnail((TEXTURE_SIDE, TEXTURE_SIDE))
                    self._images[index] = np.array(image.convert("RGBA"))
            except (OSError, SyntaxError) as error:
                raise InputError("A texture of the model is damaged") from error
        return self._images[index]


def _parts(
    file: _File, node: int, world: dict[int, Array], place_of: dict[int, int], materials: _Materials
) -> list[_Part]:
    """The triangles of a node's mesh at rest in the world."""
    entry = file.tree["nodes"][node]
    parts = []
    for primitive in file.tree["meshes"][entry["mesh"]]["primitives"]:
        if primitive.get("mode", 4) != 4:
            continue
        attributes = primitive["attributes"]
        positions = file.array(attributes["POSITION"]).astype(np.float64)
        count = len(positions)
        faces = file.array(primitive["indices"]) if "indices" in primitive else np.arange(count)
        faces = faces.astype(np.int64).reshape(-1, 3)
        if len(faces) and faces.max() >= count:
            raise ValueError("a triangle names a vertex that is not there")
        uv = (
            file.array(attributes["TEXCOORD_0"]).astype(np.float64)
            if "TEXCOORD_0" in attributes
            else np.zeros((count, 2))
        )
        if "skin" in entry and "JOINTS_0" in attributes:
            positions, ids, share = _skinned(file, entry["skin"], attributes, positions, world, place_of)
        else:
            positions = positions @ world[node][:3, :3].T + world[node][:3, 3]
            ids = np.full((count, INFLUENCES), place_of[node])
            share = np.tile(np.eye(1, INFLUENCES), (count, 1))
        texture, one_sided, holes = materials.get(primitive.get("material"))
        if holes:
            faces = faces[_opaque(texture, uv, faces)]
        if len(faces):
            rgb = np.ascontiguousarray(texture[..., :3])
            parts.append(_Part(positions, faces, ids, share, uv, rgb, one_sided))
    return parts


def _skinned(
    file: _File,
    skin: int,
    attributes: dict[str, int],
    positions: Array,
    world: dict[int, Array],
    place_of: dict[int, int],
) -> tuple[Array, Array, Array]:
    entry = file.tree["skins"][skin]
    joints = entry["joints"]
    binds = np.tile(np.eye(4), (len(joints), 1, 1))
    if "inverseBindMatrices" in entry:
        binds = file.array(entry["inverseBindMatrices"]).astype(np.float64).reshape(-1, 4, 4).swapaxes(1, 2)
    at_rest = np.stack([world[j] for j in joints]) @ binds
    ids = file.array(attributes["JOINTS_0"]).astype(np.int64)
    share = file.array(attributes["WEIGHTS_0"]).astype(np.float64)
    share = share / np.maximum(share.sum(axis=1, keepdims=True), 1e-9)
    blended = np.einsum("vk,vkrc->vrc", share, at_rest[ids])
    moved = (blended[:, :3, :3] @ positions[..., None])[..., 0] + blended[:, :3, 3]
    return moved, np.array([place_of[j] for j in joints])[ids], share


def _opaque(texture: Array, uv: Array, faces: Array) -> Array:
    """Which faces (F,) are more there than not, by the alpha at their middles and corners."""
    height, width = texture.shape[:2]
    corners = uv[faces]
    spots = np.concatenate(
        [corners.mean(axis=1, keepdims=True), 0.6 * corners + 0.4 * corners.mean(axis=1, keepdims=True)], 1
    )
    x = (spots[..., 0] % 1 * width).astype(int).clip(0, width - 1)
    y = (spots[..., 1] % 1 * height).astype(int).clip(0, height - 1)
    return texture[y, x, 3].mean(axis=1) >= _CLEAR
