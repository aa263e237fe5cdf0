"""Writing H.264 MP4 that every browser plays: yuv420p, index in front, the sound of a source kept."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace

from models.runtime.errors import InputError
from models.runtime.settings import Limits
from pipelines.media.atomic import replacing
from pipelines.media.track import AudioTrack

_BT709 = 1  # the same number for matrix, transfer and primaries
_LIMITED_RANGE = 1
_KEYFRAME_SECONDS = 2


class VideoWriter:
    """Writes RGB frames at a constant rate; the file appears whole when the ``with`` block ends well, else not at all.

    ``size`` is (width, height) of the frames; odd sizes are padded by repeating the last column or row, as 4:2:0 video
    demands. ``audio_from`` names a file whose sound goes along, copied bit for bit where MP4 can hold its codec, else
    as AAC; ``audio_start`` is the time in that file, in seconds, that falls on the first frame. Sound going on after
    the last frame is cut there. ``crf`` is x264's constant quality (0..51, lower is better).

    Raises:
        InputError: no frame was written, or ``audio_from`` cannot be read.
    """

    def __init__(
        self,
        path: Path,
        fps: Fraction | float,
        size: tuple[int, int],
        audio_from: Path | None = None,
        crf: float = 18,
        *,
        audio_start: float = 0.0,
        limits: Limits | None = None,
        preset: str = "veryfast",
    ) -> None:
        if min(size) < 1:
            raise ValueError(f"size must be positive, not {size}")
        self.path, self.size = Path(path), size
        self.fps = Fraction(fps).limit_denominator(100_000)
        self.frames = 0
        self._audio: AudioTrack | None = None
        width, height = size[0] + size[0] % 2, size[1] + size[1] % 2
        self._padded = (width, height) != size
        with ExitStack() as stack:
            self._temporary = stack.enter_context(replacing(self.path))
            self._output = stack.enter_context(
                av.open(str(self._temporary), "w", format="mp4", options={"movflags": "+faststart"})
            )
            self._stream = self._output.add_stream("libx264", rate=self.fps, width=width, height=height)
            self._stream.pix_fmt = "yuv420p"
            self._stream.options = {"crf": f"{crf:g}", "preset": preset}
            self._stream.gop_size = max(1, round(self.fps * _KEYFRAME_SECONDS))
            context = self._stream.codec_context
            context.time_base = 1 / self.fps
            context.colorspace = context.color_trc = context.color_primaries = _BT709
            context.color_range = _LIMITED_RANGE
            if audio_from is not None:
                self._audio = AudioTrack(self._output, Path(audio_from), limits or Limits(), audio_start)
                stack.callback(self._audio.close)
            self._stack = stack.pop_all()
        self._open = True

    def write(self, rgb: np.ndarray) -> None:
        """Appends one frame: (H, W, 3) uint8 of the size given at the start."""
        width, height = self.size
        if rgb.shape != (height, width, 3) or rgb.dtype != np.uint8:
            raise ValueError(f"frame must be ({height}, {width}, 3) uint8, not {rgb.shape} {rgb.dtype}")
        if self._padded:
            rgb = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
        frame.pts, frame.time_base = self.frames, 1 / self.fps
        self.frames += 1
        self._output.mux(self._stream.encode(frame))
        if self._audio is not None:
            self._audio.advance(float(self.frames / self.fps))

    def close(self) -> None:
        """Ends the file and puts it in place."""
        if self._open:
            self.__exit__(None, None, None)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._open:
            return
        self._open = False
        if kind is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            if self.frames == 0:
                raise InputError(f"No frame was written to {self.path.name}; the input gave none")
            self._output.mux(self._stream.encode(None))
            if self._audio is not None:
                self._audio.finish(float(self.frames / self.fps))
