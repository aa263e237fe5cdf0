"""What the engines with a lip network share: frames in chunks, crops of every speaker, pasting, restoring."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import islice

import cv2
import numpy as np

from pipelines.base import RunContext
from pipelines.talk.blend import Blender
from pipelines.talk.options import TalkOptions
from pipelines.talk.schedule import Shown
from pipelines.talk.work import Speaker, TalkWork

CHUNK_BYTES = 96 * 1024**2  # of frames held at once
MOST_FRAMES = 32

Box = tuple[int, int, int, int]


class NetworkEngine(ABC):
    """Draws chunk by chunk; the last, shorter one included."""

    def __init__(self, work: TalkWork, options: TalkOptions, ctx: RunContext) -> None:
        self.work, self.options, self.ctx = work, options, ctx
        self.notes: list[str] = []
        self.blender = Blender(options.blend, ctx)
        self._restored = 0

    @abstractmethod
    def box(self, speaker: Speaker, source: int) -> Box:
        """The crop of a speaker in a source frame."""

    @abstractmethod
    def draw(self, speaker: Speaker, crops: list[np.ndarray], items: list[Shown]) -> list[np.ndarray]:
        """New pictures of the crops, of their own sizes."""

    def rows(self, box: Box) -> int | None:
        """How many rows of a crop are pasted; None for all."""
        return None

    def frames(self, shown: Iterator[Shown]) -> Iterator[np.ndarray]:
        width, height = self.work.measurement.size
        chunk = int(np.clip(CHUNK_BYTES // max(1, width * height * 3), self.options.blend.batch, MOST_FRAMES))
        while items := tuple(islice(shown, chunk)):
            for speaker in self.work.speakers:
                self._speak(speaker, [i for i in items if speaker.weight[i.source] > 0])
            for item in items:
                present = [s.face.points[item.source] for s in self.work.speakers if s.weight[item.source] > 0]
                self._restored += self.blender.restore(item.rgb, present)
                yield item.rgb
        if self._restored:
            self.notes.append(f"The face was sharpened in {self._restored} frames")

    def _speak(self, speaker: Speaker, items: list[Shown]) -> None:
        boxes = [self.box(speaker, item.source) for item in items]
        usable = [(i, b) for i, b in zip(items, boxes, strict=True) if b[1] - b[0] > 8 and b[3] - b[2] > 8]
        if not usable:
            return
        crops = [cut(item.rgb, box) for item, box in usable]
        made = self.draw(speaker, crops, [item for item, _ in usable])
        for (item, box), picture in zip(usable, made, strict=True):
            points, weight = speaker.face.points[item.source], float(speaker.weight[item.source])
            self.blender.paste(item.rgb, picture, box, points, self.rows(box), weight)


def cut(image: np.ndarray, box: Box) -> np.ndarray:
    """A crop that may stick out of the picture, whose border is then repeated."""
    top, bottom, left, right = box
    height, width = image.shape[:2]
    part = image[max(0, top) : min(height, bottom), max(0, left) : min(width, right)]
    over = (max(0, -top), max(0, bottom - height), max(0, -left), max(0, right - width))
    return cv2.copyMakeBorder(part, *over, cv2.BORDER_REPLICATE) if any(over) else part.copy()
