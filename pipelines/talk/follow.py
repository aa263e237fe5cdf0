"""Speakers followed by HeyGem's own face networks, for the lip networks that were trained on what those see.

Detection is SCRFD's, landmarks are PFPLD's, and where WHENet is installed its head pose says which frames look too far
aside. The built-in measurement still tells who is who.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice

import cv2
import numpy as np

from models.runtime.errors import InputError, WeightsMissing
from models.runtime.weights import WeightsStore
from models.talking.scrfd import ScrfdFaces
from pipelines.base import Progress, RunContext
from pipelines.media.image import read_image
from pipelines.media.video import VideoReader
from pipelines.talk.engine_network import cut
from pipelines.talk.face_networks import detected, head_poses, landmarks_98, to_68
from pipelines.talk.lips import NetworkFile
from pipelines.talk.options import TalkOptions
from pipelines.talk.work import Followed, Speaker, TalkWork, speaker
from pipelines.tracking.face_measure import STEADY_SECONDS, steadied

DETECTORS = ("heygem-scrfd", "heygem-scrfd-10g")
LANDMARKS, POSE = "heygem-pfpld", "heygem-whenet"
WIDER = 1.25  # of the detected box, for landmarks and pose
SAME_FACE = 0.15  # overlap with the measured face from which a detection is that face
CHUNK = 8


@dataclass(frozen=True)
class FaceFiles:
    """The installed files; ``pose`` may be absent."""

    detector: NetworkFile
    landmarks: NetworkFile
    pose: NetworkFile | None


def face_files(weights: WeightsStore) -> FaceFiles:
    """Raises WeightsMissing naming what to get."""
    detector = next((name for name in DETECTORS if weights.installed(name)), None)
    if detector is None or not weights.installed(LANDMARKS):
        missing = [name for name, there in ((DETECTORS[0], detector), (LANDMARKS, weights.installed(LANDMARKS)))
                   if not there]  # fmt: skip
        raise WeightsMissing(
            f"Following by HeyGem's networks needs {' and '.join(missing)}: open the Models tab or run "
            f"`python -m studio weights get {missing[0]}`"
        )

    def file(name: str) -> NetworkFile:
        return NetworkFile(name, weights.path(name))

    return FaceFiles(file(detector), file(LANDMARKS), file(POSE) if weights.installed(POSE) else None)


def followed(work: TalkWork, options: TalkOptions, ctx: RunContext) -> Iterator[Progress | TalkWork]:
    """Progress, then the work with its speakers placed anew; frames in which a speaker is not found stay untouched.

    Raises:
        WeightsMissing: a file is not installed.
        InputError: a speaker is found in no frame.
    """
    files, frames = face_files(ctx.weights), work.measurement.frames
    state = {s.face.number: _Track(frames) for s in work.speakers}
    pictures = _pictures(work, ctx)
    done = 0
    while chunk := list(islice(pictures, CHUNK)):
        images = np.stack([image for _, image in chunk])
        found = detected(files.detector, ctx.settings, images)
        for person in work.speakers:
            _note(state[person.face.number], person, [index for index, _ in chunk], images, found, files, ctx)
        done += len(chunk)
        yield Progress("measure", done, frames, "Following the faces with HeyGem's networks")
    rate = 1.0 / float(np.median(np.diff(work.measurement.times))) if frames > 1 else float(work.fps)
    tracks = {number: track.finished(rate) for number, track in state.items()}
    yield replace(work, speakers=_speakers(work, tracks, options.max_turn, rate), followed=tracks)


def _speakers(work: TalkWork, tracks: Mapping[int, Followed], max_turn: float, rate: float) -> tuple[Speaker, ...]:
    found = []
    for person in work.speakers:
        track = tracks[person.face.number]
        if not track.seen.any():
            raise InputError("HeyGem's networks find no face here; let the built-in measurement follow it")
        aside = (np.abs(track.angles[:, 0]) > max_turn) | (np.abs(track.angles[:, 1]) > 0.8 * max_turn)
        found.append(speaker(person.face, max_turn, rate, track.seen & ~aside))
    return tuple(found)


class _Track:
    """What has been seen of one speaker so far."""

    def __init__(self, frames: int) -> None:
        self.seen = np.zeros(frames, bool)
        self.points = np.zeros((frames, 68, 2), np.float32)
        self.boxes = np.zeros((frames, 4), np.float32)
        self.angles = np.zeros((frames, 3), np.float32)

    def finished(self, rate: float) -> Followed:
        width = STEADY_SECONDS * rate
        boxes = steadied(self.boxes, self.seen, width)
        return Followed(self.seen, steadied(self.points, self.seen, width), boxes, self.angles)


def _note(
    track: _Track, person: Speaker, indices: list[int], images: np.ndarray, found: list[ScrfdFaces], files: FaceFiles,
    ctx: RunContext,
) -> None:  # fmt: skip
    """Landmarks and pose of one speaker in the frames of a chunk in which it is found."""
    hits = []
    for place, (index, faces) in enumerate(zip(indices, found, strict=True)):
        box = _matching(faces.boxes, person.face.points[index]) if person.face.seen[index] else None
        if box is not None:
            hits.append((place, index, box, _widened(box)))
    if not hits:
        return
    crops = [cut(images[place], square) for place, _, _, square in hits]
    side = max(len(crop) for crop in crops)
    # Crops of one size travel as one array; the networks resize them anyway.
    stacked = np.stack([_fitted(crop, side) for crop in crops])
    relative = to_68(landmarks_98(files.landmarks, ctx.settings, stacked))
    if files.pose is not None:
        track.angles[[index for _, index, _, _ in hits]] = head_poses(files.pose, ctx.settings, stacked)
    for (_, index, box, square), points in zip(hits, relative, strict=True):
        top, bottom, left, right = square
        track.seen[index], track.boxes[index] = True, box
        track.points[index] = points * [right - left, bottom - top] + [left, top]


def _fitted(crop: np.ndarray, side: int) -> np.ndarray:
    return crop if crop.shape[:2] == (side, side) else cv2.resize(crop, (side, side))


def _matching(boxes: np.ndarray, points: np.ndarray) -> np.ndarray | None:
    """The detection (4,) that overlaps a measured face best, if it does."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    best, most = None, SAME_FACE
    for box in boxes[:, :4]:
        shared = np.clip(np.minimum(box[2:], high) - np.maximum(box[:2], low), 0, None).prod()
        whole = np.clip(box[2:] - box[:2], 0, None).prod() + (high - low).prod() - shared
        if shared > most * whole:
            best, most = box, shared / whole
    return best


def _widened(box: np.ndarray) -> tuple[int, int, int, int]:
    """A square around a box (4,) as top, bottom, left, right."""
    centre, half = (box[:2] + box[2:]) / 2, WIDER * float((box[2:] - box[:2]).max()) / 2
    left, top = (round(float(c - half)) for c in centre)
    side = max(2, round(2 * half))
    return top, top + side, left, left + side


def _pictures(work: TalkWork, ctx: RunContext) -> Iterator[tuple[int, np.ndarray]]:
    """The source frames with their indices."""
    limits = ctx.settings.limits
    if work.photo:
        yield 0, read_image(work.source, limits)
        return
    for frame in VideoReader(work.source, limits):
        if frame.index < work.measurement.frames:
            yield frame.index, frame.rgb
