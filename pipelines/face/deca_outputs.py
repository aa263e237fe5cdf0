"""What DECA's own demos leave behind, under their names: overview, OBJ set, landmarks, depth, MATLAB file, pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import savemat

from pipelines.export.obj_read import ObjMesh
from pipelines.face import deca_files
from pipelines.face.deca_network import Face, InPhoto
from pipelines.face.dense_mesh import DenseTemplate, upsample
from pipelines.face.options import DecaOptions
from pipelines.media.image import write_image

Image = NDArray[np.uint8]
Planes = NDArray[np.floating]
TILES = ("inputs", "landmarks2d", "landmarks3d", "shape_images", "shape_detail_images")
SINGLE = ("inputs", "rendered_images", "shape_images", "shape_detail_images", "landmarks2d")
MATRIX = (
    "verts", "trans_verts", "landmarks2d", "landmarks3d", "landmarks3d_world", "grid", "rendered_images",
    "alpha_images", "normal_images", "albedo", "uv_texture", "normals", "uv_detail_normals", "displacement_map",
    "uv_texture_gt",
)  # fmt: skip


@dataclass(frozen=True)
class HeadTemplate:
    """Topology and layout of the installed head, and its dense points."""

    mesh: ObjMesh
    dense: DenseTemplate


def marked(crop: Planes, points: Planes) -> Planes:
    """A crop (3, S, S) in [0, 1] with landmarks (68, 2, or 4 with visibility last) in its coordinates drawn on it."""
    base = deca_files.to_picture(crop)
    pixels = deca_files.normalised_to_pixels(points, *base.shape[:2])
    drawn = deca_files.draw_landmarks(base, pixels, points[:, 3] if points.shape[1] == 4 else None)
    return drawn.transpose(2, 0, 1) / 255.0


def tiles(crop: Planes, face: Face) -> dict[str, Planes]:
    """The pictures of a face (3, 224, 224) in [0, 1], by the original's names."""
    shown: dict[str, Planes] = {"inputs": crop}
    shown |= {name: marked(crop, getattr(face, name)) for name in ("landmarks2d", "landmarks3d")}
    shown["shape_images"], shown["shape_detail_images"] = face.shape_images, face.shape_detail_images
    if face.albedo is not None:
        shown["rendered_images"] = face.rendered_images
    return shown


def write_overview(path: Path, pictures: Mapping[str, Planes], *more: Planes) -> Path:
    """``NAME_vis.jpg``: the tiles in a row, all as high as the first."""
    names = [*TILES, *(["rendered_images"] if "rendered_images" in pictures else [])]
    row = deca_files.tile_row([*(np.asarray(pictures[name], np.float32) for name in names), *more])
    return write_image(path, row)


def original_tiles(
    photo: Image, drawn: InPhoto, points2d: Planes, points3d: Planes, visible: Planes
) -> dict[str, Planes]:
    """The five pictures at the size of the whole photo; landmarks (68, 2) in its pixels."""
    pictures = {
        "inputs": photo,
        "landmarks2d": deca_files.draw_landmarks(photo, points2d),
        "landmarks3d": deca_files.draw_landmarks(photo, points3d, visible),
        "shape_images": drawn.shape,
        "shape_detail_images": drawn.detail,
    }
    return {name: picture.transpose(2, 0, 1) / np.float32(255) for name, picture in pictures.items()}


def write_files(folder: Path, name: str, crop: Planes, face: Face, template: HeadTemplate, deca: DecaOptions,
                texture: Planes | None = None) -> list[Path]:  # fmt: skip
    """The files of one face that are asked for, as ``FOLDER/NAME...``; ``texture`` overrides the face's own."""
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    shown = tiles(crop, face)
    if deca.save_depth:
        made.append(write_image(folder / f"{name}_depth.jpg", deca_files.to_picture(np.repeat(face.depth, 3, axis=0))))
    if deca.save_kpt:
        for points, ending in ((face.landmarks2d, "kpt2d"), (face.landmarks3d, "kpt3d")):
            made.append(folder / f"{name}_{ending}.txt")
            deca_files.write_points(made[-1], points)
    if deca.save_obj:
        made += write_objects(folder, name, face, template, face.uv_texture_gt if texture is None else texture)
    if deca.save_mat:
        made.append(folder / f"{name}.mat")
        savemat(made[-1], {key: value for key in MATRIX if (value := getattr(face, key)) is not None})
    if deca.save_images:
        present = [key for key in SINGLE if key in shown]
        made += [write_image(folder / f"{name}_{key}.jpg", deca_files.to_picture(shown[key])) for key in present]
    return made


def write_objects(folder: Path, name: str, face: Face, template: HeadTemplate, texture: Planes) -> list[Path]:
    """``NAME.obj`` with material, texture and normal map, and ``NAME_detail.obj``."""
    mesh = template.mesh
    colours = deca_files.to_picture(texture)
    texts = {
        f"{name}.obj": deca_files.coarse_obj(name, face.verts, mesh.faces, mesh.uv, mesh.uv_faces),
        f"{name}.mtl": deca_files.material(name),
        f"{name}_detail.obj": deca_files.detail_obj(*dense(face, face.verts, face.normals, template, colours)),
    }
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="ascii", errors="replace")
    images = [
        write_image(folder / f"{name}.png", colours),
        write_image(folder / f"{name}_normals.png", deca_files.to_picture(face.uv_detail_normals * 0.5 + 0.5)),
    ]
    return [*(folder / file for file in texts), *images]


def dense(
    face: Face, vertices: Planes, normals: Planes, template: HeadTemplate, colours: Image
) -> tuple[NDArray[np.float64], NDArray[np.int64], Image]:
    """The detailed surface: points (N, 3), triangles (F, 3) and colours (N, 3)."""
    points, shades = upsample(template.dense, vertices, normals, face.displacement_map[0], colours)
    return points, template.dense.faces, shades


def file_name(stem: str, taken: set[str]) -> str:
    """A name for a photo's results that none before it has, without blanks, which material files cannot hold."""
    plain = "_".join(stem.split()).encode("ascii", "replace").decode().replace("?", "_") or "face"
    name, count = plain, 1
    while name.lower() in taken:
        count += 1
        name = f"{plain}_{count}"
    taken.add(name.lower())
    return name
