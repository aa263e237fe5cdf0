"""What a run leaves outside its own folder, so that deleting it deletes everything.

Measurement-cache entries are named by the SHA-256 of the input file they were measured on (``<sha256>`` with any
ending, file or folder). The web framework keeps uploads and served copies under its own temporary folder; those are
found by content.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

_DAY = 86400.0


def hash_path(path: Path) -> str:
    """SHA-256 of a file's bytes, or of a folder's relative names and file hashes."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(f"{file.relative_to(path).as_posix()}\0{hash_path(file)}\n".encode())
        return digest.hexdigest()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def size_of(path: Path) -> int:
    """Bytes of a file or of everything under a folder; links are not followed."""
    if not path.is_dir():
        return path.lstat().st_size if path.exists() else 0
    return sum(p.lstat().st_size for p in path.rglob("*") if not p.is_dir())


def remove(path: Path) -> None:
    """Removes a file or a folder with all it holds; one that is gone already is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def forget_measurements(folder: Path, hashes: Iterable[str]) -> int:
    """Removes the cached measurements of those input files; returns how many entries went."""
    gone = 0
    if folder.is_dir():
        for sha in hashes:
            for entry in folder.rglob(f"{sha}*"):
                remove(entry)
                gone += 1
    return gone


def forget_copies(temp_dir: Path, folder: Path, further: Iterable[tuple[int, str]], spare: Path) -> int:
    """Removes every file under ``temp_dir``, except below ``spare``, that equals one under ``folder``.

    ``further`` are (size, SHA-256) of files that may no longer lie in the folder. Only files whose size occurs on both
    sides are read, so that a large run is deleted quickly. Returns how many files went.
    """
    copies: dict[int, list[Path]] = {}
    for path in temp_dir.rglob("*") if temp_dir.is_dir() else ():
        if path.is_file() and not path.is_symlink() and not path.is_relative_to(spare):
            copies.setdefault(path.stat().st_size, []).append(path)
    known = {(size, sha) for size, sha in further if size in copies}
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink() and (size := file.stat().st_size) in copies:
            known.add((size, hash_path(file)))
    gone = 0
    for size in {size for size, _ in known}:
        for copy in copies[size]:
            if (size, hash_path(copy)) in known:
                remove(copy)
                _remove_empty(copy.parent, temp_dir)
                gone += 1
    return gone


def _remove_empty(folder: Path, top: Path) -> None:
    """Removes a folder and those above it, below ``top``, as far as they are empty."""
    with contextlib.suppress(OSError):
        while folder != top:
            folder.rmdir()
            folder = folder.parent


def sweep_folder(folder: Path, age_days: float, max_bytes: int) -> int:
    """Removes files older than ``age_days``, then the oldest until ``max_bytes`` hold; 0 means no such limit."""
    if not folder.is_dir():
        return 0
    files = sorted((p.stat().st_mtime, p.stat().st_size, p) for p in folder.rglob("*") if p.is_file())
    total = sum(size for _, size, _ in files)
    limit = time.time() - age_days * _DAY if age_days else float("-inf")
    gone = 0
    for modified, size, path in files:
        if modified < limit or (max_bytes and total > max_bytes):
            remove(path)
            total -= size
            gone += 1
    for sub in sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True):
        with contextlib.suppress(OSError):  # not empty
            sub.rmdir()
    return gone


def process_mark(pid: int | None = None) -> str:
    """Names one process on one boot of this machine, so that a number used again is not taken for the same process."""
    pid = os.getpid() if pid is None else pid
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        boot = started = ""
    return f"{pid}:{boot}:{started}"


def process_alive(mark: str) -> bool:
    """True while the process named by ``mark`` runs."""
    text = mark.partition(":")[0]
    if not text.isdigit():
        return False
    pid = int(text)
    if process_mark(pid) != mark:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
