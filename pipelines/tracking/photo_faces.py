"""Faces of single photos, also of photos that lie on their side or stand on their head, and faces the border cuts.

The networks know upright, whole faces. On a turned one they answer all the same, as sure as ever, with a face that is
not there; but the detector is surest of a picture the right way up, which tells how a photo lies.
"""

from __future__ import annotations

from dataclasses import replace
from math import pi

import cv2
import numpy as np

from models.blaze.config import FACE_SHORT_RANGE
from models.blaze.face import LEFT_EYE_OUTER, RIGHT_EYE_OUTER
from pipelines.tracking.face_tracker import Face, FaceTracker

SURE, CLEARER = 0.95, 0.04  # detector scores that need no second look, and how much better another way up must be
PLAIN = 0.8  # the least score in a turned photo
ADDED = 0.25  # of the longer side: how far a photo is mirrored over its borders
IN_SIGHT = ((168, 1, 13, 33, 133), (168, 1, 13, 263, 362))  # bridge, nose, mouth and one eye: what cannot be guessed
MARGIN = 0.02  # of a face's size: how far inside the picture these must lie


def faces_of_photo(tracker: FaceTracker, image: np.ndarray, cut: bool = False) -> tuple[Face, ...]:
    """The faces of a photo (H, W, 3) uint8 RGB, largest first, whichever way up it is.

    With ``cut`` a photo without any whole face is searched for one that goes over its border.
    """
    faces = tracker.find_faces(image)
    best = max((face.certainty for face in faces), default=0.0)
    if best < SURE:
        scores = {turns: _certainty(tracker, np.rot90(image, turns)) for turns in (1, 2, 3)}
        turns = max(scores, key=scores.__getitem__)
        if scores[turns] > max(best + CLEARER, PLAIN):
            turned = filter(_upright, tracker.find_faces(np.ascontiguousarray(np.rot90(image, turns))))
            faces = tuple(_turned_back(face, turns, image.shape) for face in turned) or faces
    return faces or (_over_the_border(tracker, image) if cut else ())


def _certainty(tracker: FaceTracker, image: np.ndarray) -> float:
    """The detector's best score in the whole of a picture."""
    scores = tracker.networks.detect(np.ascontiguousarray(image), FACE_SHORT_RANGE).scores
    return float(scores.max()) if len(scores) else 0.0


def _upright(face: Face) -> bool:
    """Whether a face is the right way up, not leaning by more than half a quarter."""
    across = face.landmarks[LEFT_EYE_OUTER] - face.landmarks[RIGHT_EYE_OUTER]
    return bool(across[0] > abs(across[1]))


def _turned_back(face: Face, turns: int, shape: tuple[int, ...]) -> Face:
    """A face found after ``turns`` quarter turns against the clock, in the picture (H, W, ...) as it was."""
    landmarks, region = face.landmarks.copy(), face.region
    for turn in reversed(range(turns)):
        width = shape[1] if turn % 2 == 0 else shape[0]  # of the picture before this turn
        landmarks = np.stack([width - 1 - landmarks[:, 1], landmarks[:, 0], landmarks[:, 2]], axis=1)
        region = replace(region, x=width - 1 - region.y, y=region.x, angle=region.angle + pi / 2)
    return replace(face, landmarks=landmarks, box=_box(landmarks), region=region)


def _over_the_border(tracker: FaceTracker, image: np.ndarray) -> tuple[Face, ...]:
    """Faces of which enough lies in the picture; the network sees the rest as in a mirror at the border."""
    height, width = image.shape[:2]
    added = min(round(ADDED * max(height, width)), height, width)
    wider = cv2.copyMakeBorder(image, added, added, added, added, cv2.BORDER_REFLECT)
    found = []
    for face in tracker.find_faces(wider):
        landmarks = face.landmarks - (added, added, 0)
        whole = (landmarks[:468, :2] >= 0).all() and (landmarks[:468, :2] <= (width - 1, height - 1)).all()
        low, high = MARGIN * face.size, np.array([width, height]) - 1 - MARGIN * face.size
        inside = ((landmarks[:, :2] >= low) & (landmarks[:, :2] <= high)).all(axis=1)
        if not whole and any(inside[list(points)].all() for points in IN_SIGHT):
            region = replace(face.region, x=face.region.x - added, y=face.region.y - added)
            found.append(replace(face, landmarks=landmarks, box=_box(landmarks), region=region))
    return tuple(found)


def _box(landmarks: np.ndarray) -> np.ndarray:
    surface = landmarks[:468, :2]
    return np.concatenate([surface.min(axis=0), surface.max(axis=0)])
