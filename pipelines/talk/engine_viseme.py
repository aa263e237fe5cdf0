"""The embedded engine: mouth curves drawn as a warp of the real mouth, with an inside of its own. No checkpoint."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np

from pipelines.base import RunContext
from pipelines.media.image import read_image
from pipelines.media.video import VideoReader
from pipelines.talk.mouth_draw import MouthArtist, tones_of
from pipelines.talk.mouth_shape import learn_person
from pipelines.talk.options import TalkOptions
from pipelines.talk.schedule import Shown
from pipelines.talk.still import StillMotion
from pipelines.talk.visemes import CHANNELS
from pipelines.talk.work import Speaker, TalkWork

TEETH_TRIES = 3  # most open frames that are looked at for teeth


class VisemeEngine:
    """Prepares one artist per speaker, then draws frame by frame."""

    def __init__(self, work: TalkWork, options: TalkOptions, ctx: RunContext) -> None:
        self.work, self.options = work, options
        self.notes: list[str] = []
        self._limits = ctx.settings.limits
        self._artists = [(s, self._artist(s)) for s in work.speakers]
        self._motion = [self._still_motion(s) for s in work.speakers] if work.photo else []

    def frames(self, shown: Iterator[Shown]) -> Iterator[np.ndarray]:
        strength = self.options.mouth.strength
        for item in shown:
            frame = item.rgb
            curves = self.work.curves[item.number]
            for speaker, artist in self._artists:
                weight = float(speaker.weight[item.source])
                if weight <= 0:
                    continue
                points = speaker.face.points[item.source]
                if weight >= 1:
                    artist.draw(frame, points, curves, strength)
                else:
                    before = frame.copy()
                    artist.draw(frame, points, curves, strength)
                    frame[:] = (before + (frame.astype(np.float32) - before) * weight).astype(np.uint8)
            for speaker, motion in zip(self.work.speakers, self._motion, strict=False):
                motion.apply(frame, speaker.face.points[0], item.number)
            yield frame

    def _artist(self, speaker: Speaker) -> MouthArtist:
        face = speaker.face
        drawn = np.flatnonzero(speaker.weight > 0)
        chosen = drawn if len(drawn) else np.flatnonzero(face.seen)
        person = learn_person(face.points[chosen])
        openings = face.openings()[chosen]
        calm = int(chosen[np.argmin(openings)])
        artist = MouthArtist(person, tones_of(self._picture(calm), face.points[calm]))
        if self.options.mouth.own_teeth:
            for index in chosen[np.argsort(-openings, kind="stable")][:: max(1, len(chosen) // 40)][:TEETH_TRIES]:
                if artist.learn_teeth(self._picture(int(index)), face.points[index]):
                    break
        return artist

    def _picture(self, index: int) -> np.ndarray:
        if self.work.photo:
            return read_image(self.work.source, self._limits)
        time = float(self.work.measurement.times[index])
        return next(iter(VideoReader(self.work.source, self._limits, times=[time]))).rgb

    def _still_motion(self, speaker: Speaker) -> StillMotion:
        if self.work.expression is not None:
            return StillMotion.follow(self.work.expression, self.work.count, float(self.work.fps))
        energy = self.work.curves[:, CHANNELS.index("energy")]
        seed = zlib.crc32(speaker.face.points.tobytes())
        still = self.options.still
        return StillMotion.make(self.work.count, float(self.work.fps), energy, seed, still.motion, still.blinks)
