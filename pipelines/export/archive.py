"""ZIP archives of result files, to a file or as a stream that is never held whole."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from typing_extensions import Buffer

from models.runtime.errors import NotFound
from pipelines.media.atomic import replacing

_PACKED = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".mp4", ".webm", ".m4a", ".mp3", ".npz", ".zip", ".gz"}
_CHUNK = 1 << 20


def folder_files(folder: Path, exclude: Iterable[str] = ()) -> list[tuple[Path, str]]:
    """(file, name in the archive) of all files under a folder in a steady order, links left out.

    ``exclude`` holds names relative to the folder, files or whole folders.
    """
    folder, left_out = Path(folder), set(exclude)
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        skipped = left_out & {name.as_posix(), *(p.as_posix() for p in name.parents)}
        if path.is_file() and not path.is_symlink() and not skipped:
            found.append((path, name.as_posix()))
    return found


class _Outbox(io.RawIOBase):
    """Takes what zipfile writes and hands it on; it cannot seek, which makes zipfile stream."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer) -> int:
        self.parts.append(bytes(data))
        return len(self.parts[-1])

    def take(self) -> bytes:
        taken = b"".join(self.parts)
        self.parts.clear()
        return taken


def stream_zip(files: Iterable[tuple[Path, str]]) -> Iterator[bytes]:
    """The bytes of a ZIP of (file, name) pairs, in pieces of about a megabyte. Packed media are stored as they are.

    Raises:
        NotFound: a file has gone; what was sent until then is not a whole archive.
    """
    outbox = _Outbox()
    with zipfile.ZipFile(outbox, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
        for path, name in files:
            try:
                info = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
            except FileNotFoundError as error:
                raise NotFound(f"{name} is no longer there, so the ZIP cannot be made; run the job again") from error
            info.compress_type = zipfile.ZIP_STORED if path.suffix.lower() in _PACKED else zipfile.ZIP_DEFLATED
            with path.open("rb") as source, archive.open(info, "w", force_zip64=info.file_size > 1 << 31) as member:
                while block := source.read(_CHUNK):
                    member.write(block)
                    if data := outbox.take():
                        yield data
    yield outbox.take()


def write_zip(path: Path, files: Iterable[tuple[Path, str]]) -> Path:
    """The same archive as a file, which appears when it is complete."""
    with replacing(path) as temporary, temporary.open("wb") as target:
        for data in stream_zip(files):
            target.write(data)
    return Path(path)


def zip_folder(path: Path, folder: Path, exclude: Iterable[str] = ()) -> Path:
    """A ZIP of everything under a folder."""
    return write_zip(path, folder_files(folder, exclude))
