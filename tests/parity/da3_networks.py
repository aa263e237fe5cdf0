"""Depth Anything 3: whole networks, backbones and heads under stand-in weights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, fields
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.depth_anything_3.backbone import Rotary, VisionTransformer, token_positions
from models.depth_anything_3.cameras import normalize_extrinsics
from models.depth_anything_3.checkpoint import bare_names, from_state
from models.depth_anything_3.config import PATCH, NestedConfig, variant
from models.depth_anything_3.gaussians import Gaussians, make_gaussians
from models.depth_anything_3.heads import DualDpt, GaussianDpt, SkyDpt
from models.depth_anything_3.network import DepthAnything3, NestedNetwork, Output, Request
from models.depth_anything_3.rays import cameras_from_rays, draw_samples
from models.depth_anything_3.reference import choose_reference
from models.runtime.state_dict import load_strict
from tests.parity.runner import Case, Check, absolute, exact, kind, relative
from tests.parity.synth import synth_state

CPU = torch.device("cpu")
SIM_RANGE_TIE = 1e-5


@lru_cache(maxsize=1)
def network(keys_root: Path, name: str, seed: int, override: tuple[tuple[str, float], ...]) -> nn.Module:
    """A variant under stand-in weights; ``override`` fills whole tensors with constants."""
    case = Case("da3", name, Path(), keys_root)
    state = synth_state(case.keys(variant(name).name), seed)
    for key, value in override:
        state[key].fill_(value)
    return from_state(variant(name), state, CPU)


def network_of(case: Case) -> DepthAnything3 | NestedNetwork:
    override = tuple(sorted(case.meta.get("override", {}).items()))
    return network(case.root, case.meta["variant"], case.seed, override)


def tensor(case: Case, name: str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(case[name]))


def splats(output: str, got: Tensor, want: np.ndarray) -> Check:
    """Splat parameters cross zero: relative to their own size or the array's mean size, whichever is larger."""
    return relative(output, got, want, 1e-4, floor=float(np.abs(want).mean()))


def camera_checks(prefix: str, got: Tensor, want: np.ndarray, focal: float, other: float) -> Iterator[Check]:
    """Intrinsics: focal lengths relative, the rest absolute. A zero field of view has a focal nobody can pin down."""
    diagonal = np.arange(2)
    f = want[..., diagonal, diagonal]
    degenerate = f > 1e3 * want[..., diagonal, 2]
    ours = got.numpy()[..., diagonal, diagonal]
    yield relative(f"{prefix} focal", ours[~degenerate], f[~degenerate], focal)
    if degenerate.any():
        yield relative(f"{prefix} focal, no view", ours[degenerate], f[degenerate], max(focal, 1e-3))
    yield absolute(f"{prefix} principal", got[..., :, 2], want[..., :, 2], other)


@kind("da3", "e2e_*")
@torch.inference_mode()
def whole_network(case: Case) -> Iterator[Check]:
    """Images (and cameras) in, everything the case stores out."""
    net, meta = network_of(case), case.meta
    images = tensor(case, "image")
    given = {}
    if "in_extrinsics" in case:
        given = {"extrinsics": tensor(case, "in_extrinsics"), "intrinsics": tensor(case, "in_intrinsics")}
        if "in_extrinsics_raw" in case:
            moved = normalize_extrinsics(tensor(case, "in_extrinsics_raw"))
            yield absolute("in_extrinsics", moved, case["in_extrinsics"], 1e-4)
    ray_poses = bool(meta.get("use_ray_pose"))
    request = Request(
        ray_poses=ray_poses,
        rays="mid_ray" in case or "out_ray" in case,
        strategy=reference_of(case),
        feature_layers=tuple(meta.get("export_feat_layers", ())),
        gaussians=bool(meta.get("infer_gs")),
        upstream_compat=True,
    )
    samples = tensor(case, "mid_ransac_idx").long() if "mid_ransac_idx" in case else None
    torch.manual_seed(int(meta.get("torch_manual_seed", 0)))
    output = net(images, **given, request=request, samples=samples)
    yield from _outputs(case, output, ray_poses)
    yield from _between(case, net, images, given, output)
    if "mid_ransac_idx" in case:
        yield from _ray_solver(case, images.shape[-2:])


def reference_of(case: Case) -> str | int:
    """The case's strategy. Where two views tie to rounding in ``saddle_sim_range``, the view the case took."""
    strategy = case.meta.get("ref_view_strategy", "saddle_balanced")
    if strategy == "saddle_sim_range" and "mid_ref_cls" in case:
        unit = torch.nn.functional.normalize(tensor(case, "mid_ref_cls"), dim=-1)[0]
        similarity = unit @ unit.T - torch.eye(len(unit))
        spread = similarity.amax(-1) - similarity.amin(-1)
        taken = int(np.ravel(case["mid_ref_idx"])[0])
        if float(spread.max() - spread[taken]) < SIM_RANGE_TIE:
            return taken
    return strategy


def _named(output: Output) -> dict[str, Tensor]:
    named = {
        "depth": output.depth,
        "depth_conf": output.confidence,
        "extrinsics": output.extrinsics,
        "intrinsics": output.intrinsics,
        "sky": output.sky,
        "ray": output.rays,
        "ray_conf": output.ray_confidence,
        "scale_factor": output.scale_factor,
        "is_metric": torch.tensor(int(output.metric)),
    }
    named |= {f"feat_layer_{i}": f for i, f in output.features.items()}
    if output.gaussians is not None:
        for name, value in asdict(output.gaussians).items():
            named |= {f"{prefix}{name}": value for prefix in ("", "gs_", "gaussians_", "gaussians.")}
    return {name: value for name, value in named.items() if value is not None}


def _outputs(case: Case, output: Output, ray_poses: bool) -> Iterator[Check]:
    ours = _named(output)
    stored = case.named("out_") | {n: a for n, a in case.arrays.items() if n.startswith(("gs_", "gaussians"))}
    loose = 5e-2 if ray_poses else 1e-4  # rays of random weights are ill-conditioned
    for name, want in stored.items():
        if name not in ours:
            yield Check(name, "missing", float("inf"), 0.0, False, "the network has no such output")
            continue
        got = ours[name].reshape(want.shape) if ours[name].numel() == want.size else ours[name]
        if name == "depth":
            yield _depth(case, got, want, loose if "scale_factor" in ours else 1e-4)
        elif name in ("depth_conf", "ray_conf"):
            yield relative(name, got, want, 1e-4)
        elif name.startswith("feat_layer"):
            yield absolute(name, got, want, 1e-3)
        elif name == "intrinsics":
            yield from camera_checks(name, got, want, loose, loose)
        elif name == "extrinsics":
            yield absolute(name, got, want, loose)
        elif name.startswith(("gs_", "gaussians")) or name in {field.name for field in fields(Gaussians)}:
            yield relative(name, got, want, loose, floor=1.0)
        elif name == "scale_factor":
            yield relative(name, got, want, loose)
        else:
            yield absolute(name, got, want, 1e-4)


def _depth(case: Case, got: Tensor, want: np.ndarray, tolerance: float) -> Check:
    """Pixels whose sky value lies on the threshold may be filled or not. Metres inherit the error of the focal."""
    if "out_sky" not in case:
        return relative("depth", got, want, tolerance)
    certain = np.abs(case["out_sky"] - 0.3) >= 1e-4
    return relative(
        "depth", got.numpy()[certain], want[certain], tolerance, note=f"{(~certain).sum()} pixels at the edge"
    )


def _between(case: Case, net: nn.Module, images: Tensor, given: dict, output: Output) -> Iterator[Check]:
    """Intermediate results that a case stores."""
    mid, inner = case.named("mid_"), net.da3 if isinstance(net, NestedNetwork) else net
    checks = {"pose_enc": output.pose, "ray": output.rays}
    for name, got in checks.items():
        if name in mid:
            yield absolute(f"mid_{name}", got, mid[name], 1e-4)
    if "ray_conf" in mid:
        yield relative("mid_ray_conf", output.ray_confidence, mid["ray_conf"], 1e-4)
    if "ref_idx" in mid:
        yield exact("mid_ref_idx", output.reference, mid["ref_idx"])
        strategy = case.meta.get("ref_view_strategy", "saddle_balanced")
        if "ref_cls" in mid and strategy != "saddle_sim_range":
            chosen = choose_reference(tensor(case, "mid_ref_cls"), strategy)
            yield exact("mid_ref_idx from tokens", chosen, mid["ref_idx"])
    if "cam_token" in mid:
        tokens = inner.cam_enc(given["extrinsics"], given["intrinsics"], tuple(images.shape[-2:]))
        yield absolute("mid_cam_token", tokens, mid["cam_token"], 1e-4)
    if "feat0" in mid:
        tokens = inner.cam_enc(*given.values(), tuple(images.shape[-2:])) if given else None
        taps = inner.backbone.pretrained(images, tokens, reference_of(case)).taps
        for i, tap in enumerate(taps):
            yield absolute(f"mid_feat{i}", tap.tokens, mid[f"feat{i}"], 1e-4)
            yield absolute(f"mid_camtok{i}", tap.camera, mid[f"camtok{i}"], 1e-4)


def _ray_solver(case: Case, size: tuple[int, int]) -> Iterator[Check]:
    """The solver alone, on the stored rays; and that its draws are the recorded ones."""
    rays, confidence = tensor(case, "mid_ray").flatten(0, 1), tensor(case, "mid_ray_conf").flatten(0, 1)
    torch.manual_seed(int(case.meta.get("torch_manual_seed", 0)))
    drawn = draw_samples(rays.shape[1] * rays.shape[2])
    yield exact("solver draws", drawn, case["mid_ransac_idx"])
    solved = cameras_from_rays(rays, confidence, drawn)
    yield absolute("solver extrinsics", solved.extrinsics[None], case["out_extrinsics"], 2e-3)
    yield from camera_checks("solver", solved.intrinsics(size)[None], case["out_intrinsics"], 3e-3, 2e-3 * max(size))


def submodule(case: Case, module: nn.Module) -> nn.Module:
    """A part of a network, filled with the stand-in weights below ``meta.prefix``."""
    prefix = case.meta["prefix"]
    keys = {name: spec for name, spec in case.keys(case.meta["variant"]).items() if name.startswith(prefix)}
    state = {name.removeprefix(prefix): value for name, value in synth_state(keys, case.seed).items()}
    return load_strict(module, bare_names(state, case.name), case.name)


def _head_inputs(case: Case) -> tuple[list[Tensor], tuple[int, int], int]:
    taps = [tensor(case, f"feat{i}").float() for i in range(4)]
    return [t.flatten(0, 1) for t in taps], (int(case.meta["height"]), int(case.meta["width"])), taps[0].shape[1]


def _plain_config(name: str):
    config = variant(name)
    return config.any_view if isinstance(config, NestedConfig) else config


@kind("da3", "head_dualdpt*")
@torch.inference_mode()
def dual_head(case: Case) -> Iterator[Check]:
    tokens, size, views = _head_inputs(case)
    out = submodule(case, DualDpt(_plain_config(case.meta["variant"])))(tokens, size)
    got = {"depth": out.depth, "depth_conf": out.confidence, "ray": out.rays, "ray_conf": out.ray_confidence}
    for name, want in case.named("out_").items():
        ours = got[name].unflatten(0, (-1, views))
        floor = float(np.abs(want).mean()) if name == "ray" else 0.0
        yield relative(name, ours, want, 1e-4, floor=floor)


@kind("da3", "head_dpt*")
@torch.inference_mode()
def sky_head(case: Case) -> Iterator[Check]:
    tokens, size, views = _head_inputs(case)
    config = variant(case.meta["variant"])
    config = config.metric if isinstance(config, NestedConfig) else config
    depth, sky = submodule(case, SkyDpt(config))(tokens, size)
    yield relative("depth", depth.unflatten(0, (-1, views)), case["out_depth"], 1e-4)
    want = case["out_sky"]
    yield relative("sky", sky.unflatten(0, (-1, views)), want, 1e-4, floor=float(np.abs(want).mean()))


@kind("da3", "head_gs*")
@torch.inference_mode()
def gaussian_head(case: Case) -> Iterator[Check]:
    tokens, _, views = _head_inputs(case)
    images = tensor(case, "image").flatten(0, 1)
    raw, density = submodule(case, GaussianDpt(_plain_config(case.meta["variant"])))(tokens, images)
    raw, density = (t.unflatten(0, (-1, views)) for t in (raw, density))
    yield splats("raw_gs", raw, case["raw_gs"])
    yield relative("raw_gs_conf", density, case["raw_gs_conf"], 1e-4)
    made = make_gaussians(raw, density, tensor(case, "depth"), tensor(case, "ext"), tensor(case, "ixt"))
    for name, value in asdict(made).items():
        yield splats(f"gs_{name}", value, case[f"gs_{name}"])


@kind("da3", "backbone*")
@torch.inference_mode()
def backbone(case: Case) -> Iterator[Check]:
    """Parts of a backbone one by one, its taps and features, and the camera modules."""
    net = network_of(case)
    inner = net.da3 if isinstance(net, NestedNetwork) else net
    vit = inner.backbone.pretrained
    turned = [Rotary(p)(x) for p, x in zip(tensor(case, "rope_pos"), tensor(case, "rope_in"), strict=True)]
    yield absolute("rope_out", torch.stack(turned), case["rope_out"], 1e-4)
    for name, want in case.named("pos_embed_").items():
        got = vit.position_embedding(*map(int, name.split("x")))[..., : want.shape[-1]]  # some keep a few channels
        yield absolute(f"pos_embed_{name}", got, want, 1e-4)
    images = tensor(case, "image")
    size = tuple(images.shape[-2:])
    tokens = vit.embed(images.flatten(0, 1)).unflatten(0, images.shape[:2])
    yield absolute("tokens", tokens, case["tokens"], 1e-4)
    positions = token_positions(size[0] // PATCH, size[1] // PATCH)
    yield exact("pos_local", positions.expand(case["pos_local"].shape), case["pos_local"])
    constant = case["pos_global"][..., :1, :] - case["pos_global"][..., 1:, :]
    yield exact("pos_global, first token", np.full_like(constant, -1), constant)
    yield from _blocks(case, vit, tokens, size)
    layers = tuple(int(n) for n in case.named("aux") if n.isdigit())
    encoded = vit(images, feature_layers=layers, features_reordered=True)
    for i, tap in enumerate(encoded.taps):
        if f"feat{i}" in case:
            yield absolute(f"feat{i}", tap.tokens, case[f"feat{i}"], 1e-4)
            yield absolute(f"camtok{i}", tap.camera, case[f"camtok{i}"], 1e-4)
    for i in layers:
        yield absolute(f"aux{i}", encoded.features[i].flatten(2, 3), case[f"aux{i}"], 1e-4)
    yield absolute("camdec_out", inner.cam_dec(tensor(case, "camdec_in")), case["camdec_out"], 1e-4)
    poses = inner.cam_enc(tensor(case, "camenc_ext"), tensor(case, "camenc_ixt"), size)
    yield absolute("camenc_out", poses, case["camenc_out"], 1e-4)


def _blocks(case: Case, vit: VisionTransformer, tokens: Tensor, size: tuple[int, int]) -> Iterator[Check]:
    """Single blocks applied to the embedded tokens."""
    local, first = vit.rotaries(*size, tokens.device)
    views = tokens.shape[1]
    for name, want in case.arrays.items():
        match = re.fullmatch(r"block(\d+)(_global|_local)?", name)
        if match is None:
            continue
        block = vit.blocks[int(match[1])]
        if match[2] == "_global":
            got = block(tokens.flatten(1, 2), first, views).unflatten(1, (views, -1))
        else:
            got = block(tokens.flatten(0, 1), local if match[2] else None).unflatten(0, tokens.shape[:2])
        yield absolute(name, got, want, 1e-4)
