"""Tracked frames as plain arrays and back, for the measurement cache and for files.

One row per subject and frame, plus one row per frame; regions and whatever else is not needed any more are left out
where they can be made again from the landmarks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from models.runtime.errors import InputError
from pipelines.tracking.body_tracker import PoseFrame, TrackedPose
from pipelines.tracking.face_tracker import Face, FaceFrame, TrackedFace
from pipelines.tracking.hand_tracker import Hand, HandFrame, TrackedHand
from pipelines.tracking.pose import Pose
from pipelines.tracking.regions import Region

Arrays = dict[str, np.ndarray]
STATUSES = ("found", "followed")


def pack_faces(frames: Sequence[FaceFrame]) -> Arrays:
    """Arrays of tracked faces: ``landmarks`` (N, K, 3), ``box`` (N, 4), ``presence`` (N,) and the common columns."""
    rows = [(k, t) for k, frame in enumerate(frames) for t in frame.faces]
    faces = [t.face for _, t in rows]
    return {
        **_common(frames, rows, [f.region for f in faces]),
        "landmarks": _stack([f.landmarks for f in faces], (468, 3)),
        "box": _stack([f.box for f in faces], (4,)),
        "presence": _stack([f.presence for f in faces], ()),
    }


def unpack_faces(arrays: Mapping[str, np.ndarray]) -> list[FaceFrame]:
    """The frames that ``pack_faces`` was given. Raises InputError for arrays of something else."""
    columns = _columns(arrays, ("landmarks", "box", "presence"))

    def face(row: int) -> TrackedFace:
        subject = Face(
            columns["box"][row], columns["landmarks"][row], float(columns["presence"][row]), _region(columns, row)
        )
        return TrackedFace(*_named(columns, row), subject)

    return [FaceFrame(index, time, tuple(map(face, rows)), lost) for index, time, rows, lost in _frames(columns)]


POSE_FIELDS = {"landmarks": (33, 3), "world": (33, 3), "visibility": (33,), "presence": (33,), "peaks": (33,)}


def pack_poses(frames: Sequence[PoseFrame]) -> Arrays:
    """Arrays of tracked people: the fields of ``Pose`` stacked, and the common columns."""
    rows = [(k, t) for k, frame in enumerate(frames) for t in frame.people]
    poses = [t.pose for _, t in rows]
    return {
        **_common(frames, rows, [p.region for p in poses]),
        **{name: _stack([getattr(p, name) for p in poses], shape) for name, shape in POSE_FIELDS.items()},
        "axis": _stack([p.axis for p in poses], (2, 2)),
        "score": _stack([p.score for p in poses], ()),
    }


def unpack_poses(arrays: Mapping[str, np.ndarray]) -> list[PoseFrame]:
    """The frames that ``pack_poses`` was given. Raises InputError for arrays of something else."""
    columns = _columns(arrays, (*POSE_FIELDS, "axis", "score"))

    def person(row: int) -> TrackedPose:
        fields = {name: columns[name][row] for name in POSE_FIELDS}
        pose = Pose(
            **fields, axis=columns["axis"][row], score=float(columns["score"][row]), region=_region(columns, row)
        )
        return TrackedPose(*_named(columns, row), pose)

    return [PoseFrame(index, time, tuple(map(person, rows)), lost) for index, time, rows, lost in _frames(columns)]


def pack_hands(frames: Sequence[HandFrame]) -> Arrays:
    """Arrays of tracked hands: ``landmarks``, ``world`` (N, 21, 3), ``right``, ``presence`` (N,), common columns."""
    rows = [(k, t) for k, frame in enumerate(frames) for t in frame.hands]
    hands = [t.hand for _, t in rows]
    return {
        **_common(frames, rows, [h.region for h in hands]),
        "landmarks": _stack([h.landmarks for h in hands], (21, 3)),
        "world": _stack([h.world for h in hands], (21, 3)),
        "right": _stack([h.right for h in hands], ()),
        "presence": _stack([h.presence for h in hands], ()),
    }


def unpack_hands(arrays: Mapping[str, np.ndarray]) -> list[HandFrame]:
    """The frames that ``pack_hands`` was given. Raises InputError for arrays of something else."""
    columns = _columns(arrays, ("landmarks", "world", "right", "presence"))

    def hand(row: int) -> TrackedHand:
        right, presence = float(columns["right"][row]), float(columns["presence"][row])
        subject = Hand(columns["landmarks"][row], columns["world"][row], right, presence, _region(columns, row))
        return TrackedHand(*_named(columns, row), subject)

    return [HandFrame(index, time, tuple(map(hand, rows)), lost) for index, time, rows, lost in _frames(columns)]


# Columns common to all kinds: frames by index and time, subjects by frame, number, status and region, absences.
COMMON = ("frame_index", "frame_time", "frame", "track", "status", "region", "lost_frame", "lost_track")


def _common(
    frames: Sequence[FaceFrame | PoseFrame | HandFrame],
    rows: Sequence[tuple[int, TrackedFace | TrackedPose | TrackedHand]],
    regions: Sequence[Region],
) -> Arrays:
    lost = [(k, number) for k, frame in enumerate(frames) for number in frame.lost]
    return {
        "frame_index": np.array([f.index for f in frames], np.int64),
        "frame_time": np.array([f.time for f in frames], np.float64),
        "frame": np.array([k for k, _ in rows], np.int64),
        "track": np.array([t.track for _, t in rows], np.int64),
        "status": np.array([STATUSES.index(t.status) for _, t in rows], np.uint8),
        "region": _stack([(r.x, r.y, r.side, r.angle) for r in regions], (4,)),
        "lost_frame": np.array([k for k, _ in lost], np.int64),
        "lost_track": np.array([n for _, n in lost], np.int64),
    }


def _stack(values: Sequence[object], shape: tuple[int, ...]) -> np.ndarray:
    """Float32 rows; with no rows an empty array of the right shape."""
    return np.array(values, np.float32) if len(values) else np.zeros((0, *shape), np.float32)


def _columns(arrays: Mapping[str, np.ndarray], own: tuple[str, ...]) -> Mapping[str, np.ndarray]:
    missing = [name for name in (*COMMON, *own) if name not in arrays]
    if missing:
        raise InputError(f"these are no tracked frames of this kind: {', '.join(missing)} missing")
    return arrays


def _frames(columns: Mapping[str, np.ndarray]) -> list[tuple[int, float, list[int], tuple[int, ...]]]:
    """Index, time, rows and absences of every frame."""
    count = len(columns["frame_index"])
    rows: list[list[int]] = [[] for _ in range(count)]
    lost: list[list[int]] = [[] for _ in range(count)]
    for row, k in enumerate(columns["frame"]):
        rows[k].append(row)
    for k, number in zip(columns["lost_frame"], columns["lost_track"], strict=True):
        lost[k].append(int(number))
    heads = zip(columns["frame_index"], columns["frame_time"], strict=True)
    return [(int(i), float(t), rows[k], tuple(lost[k])) for k, (i, t) in enumerate(heads)]


def _named(columns: Mapping[str, np.ndarray], row: int) -> tuple[int, str]:
    return int(columns["track"][row]), STATUSES[columns["status"][row]]


def _region(columns: Mapping[str, np.ndarray], row: int) -> Region:
    return Region(*(float(v) for v in columns["region"][row]))
