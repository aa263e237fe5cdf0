"""DECA's networks, the FLAME layer and the albedo space against stored results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from models.bodies.flame import Flame, FlameData, LandmarkEmbedding
from models.bodies.landmarks import contour_row
from models.deca.checkpoint import PARTS
from models.deca.network import Deca
from models.deca.texture import AlbedoModel
from models.geometry.rotations import (
    axis_angle_to_matrix,
    axis_angle_to_quaternion,
    euler_to_matrix,
    matrix_to_axis_angle,
    matrix_to_euler,
    matrix_to_quaternion,
)
from models.geometry.skinning import blend_shapes, lbs
from models.runtime.state_dict import load_strict
from tests.parity.runner import Case, Check, absolute, exact, kind
from tests.parity.synth import synth_state

ENCODER = 2e-5
CONTOUR_MARGIN = 1e-3  # degrees from a rounding border within which a neighbouring row is right too


@lru_cache(maxsize=2)
def synthetic_deca(keys_file: Path, seed: int) -> Deca:
    """The three networks with stand-in weights drawn from their prefixed names."""
    state = synth_state(json.loads(keys_file.read_text(encoding="utf-8")), seed)
    with torch.device("meta"):
        network = Deca()
    return load_strict(network, state, keys_file.name)


def network_of(case: Case) -> Deca:
    return synthetic_deca(case.root / case.system / "keys" / "deca_model.json", case.seed)


def template_mesh(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and triangles (F, 3) of an OBJ file, in file order."""
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    vertices = np.array([row[1:4] for row in rows if row[:1] == ["v"]], np.float64)
    faces = np.array([[corner.split("/")[0] for corner in row[1:4]] for row in rows if row[:1] == ["f"]], np.int64)
    return vertices, faces - 1


@lru_cache(maxsize=1)
def synthetic_flame(data_dir: Path) -> Flame:
    """The made-up FLAME of the parity data: low-rank bases over the head template."""
    z = dict(np.load(data_dir / "flame_synth.npz", allow_pickle=False))
    positions, faces = template_mesh(data_dir / "head_template.obj")
    vertices = len(positions)
    regressor = np.zeros((5, vertices), np.float64)
    regressor[z["J_row"], z["J_col"]] = z["J_val"]
    data = FlameData.from_fields(
        {
            "v_template": positions - np.array([0.0, 1.5, 0.0]),
            "f": faces,
            "shapedirs": np.einsum("vj,jck->vck", z["basis"].astype(np.float64), z["shape_coef"]),
            "posedirs": np.einsum("vj,jck->vck", z["basis"].astype(np.float64), z["pose_coef"]),
            "J_regressor": regressor,
            "weights": z["weights"],
            "kintree_table": z["kintree_table"],
        }
    )
    return Flame(data, LandmarkEmbedding.load(data_dir / "landmark_embedding.npz"))


def tensor(case: Case, name: str) -> torch.Tensor:
    return torch.from_numpy(case[name])


@kind("deca", "e_flame*")
def flame_encoder(case: Case) -> Iterator[Check]:
    yield from _encoder(case, "E_flame")


@kind("deca", "e_detail*")
def detail_encoder(case: Case) -> Iterator[Check]:
    yield from _encoder(case, "E_detail")


def _encoder(case: Case, part: str) -> Iterator[Check]:
    assert part in PARTS
    regressor = getattr(network_of(case), part)
    with np.load(case.path.with_name(case.path.name.replace("e_detail", "e_flame")), allow_pickle=False) as shared:
        images_u8 = shared["images_u8"]  # both encoders see the same pictures, stored once
    images = torch.from_numpy(images_u8).permute(0, 3, 1, 2).float() / 255
    strides = {"maxpool": 7, "layer1": 7, "layer2": 4, "layer3": 3, "layer4": 2}
    with torch.inference_mode():
        x = images
        encoder = regressor.encoder
        for name, module in encoder.named_children():
            if name == "avgpool":
                break
            x = module(x)
            if name in strides:
                step = strides[name]
                yield absolute(f"act_{name}", x[:, :: x.shape[1] // 32, ::step, ::step], case[f"act_{name}"], ENCODER)
        yield absolute("features", encoder(images), case["features"], ENCODER)
        yield absolute("params", regressor(images), case["params"], ENCODER)


@kind("deca", "d_detail*")
def detail_decoder(case: Case) -> Iterator[Check]:
    decoder = network_of(case).D_detail
    latent = tensor(case, "latent")
    with torch.inference_mode():
        x = decoder.l1(latent)
        yield absolute("l1", x[:, :: x.shape[1] // case["l1"].shape[1]], case["l1"], ENCODER)
        x = x.view(-1, 128, 8, 8)
        for index, block in enumerate(decoder.conv_blocks):
            inner = x
            x = block(x)
            if f"act_{index}" in case:
                want = case[f"act_{index}"]
                step = x.shape[-1] // want.shape[-1]
                got = x if step else inner
                step = max(step, 1)
                yield absolute(f"act_{index}", got[:, :: got.shape[1] // 8, ::step, ::step], want, ENCODER)
        yield absolute("out", decoder(latent), case["out"], 1e-7)


@kind("deca", "flame_layer*")
def flame_layer(case: Case) -> Iterator[Check]:
    flame = synthetic_flame(case.data_dir)
    shape, exp, pose, eyes = (tensor(case, name) for name in ("shape", "exp", "pose", "eye_pose"))
    with torch.inference_mode():
        out = flame(shape, exp, pose, eyes)
        plain = flame(shape, exp, pose)
    shaped = flame.shaped(shape, exp)
    yield absolute("vertices", out.vertices, case["vertices"], 1e-6)
    yield absolute("vertices_noeye", plain.vertices[:, ::5], case["vertices_noeye_step5"], 1e-6)
    yield absolute("v_shaped", shaped[:, ::7], case["v_shaped_step7"], 1e-6)
    yield absolute("landmarks2d", out.landmarks2d, case["landmarks2d"], 1e-6)
    yield absolute("landmarks3d", out.landmarks3d, case["landmarks3d"], 1e-6)
    yield absolute("joints_posed", out.joints, case["joints_posed"], 1e-6)
    yield absolute("joints_rest", torch.einsum("jv,bvc->bjc", flame.J_regressor, shaped), case["joints_rest"], 1e-6)
    neck = torch.zeros_like(pose[:, :3])
    full = torch.cat([pose[:, :3], neck, pose[:, 3:], eyes], dim=1).view(-1, 5, 3)
    rotations = axis_angle_to_matrix(full)
    yield absolute("rot_mats", rotations, case["rot_mats"], 1e-6)
    yield exact("dynamic_row", contour_row(rotations[:, 0] @ rotations[:, 1]), case["dynamic_row"])


@kind("deca", "flame_contour*")
def flame_contour(case: Case) -> Iterator[Check]:
    embedding = LandmarkEmbedding.load(case.data_dir / "landmark_embedding.npz")
    rotations = axis_angle_to_matrix(tensor(case, "full_pose").view(-1, 5, 3))
    rows = contour_row(rotations[:, 0] @ rotations[:, 1]).numpy()
    sure = case["margin"] > CONTOUR_MARGIN
    yield exact("faces_idx", embedding.dynamic_faces[rows][sure], case["faces_idx"][sure])
    yield absolute("bary", embedding.dynamic_bary[rows][sure], case["bary"][sure], 1e-6)


@kind("deca", "flame_tex*")
def flame_tex(case: Case) -> Iterator[Check]:
    modes, coef = case["modes"].astype(np.float64), case["coef"]
    at = np.pi * (np.arange(512) + 0.5) / 512
    waves = np.cos(modes[:, :1, None] * at[:, None]) * np.cos(modes[:, 1:, None] * at)  # (J, 512, 512)
    components = np.einsum("jyx,jck->yxck", waves.astype(np.float32), coef)
    mean = np.stack([0.45 + 0.1 * waves[1 + channel] for channel in range(3)], axis=-1).astype(np.float32)
    yield absolute("albedo", AlbedoModel(mean, components)(tensor(case, "texcode")), case["albedo"], 1e-3)


@kind("deca", "lbs_small*")
def lbs_small(case: Case) -> Iterator[Check]:
    arrays = {name: tensor(case, name) for name in ("shapedirs", "posedirs", "J_regressor", "weights", "v_template")}
    shaped = arrays["v_template"] + blend_shapes(tensor(case, "betas"), arrays["shapedirs"])
    rotations = axis_angle_to_matrix(tensor(case, "pose").view(len(shaped), -1, 3))
    verts, joints, _ = lbs(
        shaped, rotations, arrays["J_regressor"], case["parents"].tolist(), arrays["weights"], arrays["posedirs"]
    )
    yield absolute("verts", verts, case["verts"], 1e-6)
    yield absolute("joints", joints, case["joints"], 1e-6)
    yield absolute("verts_from_matrices", verts, case["verts_from_matrices"], 1e-6)


@kind("deca", "rotation*")
def rotation(case: Case) -> Iterator[Check]:
    euler, axis = tensor(case, "euler"), tensor(case, "axis")
    matrix = euler_to_matrix(euler, "XYZ")
    near_pi = matrix_to_axis_angle(matrix).norm(dim=-1) > 3.1
    yield absolute("matrix", matrix, case["matrix"], 2e-6)
    yield absolute("quat", _up_to_sign(matrix_to_quaternion(matrix), case["quat"]), case["quat"], 2e-6)
    got = matrix_to_axis_angle(matrix)
    yield absolute("axis", axis_angle_to_matrix(got), axis_angle_to_matrix(tensor(case, "axis")), 2e-6)
    yield absolute("axis (away from pi)", got[~near_pi], case["axis"][~near_pi.numpy()], 5e-5)
    yield absolute("axis_matrix", axis_angle_to_matrix(axis), case["axis_matrix"], 2e-6)
    quaternion = _up_to_sign(axis_angle_to_quaternion(axis), case["axis_quat"])
    yield absolute("axis_quat", quaternion, case["axis_quat"], 2e-6)
    yield absolute("rodrigues", axis_angle_to_matrix(euler), case["rodrigues"], 2e-6)
    again = matrix_to_quaternion(tensor(case, "matrix"))
    yield absolute("matrix_quat", _up_to_sign(again, case["matrix_quat"]), case["matrix_quat"], 5e-5)
    yield absolute("euler_y", matrix_to_euler(matrix, "xyz")[:, 1], case["euler_y"], 1e-3)
    # The degrees helper is fed 50 degrees per radian, and stores its batch behind the nine entries.
    degrees = euler_to_matrix(torch.deg2rad(euler * 50), "xyz")
    stored = case["angle2matrix_deg"].reshape(9, -1).T.reshape(-1, 3, 3)
    yield absolute("angle2matrix_deg", degrees, stored, 2e-6)


def _up_to_sign(got: torch.Tensor, want: np.ndarray) -> torch.Tensor:
    """``q`` and ``-q`` are one rotation: takes the sign of the stored one."""
    sign = torch.sign((got * torch.from_numpy(want)).sum(-1, keepdim=True))
    return got * torch.where(sign == 0, torch.ones_like(sign), sign)
