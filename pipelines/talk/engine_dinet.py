"""Engine ``dinet``: the open DINet at 256 pixels of mouth, listening through DeepSpeech 0.1.

The clip's references are chosen and encoded once, and one crop size serves the whole clip so that it does not pump.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from models.runtime.errors import InputError
from models.talking.audio_features import RATE
from models.talking.deepspeech import network_input
from models.talking.dinet import REFERENCES, crop_size
from pipelines.base import RunContext
from pipelines.media.audio import read_audio
from pipelines.media.image import read_image
from pipelines.media.video import VideoReader
from pipelines.talk.crops import RANDOM_SCALE, crop_box, mouth_radius
from pipelines.talk.engine_network import Box, NetworkEngine, cut
from pipelines.talk.lips import NetworkFile, dinet_faces, letter_scores
from pipelines.talk.options import TalkOptions
from pipelines.talk.schedule import Shown
from pipelines.talk.work import Speaker, TalkWork
from pipelines.tracking.face_points import to_68

MOUTH = 256
HEIGHT, WIDTH = crop_size(MOUTH)
FEATURES_PER_SECOND = 25.0
AROUND = 2  # features before and after the one of the moment


class DinetEngine(NetworkEngine):
    """Deforms five pictures of the clip to fit the speech."""

    def __init__(self, work: TalkWork, options: TalkOptions, ctx: RunContext) -> None:
        super().__init__(work, options, ctx)
        self._file = NetworkFile("dinet", ctx.weights.path("dinet-256mouth"))
        listener = NetworkFile("deepspeech", ctx.weights.path("dinet-deepspeech"))
        samples = read_audio(work.voice, RATE, ctx.settings.limits, 0.0, options.preview_seconds or None)
        rows = network_input(np.rint(samples * 32767).astype(np.int16))[0]
        scores = letter_scores(listener, ctx.settings, rows)[::2]
        self._scores = np.pad(scores, ((AROUND, AROUND), (0, 0)))
        self._points = {s.face.number: _points(work, s) for s in work.speakers}
        self._radius = {s.face.number: self._steady_radius(s) for s in work.speakers}
        self._references = {s.face.number: self._choose_references(s) for s in work.speakers}

    def box(self, speaker: Speaker, source: int) -> Box:
        number = speaker.face.number
        return crop_box(self._points[number][source], self._radius[number])

    def rows(self, box: Box) -> int:
        """The lowest part of the crop is not put back."""
        radius = round((box[1] - box[0]) / 3.25)
        return 3 * radius

    def draw(self, speaker: Speaker, crops: list[np.ndarray], items: list[Shown]) -> list[np.ndarray]:
        sources = np.stack([cv2.resize(crop, (WIDTH, HEIGHT)) for crop in crops])
        audio = np.stack([self._window(item.number) for item in items])
        references = self._references[speaker.face.number]
        made = dinet_faces(self._file, self.ctx.settings, sources, references, audio, self.options.blend.batch)
        return [cv2.resize(picture, (crop.shape[1], crop.shape[0])) for picture, crop in zip(made, crops, strict=True)]

    def _window(self, number: int) -> np.ndarray:
        """Scores around a frame's moment: (29, 5) float32."""
        seconds = max(0.0, number / float(self.work.fps) - self.options.offset_ms / 1000)
        last = len(self._scores) - 2 * AROUND - 1
        start = min(round(seconds * FEATURES_PER_SECOND), max(0, last))
        return np.ascontiguousarray(self._scores[start : start + 2 * AROUND + 1].T, dtype=np.float32)

    def _steady_radius(self, speaker: Speaker) -> int:
        """One radius for the clip: a high quantile of the frames' own, as a multiple of four."""
        usable = speaker.weight > 0
        sizes = mouth_radius(self._points[speaker.face.number][usable if usable.any() else speaker.face.seen])
        radius = int(np.quantile(sizes, 0.9) * RANDOM_SCALE) // 2
        if radius < 8:
            raise InputError("The face is too small for DINet; use the engine viseme or a larger picture")
        return (radius // 4 + 1) * 4

    def _choose_references(self, speaker: Speaker) -> np.ndarray:
        """Five pictures spread over the openings of the mouth: (5, 416, 320, 3) uint8."""
        usable = np.flatnonzero(speaker.weight > 0)
        order = usable[np.argsort(speaker.face.openings()[usable], kind="stable")]
        chosen = order[np.linspace(0, len(order) - 1, REFERENCES).round().astype(int)]
        pictures = dict(self._pictures(sorted({int(i) for i in chosen})))
        return np.stack([cv2.resize(cut(pictures[int(i)], self.box(speaker, int(i))), (WIDTH, HEIGHT)) for i in chosen])

    def _pictures(self, indices: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        limits = self.ctx.settings.limits
        if self.work.photo:
            yield 0, read_image(self.work.source, limits)
            return
        times = [float(self.work.measurement.times[i]) for i in indices]
        reader = VideoReader(self.work.source, limits, times=times)
        for index, frame in zip(indices, reader, strict=True):
            yield index, frame.rgb


def _points(work: TalkWork, speaker: Speaker) -> np.ndarray:
    """The 68 landmarks (F, 68, 2) of a speaker, by HeyGem's networks where they followed it."""
    other = work.followed.get(speaker.face.number)
    return other.points if other is not None else to_68(speaker.face.points)
