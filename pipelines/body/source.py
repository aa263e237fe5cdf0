"""The picture or video a run is about, as frames, and who finds people in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from models.runtime.errors import InputError, WeightsMissing
from models.runtime.settings import Limits
from pipelines.base import Inputs, RunContext
from pipelines.body.options import PeopleOptions, RangeOptions
from pipelines.media.image import read_image
from pipelines.media.video import Frame, VideoInfo, VideoReader, prefetch, probe
from pipelines.tracking import people_detector
from pipelines.tracking.people_detector import OnnxPeople


@dataclass(frozen=True)
class Source:
    """One photo or one video; ``info`` is None for a photo. ``start`` and ``end`` in seconds of the file."""

    path: Path
    info: VideoInfo | None
    size: tuple[int, int]
    start: float | None = None
    end: float | None = None

    @property
    def fps(self) -> float:
        return 30.0 if self.info is None else float(self.info.fps)

    @property
    def expected(self) -> int:
        """About how many frames there will be."""
        if self.info is None:
            return 1
        first, last = self.info.start, self.info.start + self.info.duration
        span = min(self.end or last, last) - max(self.start or first, first)
        return max(1, min(self.info.frames, round(span * self.fps)))

    def frames(self, limits: Limits) -> Iterator[Frame]:
        """All frames, read ahead; an even rate where the video's varies."""
        if self.info is None:
            yield Frame(0, 0.0, read_image(self.path, limits))
            return
        rate = self.info.fps if self.info.variable else None
        yield from prefetch(VideoReader(self.path, limits, self.start, self.end, rate), 3)


def open_source(inputs: Inputs, options: RangeOptions, limits: Limits) -> Source:
    """Sorts out the input.

    Raises:
        InputError: nothing, or a photo and a video together; a range outside the video.
    """
    photo, video = inputs.one("photo"), inputs.one("video")
    if photo is not None and video is not None:
        raise InputError("A photo and a video together cannot be used; give one of them")
    if photo is not None:
        height, width = read_image(photo, limits).shape[:2]
        return Source(photo, None, (width, height))
    if video is None:
        raise InputError("Nothing to work on: add a photo or a video of people")
    info = probe(video, limits)
    if options.end and options.end <= options.start:
        raise InputError("The end of the range must come after its start")
    if options.start >= info.start + info.duration:
        raise InputError(f"The range starts at {options.start:g} s, after the video's end at {info.duration:g} s")
    return Source(video, info, (info.width, info.height), options.start or None, options.end or None)


def chosen_detector(options: PeopleOptions, ctx: RunContext) -> OnnxPeople | None:
    """The detector the user installed, None for the built-in search.

    Raises:
        WeightsMissing: it was asked for and is not installed.
    """
    installed = ctx.weights.installed(people_detector.WEIGHTS)
    if options.detector == "onnx" and not installed:
        raise WeightsMissing(
            "No person detector is installed: add any YOLO or RT-DETR file in ONNX form in the Models tab or with "
            f"`python -m studio weights add {people_detector.WEIGHTS} FILE`"
        )
    return OnnxPeople(ctx.cache, ctx.weights) if installed and options.detector != "embedded" else None
