"""What a file is by its first bytes; names and suffixes are never believed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.runtime.errors import InputError

FileKind = Literal["image", "video", "audio", "archive", "model3d", "text", "unknown"]

_HEAD_BYTES = 65536
_TS_PACKET = 188
_STILL_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis"}
_AUDIO_BRANDS = {b"M4A ", b"M4B ", b"M4P ", b"F4A "}
_MOV_ATOMS = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}
_PLAYLIST_STARTS = (b"#EXTM3U", b"ffconcat", b"[playlist]", b"RTSPtext", b"<?xml", b"<MPD", b"<smil", b"#!")


@dataclass(frozen=True)
class Sniffed:
    """``kind`` for people and roles, ``format`` a short name (``png``, ``mov``, ``zip``, ...), "" when unknown."""

    kind: FileKind
    format: str


def _is_mpegts(head: bytes) -> bool:
    for offset in (0, 4):  # plain transport stream; Blu-ray's with 4-byte time codes before each packet
        step = _TS_PACKET + offset
        marks = head[offset::step][:8]
        if len(marks) >= 3 and all(byte == 0x47 for byte in marks):
            return True
    return False


def _is_mpeg_audio(head: bytes) -> Sniffed | None:
    if len(head) < 4 or head[0] != 0xFF:
        return None
    if head[1] & 0xF6 == 0xF0:
        return Sniffed("audio", "aac")
    version, layer, rate = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 4
    if head[1] & 0xE0 == 0xE0 and version != 1 and layer != 0 and rate != 15:
        return Sniffed("audio", "mp3")
    return None


def _sniff_riff(head: bytes) -> Sniffed | None:
    form = head[8:12]
    if form == b"WEBP":
        return Sniffed("image", "webp")
    if form == b"WAVE":
        return Sniffed("audio", "wav")
    if form in (b"AVI ", b"AVIX"):
        return Sniffed("video", "avi")
    return None


def _sniff_mov(head: bytes) -> Sniffed | None:
    if head[4:8] not in _MOV_ATOMS:
        return None
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in _STILL_BRANDS:
            return Sniffed("image", "avif" if brand in (b"avif", b"avis") else "heic")
        if brand in _AUDIO_BRANDS:
            return Sniffed("audio", "mov")
    return Sniffed("video", "mov")


_PREFIXES: tuple[tuple[bytes, FileKind, str], ...] = (
    (b"\xff\xd8\xff", "image", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image", "png"),
    (b"GIF87a", "image", "gif"),
    (b"GIF89a", "image", "gif"),
    (b"II*\x00", "image", "tiff"),
    (b"MM\x00*", "image", "tiff"),
    (b"\x1aE\xdf\xa3", "video", "matroska"),
    (b"FLV\x01", "video", "flv"),
    (b"\x00\x00\x01\xba", "video", "mpeg"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video", "asf"),
    (b"fLaC", "audio", "flac"),
    (b"OggS", "audio", "ogg"),
    (b"ID3", "audio", "mp3"),
    (b"caff", "audio", "caf"),
    (b"PK\x03\x04", "archive", "zip"),
    (b"PK\x05\x06", "archive", "zip"),
    (b"\x1f\x8b", "archive", "gzip"),
    (b"BZh", "archive", "bzip2"),
    (b"\xfd7zXZ\x00", "archive", "xz"),
    (b"7z\xbc\xaf'\x1c", "archive", "7z"),
    (b"Rar!\x1a\x07", "archive", "rar"),
    (b"glTF", "model3d", "glb"),
    (b"ply\n", "model3d", "ply"),
    (b"ply\r", "model3d", "ply"),
)


def sniff_bytes(head: bytes) -> Sniffed:
    """The kind of the file that begins with ``head`` (64 KiB are plenty)."""
    for prefix, kind, name in _PREFIXES:
        if head.startswith(prefix):
            return Sniffed(kind, name)
    if (
        head[:2] == b"BM"
        and len(head) >= 26
        and int.from_bytes(head[14:18], "little") in (12, 40, 52, 56, 64, 108, 124)
    ):
        return Sniffed("image", "bmp")
    if head[:4] in (b"RIFF", b"RF64"):
        return _sniff_riff(head) or Sniffed("unknown", "")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return Sniffed("audio", "aiff")
    if head[257:262] == b"ustar":
        return Sniffed("archive", "tar")
    found = _sniff_mov(head)
    if found:
        return found
    if _is_mpegts(head):
        return Sniffed("video", "mpegts")
    if any(head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(start) for start in _PLAYLIST_STARTS):
        return Sniffed("text", "playlist" if head[:1] != b"<" else "xml")
    if _is_text(head):
        return Sniffed("text", "text")
    return _is_mpeg_audio(head) or Sniffed("unknown", "")


def _is_text(head: bytes) -> bool:
    if not head or b"\x00" in head:
        return False
    controls = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
    if controls:
        return False
    for cut in range(4):  # the last character may be cut in the middle
        try:
            head[: len(head) - cut].decode("utf-8")
            return True
        except UnicodeDecodeError:
            continue
    return False


def sniff(path: Path) -> Sniffed:
    """What the file at ``path`` is.

    Raises:
        InputError: the file is missing, not a plain file or empty.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path.name} does not exist; choose the file again")
    if not path.is_file():
        raise InputError(f"{path.name} is not a file; choose a file")
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        raise InputError(f"{path.name} is empty (0 bytes); upload it again")
    return sniff_bytes(head)


def describe(found: Sniffed) -> str:
    """A few words for messages: "a text file", "a PNG image"."""
    if found.kind == "text":
        return "a text file"
    if found.kind == "unknown":
        return "a file of an unknown kind"
    article = "an" if found.kind in ("image", "audio", "archive") else "a"
    return f"{article} {found.kind.replace('model3d', '3D model')} file ({found.format})"
