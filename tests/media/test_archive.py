"""Archives of strangers: members are checked before anything is written, and nothing is left of what was refused."""

from __future__ import annotations

import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.runtime.errors import InputError, LimitExceeded
from models.runtime.settings import Limits
from pipelines.media.archive import safe_extract

LIMITS = Limits()


def make_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def make_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def tar_with(path: Path, name: str, kind: bytes, target: str = "") -> Path:
    with tarfile.open(path, "w") as file:
        plain = tarfile.TarInfo("a.txt")
        plain.size = 2
        file.addfile(plain, io.BytesIO(b"ok"))
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        file.addfile(info)
    return path


def everything_under(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


MAKERS: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {
    "a.zip": make_zip,
    "stored.zip": lambda path, members: make_zip(path, members, zipfile.ZIP_STORED),
    "a.tar": make_tar,
    "a.tar.gz": lambda path, members: make_tar(path, members, "w:gz"),
    "a.tar.bz2": lambda path, members: make_tar(path, members, "w:bz2"),
    "a.tar.xz": lambda path, members: make_tar(path, members, "w:xz"),
    "no_suffix": make_zip,
}


@pytest.mark.parametrize("name", MAKERS)
def test_unpacks(tmp_path: Path, name: str) -> None:
    members = {"photos/b.jpg": b"bb", "photos/a.jpg": b"a", "notes.txt": b"", "deep/er/c.png": b"ccc"}
    path = MAKERS[name](tmp_path / name, members)
    files = safe_extract(path, tmp_path / "out", LIMITS)
    assert [str(f.relative_to(tmp_path / "out")) for f in files] == list(members)
    assert [f.read_bytes() for f in files] == list(members.values())
    assert all(stat.S_IMODE(f.stat().st_mode) & 0o111 == 0 for f in files)


def test_leftovers_are_passed_over_and_names_made_harmless(tmp_path: Path) -> None:
    members = {
        "__MACOSX/._a.jpg": b"x",
        ".DS_Store": b"x",
        "a/.hidden/b.jpg": b"x",
        "a/Thumbs.db": b"x",
        'odd<>:"|?*name.jpg': b"1",
        "con.jpg": b"2",
        "trailing. ": b"3",
        "w\\in\\dows.jpg": b"4",
        "n" * 300 + ".jpg": b"5",
    }
    files = safe_extract(make_tar(tmp_path / "a.tar", members), tmp_path / "out", LIMITS)
    names = [str(f.relative_to(tmp_path / "out")) for f in files]
    assert names == ["odd_______name.jpg", "_con.jpg", "trailing", "w/in/dows.jpg", "n" * 116 + ".jpg"]


@pytest.mark.parametrize("maker", [make_zip, make_tar])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../evil.txt", "points outside"),
        ("a/../../evil.txt", "points outside"),
        ("..\\evil.txt", "points outside"),
        ("a/..", "points outside"),
        ("/etc/evil.txt", "absolute path"),
        ("\\\\server\\evil.txt", "absolute path"),
        ("C:\\evil.txt", "absolute path"),
        ("C:evil.txt", "absolute path"),
        ("/".join(["d"] * 40), "folders deep"),
    ],
)
def test_paths_out_of_the_folder(tmp_path: Path, maker: Callable, name: str, words: str) -> None:
    path = maker(tmp_path / "evil.bin", {"good.txt": b"ok", name: b"evil"})
    before = everything_under(tmp_path)
    with pytest.raises(InputError, match=rf"evil\.bin was not unpacked: .*{words}"):
        safe_extract(path, tmp_path / "out/folder", LIMITS)
    assert everything_under(tmp_path) == before


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.SYMTYPE, "a.txt"),
        (tarfile.LNKTYPE, "a.txt"),
        (tarfile.FIFOTYPE, ""),
        (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""),
    ],
)
def test_links_and_devices_in_a_tar(tmp_path: Path, kind: bytes, target: str) -> None:
    path = tar_with(tmp_path / "a.tar", "b.txt", kind, target)
    with pytest.raises(InputError, match="link or a device"):
        safe_extract(path, tmp_path / "out", LIMITS)
    assert not (tmp_path / "out").exists()


def test_links_in_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(info, "/etc/passwd")
    with pytest.raises(InputError, match="link or a device"):
        safe_extract(tmp_path / "a.zip", tmp_path / "out", LIMITS)


def test_encrypted(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.txt": b"secret"})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match="encrypted"):
        safe_extract(path, tmp_path / "out", LIMITS)


class TestBombs:
    @pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
    def test_ratio(self, tmp_path: Path, name: str) -> None:
        path = MAKERS[name](tmp_path / name, {"zeros.jpg": bytes(40 * 1024**2)})
        with pytest.raises(LimitExceeded, match="times its size"):
            safe_extract(path, tmp_path / "out", LIMITS)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("name", MAKERS)
    def test_bytes_and_count(self, tmp_path: Path, name: str) -> None:
        path = MAKERS[name](tmp_path / name, {f"{i}.txt": bytes(1000) for i in range(20)})
        with pytest.raises(LimitExceeded, match="unpacks to more than"):
            safe_extract(path, tmp_path / "out", replace(LIMITS, archive_bytes=19_999))
        with pytest.raises(LimitExceeded, match="more than 19 files"):
            safe_extract(path, tmp_path / "out", replace(LIMITS, archive_members=19))
        assert not (tmp_path / "out").exists()
        assert (
            len(safe_extract(path, tmp_path / "out", replace(LIMITS, archive_bytes=20_000, archive_members=20))) == 20
        )

    def test_size_announced_too_small(self, tmp_path: Path) -> None:
        path = make_zip(tmp_path / "a.zip", {"first.txt": b"1", "big.txt": bytes(100_000)})
        data = bytearray(path.read_bytes())
        at = data.rindex(b"PK\x01\x02")
        data[at + 24 : at + 28] = struct.pack("<I", 10)
        path.write_bytes(bytes(data))
        with pytest.raises(InputError, match=r"a\.zip"):
            safe_extract(path, tmp_path / "out", LIMITS)
        assert not (tmp_path / "out").exists()

    def test_overlapping_members(self, tmp_path: Path) -> None:
        """Many entries that point at one body: small file, huge result."""
        path = make_zip(tmp_path / "a.zip", {"x.txt": bytes(900_000)})
        with zipfile.ZipFile(path, "a") as file:
            first = file.infolist()[0]
            for i in range(300):
                info = zipfile.ZipInfo(f"x{i}.txt")
                info.compress_type, info.CRC = first.compress_type, first.CRC
                info.compress_size, info.file_size = first.compress_size, first.file_size
                info.header_offset = first.header_offset
                file.filelist.append(info)
                file.NameToInfo[info.filename] = info
            file._didModify = True
        with pytest.raises(InputError, match=r"a\.zip"):
            safe_extract(path, tmp_path / "out", LIMITS)
        assert not (tmp_path / "out").exists()


class TestBroken:
    @pytest.mark.parametrize("name", MAKERS)
    def test_truncated(self, tmp_path: Path, name: str) -> None:
        import random

        noise = random.Random(0).randbytes(40_000)
        path = MAKERS[name](tmp_path / name, {"a.jpg": noise, "b.jpg": noise[::-1]})
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * 2 // 3])
        with pytest.raises(InputError, match="damaged"):
            safe_extract(path, tmp_path / "out", LIMITS)
        assert not (tmp_path / "out").exists()

    def test_broken_checksum_removes_what_was_written(self, tmp_path: Path) -> None:
        path = make_zip(tmp_path / "a.zip", {"a.txt": b"first", "b.txt": b"secondsecond"}, zipfile.ZIP_STORED)
        path.write_bytes(path.read_bytes().replace(b"secondsecond", b"sEcondsecond"))
        (tmp_path / "out").mkdir()
        (tmp_path / "out/mine.txt").write_text("stays")
        with pytest.raises(InputError, match="damaged"):
            safe_extract(path, tmp_path / "out", LIMITS)
        assert everything_under(tmp_path / "out") == ["mine.txt"]

    def test_existing_files_are_never_overwritten(self, tmp_path: Path) -> None:
        path = make_zip(tmp_path / "a.zip", {"a.txt": b"new", "mine.txt": b"new"})
        (tmp_path / "out").mkdir()
        (tmp_path / "out/mine.txt").write_text("stays")
        with pytest.raises(InputError):
            safe_extract(path, tmp_path / "out", LIMITS)
        assert (tmp_path / "out/mine.txt").read_text() == "stays"
        assert everything_under(tmp_path / "out") == ["mine.txt"]

    def test_symlink_waiting_in_the_folder_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "out").mkdir()
        (tmp_path / "out/a.txt").symlink_to(tmp_path / "elsewhere/a.txt")
        with pytest.raises(InputError):
            safe_extract(make_zip(tmp_path / "a.zip", {"a.txt": b"x"}), tmp_path / "out", LIMITS)
        assert everything_under(tmp_path / "elsewhere") == []

    def test_two_members_of_one_name(self, tmp_path: Path) -> None:
        path = make_tar(tmp_path / "a.tar", {"a.txt": b"1", "A.TXT": b"2"})
        with pytest.raises(InputError, match="appears twice"):
            safe_extract(path, tmp_path / "out", LIMITS)

    @pytest.mark.parametrize(
        "content", [b"", b"words", b"PK\x03\x04", b"\x1f\x8b\x08\x00", b"7z\xbc\xaf'\x1c" + bytes(40)]
    )
    def test_not_an_archive(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.zip").write_bytes(content)
        with pytest.raises(InputError, match=r"a\.zip"):
            safe_extract(tmp_path / "a.zip", tmp_path / "out", LIMITS)

    def test_no_files(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="holds no files"):
            safe_extract(make_zip(tmp_path / "a.zip", {"folder/": b""}), tmp_path / "out", LIMITS)


@given(name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_no_name_escapes(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = tmp_path_factory.mktemp("archive")
    with zipfile.ZipFile(folder / "a.zip", "w") as file:
        file.writestr(name, b"x")
    try:
        files = safe_extract(folder / "a.zip", folder / "out/in", LIMITS)
    except InputError:
        files = []
    inside = {str(f.resolve()) for f in (folder / "out/in").rglob("*") if f.is_file()}
    assert {str(f.resolve()) for f in files} == inside
    assert {p.name for p in folder.iterdir()} <= {"a.zip", "out"}
    assert [p.name for p in (folder / "out").iterdir()] == ["in"] if files else not (folder / "out").exists()
