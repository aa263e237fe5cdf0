"""Options of training and evaluating SMPLer-X."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipelines.base import Options


class DataOptions(Options):
    """How the files are read."""

    strategy: Literal["balance", "concat", "longest"] = Field(
        "balance",
        title="Mixing",
        description="Give every file the same share, walk them in a row, or repeat to the longest",
    )
    total: int = Field(0, ge=0, le=100_000_000, title="Items", description="Items of an epoch; 0 is as many as exist")
    every: int = Field(1, ge=1, le=10_000, title="Every", description="Take every n-th person of the files")
    workers: int = Field(0, ge=0, le=64, title="Workers", description="Processes that read pictures, per rank")


class TrainBodyOptions(Options):
    """HumanData files -> a SMPLer-X checkpoint."""

    variant: Literal["s32", "b32", "l32", "h32"] = Field("s32", title="Network", description="Size of a new network")
    epochs: int = Field(10, ge=1, le=1000, title="Epochs", description="How often all items are seen")
    batch: int = Field(32, ge=1, le=1024, title="Batch", description="Items per rank and step")
    rate: float = Field(1e-5, gt=0, le=1, title="Rate", description="Learning rate at the start")
    floor: float = Field(1e-6, ge=0, le=1, title="Floor", description="Learning rate at the end of the cosine")
    parts: Literal["all", "backbone", "neck_and_head", "head"] = Field(
        "all", title="Parts", description="What is trained; the rest stays as it is"
    )
    augment: bool = Field(True, title="Vary", description="Scale, turn, mirror and tint the crops")
    seed: int = Field(2023, ge=0, le=2**31 - 1, title="Seed", description="Of all random draws")
    log_every: int = Field(100, ge=1, le=100_000, title="Log", description="Steps between lines of the log")
    data: DataOptions = DataOptions()


class TestBodyOptions(Options):
    """HumanData files and a SMPLer-X checkpoint -> errors in millimetres."""

    __test__ = False  # no test case, whatever its name says
    batch: int = Field(32, ge=1, le=1024, title="Batch", description="Items per rank and step")
    data: DataOptions = DataOptions(strategy="concat")
