"""Files beside the usual ones that engine ``da3`` can leave: Depth Anything 3's own, features, splats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.depth_anything_3.gaussians import Gaussians as NetworkGaussians
from models.geometry.cameras import crop_intrinsics
from models.geometry.rotations import matrix_to_quaternion, quaternion_to_matrix
from models.runtime.errors import InputError
from pipelines.base import Output, RunContext
from pipelines.export.archive import write_zip
from pipelines.export.colmap import write_model
from pipelines.export.glb import robust_extent
from pipelines.export.npz import read_npz, write_npz
from pipelines.export.splat import Gaussians, write_splat_ply
from pipelines.media.image import write_image
from pipelines.media.video import VideoWriter
from pipelines.scene import da3_exports as rules
from pipelines.scene.da3_inference import Da3Views
from pipelines.scene.options import Da3Options
from pipelines.scene.prediction import Prediction
from pipelines.scene.refilter import upright
from pipelines.scene.splat_render import render_many
from pipelines.scene.splat_trajectory import FPS, trajectory

STORED = "da3.npz"
VIEWER_EXTENT = 3.2  # diagonal of what the viewer of splats shows whole
_CRF = {"low": 28, "medium": 23, "high": 18}
_SPLATS = ("means", "scales", "rotations", "harmonics", "opacities")


def save_views(path: Path, views: Da3Views) -> Path:
    """Everything the network gave, for ``write_further``, which may run in another process."""
    arrays = {
        name: getattr(views, name)
        for name in ("depth", "conf", "extrinsics", "intrinsics", "images", "sizes", "sky")
        if getattr(views, name) is not None
    }
    arrays |= {f"feature_{layer}": value for layer, value in views.features.items()}
    if views.gaussians is not None:
        arrays |= {f"splat_{name}": getattr(views.gaussians, name).numpy() for name in _SPLATS}
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_npz(path, arrays | {"metric": views.metric, "scale_factor": views.scale_factor}, level=0)


def load_views(path: Path) -> Da3Views:
    """What ``save_views`` wrote."""
    data = read_npz(path)
    splats = None
    if "splat_means" in data:
        splats = NetworkGaussians(
            *(torch.from_numpy(data[f"splat_{n}"]) for n in NetworkGaussians.__dataclass_fields__)
        )
    return Da3Views(
        depth=data["depth"],
        conf=data.get("conf"),
        extrinsics=data.get("extrinsics"),
        intrinsics=data.get("intrinsics"),
        images=data["images"],
        sizes=data["sizes"],
        sky=data.get("sky"),
        features={int(n.removeprefix("feature_")): a for n, a in data.items() if n.startswith("feature_")},
        gaussians=splats,
        metric=bool(data["metric"]),
        scale_factor=float(data["scale_factor"]),
    )


def write_further(prediction: Prediction, options: Da3Options, ctx: RunContext) -> list[Output]:
    """The further files that were asked for, under ``exports/`` as the original tool names them."""
    stored = ctx.out_dir / "work" / STORED
    if not stored.is_file():
        return []
    views = load_views(stored)
    folder = ctx.out_dir / "exports"
    outputs: list[Output] = []
    for name in dict.fromkeys(options.exports):
        if name == "gs_video":
            device = None if ctx.settings.zero_gpu else ctx.cache.device
            outputs.append(write_splat_video(views, options, _made(folder / name), device))
        else:
            outputs += _write(name, views, prediction, options, folder)
        ctx.check()
    if options.export_feat and "feat_vis" not in options.exports:
        outputs += _features(views, folder / "feat_vis", options.feat_vis_fps)
    if views.gaussians is not None:
        outputs.append(write_viewer_splats(views, ctx.out_dir / "splats.ply"))
    return [Output(o.role, Path(o.path).relative_to(ctx.out_dir).as_posix(), o.kind, o.title) for o in outputs]


def _write(name: str, views: Da3Views, prediction: Prediction, options: Da3Options, folder: Path) -> Sequence[Output]:
    if name in ("npz", "mini_npz"):
        path = rules.write_results(_made(folder / name) / "results.npz", views, name == "mini_npz")
        return [Output(name, str(path), "data", f"Results ({name})")]
    if name == "depth_vis":
        return _depth_pictures(views, _made(folder / name))
    if name == "feat_vis":
        if not views.features:
            raise InputError("feat_vis needs the layers to show: name them in `export_feat`, for example 5,11")
        return _features(views, folder / name, options.feat_vis_fps)
    if name == "colmap":
        return [_colmap(with_cameras(views, prediction), prediction, _made(folder / name))]
    if name == "gs_ply":
        path = _made(folder / name) / "0000.ply"
        write_splat_ply(path, rules.splats(views.gaussians, views.depth))
        return [Output("gs_ply", str(path), "data", "Gaussian splats (PLY)")]
    raise InputError(f"No further file {name!r}")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def with_cameras(views: Da3Views, prediction: Prediction) -> Da3Views:
    """Views with confidence and cameras; what a variant does not give comes from the prediction."""
    if views.conf is not None and views.extrinsics is not None:
        return views
    K = crop_intrinsics(prediction.intrinsics, -0.5, -0.5)
    parts = {"conf": 1 + prediction.conf, "extrinsics": prediction.extrinsics, "intrinsics": K}
    return Da3Views(**{**views.__dict__, **parts, "depth": prediction.depth})


def _depth_pictures(views: Da3Views, folder: Path) -> list[Output]:
    outputs = []
    for i, (image, depth) in enumerate(zip(views.images, views.depth, strict=True)):
        picture = np.concatenate([image, rules.depth_picture(depth)], axis=1)
        path = write_image(folder / f"{i:04d}.jpg", picture)
        outputs.append(Output("depth_vis", str(path), "image", f"Photo and depth {i + 1}"))
    return outputs


def _features(views: Da3Views, folder: Path, fps: float) -> list[Output]:
    """A folder of pictures and a video for each layer."""
    outputs = []
    for layer, features in views.features.items():
        colours = rules.feature_colours(torch.from_numpy(features)).numpy()
        pictures = [rules.feature_picture(i, c) for i, c in zip(views.images, colours, strict=True)]
        own = _made(folder / f"feat_layer_{layer}")
        for i, picture in enumerate(pictures):
            write_image(own / f"{i:06d}.jpg", picture)
        path = folder / f"feat_layer_{layer}.mp4"
        height, width = pictures[0].shape[:2]
        with VideoWriter(path, fps, (width, height)) as video:
            for picture in pictures:
                video.write(picture)
        outputs.append(Output("feat_vis", str(path), "video", f"Features of layer {layer}"))
    return outputs


def _colmap(views: Da3Views, prediction: Prediction, folder: Path) -> Output:
    model = rules.colmap_model(views, [Path(n).name for n in prediction.names])
    files = [(path, f"sparse/{path.name}") for path in write_model(folder, model)]
    write_zip(folder.with_suffix(".zip"), files)
    return Output("colmap_model", str(folder.with_suffix(".zip")), "archive", "COLMAP model with dense points")


def write_splat_video(views: Da3Views, options: Da3Options, folder: Path, device: torch.device | None = None) -> Output:
    """Splats and their depth side by side along a camera path, 24 pictures a second."""
    g = views.gaussians
    parts = (g.means, g.scales, g.rotations, g.opacities, g.harmonics.transpose(2, 3))
    splats = Gaussians(*(part[0].float().numpy() for part in parts))
    height, width = views.depth.shape[1:]
    E = views.extrinsics[:, :3].astype(np.float64)
    E[:, :, 3] /= views.scale_factor  # splats keep the units they were made in
    path = trajectory(options.gs_trajectory, E, views.intrinsics)
    target = folder / f"0000_{options.gs_trajectory}.mp4"
    limits: tuple[float, float] | None = None
    with VideoWriter(target, FPS, (2 * width + rules.GAP, height), crf=_CRF[options.gs_video_quality]) as video:
        for picture in render_many(splats, path.extrinsics(), path.intrinsics, (width, height), device):
            limits = limits or rules.log_depth_limits(torch.from_numpy(picture.depth))
            depth = rules.log_depth_colours(torch.from_numpy(picture.depth)[None], limits)[0]
            color = torch.from_numpy(picture.color).permute(2, 0, 1).clamp(0, 1)
            joined = rules.joined(color, depth, 2).permute(1, 2, 0)
            video.write((joined.numpy() * 255).astype(np.uint8))
    return Output("gs_video", str(target), "video", f"Splats, path {options.gs_trajectory}")


def write_viewer_splats(views: Da3Views, path: Path) -> Output:
    """Splats for the viewer of the page: level, with y down as viewers of splats expect, and as large as its first look
    from five units away shows whole."""
    found = rules.splats(views.gaussians, views.depth, rules.SplatRules(far=0.98))
    if not len(found):
        raise InputError("No splat is left of these photos; use a larger resolution")
    factor = VIEWER_EXTENT / robust_extent(found.means)
    T = rules.FLIP @ upright(views.extrinsics, found.means * factor)
    write_splat_ply(path, moved(found, T, factor))
    return Output("splats", str(path), "splat", "Gaussian splats")


def moved(splats: Gaussians, transform: NDArray[np.floating], factor: float = 1.0) -> Gaussians:
    """Splats enlarged by ``factor``, then taken by a rigid ``transform`` (4, 4). Keeps the constant harmonic only."""
    R = transform[:3, :3]
    turned = torch.from_numpy(R) @ quaternion_to_matrix(torch.from_numpy(splats.quaternions).double())
    return Gaussians(
        means=(splats.means * factor @ R.T + transform[:3, 3]).astype(np.float32),
        scales=splats.scales * np.float32(factor),
        quaternions=matrix_to_quaternion(turned).float().numpy(),
        opacities=splats.opacities,
        sh=splats.sh[:, :1],
    )
