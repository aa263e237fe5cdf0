"""Writing H.264 MP4 that every browser plays: yuv420p, index in front, the sound of a source kept."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np

from models.runtime.errors import InputError
from models.runtime.settings import Limits
from pipelines.media.atomic import replacing
from pipelines.media.audio import has_sound
from pipelines.media.encoder import BuiltInEncoder, Encoder, Job, PipedEncoder, built_in


class VideoWriter:
    """Writes RGB frames at a constant rate; the file appears whole when the ``with`` block ends well, else not at all.

    ``size`` is (width, height) of the frames; odd sizes are padded by repeating the last column or row, as 4:2:0 video
    demands. ``audio_from`` names a file whose sound, if it has any, goes along: copied bit for bit where MP4 can hold
    its codec, else as AAC; ``audio_start`` is the time in that file, in seconds, that falls on the first frame. Sound
    going on after the last frame is cut there. ``metadata`` are tags of the file (title, comment). ``crf`` is x264's
    constant quality (0..51, lower is better).

    x264 runs in this process where PyAV has it built in; with ``separate_process`` or without that, in the ffmpeg
    program.

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
        separate_process: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        if min(size) < 1:
            raise ValueError(f"size must be positive, not {size}")
        self.path, self.size = Path(path), size
        self.fps = Fraction(fps).limit_denominator(100_000)
        self.frames = 0
        self._padding = (size[1] % 2, size[0] % 2)
        limits = limits or Limits()
        silent = audio_from is None or not has_sound(audio_from, limits)
        with ExitStack() as stack:
            job = Job(
                path=stack.enter_context(replacing(self.path)),
                fps=self.fps,
                size=(size[0] + size[0] % 2, size[1] + size[1] % 2),
                crf=crf,
                preset=preset,
                limits=limits,
                sound=None if silent else (Path(audio_from), audio_start),
                metadata=dict(metadata or {}),
            )
            piped = separate_process or not built_in()
            self._encoder: Encoder = PipedEncoder(job) if piped else BuiltInEncoder(job)
            stack.callback(self._encoder.close)
            self._stack = stack.pop_all()
        self._open = True

    def write(self, rgb: np.ndarray) -> None:
        """Appends one frame: (H, W, 3) uint8 of the size given at the start."""
        width, height = self.size
        if rgb.shape != (height, width, 3) or rgb.dtype != np.uint8:
            raise ValueError(f"frame must be ({height}, {width}, 3) uint8, not {rgb.shape} {rgb.dtype}")
        if any(self._padding):
            rgb = np.pad(rgb, ((0, self._padding[0]), (0, self._padding[1]), (0, 0)), mode="edge")
        self.frames += 1
        self._encoder.encode(rgb)

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
            self._encoder.finish()
