"""Tracked frames survive being stored."""

import numpy as np
import pytest

from models.runtime.errors import InputError
from pipelines.tracking.body_tracker import PoseFrame, TrackedPose
from pipelines.tracking.face_tracker import Face, FaceFrame, TrackedFace
from pipelines.tracking.hand_tracker import Hand, HandFrame, TrackedHand
from pipelines.tracking.measurements import MeasurementCache, MeasurementKey
from pipelines.tracking.pose import Pose
from pipelines.tracking.records import pack_faces, pack_hands, pack_poses, unpack_faces, unpack_hands, unpack_poses
from pipelines.tracking.regions import Region

RANDOM = np.random.default_rng(0)
REGION = Region(10.0, 20.0, 32.0, 0.5)


def noise(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def face(points: int = 468) -> Face:
    return Face(noise(4), noise(points, 3), 0.75, REGION)


def pose() -> Pose:
    return Pose(noise(33, 3), noise(33, 3), noise(33), noise(33), noise(33), noise(2, 2), 0.5, REGION)


def hand() -> Hand:
    return Hand(noise(21, 3), noise(21, 3), 0.25, 0.75, REGION)


CASES = {
    "faces": (pack_faces, unpack_faces, FaceFrame, lambda t, s: TrackedFace(t, s, face())),
    "irises": (pack_faces, unpack_faces, FaceFrame, lambda t, s: TrackedFace(t, s, face(478))),
    "poses": (pack_poses, unpack_poses, PoseFrame, lambda t, s: TrackedPose(t, s, pose())),
    "hands": (pack_hands, unpack_hands, HandFrame, lambda t, s: TrackedHand(t, s, hand())),
}


def equal(a, b) -> bool:
    if hasattr(a, "__dataclass_fields__"):
        return type(a) is type(b) and all(equal(getattr(a, f), getattr(b, f)) for f in a.__dataclass_fields__)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b


@pytest.mark.parametrize("kind", CASES)
def test_frames_return_as_they_were(kind, tmp_path):
    pack, unpack, frame, subject = CASES[kind]
    frames = [
        frame(0, 0.0, (subject(1, "found"),)),
        frame(3, 0.12, ()),
        frame(4, 0.16, (subject(1, "followed"), subject(2, "found")), ()),
        frame(5, 0.2, (subject(2, "followed"),), (1,)),
    ]
    cache = MeasurementCache(tmp_path, 7, 1 << 24)
    key = MeasurementKey(f"x.{kind}")
    cache.put(key, pack(frames))
    found = unpack(cache.get(key))
    assert len(found) == 4
    assert all(equal(a, b) for a, b in zip(frames, found, strict=True))


@pytest.mark.parametrize("kind", CASES)
def test_nothing_returns_as_nothing(kind):
    pack, unpack, frame, _ = CASES[kind]
    assert unpack(pack([])) == []
    assert unpack(pack([frame(0, 0.0, ())])) == [frame(0, 0.0, ())]


def test_arrays_of_another_kind_are_refused():
    with pytest.raises(InputError, match="world"):
        unpack_hands(pack_faces([]))
