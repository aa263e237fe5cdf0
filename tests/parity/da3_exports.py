"""Depth Anything 3's result files against stored ones."""

from __future__ import annotations

import io
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import trimesh
from scipy.spatial import cKDTree

from models.depth_anything_3.gaussians import Gaussians
from pipelines.export.colmap import write_model
from pipelines.export.glb import camera_frustums, rainbow, robust_extent
from pipelines.export.splat import write_splat_ply
from pipelines.scene import da3_exports as exports
from pipelines.scene.da3_inference import Da3Views
from tests.parity.runner import Case, Check, absolute, exact, kind, share_within

FLOAT32 = 2e-6


def views_of(case: Case, sizes: np.ndarray | None = None) -> Da3Views:
    depth = case["in_depth"]
    sizes = np.tile(depth.shape[1:], (len(depth), 1)) if sizes is None else sizes
    return Da3Views(depth, case["in_conf"], case["in_ext"], case["in_ixt"], case["in_images"], sizes)


def glb(data: bytes) -> trimesh.Scene:
    return trimesh.load(io.BytesIO(data), file_type="glb")


def same_cloud(name: str, got: bytes, want: bytes) -> Iterator[Check]:
    """Points, colours and wires of two GLB files, whatever their nodes are called."""
    for what, kind_ in (("points", trimesh.PointCloud), ("wires", trimesh.path.Path3D)):
        found = []
        for data in (got, want):
            parts = [g for g in glb(data).geometry.values() if isinstance(g, kind_)]
            if kind_ is trimesh.PointCloud:
                found.append([np.concatenate([p.vertices, np.asarray(p.colors)[:, :3]], axis=1) for p in parts])
            else:
                ends = [p.vertices[e.points] for p in parts for e in p.entities]
                found.append([np.concatenate(ends)] if ends else [])
        yield exact(f"{name} {what} parts", len(found[0]), len(found[1]))
        for ours, theirs in zip(*found, strict=False):
            if what == "points":
                yield absolute(f"{name} points", ours, theirs, FLOAT32)
            else:  # readers join and split wires as they like: their corners must be the same
                apart = max(cKDTree(a).query(b)[0].max() for a, b in ((ours, theirs), (theirs, ours)))
                yield absolute(f"{name} wires", apart, 0.0, 1e-4)


@kind("da3", "export_glb*")
def export_glb(case: Case) -> Iterator[Check]:
    views, meta = views_of(case), case.meta
    base = {"confidence": meta["conf_thresh"], "ensured_percentile": meta["ensure_thresh_percentile"]}
    for name in case.named("conf_thr_"):
        rules = exports.CloudRules(percentile=float(name), **base)
        yield absolute(
            f"conf_thr_{name}", [exports.confidence_threshold(views.conf, rules)], case[f"conf_thr_{name}"], FLOAT32
        )
    rules = exports.CloudRules(meta["num_max_points"], percentile=meta["conf_thresh_percentile"], **base)
    found = exports.cloud(views, rules)
    yield absolute("world_points", found.points, case["world_points"], FLOAT32)
    yield exact("colors", found.colors, case["colors"])
    yield absolute("align_f64", found.alignment, case["align_f64"], 1e-6)
    from models.geometry.cameras import transform_points

    aligned = transform_points(found.alignment, found.points)
    yield absolute("gltf_points", aligned, case["gltf_points"], FLOAT32)
    extent = robust_extent(aligned)
    yield absolute("scene_scale", [extent], case["scene_scale"], 1e-5)
    height, width = views.depth.shape[1:]
    wires = camera_frustums(views.extrinsics, views.intrinsics, width, height, meta["camera_size"] * extent)
    moved = transform_points(found.alignment, wires.reshape(-1, 3)).reshape(wires.shape)
    yield absolute("camera_segments", moved, case["camera_segments"], 1e-5)
    yield exact("camera_colors", rainbow(len(views.depth)), case["camera_colors"])
    yield exact("camera_colors_of_5", rainbow(5), case["camera_colors_of_5"])
    filtered = exports.CloudRules(
        meta["num_max_points"], percentile=meta["conf_thresh_percentile"], drop_black=True, drop_white=True, **base
    )
    conf = exports.without_background(views.conf, views.images, filtered)
    yield exact("conf_after_bg_filter", conf, case["conf_after_bg_filter"])
    few = exports.CloudRules(500, percentile=meta["conf_thresh_percentile"], **base)
    random = np.random.RandomState(meta["np_random_seed"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.glb"
        exports.write_glb(path, views, found, camera_size=meta["camera_size"])
        yield from same_cloud("scene_glb", path.read_bytes(), case["scene_glb"].tobytes())
        exports.write_glb(path, views, exports.cloud(views, few, random), show_cameras=False)
        yield from same_cloud("scene_500_nocam_glb", path.read_bytes(), case["scene_500_nocam_glb"].tobytes())
        exports.write_glb(path, views, exports.cloud(views, filtered), camera_size=meta["camera_size"])
        yield from same_cloud("scene_bg_glb", path.read_bytes(), case["scene_bg_glb"].tobytes())


@kind("da3", "export_npz_vis*")
def export_npz_vis(case: Case) -> Iterator[Check]:
    views = views_of(case)
    for prefix, mini in (("npz_", False), ("mini_npz_", True)):
        fields = exports.npz_fields(views, mini)
        for name, want in case.named(prefix).items():
            yield absolute(prefix + name, fields[name], want, FLOAT32)
    for i, depth in enumerate(case["depth_vis_in"]):
        yield share_within(f"depth_vis {i}", exports.depth_picture(depth), case["depth_vis"][i], 0, 1.0)
    # the fixed range is inverse depth .2 to .9
    fixed = exports.depth_colours(case["depth_vis_in"][0], (0.2, 0.9))
    yield absolute("depth_vis_fixed_minmax", fixed, case["depth_vis_fixed_minmax"], FLOAT32)
    panel = exports.log_depth_colours(torch.from_numpy(case["gs_depth_vis_in"]))
    yield share_within("gs_depth_vis", panel, case["gs_depth_vis"], 1e-5, 0.999)
    picture = torch.from_numpy(views.images[0]).permute(2, 0, 1).float() / 255
    for name, axis in (("hcat", 2), ("vcat", 1)):
        want = torch.from_numpy(case[name])
        size = (want.shape[axis] - exports.GAP) // 2
        first, second = want.narrow(axis, 0, size), want.narrow(axis, size + exports.GAP, size)
        yield absolute(name, exports.joined(first, second, axis), want, 0)
        assert first.shape == picture.shape


@kind("da3", "export_featvis*")
def export_featvis(case: Case) -> Iterator[Check]:
    got = exports.feature_colours(torch.from_numpy(case["feats"])).numpy()
    want = case["rgb"]
    flipped = [
        c if np.abs(got[..., i] - want[..., i]).max() < 0.5 else 1 - c for i, c in enumerate(np.moveaxis(got, -1, 0))
    ]
    best = [min((c, 1 - c), key=lambda v, i=i: float(np.abs(v - want[..., i]).max())) for i, c in enumerate(flipped)]
    yield absolute("rgb (signs free)", np.stack(best, axis=-1), want, 2e-2)


@kind("da3", "export_colmap*")
def export_colmap(case: Case) -> Iterator[Check]:
    views = views_of(case, case["orig_wh"][:, ::-1])
    model = exports.colmap_model(views, case.meta["names"], case.meta["conf_thresh_percentile"])
    yield absolute("cam_params", [c.params for c in model.cameras.values()], case["cam_params"], 1e-4)
    images = list(model.images.values())
    yield absolute("img_qvec", [i.quaternion for i in images], case["img_qvec"], FLOAT32)
    yield absolute("img_tvec", [i.translation for i in images], case["img_tvec"], FLOAT32)
    for n, image in enumerate(images, start=1):
        yield absolute(f"img{n}_xys", image.xys, case[f"img{n}_xys"], 0)
        yield exact(f"img{n}_p3d", image.point_ids, case[f"img{n}_p3d"])
    points = model.points
    yield absolute("p3d_xyz", points.xyz, case["p3d_xyz"], FLOAT32)
    yield exact("p3d_rgb", points.rgb, case["p3d_rgb"])
    yield exact("p3d_ids", points.ids, case["p3d_ids"])
    yield exact("p3d_image", points.tracks[:, 0], case["p3d_image"])
    yield exact("p3d_p2didx", points.tracks[:, 1], case["p3d_p2didx"])
    with tempfile.TemporaryDirectory() as folder:
        for path in write_model(Path(folder), model):
            stored = case[f"file_{path.stem}_bin"].tobytes()
            yield exact(
                f"{path.name} records", struct.unpack_from("<Q", path.read_bytes()), struct.unpack_from("<Q", stored)
            )
            yield exact(f"{path.name} size", path.stat().st_size, len(stored))


@kind("da3", "export_gsply*")
def export_gsply(case: Case) -> Iterator[Check]:
    found = Gaussians(
        means=torch.from_numpy(case["means"])[None],
        scales=torch.from_numpy(case["scales"])[None],
        rotations=torch.from_numpy(case["rotations"])[None],
        harmonics=torch.from_numpy(case["harmonics_f16"]).float()[None],
        opacities=torch.from_numpy(case["opacities"])[None],
    )
    far, columns = case.meta["prune_by_depth_percent"], case.meta["properties_default"]
    for name, every in (("ply_default", 1), ("ply_interval2", 2)):
        table = _ply_rows(exports.splats(found, case["depth"], exports.SplatRules(every, far)), columns)
        yield absolute(name, table, case[name], 1e-5)
    # everything but the borders, with all harmonics; and the nearer half, centred and scaled
    whole = exports.splats(found, case["depth"], exports.SplatRules(far=2.0, harmonics=True))
    full = _ply_rows(whole, case.meta["properties_full"])
    head = case["ply_full_head"]
    yield exact("ply_full_rows", len(full), int(case["ply_full_rows"][0]))
    yield absolute("ply_full_head", full[: len(head)], head, 1e-5)
    moved = exports.splats(found, case["depth"], exports.SplatRules(far=0.5, normalise=True))
    shifted, head = _ply_rows(moved, columns).copy(), case["ply_shift_head"]
    opacity = columns.index("opacity")
    shifted[:, opacity] = 1 / (1 + np.exp(-shifted[:, opacity]))  # stored as such in this one
    yield exact("ply_shift_rows", len(shifted), int(case["ply_shift_rows"][0]))
    yield absolute("ply_shift_head", shifted[: len(head)], head, 1e-5)


def _ply_rows(splats: object, properties: list[str]) -> np.ndarray:
    """The columns of a written PLY, in the order of the names."""
    with tempfile.TemporaryDirectory() as folder:
        data = write_splat_ply(Path(folder) / "0000.ply", splats).read_bytes()
    header, _, body = data.partition(b"end_header\n")
    names = [line.split()[-1].decode() for line in header.splitlines() if line.startswith(b"property")]
    table = np.frombuffer(body, "<f4").reshape(-1, len(names))
    return table[:, [names.index(name) for name in properties]]
