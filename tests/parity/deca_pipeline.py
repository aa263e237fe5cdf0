"""DECA end to end: from photo and landmarks to every output, expression transfer, animation, files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.bodies.flame import Flame
from models.deca.network import Deca, DecaCode
from models.deca.texture import AlbedoModel
from pipelines.face import crop, deca_files
from pipelines.face.deca_decode import JAW_TOUR, YAW_TOUR, DecaDecoder, turned, with_jaw
from pipelines.face.dense_mesh import DenseTemplate, upsample
from tests.parity.deca import network_of, synthetic_flame
from tests.parity.deca_render import picture, renderer_of
from tests.parity.runner import Case, Check, absolute, exact, kind, share_within

CODE, MESH, MARKS, MAPS, IMAGES = 2e-4, 5e-6, 5e-5, 2e-3, 5e-3
UPSTREAM_Z = 30.0  # what repeated rendering adds to the stored depths in the original


@lru_cache(maxsize=1)
def _calibrated(network: Deca, calibration: Path) -> Deca:
    """The stand-in networks with output layers scaled and shifted so that their codes look like faces."""
    from copy import deepcopy

    network = deepcopy(network)
    with np.load(calibration, allow_pickle=False) as values:
        for part in ("E_flame", "E_detail"):
            last = getattr(network, part).layers[2]
            last.weight.data.mul_(torch.from_numpy(values[f"{part}_gain"])[:, None])
            last.bias.data.copy_(torch.from_numpy(values[f"{part}_bias"]))
    return network


def decoder_of(case: Case, albedo: AlbedoModel | None = None) -> DecaDecoder:
    network = _calibrated(network_of(case), case.path.with_name("calib.npz"))
    flame: Flame = synthetic_flame(case.data_dir)
    return DecaDecoder(network, flame, renderer_of(case), albedo)


def sibling(case: Case, name: str) -> Case:
    return replace(case, name=name, path=case.path.with_name(f"{name}.npz"))


def crop_of(case: Case) -> tuple[Tensor, Tensor]:
    """The crop (1, 3, 224, 224) and its transform (1, 3, 3) made from photo and landmarks."""
    transform = crop.crop_transform(crop.FaceBox.of_points(case["kpt"]))
    image = crop.warp(case["image_u8"], transform)
    return torch.from_numpy(image).permute(2, 0, 1)[None], torch.from_numpy(transform).float()[None]


def encode(case: Case) -> tuple[DecaCode, Tensor, Tensor]:
    image, transform = crop_of(case)
    with torch.inference_mode():
        return decoder_of(case).deca.encode(image), image, transform


@kind("deca", "calib*")
def calibration(case: Case) -> Iterator[Check]:
    """Not results but inputs of the cases below: they must fit the networks."""
    network = network_of(case)
    for part in ("E_flame", "E_detail"):
        outputs = getattr(network, part).layers[2].out_features
        for name in ("gain", "bias"):
            yield exact(f"{part}_{name}", case[f"{part}_{name}"].shape, (outputs,))


@kind("deca", "e2e_*")
def end_to_end(case: Case) -> Iterator[Check]:
    code, image, transform = encode(case)
    yield absolute("tform", transform[0], case["tform"], 1e-4)
    yield absolute("crop", image[0], case["crop_u16"].astype(np.float64) / 65535, 2e-4)
    for name in ("shape", "tex", "exp", "pose", "cam", "light", "detail"):
        yield absolute(f"code_{name}", getattr(code, name), case[f"code_{name}"], CODE)
    decoder = decoder_of(case)
    with torch.inference_mode():
        head = decoder.head(code, image)
        seen = decoder.pictures(head)
        depth = decoder.depth(seen)
        photo = torch.from_numpy(case["image_u8"]).permute(2, 0, 1)[None].float() / 255
        inside = decoder.pictures_in_photo(head, photo, transform)
    yield absolute("verts", head.verts, case["verts"], MESH)
    shift = head.trans_verts.new_tensor([0.0, 0.0, case.meta["settings"].get("z_shift_of_trans_verts", UPSTREAM_Z)])
    yield absolute("trans_verts", head.trans_verts + shift, case["trans_verts"], MARKS)
    for name in ("landmarks2d", "landmarks3d", "landmarks3d_world"):
        yield absolute(name, getattr(head, name), case[name], MARKS)
    for name in ("uv_detail_normals", "displacement_map", "normals"):
        yield share_within(name, getattr(head, name), case[name], MAPS, 0.998)
    yield share_within("uv_texture_gt", head.uv_texture_gt, case["uv_texture_gt"], IMAGES, 0.998)
    yield picture("alpha_images", seen.alpha_images, case["alpha_images"], IMAGES)
    for name in ("normal_images", "grid", "shape_images", "shape_detail_images"):
        yield picture(name, getattr(seen, name), case[name], IMAGES)
    yield picture("depth", depth, case["depth"], IMAGES)
    yield absolute("orig_landmarks3d", inside.landmarks3d, case["orig_landmarks3d"], MARKS)
    yield picture("orig_shape_detail", inside.shape_detail_images[:, :, ::2, ::2], case["orig_shape_detail"], IMAGES)
    height, width = case["image_u8"].shape[:2]
    pixels = deca_files.normalised_to_pixels(inside.landmarks2d[0].numpy(), height, width)
    drawn = deca_files.draw_landmarks(deca_files.to_picture(photo[0].numpy()), pixels)
    want = case["orig_landmarks2d_vis_u8"]
    yield share_within("orig_landmarks2d_vis", drawn.transpose(2, 0, 1)[:, ::2, ::2], want, 1, 0.99)


@kind("deca", "e2e_tex*")
def end_to_end_texture(case: Case) -> Iterator[Check]:
    source = sibling(case, "e2e_a")
    image = torch.from_numpy(source["crop_u16"].astype(np.float32) / 65535)[None]
    rule = sibling(case, "flame_tex")
    decoder = decoder_of(case, _albedo(rule.path))
    with torch.inference_mode():
        code = decoder.deca.encode(image)
        head = decoder.head(code, image)
        plain = decoder.head(code, image, extract_texture=False)
        seen = decoder.pictures(head)
    yield absolute("code_tex", code.tex, case["code_tex"], CODE)
    yield absolute("code_light", code.light, case["code_light"], CODE)
    yield absolute("albedo", head.albedo[:, :, ::4, ::4], case["albedo"], MAPS)
    yield picture("rendered_images", seen.rendered_images[:, :, ::2, ::2], case["rendered_images"], IMAGES)
    for name, value in (
        ("uv_texture", head.uv_texture),
        ("uv_texture_gt_extract", head.uv_texture_gt),
        ("uv_texture_gt_noextract", plain.uv_texture_gt),
    ):
        yield share_within(name, value[:, :, ::2, ::2], case[name], IMAGES, 0.998)


@lru_cache(maxsize=1)
def _albedo(path: Path) -> AlbedoModel:
    """The albedo space made by the cosine rule of the texture case."""
    with np.load(path, allow_pickle=False) as z:
        modes, coef = z["modes"].astype(np.float64), z["coef"]
    at = np.pi * (np.arange(512) + 0.5) / 512
    waves = np.cos(modes[:, :1, None] * at[:, None]) * np.cos(modes[:, 1:, None] * at)
    components = np.einsum("jyx,jck->yxck", waves.astype(np.float32), coef)
    mean = np.stack([0.45 + 0.1 * waves[1 + channel] for channel in range(3)], axis=-1).astype(np.float32)
    return AlbedoModel(mean, components)


@kind("deca", "transfer*")
def transfer(case: Case) -> Iterator[Check]:
    identity, image, _ = encode(sibling(case, "e2e_a"))
    expression, _, _ = encode(sibling(case, "e2e_b"))
    decoder = decoder_of(case)
    code = identity.with_expression_of(expression)
    with torch.inference_mode():
        head = decoder.head(code, image)
        seen = decoder.pictures(head)
        own = decoder.head(identity, image)
    yield absolute("pose", code.pose, case["pose"], CODE)
    yield absolute("exp", code.exp, case["exp"], CODE)
    yield absolute("verts", head.verts, case["verts"], MESH)
    yield absolute("landmarks2d", head.landmarks2d, case["landmarks2d"], MARKS)
    yield share_within("displacement_map", head.displacement_map, case["displacement_map"], MAPS, 0.998)
    step = own.uv_texture_gt[:, :, ::4, ::4]
    yield share_within("uv_texture_gt_of_id", step, case["uv_texture_gt_of_id_step4"], IMAGES, 0.998)
    yield picture("shape_detail", seen.shape_detail_images[:, :, ::2, ::2], case["shape_detail_step2"], IMAGES)


@kind("deca", "teaser*")
def teaser(case: Case) -> Iterator[Check]:
    identity, image, _ = encode(sibling(case, "e2e_a"))
    decoder = decoder_of(case)
    yield exact("yaw", YAW_TOUR, case["yaw"])
    poses = torch.cat([turned(identity, yaw).pose[:, :3] for yaw in YAW_TOUR])
    yield absolute("global_pose", poses, case["global_pose"], 1e-6)
    jaws = torch.cat([with_jaw(identity, angle).jaw for angle in JAW_TOUR])
    yield absolute("jaw_pose", jaws, case["jaw_pose"], 1e-6)

    def shot(code: DecaCode) -> Tensor:
        with torch.inference_mode():
            return decoder.pictures(decoder.head(code, image)).shape_detail_images[:, :, ::2, ::2]

    frames = torch.cat([shot(turned(identity, YAW_TOUR[index])) for index in (3, 8, 18)])
    yield share_within("frames", frames, case["frames"], IMAGES, 0.995)
    jaw = shot(with_jaw(turned(identity, 0), JAW_TOUR[7]))
    yield share_within("jaw_frame", jaw, case["jaw_frame"], IMAGES, 0.995)


@kind("deca", "dense_mesh*")
def dense_mesh(case: Case) -> Iterator[Check]:
    template = DenseTemplate.of_fields(*(case[f"t_{name}"] for name in ("f", "x", "y", "valid", "3d_faces", "b")))
    vertices, colours = upsample(template, case["vertices"], case["normals"], case["displacement"], case["texture"])
    yield absolute("dense_vertices", vertices, case["dense_vertices"], 1e-6)
    yield exact("dense_colors", colours, case["dense_colors"])


@kind("deca", "files*")
def files(case: Case) -> Iterator[Check]:
    vertices, faces = case["vertices"], case["faces"]
    texts = {
        "obj_text": deca_files.coarse_obj("a", vertices, faces, case["uv"], case["uvfaces"]),
        "mtl_text": deca_files.material("a"),
        "detail_text": deca_files.detail_obj(vertices, faces, case["colors"]),
        "plain_text": deca_files.plain_obj(vertices, faces),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "points.txt"
        deca_files.write_points(path, vertices[:3, :2])
        texts["kpt_text"] = path.read_text(encoding="ascii")
    for name, text in texts.items():
        yield exact(name, text, str(case[name]))
    rgb = deca_files.to_picture(case["tensor"])
    yield exact("tensor2image", rgb[..., ::-1], case["tensor2image"])
    background = case["bg_u8"]
    size = case["visualize_u8"].shape[0]
    noise = torch.rand(1, 3, 100, 150, generator=torch.Generator().manual_seed(1))[0].numpy()
    tiles = [background.transpose(2, 0, 1) / 255.0, case["vis2_u8"] / 255.0, noise]
    yield share_within("visualize", deca_files.tile_row(tiles, size)[..., ::-1], case["visualize_u8"], 1, 0.99)
    for name, points in (("vis2_u8", case["lm2"]), ("vis4_u8", case["lm4"])):
        pixels = deca_files.normalised_to_pixels(points[0], *background.shape[:2])
        visible = points[0, :, 3] if points.shape[-1] == 4 else None
        drawn = deca_files.draw_landmarks(background, pixels, visible)
        yield share_within(name, drawn.transpose(2, 0, 1), case[name], 1, 0.99)
