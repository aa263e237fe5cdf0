"""The child process of ``pipelines.media.guard``: decodes what it is told to and writes it to standard output.

One JSON request per line comes in: ``{"call": name, "path": ..., "limits": {...}, "options": {...}}``. Records go out,
each the lengths of both parts (two little-endian 64-bit numbers), a JSON header and the bytes of an array, if any.
The last record of an answer has ``"end": true`` or ``"error"``.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from models.runtime.errors import InputError
from models.runtime.settings import Limits
from pipelines.media.audio import probe_audio, stream_audio
from pipelines.media.image import image_size, read_image, read_image_rgba
from pipelines.media.video import VideoReader, probe

LENGTHS = struct.Struct("<QQ")
MEMORY_BYTES = 8 * 1024**3  # address space; decoders of 4K video and 64-megapixel photos stay well below

Record = tuple[dict[str, Any], np.ndarray | None]


def _frames(path: Path, limits: Limits, **options: Any) -> Iterator[Record]:
    if options.get("fps"):
        options["fps"] = Fraction(options["fps"])
    reader = VideoReader(path, limits, **options)
    for frame in reader:
        yield {"index": frame.index, "time": frame.time}, frame.rgb
    yield {"skipped": reader.skipped, "complete": reader.complete}, None


def _sound(path: Path, limits: Limits, **options: Any) -> Iterator[Record]:
    for block in stream_audio(path, limits=limits, **options):
        yield {}, block


def _probe(path: Path, limits: Limits) -> Iterator[Record]:
    info = asdict(probe(path, limits))
    yield {**info, "fps": str(info["fps"])}, None


CALLS = {
    "image": lambda path, limits: iter([({}, read_image(path, limits))]),
    "image_rgba": lambda path, limits: iter([({}, read_image_rgba(path, limits))]),
    "image_size": lambda path, limits: iter([({"size": image_size(path, limits)}, None)]),
    "probe": _probe,
    "probe_audio": lambda path, limits: iter([(asdict(probe_audio(path, limits)), None)]),
    "frames": _frames,
    "sound": _sound,
}


def _send(sink: BinaryIO, header: dict[str, Any], array: np.ndarray | None = None) -> None:
    if array is not None:
        array = np.ascontiguousarray(array)
        header = {**header, "shape": array.shape, "dtype": array.dtype.str}
    text = json.dumps(header).encode()
    sink.write(LENGTHS.pack(len(text), 0 if array is None else array.nbytes))
    sink.write(text)
    if array is not None:
        sink.write(memoryview(array).cast("B"))
    sink.flush()


def _answer(request: dict[str, Any], sink: BinaryIO) -> None:
    limits = Limits(**request["limits"])
    try:
        for header, array in CALLS[request["call"]](Path(request["path"]), limits, **request["options"]):
            _send(sink, header, array)
    except InputError as error:
        _send(sink, {"error": type(error).__name__, "message": error.message})
    except MemoryError:
        name = Path(request["path"]).name
        _send(sink, {"error": "LimitExceeded", "message": f"{name} needs too much memory; make it smaller first"})
    else:
        _send(sink, {"end": True})


def _bound_memory() -> None:
    if sys.platform.startswith("linux"):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def main() -> None:
    """Answers requests until standard input ends."""
    _bound_memory()
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as sink:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing that prints may get between the records
        for line in sys.stdin.buffer:
            try:
                _answer(json.loads(line), sink)
            except BrokenPipeError:
                return


if __name__ == "__main__":
    main()
