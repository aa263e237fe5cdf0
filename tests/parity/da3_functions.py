"""Depth Anything 3: reference choice, camera algebra, ray solver, Gaussian adapter, alignment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from models.depth_anything_3.alignment import align_cameras, move_cameras, pose_scale, to_given_cameras
from models.depth_anything_3.cameras import (
    decode_pose,
    encode_pose,
    invert_rigid,
    normalize_extrinsics,
    to_4x4,
)
from models.depth_anything_3.dpt import uv_axes, wave_embedding
from models.depth_anything_3.gaussians import make_gaussians, pixel_centers, unit_rays, world_quaternions
from models.depth_anything_3.metric import SKY, fill_sky, metres, push_sky_back, scale_to_metres
from models.depth_anything_3.rays import cameras_from_rays, draw_samples, fit_homography, image_plane, ql
from models.depth_anything_3.reference import choose_reference, reference_first, take_views
from models.geometry.rotations import matrix_to_quaternion, quaternion_to_matrix, wxyz_to_xyzw, xyzw_to_wxyz
from models.runtime.errors import InputError
from tests.parity.da3_networks import splats, tensor
from tests.parity.runner import Case, Check, absolute, exact, kind, relative


@kind("da3", "refview*")
def reference_views(case: Case) -> Iterator[Check]:
    """Ties of ``saddle_sim_range`` depend on rounding: the stored choice must be as good as the best."""
    for name in sorted(n for n in case.arrays if n.startswith("x") and n[1:].isdigit()):
        x = tensor(case, name)
        first = x[:, :, 0]
        for strategy in ("first", "middle", "saddle_balanced"):
            if f"{name}_{strategy}" in case:
                yield exact(f"{name}_{strategy}", choose_reference(first, strategy), case[f"{name}_{strategy}"])
        unit = torch.nn.functional.normalize(first, dim=-1)
        similarity = unit @ unit.mT - torch.eye(x.shape[1])
        spread = similarity.amax(-1) - similarity.amin(-1)
        taken = tensor(case, f"{name}_saddle_sim_range")
        ours = choose_reference(first, "saddle_sim_range")
        gap = spread.gather(1, ours[:, None]) - spread.gather(1, taken[:, None])
        yield absolute(f"{name}_saddle_sim_range", gap, torch.zeros_like(gap), 1e-5, note="gap to the stored choice")
        ordered = take_views(x, reference_first(taken, x.shape[1]))
        yield exact(f"{name}_reordered", ordered, case[f"{name}_reordered"])


@kind("da3", "geometry*")
def camera_algebra(case: Case) -> Iterator[Check]:
    ext, ixt, quat = tensor(case, "ext"), tensor(case, "ixt"), tensor(case, "quat")
    size = tuple(int(n) for n in case["hw"])
    c2w = invert_rigid(ext)
    pose, pose2 = tensor(case, "pose_encoding"), tensor(case, "pose_encoding2")
    decoded, decoded2 = decode_pose(pose, size), decode_pose(pose2, size)
    cam_c2w = tensor(case, "cam_quat_c2w")
    got = {
        "mat_to_quat_xyzw": wxyz_to_xyzw(matrix_to_quaternion(tensor(case, "rotmat"))),
        "quat_to_mat": quaternion_to_matrix(xyzw_to_wxyz(quat)),
        "affine_inverse_4x4": c2w,
        "affine_inverse_3x4": invert_rigid(ext[..., :3, :]),
        "homog": to_4x4(ext[..., :3, :]),
        "pose_encoding": encode_pose(c2w, ixt, size),
        "decoded_c2w": decoded[0],
        "decoded2_c2w": decoded2[0],
        "normalized_ext": normalize_extrinsics(ext),
        "world_quat": world_quaternions(tensor(case, "cam_quat_xyzw"), cam_c2w[..., :3, :3]),
    }
    for name, value in got.items():
        yield absolute(name, value, case[name], 1e-4)
    for name, value in (("decoded_ixt", decoded[1]), ("decoded2_ixt", decoded2[1])):
        yield relative(name, value, case[name], 1e-4)
    yield from _grids(case, c2w, ixt, size)


def _grids(case: Case, c2w: Tensor, ixt: Tensor, size: tuple[int, int]) -> Iterator[Check]:
    K = ixt.clone()
    K[..., 0, :] /= size[1]
    K[..., 1, :] /= size[0]
    for name, want in case.named("image_grid_").items():
        rows, columns = map(int, name.split("x"))
        centers = pixel_centers(rows, columns)
        yield absolute(f"image_grid_{name}", centers, want, 1e-4)
        shape = case["ray_d"].shape
        if shape[-3:-1] == (rows, columns):
            rays = unit_rays(centers.expand(*ixt.shape[:-2], -1, -1, -1), K, c2w).reshape(shape)
            yield absolute("ray_d", rays, case["ray_d"], 1e-4)
            centre = c2w[..., :3, 3].reshape(-1, 1, 1, 3).expand(shape)
            yield absolute("ray_o", centre, case["ray_o"], 1e-4)
    middle = torch.tensor([[[0.0, 0.5], [1.0, 0.5]], [[0.5, 0.0], [0.5, 1.0]]])  # left, right; top, bottom
    a, b = unit_rays(middle.expand(*ixt.shape[:-2], -1, -1, -1), K, torch.eye(4).expand_as(c2w)).unbind(-2)
    yield absolute("fov", (a * b).sum(-1).acos().reshape(case["fov"].shape), case["fov"], 1e-4)
    for name, want in case.named("unproject_identity_").items():
        rows, columns = map(int, name.split("x"))
        plane = torch.nn.functional.pad(image_plane(rows, columns), (0, 1), value=1.0)
        yield absolute(f"unproject_identity_{name}", plane.reshape(want.shape), want, 1e-4)
    for name, want in case.named("uv_grid_").items():
        columns, rows = map(int, name.split("x"))
        u, v = uv_axes(rows, columns, columns / rows)
        grid = torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1)
        yield absolute(f"uv_grid_{name}", grid, want, 1e-4)
        for other, waves in case.named(f"uv_embed_{name}_").items():
            half = int(other) // 2
            x = wave_embedding(u, half).expand(rows, -1, -1)
            y = wave_embedding(v, half)[:, None].expand(-1, columns, -1)
            yield absolute(f"uv_embed_{name}_{other}", torch.cat([x, y], dim=-1), waves, 1e-4)
    yield absolute("opacity", case["pdf"], case["opacity"], 1e-4, note="density is opacity")


@kind("da3", "camray*")
def ray_solver(case: Case) -> Iterator[Check]:
    """Rays to cameras with the recorded draws; clean and noisy rays also against the true cameras."""
    for name in sorted(n.removesuffix("_ray") for n in case.arrays if n.endswith("_ray")):
        rays, confidence = tensor(case, f"{name}_ray")[0], tensor(case, f"{name}_conf")[0]
        torch.manual_seed(int(case.meta.get("torch_manual_seed", 0)))
        yield exact(f"{name}_ransac_idx", draw_samples(confidence[0].numel()), case[f"{name}_ransac_idx"])
        solved = cameras_from_rays(rays, confidence, tensor(case, f"{name}_ransac_idx").long())
        yield absolute(f"{name}_c2w", to_4x4(solved.camera_to_world)[None], case[f"{name}_c2w"], 1e-3)
        yield absolute(f"{name}_focal", solved.focal[None], case[f"{name}_focal"], 1e-3)
        yield absolute(f"{name}_pp", solved.principal[None], case[f"{name}_pp"], 1e-3)
    Q, L = ql(tensor(case, "ql_in"))
    yield absolute("ql_q", Q, case["ql_q"], 1e-4)
    yield absolute("ql_l", L, case["ql_l"], 1e-4)
    H = fit_homography(tensor(case, "h_src"), tensor(case, "h_dst"), tensor(case, "h_w"))
    yield absolute("h_out", H, case["h_out"], 1e-3)


@kind("da3", "gs_adapter*")
def gaussian_adapter(case: Case) -> Iterator[Check]:
    ext = tensor(case, "ext")
    scale = 1.0
    if "gt_ext" in case:
        pairs = zip(case["gt_ext"], case["ext"], strict=True)
        scale = torch.tensor([pose_scale(given, predicted) for given, predicted in pairs])
    opacity, depth = tensor(case, "opacity"), tensor(case, "depth")
    made = make_gaussians(tensor(case, "raw"), opacity, depth, ext, tensor(case, "ixt"), scale)
    for name, value in asdict(made).items():
        yield splats(f"gs_{name}", value, case[f"gs_{name}"])


@kind("da3", "align*")
def alignment(case: Case) -> Iterator[Check]:
    for name in sorted(n.removesuffix("_ref") for n in case.arrays if n.endswith("_ref")):
        similarity = align_cameras(case[f"{name}_est"], case[f"{name}_ref"], upstream_compat=True)
        yield absolute(f"{name}_R", similarity.rotation, case[f"{name}_R"], 1e-4)
        yield absolute(f"{name}_t", similarity.translation, case[f"{name}_t"], 1e-4)
        yield absolute(f"{name}_s", [similarity.scale], np.ravel(case[f"{name}_s"]), 1e-4)
        moved = move_cameras(case[f"{name}_est"], similarity)
        yield absolute(f"{name}_aligned", moved, case[f"{name}_aligned"], 1e-4)
        if f"{name}_applied" in case:
            want = case[f"{name}_applied"]
            yield absolute(f"{name}_applied", moved[:, : want.shape[-2]], want, 1e-4)
    if "n1_raises" in case:  # with two views the original raises or not depending on rounding
        yield exact("n1_raises", [int(_refuses(np.eye(4)[None]))], np.ravel(case["n1_raises"]))
    yield from _to_given(case)
    yield from _nested(case)


def _refuses(extrinsics: np.ndarray) -> bool:
    try:
        align_cameras(extrinsics, extrinsics, upstream_compat=True)
    except InputError:
        return True
    return False


def _to_given(case: Case) -> Iterator[Check]:
    for name in sorted(n for n in case.arrays if n.startswith("pred_depth_in_")):
        flag = name.removeprefix("pred_depth_in_")
        depth, extrinsics = to_given_cameras(
            case[name], case["pred_ext_in"], case["pred_given_ext"], flag.startswith("1"), upstream_compat=True
        )
        yield relative(f"pred_depth_{flag}", depth, case[f"pred_depth_{flag}"], 1e-4)
        yield absolute(f"pred_ext_{flag}", extrinsics, case[f"pred_ext_{flag}"], 1e-4)


def _nested(case: Case) -> Iterator[Check]:
    if "nest_depth" not in case:
        return
    metric = metres(tensor(case, "nest_metric_depth"), tensor(case, "nest_ixt"))
    yield relative("nest_metric_scaled", metric, case["nest_metric_scaled"], 1e-4)
    depth, sky = tensor(case, "nest_depth"), tensor(case, "nest_sky")
    out = scale_to_metres(depth, tensor(case, "nest_conf"), tensor(case, "nest_ext"), metric, sky)
    yield relative("nest_scale", out.factor, case["nest_scale"].reshape(()), 1e-4)
    yield relative("nest_depth_scaled", depth * out.factor, case["nest_depth_scaled"], 1e-4)
    yield relative("nest_out_depth", out.depth, case["nest_out_depth"], 1e-4)
    yield relative("nest_out_conf", out.confidence, case["nest_out_conf"], 1e-4)
    yield absolute("nest_out_ext", out.extrinsics, case["nest_out_ext"], 1e-4)
    if "mono_sky_out" in case:
        yield relative("mono_sky_out", fill_sky(depth, sky), case["mono_sky_out"], 1e-4)
    if "nest_sky_cap200" in case:  # the same depth, moved so far away that the cap acts
        ground, want = sky < SKY, tensor(case, "nest_sky_cap200")
        factor = (want[ground] / depth[ground]).median().round()
        capped = push_sky_back(depth * factor, tensor(case, "nest_conf"), ground)[0]
        yield relative("nest_sky_cap200", capped, want, 1e-4)
