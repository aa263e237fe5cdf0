"""Unpacking ZIP and TAR files of strangers: every member is checked before the first byte is written."""

from __future__ import annotations

import lzma
import re
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from models.runtime.errors import InputError, LimitExceeded
from models.runtime.settings import Limits
from pipelines.media.sniff import describe, sniff

HIGHEST_RATIO = 200  # unpacked to packed bytes; photos and videos stay near 1
_RATIO_FREE_BYTES = 16 * 1024**2  # below this even a text file of one letter is harmless
_DEEPEST = 16
_LONGEST_NAME = 120
_CHUNK = 1 << 20
_RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\..*)?$", re.IGNORECASE)
_ODD = re.compile(r'[\x00-\x1f\x7f<>:"|?*]')
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)


@dataclass(frozen=True)
class _Member:
    """One plain file; ``packed`` is 0 where the archive is compressed as a whole."""

    name: str
    size: int
    packed: int
    handle: zipfile.ZipInfo | tarfile.TarInfo


@dataclass(frozen=True)
class _Opened:
    members: list[_Member]
    archive: zipfile.ZipFile | tarfile.TarFile

    def open(self, member: _Member) -> IO[bytes]:
        if isinstance(self.archive, zipfile.ZipFile):
            return self.archive.open(member.handle)
        stream = self.archive.extractfile(member.handle)
        if stream is None:
            raise tarfile.ReadError(member.name)
        return stream


def safe_extract(archive: Path, folder: Path, limits: Limits) -> list[Path]:
    """Unpacks a ZIP, TAR, TAR.GZ, TAR.BZ2 or TAR.XZ into ``folder``; returns the files in the archive's order.

    Names are made harmless (odd characters replaced; hidden files and macOS leftovers passed over). Refused before
    anything is written: absolute paths, ``..``, links, devices, encryption, too many members, too many bytes, an
    absurd compression ratio, two members of one name. On an error the new files are removed again.

    Raises:
        InputError: not an archive, damaged, encrypted, hostile or without files.
        LimitExceeded: more members or bytes than the limits allow.
    """
    archive, folder = Path(archive), Path(folder)
    found = sniff(archive)
    if found.format not in ("zip", "tar", "gzip", "bzip2", "xz"):
        raise InputError(f"{archive.name} is {describe(found)}; use a ZIP or TAR archive")
    written: list[Path] = []
    made: list[Path] = []
    try:
        with _opened(archive, found.format, limits) as opened:
            targets = _targets(archive, opened.members, folder)
            left = limits.archive_bytes
            for member, target in zip(opened.members, targets, strict=True):
                made += _make_folders(target.parent)
                with opened.open(member) as source, target.open("xb") as sink:
                    written.append(target)
                    left -= _copy(source, sink, min(member.size, left), archive)
    except BaseException as error:
        _remove(written, made)
        if isinstance(error, _BROKEN) and not isinstance(error, InputError):
            raise InputError(
                f"{archive.name} is damaged, incomplete or already unpacked here; pack it again"
            ) from error
        raise
    return written


@contextmanager
def _opened(path: Path, format_name: str, limits: Limits) -> Iterator[_Opened]:
    if format_name == "zip":
        with zipfile.ZipFile(path) as file:
            yield _Opened(_zip_members(path, file, limits), file)
    else:
        with tarfile.open(path, "r:*") as file:
            yield _Opened(_tar_members(path, file, limits), file)


def _hostile(path: Path, name: str, why: str) -> InputError:
    return InputError(f"{path.name} was not unpacked: {name[:80]!r} {why}. Pack plain files only")


def _zip_members(path: Path, file: zipfile.ZipFile, limits: Limits) -> list[_Member]:
    members = []
    _check_count(path, len(file.infolist()), limits)
    for info in file.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.flag_bits & 0x1:
            raise _hostile(path, info.filename, "is encrypted")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _hostile(path, info.filename, "is a link or a device")
        _check_name(path, info.filename)
        if info.is_dir():
            continue
        members.append(_Member(info.filename, info.file_size, info.compress_size, info))
    _check_bytes(path, members, limits)
    for member in members:
        _check_ratio(path, member.size, member.packed)
    return members


def _tar_members(path: Path, file: tarfile.TarFile, limits: Limits) -> list[_Member]:
    members: list[_Member] = []
    packed, total = path.stat().st_size, 0
    for number, info in enumerate(file, 1):  # one at a time: a compressed TAR is unpacked while it is listed
        _check_count(path, number, limits)
        _check_name(path, info.name)
        if info.isdir():
            continue
        if not info.isreg():
            raise _hostile(path, info.name, "is a link or a device")
        total += info.size
        members.append(_Member(info.name, info.size, 0, info))
        _check_bytes(path, members, limits)
        _check_ratio(path, total, packed)
    return members


def _check_count(path: Path, count: int, limits: Limits) -> None:
    if count > limits.archive_members:
        raise LimitExceeded(f"{path.name} holds more than {limits.archive_members} files; split it")


def _check_bytes(path: Path, members: list[_Member], limits: Limits) -> None:
    if sum(member.size for member in members) > limits.archive_bytes:
        raise LimitExceeded(
            f"{path.name} unpacks to more than the {limits.archive_bytes / 1024**2:.0f} MiB allowed; split it"
        )


def _check_ratio(path: Path, size: int, packed: int) -> None:
    if size > _RATIO_FREE_BYTES and size > HIGHEST_RATIO * max(packed, 1):
        raise LimitExceeded(f"{path.name} would unpack to more than {HIGHEST_RATIO} times its size; that is no media")


def _check_name(path: Path, name: str) -> None:
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or re.match(r"^[A-Za-z]:", name):
        raise _hostile(path, name, "has an absolute path")
    if ".." in parts:
        raise _hostile(path, name, "points outside the archive")
    if len(parts) > _DEEPEST:
        raise _hostile(path, name, f"lies more than {_DEEPEST} folders deep")


def _harmless(part: str) -> str:
    part = unicodedata.normalize("NFC", _ODD.sub("_", part)).rstrip(" .") or "_"
    if _RESERVED.match(part):
        part = f"_{part}"
    stem, dot, suffix = part.rpartition(".")
    if len(part.encode()) > _LONGEST_NAME and dot and len(suffix) <= 8:
        return stem.encode()[: _LONGEST_NAME - len(suffix) - 1].decode(errors="ignore") + dot + suffix
    return part.encode()[:_LONGEST_NAME].decode(errors="ignore")


def _targets(path: Path, members: list[_Member], folder: Path) -> list[Path]:
    """Where the members go; what is passed over leaves ``members`` too."""
    targets: list[Path] = []
    keep: list[_Member] = []
    taken: set[str] = set()
    for member in members:
        parts = [part for part in member.name.replace("\\", "/").split("/") if part not in ("", ".")]
        if not parts or "__MACOSX" in parts or any(part.startswith(".") for part in parts) or parts[-1] == "Thumbs.db":
            continue
        target = folder.joinpath(*(_harmless(part) for part in parts))
        key = str(target).casefold()
        if key in taken:
            raise _hostile(path, member.name, "appears twice")
        taken.add(key)
        targets.append(target)
        keep.append(member)
    if not keep:
        raise InputError(f"{path.name} holds no files; pack the files themselves")
    members[:] = keep
    return targets


def _make_folders(folder: Path) -> list[Path]:
    """Makes ``folder`` with its parents; returns those that are new, outermost first."""
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def _copy(source: IO[bytes], sink: IO[bytes], most: int, archive: Path) -> int:
    """Copies at most the announced size: what a member says of itself is not believed."""
    done = 0
    while block := source.read(_CHUNK):
        done += len(block)
        if done > most:
            raise LimitExceeded(f"{archive.name} unpacks to more than it announces; it is damaged or hostile")
        sink.write(block)
    return done


def _remove(files: list[Path], folders: list[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
    for folder in reversed(folders):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
