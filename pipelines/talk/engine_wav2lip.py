"""Engine ``wav2lip``: the mouth by Wav2Lip's generator, on boxes that are measured once per clip."""

from __future__ import annotations

import cv2
import numpy as np

from models.talking.audio_features import RATE, wav2lip_mel
from models.talking.wav2lip import FACE_SIZE, MEL_STEPS
from pipelines.base import RunContext
from pipelines.media.audio import read_audio
from pipelines.talk.crops import smooth_boxes
from pipelines.talk.engine_network import Box, NetworkEngine
from pipelines.talk.lips import NetworkFile, wav2lip_faces
from pipelines.talk.options import TalkOptions
from pipelines.talk.schedule import Shown
from pipelines.talk.work import Followed, Speaker, TalkWork

WEIGHTS = (("wav2lip-gan",), ("wav2lip",))
BELOW = 0.05  # of the box's height added under the chin, as the original's padding does
NOISE = 1e-4  # keeps digital silence away from the logarithm's floor
COLUMNS_PER_SECOND = 80.0


class Wav2LipEngine(NetworkEngine):
    """Mel columns by time, boxes smoothed over five frames."""

    def __init__(self, work: TalkWork, options: TalkOptions, ctx: RunContext) -> None:
        super().__init__(work, options, ctx)
        weight = next((ids[0] for ids in WEIGHTS if ctx.weights.installed(ids[0])), WEIGHTS[0][0])
        self._file = NetworkFile("wav2lip", ctx.weights.path(weight))
        samples = read_audio(work.voice, RATE, ctx.settings.limits, 0.0, options.preview_seconds or None)
        samples = samples + np.random.default_rng(0).normal(0, NOISE, len(samples)).astype(np.float32)
        self._mel = wav2lip_mel(samples)
        self._boxes = {s.face.number: face_boxes(s, work.followed.get(s.face.number)) for s in work.speakers}

    def box(self, speaker: Speaker, source: int) -> Box:
        x0, y0, x1, y1 = (int(v) for v in self._boxes[speaker.face.number][source])
        return y0, y1, x0, x1

    def draw(self, speaker: Speaker, crops: list[np.ndarray], items: list[Shown]) -> list[np.ndarray]:
        small = np.stack([cv2.resize(crop, (FACE_SIZE, FACE_SIZE)) for crop in crops])
        mel = np.stack([self._columns(item.number) for item in items])
        made = wav2lip_faces(self._file, self.ctx.settings, mel, small, max(self.options.blend.batch, 8))
        return [cv2.resize(picture, (crop.shape[1], crop.shape[0])) for picture, crop in zip(made, crops, strict=True)]

    def _columns(self, number: int) -> np.ndarray:
        seconds = number / float(self.work.fps) - self.options.offset_ms / 1000
        start = int(np.clip(int(max(0.0, seconds) * COLUMNS_PER_SECOND), 0, max(0, self._mel.shape[1] - MEL_STEPS)))
        part = self._mel[:, start : start + MEL_STEPS]
        return np.pad(part, ((0, 0), (0, MEL_STEPS - part.shape[1])), constant_values=-4.0)


def face_boxes(speaker: Speaker, other: Followed | None = None) -> np.ndarray:
    """(F, 4) x0, y0, x1, y1 around a speaker in every source frame, smoothed; unseen ones take a neighbour's.

    From the landmarks, or where other networks followed the speaker from their boxes.
    """
    seen = np.flatnonzero(other.seen if other is not None else speaker.face.seen)
    if other is not None:
        tight = other.boxes[seen].astype(float)
    else:
        points = speaker.face.points[seen][..., :2]
        tight = np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)
    tight[:, 3] += BELOW * (tight[:, 3] - tight[:, 1])
    smooth = smooth_boxes(tight.astype(np.int64))
    nearest = np.abs(np.arange(len(speaker.face.seen))[:, None] - seen[None]).argmin(axis=1)
    return smooth[nearest]
