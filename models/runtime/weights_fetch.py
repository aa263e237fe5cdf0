"""Getting published files onto this machine: resumable downloads, hub files, and files out of a pinned wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from models.runtime.errors import StudioError
from models.runtime.settings import MIB
from models.runtime.weights_entry import HubSource, UrlSource, WheelSource

ATTEMPTS = 4
PIP_SECONDS = 900
SPARE_BYTES = 64 * MIB


@dataclass(frozen=True)
class FetchProgress:
    """``done`` of ``total`` bytes of one entry; ``total`` is 0 while unknown, ``note`` says what is going on."""

    id: str
    done: int = 0
    total: int = 0
    note: str = ""


Report = Callable[[FetchProgress], None]


class FetchFailed(StudioError):
    """One source did not deliver; the message says why. The store tries the next one."""


@contextmanager
def exclusive(folder: Path, name: str, report: Report) -> Iterator[None]:
    """Only one process at a time works on ``name`` under ``folder``; the others wait and are told so."""
    from filelock import FileLock, Timeout

    locks = folder / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(locks / f"{name.replace('=', '-')}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        report(FetchProgress(name, note="waiting for another process that is getting it"))
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def check_space(folder: Path, need: int) -> None:
    """Raises FetchFailed when the disk has not enough room for ``need`` more bytes."""
    free = shutil.disk_usage(folder).free
    if need and free < need + SPARE_BYTES:
        raise FetchFailed(f"the disk of {folder} has {free // MIB} MiB free, {need // MIB} MiB are needed")


def from_url(
    source: UrlSource,
    part: Path,
    id: str,
    report: Report,
    expected: int = 0,
    pause: float = 1.0,
    attempts: int = ATTEMPTS,
) -> None:
    """Streams a file to ``part``, going on where an earlier attempt stopped.

    Raises:
        FetchFailed: refused by the server, a web page instead of a file, or broken off too often.
    """
    import httpx

    reason = ""
    for attempt in range(attempts):
        if attempt:
            report(
                FetchProgress(id, part.stat().st_size if part.exists() else 0, expected, "connection lost, retrying")
            )
            time.sleep(pause * 2 ** (attempt - 1))
        try:
            _stream(source.url, part, id, report, expected)
            return
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            reason = f"{error.request.url.host} answered {status}"
            if status < 500 and status not in {408, 425, 429}:
                break
        except (httpx.HTTPError, OSError) as error:
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    raise FetchFailed(reason)


def _stream(url: str, part: Path, id: str, report: Report, expected: int) -> None:
    """One attempt. The server's ETag is kept beside the part, so that two versions are never joined."""
    import httpx

    tag_file = part.with_name(part.name + ".etag")
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    tag = tag_file.read_text(encoding="utf-8") if have and tag_file.exists() else ""
    if tag:
        headers |= {"Range": f"bytes={have}-", "If-Range": tag}
    with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=30) as answer:
        if answer.status_code == 416:  # nothing left to send, or the part is longer than the file
            tag_file.unlink(missing_ok=True)
            if have == expected:
                return
            part.unlink(missing_ok=True)
            raise httpx.ReadError("the server has another version of the file")
        answer.raise_for_status()
        if answer.headers.get("content-type", "").startswith("text/html"):
            raise FetchFailed("a web page came instead of the file")
        resumed = answer.status_code == 206
        have = have if resumed else 0
        total = have + int(answer.headers.get("content-length", 0)) or expected
        check_space(part.parent, total - have)
        etag = answer.headers.get("etag", "")
        if not resumed:
            if etag and not etag.startswith("W/"):
                tag_file.write_text(etag, encoding="utf-8")
            else:
                tag_file.unlink(missing_ok=True)
        with part.open("ab" if resumed else "wb") as file:
            told = have
            for block in answer.iter_bytes():  # as it comes, so that a lost connection loses nothing
                file.write(block)
                have += len(block)
                if have - told >= MIB or have == total:
                    told = have
                    report(FetchProgress(id, have, total, "downloading"))
    if total and have != total:
        raise httpx.ReadError(f"{have} of {total} bytes arrived")
    tag_file.unlink(missing_ok=True)


def from_hub(source: HubSource, folder: Path, endpoint: str, id: str, report: Report) -> Path:
    """Downloads a hub file into ``folder`` (resumable) and returns its path there.

    Raises:
        FetchFailed: no such file, access not granted, or no connection.
    """
    import httpx
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

    try:
        return Path(
            hf_hub_download(
                source.repo,
                source.file,
                revision=source.revision,
                local_dir=folder,
                endpoint=endpoint,
                tqdm_class=_bar(id, report),
            )
        )
    except GatedRepoError as error:
        raise FetchFailed(
            f"{source.repo} asks you to accept its terms: do so at {source.page}, then set HF_TOKEN"
        ) from error
    except (HfHubHTTPError, httpx.HTTPError, OSError, ValueError) as error:
        raise FetchFailed(f"{source.repo}: {(str(error).splitlines() or [type(error).__name__])[0][:200]}") from error


def _bar(id: str, report: Report) -> type:
    """A silent progress bar class, as the hub client wants one, that passes the figures on."""
    from tqdm.std import tqdm

    class Bar(tqdm):
        def __init__(self, *args: object, **options: object) -> None:
            options.pop("name", None)
            super().__init__(*args, **{**options, "disable": False, "file": _Silence()})

        def update(self, n: float | None = 1) -> bool | None:
            shown = super().update(n)
            report(FetchProgress(id, int(self.n), int(self.total or 0), "downloading"))
            return shown

    return Bar


class _Silence:
    """A text stream that keeps nothing."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        return None


@contextmanager
def wheel(source: WheelSource, folder: Path) -> Iterator[zipfile.ZipFile]:
    """The pinned wheel, downloaded by pip for a fixed platform (any host can open it) and gone afterwards.

    pip brings the user's own index, proxy and certificate settings along.

    Raises:
        FetchFailed: pip is absent or could not get the wheel.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="wheel-") as name:
        command = [sys.executable, "-m", "pip", "download", source.requirement, "--no-deps", "--only-binary=:all:"]
        command += ["--python-version", source.python, "--platform", source.platform, "--dest", name]
        command += ["--quiet", "--no-input", "--disable-pip-version-check"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise FetchFailed(f"pip could not be run: {error}") from error
        files = list(Path(name).glob("*.whl"))
        if done.returncode or not files:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise FetchFailed(f"pip download {source.requirement}: {lines[-1][:300] if lines else 'no wheel came'}")
        try:
            with zipfile.ZipFile(files[0]) as archive:
                yield archive
        except zipfile.BadZipFile as error:
            raise FetchFailed(f"the wheel of {source.requirement} is damaged") from error


def extract(archive: zipfile.ZipFile, member: str, part: Path, limit: int = 0) -> None:
    """Writes one archive member to ``part``.

    Raises:
        FetchFailed: no such member, or larger than ``limit`` bytes (0 for none).
    """
    try:
        info = archive.getinfo(member)
    except KeyError as error:
        raise FetchFailed(f"{Path(archive.filename or 'archive').name} has no {member}") from error
    if limit and info.file_size > limit:
        raise FetchFailed(f"{member} is larger than {limit // MIB} MiB")
    with archive.open(info) as source, part.open("wb") as target:
        shutil.copyfileobj(source, target, MIB)


def put(part: Path, target: Path) -> None:
    """Moves a finished, checked file into place in one step, flushed to disk first."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)


def sources_in_words(reasons: Sequence[str]) -> str:
    """Why each source failed, for a message."""
    return "; ".join(reasons) if reasons else "no source can be fetched automatically"
