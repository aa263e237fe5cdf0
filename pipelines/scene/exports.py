"""Files beside the point cloud: pictures of depth and confidence, depth video, camera plot, COLMAP folder, poster."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from models.geometry.cameras import camera_centers, resize_intrinsics, transform_points
from models.runtime.settings import Limits
from pipelines.base import Output
from pipelines.export.archive import write_zip
from pipelines.export.colmap import Camera, Points, PosedImage, SparseModel, write_model
from pipelines.export.glb import camera_frustums, robust_extent
from pipelines.media.image import image_size, write_image
from pipelines.media.video import VideoWriter
from pipelines.render.depth_color import confidence_image, depth_image, depth_limits
from pipelines.render.shading import Camera as RenderCamera
from pipelines.render.turntable import cloud_frames, sway
from pipelines.scene.fusion import Cloud
from pipelines.scene.prediction import Prediction
from pipelines.scene.refilter import upright
from pipelines.scene.state import SceneState

_VIDEO_FPS = 8
_PLOT_POINTS = 4000
_POSTER_POINTS = 400_000
_POSTER_SIDE = 640


def write_all(
    prediction: Prediction, state: SceneState, cloud: Cloud, out_dir: Path, limits: Limits
) -> tuple[Output, ...]:
    """Writes everything but the point cloud into the run folder, whose ``photos`` are there already."""
    outputs = [Output("prediction", "prediction.npz", "data", "Depth, confidence and cameras (NPZ)")]
    outputs += write_pictures(prediction, out_dir)
    if state.kind == "video":
        outputs.append(write_depth_video(prediction, out_dir))
    outputs.append(write_camera_plot(prediction, cloud, out_dir))
    outputs.append(write_colmap_zip(prediction, state, out_dir, limits))
    outputs.append(write_poster(prediction, cloud, out_dir))
    return tuple(outputs)


def write_pictures(prediction: Prediction, out_dir: Path) -> list[Output]:
    """Depth (one colour range for all views) and confidence of each view as PNG."""
    limits = depth_limits(prediction.depth)
    outputs = []
    for folder in ("depth", "confidence"):
        (out_dir / folder).mkdir(exist_ok=True)
    for i, name in enumerate(prediction.names):
        depth, conf, _ = prediction.view(i)
        write_image(out_dir / "depth" / f"{i:04d}.png", depth_image(depth, limits))
        write_image(out_dir / "confidence" / f"{i:04d}.png", confidence_image(conf, (0.0, 1.0)))
        outputs.append(Output("photo", f"photos/{i:04d}.jpg", "image", name))
        outputs.append(Output("depth", f"depth/{i:04d}.png", "image", f"Depth of {name}"))
        outputs.append(Output("confidence", f"confidence/{i:04d}.png", "image", f"Confidence of {name}"))
    return outputs


def write_depth_video(prediction: Prediction, out_dir: Path) -> Output:
    """The used frames beside their depth."""
    limits = depth_limits(prediction.depth)
    height, width = prediction.depth.shape[1:]
    with VideoWriter(out_dir / "depth.mp4", _VIDEO_FPS, (2 * width, height)) as video:
        for depth, image in zip(prediction.depth, prediction.images, strict=True):
            video.write(np.concatenate([image, depth_image(depth, limits)], axis=1))
    return Output("depth_video", "depth.mp4", "video", "Frames and depth")


def write_camera_plot(prediction: Prediction, cloud: Cloud, out_dir: Path) -> Output:
    """Camera path and viewing pyramids with a thin cloud, as a plotly figure in JSON."""
    height, width = (int(v) for v in prediction.sizes[0])
    size = 0.04 * robust_extent(cloud.points)
    wires = camera_frustums(prediction.extrinsics, prediction.intrinsics, width, height, size)
    chosen = np.random.default_rng(0).permutation(len(cloud))[:_PLOT_POINTS]
    path = camera_centers(prediction.extrinsics)
    gaps = np.full((*wires.shape[:2], 1, 3), np.nan)
    lines = np.concatenate([wires, gaps], axis=2).reshape(-1, 3)

    T = upright(prediction.extrinsics, cloud.points)

    def trace(name: str, points: np.ndarray, **more: object) -> dict[str, object]:
        turned = transform_points(T, points).round(5)
        columns = (turned[:, 0], -turned[:, 2], turned[:, 1])  # plotly's z is up
        numbers = {k: [None if np.isnan(v) else v for v in c.tolist()] for k, c in zip("xyz", columns, strict=True)}
        return {"type": "scatter3d", "name": name, **numbers, **more}

    colors = [f"rgb({r},{g},{b})" for r, g, b in cloud.colors[chosen].tolist()]
    figure = {  # written as it is, because building it with plotly checks every colour, which takes seconds
        "data": [
            trace("points", cloud.points[chosen], mode="markers", marker={"size": 1.5, "color": colors}),
            trace("path", path, mode="lines+markers", text=list(prediction.names), marker={"size": 3}),
            trace("cameras", lines, mode="lines"),
        ],
        "layout": {"scene": {"aspectmode": "data"}, "margin": {"l": 0, "r": 0, "t": 0, "b": 0}},
    }
    (out_dir / "cameras.json").write_text(json.dumps(figure, allow_nan=False))
    return Output("camera_plot", "cameras.json", "plot", "Camera path")


def write_colmap_zip(prediction: Prediction, state: SceneState, out_dir: Path, limits: Limits) -> Output:
    """``images/`` and ``sparse/0/`` as COLMAP has them: undistorted photos, pinhole cameras, the sparse points."""
    cameras, images, files = {}, {}, []
    for i in range(len(prediction)):
        photo = out_dir / "photos" / f"{i:04d}.jpg"
        width, height = image_size(photo, limits)
        rows, columns = prediction.sizes[i]
        K = resize_intrinsics(prediction.intrinsics[i], width / columns, height / rows)
        cameras[i + 1] = Camera.from_matrix(i + 1, K, width, height)
        images[i + 1] = PosedImage.from_extrinsics(i + 1, prediction.extrinsics[i], i + 1, photo.name)
        files.append((photo, f"images/{photo.name}"))
    folder = out_dir / "work" / "sparse"
    written = write_model(folder, SparseModel(cameras, images, Points.make(state.points, state.colors)))
    files += [(path, f"sparse/0/{path.name}") for path in written]
    write_zip(out_dir / "colmap.zip", files)
    return Output("colmap", "colmap.zip", "archive", "COLMAP folder")


def write_poster(prediction: Prediction, cloud: Cloud, out_dir: Path) -> Output:
    """The cloud seen from a little beside the middle camera."""
    i = len(prediction) // 2
    rows, columns = (int(v) for v in prediction.sizes[i])
    scale = _POSTER_SIDE / max(rows, columns)
    size = (round(columns * scale), round(rows * scale))
    K = resize_intrinsics(prediction.intrinsics[i], size[0] / columns, size[1] / rows)
    here = RenderCamera(prediction.extrinsics[i], K, *size)
    chosen = np.sort(np.random.default_rng(0).permutation(len(cloud))[:_POSTER_POINTS])  # neighbours stay together
    points = cloud.points[chosen]
    beside = sway(here, np.median(points, axis=0), 8, degrees=8.0, rise=4.0, back=1.1)[1]
    picture = next(iter(cloud_frames([beside], points, cloud.colors[chosen], background=(24, 26, 30))))
    write_image(out_dir / "poster.jpg", picture.color)
    return Output("poster", "poster.jpg", "image", "Point cloud")
