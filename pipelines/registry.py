"""The pipelines of the studio: one line each. Importing this module loads no pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module

from models.runtime.errors import NotFound
from pipelines.base import Pipeline

PIPELINES = {
    "face": "pipelines.face.pipeline:FacePipeline",
    "body": "pipelines.body.pipeline:BodyPipeline",
    "talk": "pipelines.talk.pipeline:TalkPipeline",
    "character": "pipelines.character.pipeline:CharacterPipeline",
    "scene": "pipelines.scene.pipeline:ScenePipeline",
}
REHEARSED = ("face",)  # pipelines with ``rehearse()``, which compiles what their first run would have to


@dataclass(frozen=True)
class Link:
    """An output that an input of another pipeline reads: the file kind between them is stated in pipelines/export."""

    source: str
    output: str  # role of the output
    target: str
    role: str  # of the input


LINKS = (
    Link("body", "motion", "character", "motion"),
    Link("body", "motion", "scene", "people"),
    Link("scene", "world_motion", "character", "motion"),
    Link("face", "motion", "character", "motion"),
    Link("face", "curves_json", "talk", "expression"),
)


@cache
def get(pipeline_id: str) -> Pipeline:
    """The pipeline of that id, imported at first need. Raises NotFound for an unknown id."""
    if pipeline_id not in PIPELINES:
        raise NotFound(f"No pipeline {pipeline_id!r}; known are {', '.join(PIPELINES)}")
    module, _, name = PIPELINES[pipeline_id].partition(":")
    return getattr(import_module(module), name)()


def available(tabs: tuple[str, ...]) -> tuple[str, ...]:
    """Ids among ``tabs`` that are built, in the order of ``tabs``."""
    return tuple(t for t in tabs if t in PIPELINES)


def links(source: str, tabs: tuple[str, ...]) -> tuple[Link, ...]:
    """The links from a pipeline to those of ``tabs`` that are built and have the input."""
    built = available(tabs)
    return tuple(
        link
        for link in LINKS
        if link.source == source
        and link.target in built
        and any(role.name == link.role for role in get(link.target).roles)
    )
