"""What people really drop: cut, dark, tiny, grey, turned, drawn, crossing; every job ends well and says what it saw."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from models.runtime.errors import InputError
from pipelines.base import Inputs, Result, RunContext, run
from pipelines.face.options import FaceOptions
from pipelines.face.pipeline import FacePipeline
from pipelines.face.repose import Look, PosableHead
from pipelines.media.image import write_image
from pipelines.media.video import VideoWriter
from pipelines.tracking.face_measure import Measurement, measure_photo, measure_video, steadied

QUICK = {"engine": "facemesh", "texture_size": "512"}


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    """A face (240, 240, 3) that ships with a package."""
    spec = find_spec("skimage")
    if spec is None or not spec.origin:
        pytest.skip("scikit-image is not installed")
    photo = cv2.imread(str(Path(spec.origin).parent / "data" / "astronaut.png"))
    return np.ascontiguousarray(photo[20:260, 100:340, ::-1])


def done(source: Path, context: RunContext, **options: object) -> Result:
    steps = run(FacePipeline(), Inputs({"source": (source,)}), FaceOptions(**QUICK, **options), context)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def with_sunglasses(face: np.ndarray) -> np.ndarray:
    worn = face.copy()
    for x in (100, 150):
        cv2.ellipse(worn, (x, 92), (21, 14), 0, 0, 360, (15, 15, 18), -1)
    return cv2.line(worn, (100, 88), (150, 88), (15, 15, 18), 4)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (lambda f: f[:, 118:], "cut by the picture's border"),
        (lambda f: cv2.resize(f[30:190, 50:210], (56, 56), interpolation=cv2.INTER_AREA), "pixels high"),
        (with_sunglasses, ""),
        (lambda f: np.repeat(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2), ""),
        (lambda f: np.dstack([f, np.full(f.shape[:2], 128, np.uint8)]), ""),
        (lambda f: np.rot90(f), ""),
    ],
    ids=["border", "tiny", "sunglasses", "grey", "alpha", "lying"],
)
def test_photo_gives_one_head(
    changed: Callable, told: str, face: np.ndarray, context: RunContext, tmp_path: Path
) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(np.ascontiguousarray(changed(face))).save(path)
    result = done(path, context)
    assert result.summary["heads"] == 1
    assert told in " ".join(result.warnings)


def test_profile_is_told_or_refused_in_words(face: np.ndarray, context: RunContext, tmp_path: Path) -> None:
    done(write_image(tmp_path / "front.png", face), context)
    head = PosableHead.load(context.out_dir / "heads" / "face_01.npz")
    for yaw in (-70, 70):
        result = done(write_image(tmp_path / f"{yaw}.png", head.picture(Look(yaw=yaw), 480, 2)), context)
        assert result.summary["heads"] == 1
        assert "seen from the side" in " ".join(result.warnings)
    with pytest.raises(InputError, match="No face was found"):
        done(write_image(tmp_path / "back.png", head.picture(Look(yaw=150), 480, 2)), context)


def test_turned_by_its_tag_like_upright(face: np.ndarray, context: RunContext, tmp_path: Path) -> None:
    upright = write_image(tmp_path / "upright.png", face)
    tag = Image.Exif()
    tag[0x112] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(face))).save(tmp_path / "turned.png", exif=tag)
    one, other = (measure_photo(p, context).faces[0].points for p in (upright, tmp_path / "turned.png"))
    assert np.abs(one - other).max() < 0.5


def test_drawing_is_no_face(context: RunContext, tmp_path: Path) -> None:
    page = np.full((400, 400, 3), 255, np.uint8)
    cv2.circle(page, (200, 200), 150, (0, 0, 0), 4)
    for x in (150, 250):
        cv2.circle(page, (x, 160), 16, (0, 0, 0), -1)
    cv2.ellipse(page, (200, 230), (80, 55), 0, 10, 170, (0, 0, 0), 5)
    with pytest.raises(InputError, match="No face was found"):
        done(write_image(tmp_path / "smiley.png", page), context)


def clip(path: Path, places: Iterator[list[tuple[int, np.ndarray]]]) -> Path:
    """Frames on which faces stand at given columns, later ones in front."""
    with VideoWriter(path, 25, (560, 260)) as video:
        for standing in places:
            frame = np.full((260, 560, 3), (90, 100, 110), np.uint8)
            for x, face in standing:
                frame[10:250, x : x + 240] = face
            video.write(frame)
    return path


def measured(path: Path, context: RunContext) -> Measurement:
    return next(m for m in measure_video(path, context) if isinstance(m, Measurement))


def test_face_that_leaves_comes_back_as_the_same(face: np.ndarray, context: RunContext, tmp_path: Path) -> None:
    path = clip(tmp_path / "leaves.mp4", ([] if 12 <= k < 24 else [(150, face)] for k in range(36)))
    result = done(path, context, expression=False)
    assert result.summary["heads"] == 1
    assert "out of sight in 12 of 36 frames" in " ".join(result.warnings)
    seen = measured(path, context).faces[0].seen
    assert not seen[12:24].any()
    assert seen[:12].all()
    assert seen[25:].all()


def test_smoothing_keeps_to_its_stretch_and_to_its_input() -> None:
    seen = np.array([1, 1, 1, 1, 0, 1, 1, 1, 1, 1], bool)
    values = np.where(seen[:, None], np.arange(10.0)[:, None] * (1, 2, 3, 4), 0.0)
    values[5:] += 100
    before = values.copy()
    smooth = steadied(values, seen, 0.9)
    assert np.array_equal(values, before)
    assert (smooth[4] == 0).all()
    assert smooth[:4].max() <= values[:4].max()
    assert smooth[5:].min() >= values[5:].min()
    assert np.allclose(smooth[7], values[7])


def test_faces_that_cross_stay_two(face: np.ndarray, context: RunContext, tmp_path: Path) -> None:
    other = np.ascontiguousarray(cv2.cvtColor(face, cv2.COLOR_RGB2HSV))
    other[..., 0] = (other[..., 0].astype(int) + 70) % 180
    other = cv2.cvtColor(other, cv2.COLOR_HSV2RGB)[:, ::-1]
    places = ([(320 - 8 * k, other), (8 * k, face)] for k in range(41))
    faces = measured(clip(tmp_path / "cross.mp4", places), context).faces
    assert len(faces) == 2
    ways = sorted(float(f.points[f.seen][-1, 1, 0] - f.points[f.seen][0, 1, 0]) for f in faces)
    assert ways[0] < -200
    assert ways[1] > 200
    assert np.logical_and(*(f.seen for f in faces)).sum() > 10
