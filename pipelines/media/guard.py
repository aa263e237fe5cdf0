"""Decoding the files of strangers in a child process with a wall clock and a bound on memory.

A decoder that hangs is killed, one that crashes takes only the child with it. Pipelines pass every uploaded file
through ``vet`` once; what is streamed afterwards may come through the child as well (``DecodeWorker.frames``) or be
read in the process itself, where the clock is looked at between packets.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from models.runtime.errors import InputError, LimitExceeded
from models.runtime.settings import Limits
from pipelines.media.audio import AudioInfo
from pipelines.media.sniff import FileKind, sniff
from pipelines.media.video import Frame, VideoInfo
from pipelines.media.worker import LENGTHS

_ERRORS = {"InputError": InputError, "LimitExceeded": LimitExceeded}
_START_SECONDS = 30.0  # a cold interpreter on a slow disk
_ROOT = Path(__file__).resolve().parents[2]


class DecodeWorker:
    """Calls of ``pipelines.media`` in one child process that is started at first need and kept for the next call.

    Each method means what the function of the same name means and raises the same errors; besides, LimitExceeded when
    nothing comes for ``limits.decode_seconds`` and InputError when the decoder crashes. Not for several threads at
    once: give each its own. Use as a context manager, or ``close`` it.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._child: subprocess.Popen[bytes] | None = None

    def read_image(self, path: Path) -> np.ndarray:
        return self._array("image", path)

    def read_image_rgba(self, path: Path) -> np.ndarray:
        return self._array("image_rgba", path)

    def image_size(self, path: Path) -> tuple[int, int]:
        width, height = self._header("image_size", path)["size"]
        return width, height

    def probe(self, path: Path) -> VideoInfo:
        header = self._header("probe", path)
        return VideoInfo(**{**header, "fps": Fraction(header["fps"])})

    def probe_audio(self, path: Path) -> AudioInfo:
        return AudioInfo(**self._header("probe_audio", path))

    def frames(
        self,
        path: Path,
        start: float | None = None,
        end: float | None = None,
        fps: Fraction | float | None = None,
        max_side: int | None = None,
        times: Sequence[float] | None = None,
    ) -> Iterator[Frame]:
        """As iterating ``VideoReader``. Leaving it early ends the child; the next call starts another."""
        options = {
            "start": start,
            "end": end,
            "fps": None if fps is None else str(Fraction(fps).limit_denominator(100_000)),
            "max_side": max_side,
            "times": None if times is None else list(times),
        }
        for header, array in self._call("frames", path, options):
            if array is not None:
                yield Frame(header["index"], header["time"], array)

    def read_audio(self, path: Path, rate: int, start: float = 0.0, end: float | None = None) -> np.ndarray:
        blocks = self._call("sound", path, {"rate": rate, "start": start, "end": end})
        return np.concatenate([array for _, array in blocks if array is not None])

    def close(self) -> None:
        """Ends the child."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.communicate()

    def __enter__(self) -> DecodeWorker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _array(self, call: str, path: Path) -> np.ndarray:
        ((_, array),) = self._call(call, path, {})
        return array

    def _header(self, call: str, path: Path) -> dict[str, Any]:
        ((header, _),) = self._call(call, path, {})
        return header

    def _start(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self.close()
            search = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH", "")])])
            self._child = subprocess.Popen(
                [sys.executable, "-m", "pipelines.media.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": search},
            )
        return self._child

    def _call(
        self, call: str, path: Path, options: dict[str, Any]
    ) -> Iterator[tuple[dict[str, Any], np.ndarray | None]]:
        path = Path(path)
        fresh = self._child is None
        child = self._start()
        request = {"call": call, "path": str(path.absolute()), "limits": asdict(self.limits), "options": options}
        finished = False
        try:
            _write(child, json.dumps(request).encode() + b"\n")
            seconds = self.limits.decode_seconds + (_START_SECONDS if fresh else 0.0)
            while True:
                header, array = _receive(child, path, seconds)
                seconds = self.limits.decode_seconds
                if "error" in header:
                    finished = True
                    raise _ERRORS[header["error"]](header["message"])
                if header.get("end"):
                    finished = True
                    return
                yield header, array
        finally:
            if not finished:
                self.close()


def _write(child: subprocess.Popen[bytes], line: bytes) -> None:
    try:
        child.stdin.write(line)
        child.stdin.flush()
    except BrokenPipeError:
        return  # it died; reading its answer tells so


def _receive(child: subprocess.Popen[bytes], path: Path, seconds: float) -> tuple[dict[str, Any], np.ndarray | None]:
    """One record of the child, which is killed after ``seconds`` without one."""
    late = threading.Event()

    def expire() -> None:
        late.set()
        child.kill()

    timer = threading.Timer(max(0.0, seconds), expire)
    timer.daemon = True
    timer.start()
    try:
        text_length, array_bytes = LENGTHS.unpack(_exactly(child, LENGTHS.size))
        header = json.loads(_exactly(child, text_length))
        if not array_bytes:
            return header, None
        array = np.empty(header.pop("shape"), header.pop("dtype"))
        if child.stdout.readinto(memoryview(array).cast("B")) != array_bytes:
            raise EOFError
        return header, array
    except EOFError:
        if late.is_set():
            raise LimitExceeded(
                f"{path.name} stood still for {seconds:.0f} s while it was decoded; convert it or make it smaller"
            ) from None
        raise InputError(f"{path.name} is so damaged that its decoder broke down; export it again") from None
    finally:
        timer.cancel()


def _exactly(child: subprocess.Popen[bytes], count: int) -> bytes:
    data = child.stdout.read(count)
    if len(data) != count:
        raise EOFError
    return data


@dataclass(frozen=True)
class Vetted:
    """A file that has been decoded once in safety. Sizes in pixels as displayed, ``seconds`` 0 for what has no time."""

    path: Path
    kind: FileKind
    format: str
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    has_audio: bool = False
    complete: bool = True


def vet(paths: Sequence[Path], limits: Limits) -> list[Vetted]:
    """Looks at files of strangers in a child process: images are decoded whole, videos and sounds are scanned.

    Kinds other than these three (archives, models, texts) are only named, not opened.

    Raises:
        InputError, LimitExceeded: of the first file that cannot be used.
    """
    with DecodeWorker(limits) as worker:
        return [_vet(worker, Path(path)) for path in paths]


def _vet(worker: DecodeWorker, path: Path) -> Vetted:
    found = sniff(path)
    if found.kind == "image":
        height, width = worker.read_image(path).shape[:2]
        return Vetted(path, "image", found.format, width, height)
    if found.kind == "video":
        info = worker.probe(path)
        return Vetted(
            path, "video", found.format, info.width, info.height, info.duration, info.has_audio, info.complete
        )
    if found.kind == "audio":
        info = worker.probe_audio(path)
        return Vetted(path, "audio", found.format, seconds=info.duration, has_audio=True)
    return Vetted(path, found.kind, found.format)
