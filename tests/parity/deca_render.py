"""DECA's crops, camera, rasteriser, shading and renderer against stored results."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.deca.projection import project, to_original
from pipelines.face import crop
from pipelines.face.deca_render import (
    SH_FACTORS,
    DecaRenderer,
    directional_light,
    grid_triangles,
    point_light,
    sh_shading,
    vertex_normals,
)
from pipelines.render.raster import Rule, interpolate_tensor, ndc_to_pixels, rasterize_tensor
from tests.parity.runner import Case, Check, absolute, exact, kind, share_within

IMAGE, IMAGE_SHARE = 2e-3, 0.998


@lru_cache(maxsize=1)
def _renderer(data_dir: Path) -> DecaRenderer:
    return DecaRenderer.load(data_dir)


def renderer_of(case: Case) -> DecaRenderer:
    return _renderer(case.data_dir)


def tensors(case: Case, *names: str) -> list[Tensor]:
    return [torch.from_numpy(case[name]) for name in names]


def picture(name: str, got: Tensor, want: np.ndarray, tolerance: float = IMAGE) -> Check:
    return share_within(name, got, want, tolerance, IMAGE_SHARE)


@kind("deca", "camera*")
def camera(case: Case) -> Iterator[Check]:
    points, cam, tform = tensors(case, "points", "cam", "tform")
    flipped = project(points, cam)
    yield absolute("flipped", flipped, case["flipped"], 1e-5)
    yield absolute("projected", flipped * torch.tensor([1.0, -1.0, -1.0]), case["projected"], 1e-5)
    yield absolute("inv_tform_T", torch.linalg.inv(tform).transpose(1, 2), case["inv_tform_T"], 1e-3)
    height, width = case["hw"].tolist()
    original = to_original(flipped, tform, height, width)
    yield absolute("orig_norm", original, case["orig_norm"], 1e-5)
    pixels = (original[..., :2] * 0.5 + 0.5) * torch.tensor([width, height])
    yield absolute("orig_pixels", pixels, case["orig_pixels"][..., :2], 1e-3)


@kind("deca", "crop*")
def crops(case: Case) -> Iterator[Check]:
    kinds = case.meta["settings"]["types"]
    names = [name.removesuffix("_image_u8") for name in case.arrays if name.endswith("_image_u8")]
    for name in names:
        image = case[f"{name}_image_u8"]
        image = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image[..., :3]
        height, width = image.shape[:2]
        if f"{name}_points" in case:
            transform = crop.crop_transform(crop.FaceBox.of_points(case[f"{name}_points"]))
        elif f"{name}_box" in case:
            transform = crop.crop_transform(crop.FaceBox(*case[f"{name}_box"].tolist(), kind=kinds[name]))
        elif name == "nocrop":
            transform = crop.whole_transform(height, width)
        else:
            transform = crop.crop_transform(crop.no_face_box(height, width, upstream_compat=True))
        yield absolute(f"{name}_tform", transform, case[f"{name}_tform"], 1e-4)
        got = crop.warp(image, transform).transpose(2, 0, 1)
        yield absolute(f"{name}_crop", got, case[f"{name}_crop_u16"].astype(np.float64) / 65535, 2e-4)
    for kind_ in ("kpt68", "bbox"):
        box = crop.FaceBox(30, 20, 130, 145, kind=kind_)
        yield absolute(f"bbox2point_{kind_}", [box.size, *box.center], case[f"bbox2point_{kind_}"], 1e-9)


@kind("deca", "raster_small*")
def raster(case: Case) -> Iterator[Check]:
    height, width = case["hw"].tolist()
    triangles = torch.from_numpy(case["face_vertices"])
    found = rasterize_tensor(triangles, height, width, Rule.STRICT, 1e6)
    stable = case["stable"]
    yield exact("tri", found.triangle.numpy()[stable], case["tri"][stable])
    yield absolute("bary", found.barycentric.numpy()[stable], case["bary"][stable], 1e-5)
    yield absolute("depth", found.depth.numpy()[stable], case["depth"][stable], 1e-4)
    vertices, faces, attributes = tensors(case, "mesh_verts", "mesh_faces", "mesh_attr")
    for name in ("mesh_out_24", "mesh_out_hw"):
        want = case[name]
        pixels = ndc_to_pixels(vertices, *want.shape[-2:])[:, faces[0]]
        drawn = rasterize_tensor(pixels, *want.shape[-2:], Rule.STRICT, 1e6)
        values = interpolate_tensor(drawn, attributes)
        both = torch.cat([values, (drawn.triangle >= 0).float()[..., None]], dim=-1)
        yield absolute(name, both.permute(0, 3, 1, 2), want, 1e-5)


@kind("deca", "shading*")
def shading(case: Case) -> Iterator[Check]:
    normals, light, points, point_normals, lights = tensors(case, "normals", "sh", "points", "point_normals", "lights")
    yield absolute("constant_factor", SH_FACTORS, case["constant_factor"], 1e-5)
    yield absolute("sh_shading", sh_shading(normals, light), case["sh_shading"], 1e-5)
    yield absolute("directional", directional_light(point_normals, lights), case["directional"], 1e-5)
    yield absolute("pointlight", point_light(points, point_normals, lights), case["pointlight"], 1e-5)
    vertices, faces = tensors(case, "mesh_verts", "mesh_faces")
    got = torch.cat([vertex_normals(v[None], f) for v, f in zip(vertices, faces, strict=True)])
    yield absolute("vertex_normals", got, case["vertex_normals"], 1e-5)
    # the stored grid is 13 rows by 12 columns
    yield exact("dense_triangles", grid_triangles(13, 12), case["dense_triangles"])


@kind("deca", "render_small*")
def render_small(case: Case) -> Iterator[Check]:
    renderer = renderer_of(case)
    verts, projected, light = tensors(case, "verts", "trans_verts", "sh")
    albedo = torch.from_numpy(case["albedo_u8"]).float()[None] / 255
    height, width = case["alpha"].shape[-2:]
    view = renderer.view(verts, projected, height, width)
    stable = case["stable"]
    triangle = view.fragments.triangle.numpy()
    yield share_within("tri", triangle[stable], case["tri"][stable], 0, IMAGE_SHARE)
    yield picture("alpha", view.alpha, case["alpha"])
    # lit here; the decoder itself shows the bare albedo
    lit = renderer.textured(view, albedo) * sh_shading(view.normals, light)
    yield picture("images", lit, case["images"])
    yield picture("pos_mask", renderer.facing(view), case["pos_mask"])
    yield picture("grid", view.grid, case["grid"])
    yield absolute("normals", vertex_normals(verts, renderer.faces), case["normals"], 1e-4)
    yield picture("normal_images", view.normals, case["normal_images"])
    shaded = sh_shading(view.normals, light)
    yield picture("shading_images", shaded, case["shading_images"])
    shape, alpha = renderer.shape_picture(view)
    yield picture("shape_images", shape, case["shape_images"])
    yield picture("shape_alpha", alpha, case["shape_alpha"])
    yield picture("depth", renderer.depth_picture(view, projected), case["depth"])
    colours = torch.from_numpy(case["colors"]).float()
    yield picture("render_colors", renderer.vertex_colours(view, colours), case["render_colors"])
    wide = case["wide_images"].shape[-2:]
    wide_view = renderer.view(verts, projected, *wide)
    lit = renderer.textured(wide_view, albedo) * sh_shading(wide_view.normals, light)
    yield picture("wide_images", lit, case["wide_images"])
    yield picture("world2uv", renderer.to_uv(verts)[:, :, ::2, ::2], case["world2uv_step2"])
