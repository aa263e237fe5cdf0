"""Faces on real media: as the reference finds them, small ones too, none where there is none."""

import cv2
import numpy as np
import pytest

from models.runtime.settings import Limits
from pipelines.media.video import Frame, VideoReader
from pipelines.tracking.face_tracker import FaceTracker
from pipelines.tracking.options import FaceOptions, FollowOptions

pytestmark = pytest.mark.media
STILLS = ("expression_a", "expression_b", "portrait_s5", "portrait_s9", "portrait_s25")


@pytest.fixture(scope="module")
def tracker(networks) -> FaceTracker:
    return FaceTracker(networks)


def percent(found: np.ndarray, wanted: np.ndarray) -> float:
    eyes = np.linalg.norm(wanted[33, :2] - wanted[263, :2])
    return 100 * float(np.linalg.norm(found[:468, :2] - wanted[:, :2], axis=1).mean() / eyes)


@pytest.mark.parametrize("name", STILLS)
def test_stills_agree_with_the_reference(tracker, photo, reference, name):
    faces = tracker.find_faces(photo(f"face/{name}.jpg"))
    assert len(faces) == 1
    assert percent(faces[0].landmarks, reference(name)["faces"][0]) < 0.05


@pytest.mark.parametrize(
    ("name", "limit"), [("face/driving_expressions", 0.2), ("face/driving_speech", 0.2), ("talk/speaker", 1.0)]
)
@pytest.mark.parametrize("smooth", [False, True])
def test_videos_agree_with_the_reference(networks, testdata, reference, name, limit, smooth):
    options = FaceOptions() if smooth else FaceOptions(smoothing=None)
    wanted = reference(name.split("/")[1])
    last = 40
    frames = (f for f in VideoReader(testdata / f"{name}.mp4", Limits(), end=(last + 0.5) / 25))
    errors = []
    for frame in FaceTracker(networks, options).stream(frames):
        assert [f.track for f in frame.faces] == [1]
        if frame.index % 4 == 0:
            errors.append(percent(frame.faces[0].face.landmarks, wanted["tracked_face"][frame.index // 4]))
    assert len(errors) == last // 4 + 1
    assert max(errors) < (1.0 if smooth else limit)


def test_small_faces_are_found_once_each(tracker, photo):
    faces = tracker.find_faces(photo("body/skater_montage.jpg"))
    assert len(faces) == 9
    centres = np.array([(f.box[:2] + f.box[2:]) / 2 for f in faces])
    gaps = np.linalg.norm(centres[:, None] - centres, axis=-1) + 1e3 * np.eye(9)
    assert gaps.min() > 40


@pytest.mark.parametrize("size", [30, 60])
def test_a_tiny_face_in_a_large_picture(tracker, photo, size):
    portrait = photo("face/portrait_s5.jpg")
    scale = size / 148
    small = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    image = np.full((720, 1280, 3), 120, np.uint8)
    image[300 : 300 + len(small), 700 : 700 + small.shape[1]] = small
    faces = tracker.find_faces(image)
    assert len(faces) == 1
    assert abs(faces[0].size - size) < 0.2 * size


@pytest.mark.parametrize("name", ["character/drawing_texture.png", "scene/opera_000.jpg", "scene/castle/100_7101.jpg"])
def test_no_face_where_there_is_none(tracker, photo, name):
    assert tracker.find_faces(photo(name)) == ()


def test_no_face_in_a_drawn_smiley(tracker):
    image = np.full((400, 400, 3), 255, np.uint8)
    cv2.circle(image, (200, 200), 120, (255, 220, 60), -1)
    cv2.circle(image, (200, 200), 120, (0, 0, 0), 4)
    for x in (155, 245):
        cv2.circle(image, (x, 170), 14, (0, 0, 0), -1)
    cv2.ellipse(image, (200, 220), (60, 45), 0, 15, 165, (0, 0, 0), 6)
    assert tracker.find_faces(image) == ()


def test_a_grey_photo_and_a_face_cut_by_the_border(tracker, photo):
    image = photo("face/expression_a.jpg")
    grey = np.repeat(image.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    assert len(tracker.find_faces(grey)) == 1
    whole = tracker.find_faces(image)[0]
    middle = int((whole.box[0] + whole.box[2]) / 2) - 60
    cut = tracker.find_faces(np.ascontiguousarray(image[:, middle:]))
    assert len(cut) <= 1


def test_irises_lie_between_the_corners_of_the_eyes(networks, photo):
    face = FaceTracker(networks, FaceOptions(iris=True)).find_faces(photo("face/expression_a.jpg"))[0]
    points = face.landmarks[:, :2]
    assert face.landmarks.shape == (478, 3)
    for centre, outer, inner in ((468, 33, 133), (473, 263, 362)):
        width = np.linalg.norm(points[outer] - points[inner])
        middle = (points[outer] + points[inner]) / 2
        assert np.linalg.norm(points[centre] - middle) < 0.2 * width
        rim = np.linalg.norm(points[centre + 1 : centre + 5] - points[centre], axis=1)
        assert 0.1 * width < rim.min() and rim.max() < 0.35 * width


def test_a_face_that_leaves_is_lost_and_found_again_with_its_number(networks, photo):
    portrait, blank = photo("face/portrait_s9.jpg"), np.full((1024, 576, 3), 90, np.uint8)
    pictures = [portrait] * 5 + [blank] * 10 + [portrait] * 5
    frames = [Frame(k, k / 25, rgb) for k, rgb in enumerate(pictures)]
    out = list(FaceTracker(networks).stream(frames))
    assert [f.status for f in out] == ["ok"] * 5 + ["lost"] * 10 + ["ok"] * 5
    assert out[7].lost == (1,) and out[-1].faces[0].track == 1


def test_a_video_without_a_face_ends_well(networks):
    frames = [Frame(k, k / 25, np.full((120, 160, 3), 60, np.uint8)) for k in range(5)]
    assert [f.status for f in FaceTracker(networks).stream(frames)] == ["none"] * 5


def test_two_faces_that_cross_keep_their_numbers(networks, testdata):
    """Two clips glide past each other before a soft ground, one hiding the other for ten frames."""
    frames, places = crossing(FaceTracker(networks), testdata)
    options = FaceOptions(follow=FollowOptions(sweep_interval=100.0))
    owner: dict[int, str] = {}
    both = 0
    for frame, (left, right) in zip(FaceTracker(networks, options).stream(frames), places, strict=True):
        if abs(left - right) < 120:
            continue
        for tracked in frame.faces:
            x = (tracked.face.box[0] + tracked.face.box[2]) / 2
            who = "a" if abs(x - left) < abs(x - right) else "b"
            assert owner.setdefault(tracked.track, who) == who
        both += len(frame.faces) == 2
    assert owner == {1: "a", 2: "b"}
    assert both > 0.8 * sum(abs(a - b) >= 120 for a, b in places)


def crossing(tracker: FaceTracker, testdata) -> tuple[list[Frame], list[tuple[float, float]]]:
    count, heights = 60, (250, 280)
    clips = []
    for name in ("face/driving_expressions", "talk/speaker"):
        clip = [f.rgb for f in VideoReader(testdata / f"{name}.mp4", Limits(), end=(count - 0.5) / 25)]
        x0, y0, x1, y1 = tracker.find_faces(clip[0])[0].box
        size = y1 - y0
        left, right = int((x0 + x1) / 2 - 0.8 * size), int((x0 + x1) / 2 + 0.8 * size)
        top, bottom = max(0, int((y0 + y1) / 2 - 0.85 * size)), int((y0 + y1) / 2 + size)
        scale = 190 / size
        clips.append([cv2.resize(f[top:bottom, max(0, left) : right], None, fx=scale, fy=scale) for f in clip])
    ground = np.random.default_rng(0).integers(0, 256, (9, 16, 3), dtype=np.uint8)
    ground = cv2.resize(ground, (960, 540), interpolation=cv2.INTER_CUBIC)
    frames, places = [], []
    for k in range(count):
        share = k / (count - 1)
        left, right = 150 + 660 * share, 810 - 660 * share
        picture = ground.copy()
        for clip, x, y in ((clips[1], right, heights[1]), (clips[0], left, heights[0])):
            paste(picture, clip[min(k, len(clip) - 1)], int(x), y)
        frames.append(Frame(k, k / 25, picture))
        places.append((left, right))
    return frames, places


def paste(picture: np.ndarray, patch: np.ndarray, x: int, y: int) -> None:
    """An oval of ``patch`` onto ``picture`` about (x, y)."""
    height, width = patch.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    away = ((columns - width / 2) / (width / 2)) ** 2 + ((rows - height / 2) / (height / 2)) ** 2
    alpha = np.clip((1 - away) * 8, 0, 1)[..., None]
    x0, y0 = x - width // 2, y - height // 2
    left, top = max(0, -x0), max(0, -y0)
    right, bottom = min(width, picture.shape[1] - x0), min(height, picture.shape[0] - y0)
    target = picture[y0 + top : y0 + bottom, x0 + left : x0 + right]
    target[:] = (
        target * (1 - alpha[top:bottom, left:right]) + patch[top:bottom, left:right] * alpha[top:bottom, left:right]
    )
