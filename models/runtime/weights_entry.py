"""What the weights registry says about one installable file or folder, read from ``weights.toml``."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

REGISTRY = Path(__file__).with_name("weights.toml")
Commercial = Literal["yes", "no", "conditions", "unclear"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HubSource(_Frozen):
    """A file in a Hugging Face repository; a folder entry takes its members from there and leaves ``file`` empty."""

    kind: Literal["hub"]
    repo: str
    file: str = ""
    revision: str = "main"

    @property
    def page(self) -> str:
        return f"https://huggingface.co/{self.repo}"


class UrlSource(_Frozen):
    """A direct download."""

    kind: Literal["url"]
    url: str

    @property
    def page(self) -> str:
        return self.url


class WheelSource(_Frozen):
    """A file inside a pinned wheel, obtained with pip under the user's own index settings and never installed."""

    kind: Literal["wheel"]
    requirement: str
    python: str
    platform: str
    member: str

    @property
    def page(self) -> str:
        return f"https://pypi.org/project/{self.requirement.partition('==')[0]}/"


class PageSource(_Frozen):
    """A page a person has to visit: registration, a licence to accept, or a link that cannot be followed by machine."""

    kind: Literal["page"]
    url: str
    registration: bool = False
    note: str = ""

    @property
    def page(self) -> str:
        return self.url


Source = Annotated[HubSource | UrlSource | WheelSource | PageSource, Field(discriminator="kind")]


class TensorLayout(_Frozen):
    """The tensors a checkpoint must hold, without naming each: how many, how many numbers, and a digest.

    ``only`` and ``ignore`` are prefixes of the dotted names that count; the digest is ``weights_check.digest``.
    """

    tensors: int
    parameters: int
    digest: str = ""
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


class Member(_Frozen):
    """One file of a folder entry. ``contains`` is a text that must occur in a small file, such as a model's name."""

    file: str
    url: str = ""
    contains: str = ""
    size: int = 0
    sha256: str = ""


class WeightEntry(_Frozen):
    """One installable file or folder.

    ``file`` is relative to the weights folder. ``size`` is exact where given, ``about`` a rough size for display, both
    in bytes. ``sha256`` may be just the leading digits (at least 8) that a publisher puts into the file name.
    ``sources`` are tried in order; a page comes last and is for people. What is inside is described by one of:
    ``validator`` (``module:function(path)``, raising WeightsInvalid), ``layout`` (the tensors of a checkpoint) or
    ``arrays`` (names and shapes in an .npz, -1 for any length).
    """

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9.\-]*$")
    title: str
    file: str
    kind: Literal["file", "folder"] = "file"
    pipelines: tuple[str, ...]
    engines: tuple[str, ...]
    variant: str = ""
    aliases: tuple[str, ...] = ()
    group: str = ""
    optional: bool = False
    size: int = 0
    about: int = 0
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{8,64})?$")
    licence: str
    licence_url: str = ""
    commercial: Commercial
    attribution: str
    unlocks: str
    sources: tuple[Source, ...] = Field(min_length=1)
    members: tuple[Member, ...] = ()
    layout: TensorLayout | None = None
    arrays: dict[str, tuple[int, ...]] = {}
    validator: str = Field(default="", pattern=r"^([a-z_0-9.]+:[a-z_0-9]+)?$")

    @model_validator(mode="after")
    def _consistent(self) -> WeightEntry:
        for name in (self.file, *(m.file for m in self.members)):
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name:
                raise ValueError(f"{self.id}: {name} leaves the weights folder")
        if (self.kind == "folder") != bool(self.members):
            raise ValueError(f"{self.id}: a folder, and only a folder, lists its members")
        direct = any(isinstance(s, UrlSource) for s in self.sources)
        if direct and not all(m.url for m in self.members):
            raise ValueError(f"{self.id}: a member of a folder fetched by URL has none")
        return self

    @property
    def bytes(self) -> int:
        """Best known size in bytes, 0 where nobody says."""
        return self.size or self.about or sum(m.size for m in self.members)

    @property
    def automatic(self) -> bool:
        """True when the file can be fetched with one click."""
        return any(source.kind != "page" for source in self.sources)

    @property
    def page(self) -> str:
        """Where a person reads about the file, and registers where that is needed."""
        pages = [s for s in self.sources if s.kind == "page"]
        return (pages or list(self.sources))[0].page

    @property
    def registration(self) -> bool:
        """True when its owner asks for an account first."""
        return any(s.kind == "page" and s.registration for s in self.sources) and not self.automatic


class _Registry(_Frozen):
    weights: tuple[WeightEntry, ...]

    @model_validator(mode="after")
    def _unique(self) -> _Registry:
        ids = [name for e in self.weights for name in (e.id, *e.aliases)] + sorted(
            {e.group for e in self.weights if e.group}
        )
        files = [entry.file for entry in self.weights]
        for names in (ids, files):
            twice = {n for n in names if names.count(n) > 1}
            if twice:
                raise ValueError(f"listed twice: {', '.join(sorted(twice))}")
        return self


@cache
def read_registry(path: Path = REGISTRY) -> tuple[WeightEntry, ...]:
    """All entries of a registry file, checked."""
    return _Registry.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).weights
