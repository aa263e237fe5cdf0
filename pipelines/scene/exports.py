"""Files beside the point cloud: pictures of depth and confidence, the camera plot, the COLMAP folder, the poster."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipelines.base import Output
from pipelines.media.image import write_image
from pipelines.scene.prediction import Prediction
from pipelines.scene.state import SceneState


def write_all(prediction: Prediction, state: SceneState, out_dir: Path) -> list[Output]:
    outputs = [Output("prediction", "prediction.npz", "data", "Depth, confidence and cameras (NPZ)")]
    for i in range(len(prediction)):
        outputs.append(Output("photo", f"photos/{i:04d}.jpg", "image", prediction.names[i]))
    for folder, role in (("depth", "depth"), ("confidence", "confidence")):
        (out_dir / folder).mkdir(exist_ok=True)
        for i in range(len(prediction)):
            depth, conf, _ = prediction.view(i)
            picture = (
                1 / np.maximum(depth, 1e-6) * np.median(depth[depth > 0]) / 2 * (depth > 0) if role == "depth" else conf
            )
            write_image(out_dir / folder / f"{i:04d}.png", (np.clip(picture, 0, 1) * 255).astype(np.uint8))
            outputs.append(Output(role, f"{folder}/{i:04d}.png", "image", prediction.names[i]))
    write_image(out_dir / "poster.jpg", prediction.view(len(prediction) // 2)[2])
    outputs.append(Output("poster", "poster.jpg", "image", "Poster"))
    return outputs
