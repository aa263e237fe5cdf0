"""Binary glTF 2.0: points, lines and triangle meshes with colours, textures and normals, in metres with y up.

Positions are written as they are given: a world in OpenCV axes (y down) is turned by the ``matrix`` of the node, for
example ``cameras.FLIP_YZ`` or ``cameras.upright_alignment``. Colours are given as sRGB bytes, as pictures hold them,
and stored linear, as glTF wants vertex colours; ``GlbBuilder(linear=False)`` stores them unchanged, as many tools do.
Texture coordinates have their origin at the bottom left, as in OBJ files.
"""

from __future__ import annotations

import colorsys
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pygltflib as gltf
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from models.geometry.cameras import camera_centers, invert_rigid, transform_points, unproject_pixels
from pipelines.media.atomic import replacing

_COMPONENTS = {
    "uint8": gltf.UNSIGNED_BYTE,
    "uint16": gltf.UNSIGNED_SHORT,
    "uint32": gltf.UNSIGNED_INT,
    "float32": gltf.FLOAT,
}
_SHAPES = {(): gltf.SCALAR, (2,): gltf.VEC2, (3,): gltf.VEC3, (4,): gltf.VEC4, (4, 4): gltf.MAT4}
_UNLIT = "KHR_materials_unlit"


def linear_colors(colors: ArrayLike) -> NDArray[np.uint8]:
    """sRGB bytes (N, 3|4) to linear RGBA bytes (N, 4).

    A linear byte is coarse in the dark, so rounding is dithered along the vertices: neighbours share the error out.
    """
    colors = _bytes(colors)
    c = np.arange(256) / 255
    table = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    golden = (np.arange(len(colors)) * 0.6180339887498949) % 1.0
    rgb = np.floor(table[colors[:, :3]] * 255 + golden[:, None]).astype(np.uint8)
    return np.concatenate([rgb, _alpha(colors)], axis=1)


def _bytes(colors: ArrayLike) -> NDArray[np.uint8]:
    colors = np.asarray(colors)
    if colors.dtype != np.uint8:
        raise ValueError(f"colours are uint8 sRGB, not {colors.dtype}")
    return colors


def _alpha(colors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return colors[:, 3:] if colors.shape[1] == 4 else np.full((len(colors), 1), 255, np.uint8)


@dataclass(frozen=True)
class Material:
    """How a surface looks. ``texture`` is (H, W, 3|4) uint8 sRGB; ``normal_map`` (H, W, 3) uint8, tangent space."""

    color: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    texture: NDArray[np.uint8] | None = None
    normal_map: NDArray[np.uint8] | None = None
    roughness: float = 0.9
    unlit: bool = False
    double_sided: bool = True
    jpeg_quality: int = 0  # 0 stores PNG


class GlbBuilder:
    """Collects nodes and writes one ``.glb``. Every ``add_*`` returns the index of the node it made."""

    def __init__(self, linear: bool = True) -> None:
        self.linear = linear
        self.gltf = gltf.GLTF2(
            asset=gltf.Asset(version="2.0", generator="Likeness Studio"),
            scenes=[gltf.Scene(nodes=[])],
            scene=0,
        )
        self._data = bytearray()

    def accessor(
        self, array: NDArray, target: int | None = None, normalized: bool = False, bounds: bool = False
    ) -> int:
        """Stores an array (N, ...) of uint8, uint16, uint32 or float32; matrices are stored column-major."""
        array = np.ascontiguousarray(np.swapaxes(array, 1, 2) if array.shape[1:] == (4, 4) else array)
        view = self._view(array.tobytes(), target)
        entry = gltf.Accessor(
            bufferView=view,
            componentType=_COMPONENTS[array.dtype.name],
            count=len(array),
            type=_SHAPES[array.shape[1:]],
            normalized=normalized,
        )
        if bounds:
            columns = array.reshape(len(array), -1).T  # one by one: along rows of three numpy is ten times slower
            entry.min, entry.max = [c.min().item() for c in columns], [c.max().item() for c in columns]
        self.gltf.accessors.append(entry)
        return len(self.gltf.accessors) - 1

    def _view(self, data: bytes, target: int | None = None) -> int:
        self._data.extend(b"\0" * (-len(self._data) % 4))
        view = gltf.BufferView(buffer=0, byteOffset=len(self._data), byteLength=len(data), target=target)
        self._data.extend(data)
        self.gltf.bufferViews.append(view)
        return len(self.gltf.bufferViews) - 1

    def add_node(self, node: gltf.Node, parent: int | None = None) -> int:
        """Places a node under ``parent``, or at the top of the scene."""
        self.gltf.nodes.append(node)
        index = len(self.gltf.nodes) - 1
        siblings = self.gltf.scenes[0].nodes if parent is None else self.gltf.nodes[parent].children
        siblings.append(index)
        return index

    def add_group(self, name: str, matrix: ArrayLike | None = None, parent: int | None = None) -> int:
        """An empty node whose (4, 4) matrix moves everything put under it."""
        return self.add_node(gltf.Node(name=name, matrix=_column_major(matrix)), parent)

    def _image(self, image: NDArray[np.uint8], jpeg_quality: int) -> int:
        buffer = io.BytesIO()
        if jpeg_quality and image.shape[-1] == 3:
            Image.fromarray(image).save(buffer, "JPEG", quality=jpeg_quality)
            mime = "image/jpeg"
        else:
            Image.fromarray(image).save(buffer, "PNG")
            mime = "image/png"
        self.gltf.images.append(gltf.Image(bufferView=self._view(buffer.getvalue()), mimeType=mime))
        if not self.gltf.samplers:
            self.gltf.samplers.append(gltf.Sampler(magFilter=gltf.LINEAR, minFilter=gltf.LINEAR_MIPMAP_LINEAR))
        self.gltf.textures.append(gltf.Texture(source=len(self.gltf.images) - 1, sampler=0))
        return len(self.gltf.textures) - 1

    def add_material(self, material: Material) -> int:
        surface = gltf.PbrMetallicRoughness(
            baseColorFactor=list(material.color), metallicFactor=0.0, roughnessFactor=material.roughness
        )
        entry = gltf.Material(pbrMetallicRoughness=surface, doubleSided=material.double_sided)
        entry.alphaMode, entry.alphaCutoff = gltf.OPAQUE, None
        if material.texture is not None:
            surface.baseColorTexture = gltf.TextureInfo(index=self._image(material.texture, material.jpeg_quality))
            if material.texture.shape[-1] == 4:
                entry.alphaMode = gltf.BLEND
        if material.normal_map is not None:
            entry.normalTexture = gltf.NormalMaterialTexture(index=self._image(material.normal_map, 0))
        if material.unlit:
            entry.extensions = {_UNLIT: {}}
            if _UNLIT not in self.gltf.extensionsUsed:
                self.gltf.extensionsUsed.append(_UNLIT)
        self.gltf.materials.append(entry)
        return len(self.gltf.materials) - 1

    def _attributes(self, positions: ArrayLike, colors: ArrayLike | None) -> gltf.Attributes:
        points = np.asarray(positions, dtype=np.float32).reshape(-1, 3)
        if len(points) == 0:
            raise ValueError("glTF cannot hold a primitive without vertices")
        attributes = gltf.Attributes(POSITION=self.accessor(points, gltf.ARRAY_BUFFER, bounds=True))
        if colors is not None:
            shades = _bytes(colors).reshape(len(points), -1)
            shades = linear_colors(shades) if self.linear else np.concatenate([shades[:, :3], _alpha(shades)], axis=1)
            attributes.COLOR_0 = self.accessor(shades, gltf.ARRAY_BUFFER, normalized=True)
        return attributes

    def _add_primitive(
        self, primitive: gltf.Primitive, name: str, parent: int | None, matrix: ArrayLike | None = None
    ) -> int:
        self.gltf.meshes.append(gltf.Mesh(name=name, primitives=[primitive]))
        node = gltf.Node(name=name, mesh=len(self.gltf.meshes) - 1, matrix=_column_major(matrix))
        return self.add_node(node, parent)

    def add_points(
        self, points: ArrayLike, colors: ArrayLike | None = None, name: str = "points", parent: int | None = None
    ) -> int:
        """Points (N, 3) with colours (N, 3|4) uint8 sRGB."""
        primitive = gltf.Primitive(mode=gltf.POINTS, attributes=self._attributes(points, colors))
        primitive.material = self.add_material(Material(unlit=True))
        return self._add_primitive(primitive, name, parent)

    def add_lines(
        self, segments: ArrayLike, colors: ArrayLike | None = None, name: str = "lines", parent: int | None = None
    ) -> int:
        """Line segments (N, 2, 3), one colour each (N, 3|4) uint8 sRGB."""
        segments = np.asarray(segments, dtype=np.float32).reshape(-1, 2, 3)
        both = None if colors is None else np.repeat(np.asarray(colors), 2, axis=0)
        primitive = gltf.Primitive(mode=gltf.LINES, attributes=self._attributes(segments, both))
        primitive.material = self.add_material(Material(unlit=True))
        return self._add_primitive(primitive, name, parent)

    def add_mesh(
        self,
        vertices: ArrayLike,
        faces: ArrayLike,
        normals: ArrayLike | None = None,
        uv: ArrayLike | None = None,
        colors: ArrayLike | None = None,
        material: Material | None = None,
        name: str = "mesh",
        parent: int | None = None,
        matrix: ArrayLike | None = None,
    ) -> int:
        """Triangles (F, 3) over vertices (V, 3), with per-vertex normals (V, 3), uv (V, 2) and colours (V, 3|4) uint8.

        A mesh whose texture has seams (other faces for uv than for vertices) goes through ``split_seams`` first.
        """
        attributes = self._attributes(vertices, colors)
        if normals is not None:
            unit = np.asarray(normals, dtype=np.float64)
            length = np.linalg.norm(unit, axis=-1, keepdims=True)
            unit = np.where(length > 0, unit / np.where(length > 0, length, 1), [0.0, 0.0, 1.0])
            attributes.NORMAL = self.accessor(unit.astype(np.float32), gltf.ARRAY_BUFFER)
        if uv is not None:
            coordinates = np.asarray(uv, dtype=np.float32)
            flipped = np.stack([coordinates[:, 0], 1 - coordinates[:, 1]], axis=-1)
            attributes.TEXCOORD_0 = self.accessor(flipped, gltf.ARRAY_BUFFER)
        ids = np.asarray(faces).reshape(-1)
        ids = ids.astype(np.uint16 if np.asarray(vertices).size // 3 < 65535 else np.uint32)
        primitive = gltf.Primitive(
            mode=gltf.TRIANGLES, attributes=attributes, indices=self.accessor(ids, gltf.ELEMENT_ARRAY_BUFFER)
        )
        primitive.material = self.add_material(material or Material())
        return self._add_primitive(primitive, name, parent, matrix)

    def save(self, path: Path) -> Path:
        """Writes the file; it appears whole or not at all."""
        self._data.extend(b"\0" * (-len(self._data) % 4))
        self.gltf.buffers = [gltf.Buffer(byteLength=len(self._data))]
        self.gltf.set_binary_blob(bytes(self._data))
        with replacing(path) as temporary, temporary.open("wb") as file:
            for part in self.gltf.save_to_bytes():
                file.write(part)
        return Path(path)


def _column_major(matrix: ArrayLike | None) -> list[float] | None:
    return None if matrix is None else np.asarray(matrix, dtype=np.float64).T.ravel().tolist()


def split_seams(
    faces: ArrayLike, uv_faces: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """One index per corner where positions and texture coordinates have their own.

    Args:
        faces, uv_faces: (F, 3) ids of vertices and of texture coordinates.
    Returns:
        New faces (F, 3), and for every new vertex its old vertex (N,) and its texture coordinate (N,).
    """
    pairs = np.stack([np.asarray(faces).ravel(), np.asarray(uv_faces).ravel()], axis=1)
    unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
    return inverse.reshape(-1, 3), unique[:, 0], unique[:, 1]


def camera_frustums(
    extrinsics: ArrayLike, intrinsics: ArrayLike, width: int, height: int, depth: float
) -> NDArray[np.float64]:
    """Cameras as wires: four rays from the centre to the corner pixels at ``depth``, and the rectangle between them.

    Args:
        extrinsics: (N, 3|4, 4) world-to-camera.
        intrinsics: (N, 3, 3) or (3, 3).
    Returns:
        Segments in the world, (N, 8, 2, 3).
    """
    E = np.asarray(extrinsics, dtype=np.float64)
    K = np.broadcast_to(np.asarray(intrinsics, dtype=np.float64), (len(E), 3, 3))
    pixels = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], dtype=np.float64)
    local = unproject_pixels(np.broadcast_to(pixels, (len(E), 4, 2)), np.full((len(E), 4), depth), K)
    corners = transform_points(invert_rigid(E), local)  # (N, 4, 3)
    centres = np.broadcast_to(camera_centers(E)[:, None], corners.shape)
    rays = np.stack([centres, corners], axis=2)
    edges = np.stack([corners, np.roll(corners, -1, axis=1)], axis=2)
    return np.concatenate([rays, edges], axis=1)


def rainbow(count: int) -> NDArray[np.uint8]:
    """Distinct colours (N, 3) for things in a row: hues (i + .5) / N, saturation .85, value .95."""
    return np.array(
        [[int(255 * c) for c in colorsys.hsv_to_rgb((i + 0.5) / count, 0.85, 0.95)] for i in range(count)],
        dtype=np.uint8,
    ).reshape(-1, 3)


def robust_extent(points: ArrayLike) -> float:
    """Diagonal of the box of the 5th to 95th percentiles of points (N, 3); 1 where that is degenerate."""
    points = np.asarray(points, dtype=np.float64)
    if len(points) == 0:
        return 1.0
    low, high = np.percentile(np.ascontiguousarray(points[:: -(-len(points) // 500_000)].T), [5, 95], axis=1)
    extent = float(np.linalg.norm(high - low))
    return extent if np.isfinite(extent) and extent > 0 else 1.0


def write_scene_glb(
    path: Path,
    points: ArrayLike,
    colors: ArrayLike,
    cameras: tuple[ArrayLike, ArrayLike, Sequence[int]] | None = None,
    camera_size: float = 0.03,
    matrix: ArrayLike | None = None,
    linear: bool = True,
) -> Path:
    """A coloured point cloud with its cameras.

    Args:
        points: (N, 3) in the world.
        colors: (N, 3|4) uint8 sRGB.
        cameras: extrinsics (M, 3|4, 4), intrinsics (M, 3, 3) and (width, height), or None to leave them out.
        camera_size: depth of the camera wires as a part of the scene's extent.
        matrix: (4, 4) from the world to the y-up frame of the file; applied to the data, not left to the viewer.
        linear: as ``GlbBuilder``.
    """
    points = np.asarray(points)
    builder = GlbBuilder(linear)
    if len(points):
        builder.add_points(points if matrix is None else transform_points(matrix, points), colors)
    if cameras is not None and len(np.asarray(cameras[0])):
        extrinsics, intrinsics, (width, height) = cameras
        segments = camera_frustums(extrinsics, intrinsics, width, height, camera_size * robust_extent(points))
        count, each = segments.shape[:2]
        if matrix is not None:
            segments = transform_points(matrix, segments.reshape(-1, 3))
        builder.add_lines(segments.reshape(-1, 2, 3), np.repeat(rainbow(count), each, axis=0), name="cameras")
    return builder.save(path)
