"""H.264 encoders behind ``VideoWriter``: x264 in PyAV's own FFmpeg, or in the ffmpeg program as a separate process."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import imageio_ffmpeg
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from models.runtime.errors import EngineUnavailable
from models.runtime.settings import Limits
from pipelines.media.remux import copy_pictures
from pipelines.media.track import AudioTrack

_BT709 = 1  # the same number for matrix, transfer and primaries
_LIMITED_RANGE = 1
_KEYFRAME_SECONDS = 2
_CLOSE_SECONDS = 120.0
_OWN_SIDE, _OWN_SECONDS = 1 << 14, 86_400.0  # the limits are for the videos of others


@dataclass(frozen=True)
class Job:
    """What to encode: ``size`` (width, height) is even, ``sound`` is a file and the time in it of the first frame."""

    path: Path
    fps: Fraction
    size: tuple[int, int]
    crf: float
    preset: str
    limits: Limits
    sound: tuple[Path, float] | None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def keyframe_interval(self) -> int:
        return max(1, round(self.fps * _KEYFRAME_SECONDS))


class Encoder(Protocol):
    """Writes frames (H, W, 3) uint8 RGB of the job's size; ``finish`` completes the file, ``close`` always follows."""

    def encode(self, rgb: np.ndarray) -> None: ...

    def finish(self) -> None: ...

    def close(self) -> None: ...


def built_in() -> bool:
    """Whether PyAV's FFmpeg can encode with x264."""
    return "libx264" in av.codecs_available


class BuiltInEncoder:
    """x264 in this process; the sound is interleaved while the pictures come."""

    def __init__(self, job: Job) -> None:
        self._job, self._frames = job, 0
        self._reformatter = VideoReformatter()
        self._audio: AudioTrack | None = None
        with ExitStack() as stack:
            self._output = stack.enter_context(
                av.open(str(job.path), "w", format="mp4", options={"movflags": "+faststart"})
            )
            self._output.metadata.update(job.metadata)
            self._stream = self._output.add_stream("libx264", rate=job.fps, width=job.size[0], height=job.size[1])
            self._stream.pix_fmt = "yuv420p"
            self._stream.options = {"crf": f"{job.crf:g}", "preset": job.preset}
            self._stream.gop_size = job.keyframe_interval
            context = self._stream.codec_context
            context.time_base = 1 / job.fps
            context.colorspace = context.color_trc = context.color_primaries = _BT709
            context.color_range = _LIMITED_RANGE
            if job.sound is not None:
                self._audio = AudioTrack(self._output, job.sound[0], job.limits, job.sound[1])
                stack.callback(self._audio.close)
            self._stack = stack.pop_all()

    def encode(self, rgb: np.ndarray) -> None:
        frame = self._reformatter.reformat(
            VideoFrame.from_numpy_buffer(np.ascontiguousarray(rgb), format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        frame.pts, frame.time_base = self._frames, 1 / self._job.fps
        self._frames += 1
        self._output.mux(self._stream.encode(frame))
        if self._audio is not None:
            self._audio.advance(float(self._frames / self._job.fps))

    def finish(self) -> None:
        self._output.mux(self._stream.encode(None))
        if self._audio is not None:
            self._audio.finish(float(self._frames / self._job.fps))

    def close(self) -> None:
        self._stack.close()


class PipedEncoder:
    """x264 in the ffmpeg program that imageio-ffmpeg brings, fed through a pipe; the sound is added at the end."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._silent = job.path.with_name(job.path.stem + ".silent.mp4")
        self._stack = ExitStack()
        self._errors = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
        width, height = job.size
        rate = f"{job.fps.numerator}/{job.fps.denominator}"
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", rate, "-i", "pipe:0"]
        x264 = ["-c:v", "libx264", "-crf", f"{job.crf:g}", "-preset", job.preset, "-g", str(job.keyframe_interval)]
        colours = ["-vf", "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p", "-color_range", "tv"]
        tags = ["-colorspace", "bt709", "-color_trc", "bt709", "-color_primaries", "bt709"]
        quiet = ["-v", "error", "-nostdin", "-y"]
        self._program = subprocess.Popen(
            [imageio_ffmpeg.get_ffmpeg_exe(), *quiet, *source, *x264, *colours, *tags, f"file:{self._silent}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
        )

    def encode(self, rgb: np.ndarray) -> None:
        try:
            self._program.stdin.write(memoryview(np.ascontiguousarray(rgb)).cast("B"))
        except BrokenPipeError as error:
            raise self._failed() from error

    def finish(self) -> None:
        try:
            self._program.stdin.close()
        except BrokenPipeError as error:
            raise self._failed() from error
        if self._program.wait(_CLOSE_SECONDS) != 0:
            raise self._failed()
        sound, start = self._job.sound or (None, 0.0)
        own = replace(self._job.limits, video_side=_OWN_SIDE, video_seconds=_OWN_SECONDS)
        copy_pictures(self._silent, self._job.path, own, sound, start, self._job.metadata)

    def close(self) -> None:
        if self._program.poll() is None:
            self._program.kill()
        with suppress(BrokenPipeError):
            self._program.stdin.close()
        self._program.wait()
        self._stack.close()
        self._silent.unlink(missing_ok=True)

    def _failed(self) -> EngineUnavailable:
        self._errors.seek(0)
        words = self._errors.read().decode(errors="replace").strip().splitlines()
        return EngineUnavailable(f"The video encoder stopped: {words[-1] if words else 'no reason given'}")
