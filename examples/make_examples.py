"""Makes the example media that ship with the studio: `python -m examples.make_examples [--out DIR]`.

The room is rendered by our own code, so its cameras and depth are known exactly; the same call gives the same files.
`--motorcycle DIR` writes the stereo pair of scikit-image beside its calibration instead (nothing of it is kept here).
"""

from __future__ import annotations

import argparse
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from examples.room import View, photo_views, render_room, video_views
from pipelines.media.video import VideoWriter

ROOM = Path(__file__).resolve().parent / "scene" / "room"
PHOTO_QUALITY = 82
VIDEO_FPS = 24
VIDEO_CRF = 27
NOISE = 0.8  # standard deviation of the made-up sensor, in grey levels

_FOCAL_LENGTH_35MM = 0xA405
_EXIF_IFD = 0x8769


@dataclass(frozen=True)
class StereoPair:
    """A rectified pair as published with Middlebury 2014, at full size.

    ``disparity`` (H, W) float32 in pixels, nan where unknown; depth in millimetres is
    ``baseline * focal / (disparity + offset)``.
    """

    left: NDArray[np.uint8]
    right: NDArray[np.uint8]
    disparity: NDArray[np.float32]
    focal: float = 994.978
    baseline: float = 193.001
    offset: float = 31.086
    centre: tuple[float, float] = (311.193, 254.877)


def motorcycle() -> StereoPair:
    """The pair and its ground truth, from scikit-image's data (fetched by it on first use where not yet installed)."""
    from skimage.data import stereo_motorcycle

    left, right, disparity = stereo_motorcycle()
    disparity = np.where(np.isfinite(disparity) & (disparity > 0), disparity, np.nan).astype(np.float32)
    return StereoPair(left, right, disparity)


def write_motorcycle(folder: Path) -> tuple[Path, Path]:
    """Writes left.png, right.png and calibration.json; returns the two pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    pair = motorcycle()
    paths = folder / "left.png", folder / "right.png"
    for path, image in zip(paths, (pair.left, pair.right), strict=True):
        Image.fromarray(image).save(path)
    numbers = {k: v for k, v in asdict(pair).items() if not isinstance(v, np.ndarray)}
    (folder / "calibration.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    return paths


def _exposed(view: View, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The picture a camera would take: rendered, with a little noise."""
    image = render_room(view)[0]
    return np.clip(image + rng.normal(0, NOISE, image.shape) + 0.5, 0, 255).astype(np.uint8)


def _focal_35mm(view: View) -> int:
    """The focal length of the same diagonal angle on 24 x 36 mm film, as EXIF defines it."""
    return round(view.intrinsics[0, 0] * np.hypot(24, 36) / np.hypot(view.width, view.height))


def _jpeg(image: NDArray[np.uint8], focal_35mm: int) -> bytes:
    exif = Image.Exif()
    exif.get_ifd(_EXIF_IFD)[_FOCAL_LENGTH_35MM] = focal_35mm
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=PHOTO_QUALITY, exif=exif)
    return buffer.getvalue()


def cameras_text(views: list[View], names: list[str]) -> str:
    """Ground truth as JSON: a (3, 4) world-to-camera matrix per picture (OpenCV axes, metres), shared intrinsics."""
    first = views[0]
    return json.dumps(
        {
            "convention": "world-to-camera, OpenCV axes, metres; (0, 0) is the centre of the top-left pixel",
            "width": first.width,
            "height": first.height,
            "intrinsics": first.intrinsics.round(6).tolist(),
            "names": names,
            "extrinsics": [v.extrinsics.round(9).tolist() for v in views],
        }
    )


def write_room(folder: Path = ROOM) -> list[Path]:
    """Writes photos/*.jpg with cameras.json, and walk.mp4 with walk.json."""
    photos = folder / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(2024)
    written = []
    views = photo_views()
    for i, view in enumerate(views):
        path = photos / f"room_{i:02d}.jpg"
        path.write_bytes(_jpeg(_exposed(view, rng), _focal_35mm(view)))
        written.append(path)
    names = [p.name for p in written]
    sweep = video_views(fps=VIDEO_FPS)
    video = folder / "walk.mp4"
    with VideoWriter(video, VIDEO_FPS, (sweep[0].width, sweep[0].height), crf=VIDEO_CRF) as writer:
        for view in sweep:
            writer.write(_exposed(view, rng))
    truth = {
        folder / "cameras.json": cameras_text(views, names),
        folder / "walk.json": cameras_text(sweep, [f"{i:04d}" for i in range(len(sweep))]),
    }
    for path, text in truth.items():
        path.write_text(text + "\n", encoding="utf-8")
    return [*written, video, *truth]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOM, help="folder of the room's photos and video")
    parser.add_argument("--motorcycle", type=Path, help="write the motorcycle pair there instead")
    arguments = parser.parse_args()
    paths = write_motorcycle(arguments.motorcycle) if arguments.motorcycle else write_room(arguments.out)
    for path in paths:
        print(f"{path}  {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
