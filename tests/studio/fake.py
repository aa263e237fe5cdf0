"""A small pipeline that stands for all of them in the tests of the studio floor."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Iterator
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from models.runtime.errors import EngineUnavailable, InputError
from pipelines.base import Engine, Event, InputRole, Inputs, Options, Output, Preview, Progress, Result, RunContext

VISITOR: contextvars.ContextVar[str] = contextvars.ContextVar("visitor", default="")


class Tuning(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    window: int = Field(6, ge=2, le=16, multiple_of=2, description="Window in pixels")
    sharp: bool = Field(True, description="Sharpen")


class FakeOptions(Options):
    """Options of the fake pipeline."""

    engine: Literal["auto", "plain", "fancy"] = Field("auto", description="Engine")
    steps: int = Field(3, ge=1, le=1000, description="Number of steps")
    pause: float = Field(0.0, ge=0.0, le=5.0, description="Seconds per step")
    trouble: Literal["none", "input", "bug", "disk", "device"] = Field("none", description="What goes wrong")
    note: str = Field("", max_length=40, description="A note")
    budget: int | None = Field(None, ge=1, description="Budget, empty for none")
    tuning: Tuning = Field(Tuning(), description="Tuning")


class FakePipeline:
    """Counts to ``steps`` and paints a picture."""

    id = "fake"
    title = "Fake"
    tagline = "Counts."
    options = FakeOptions
    roles = (InputRole("photos", "Photos", ("image",), 1, 4), InputRole("extra", "Extra", ("data",)))
    engines = (
        Engine("fancy", "Fancy", False, (("da3-small",),), licence="Fancy licence"),
        Engine("plain", "Plain", True, licence="Plain licence"),
    )

    def prepare(self, inputs: Inputs, options: FakeOptions, ctx: RunContext) -> list[str]:
        if options.trouble == "input":
            raise InputError("The photo is blurred; use a sharper one")
        return [p.name for p in inputs.get("photos")]

    def infer(self, plan: list[str], options: FakeOptions, ctx: RunContext) -> Iterator[Event]:
        (ctx.out_dir / "half").mkdir()
        (ctx.out_dir / "half" / "chunk.bin").write_bytes(b"x" * 100)
        if options.trouble == "bug":
            raise KeyError("/secret/place")
        if options.trouble == "disk":
            raise OSError(28, "No space left on device")
        if options.trouble == "device":
            raise EngineUnavailable("This engine needs a CUDA device")
        for step in range(options.steps):
            time.sleep(options.pause)
            yield Progress("counting", step + 1, options.steps, VISITOR.get())
        yield Preview("picture", "picture.png", "image")

    def finish(self, plan: list[str], options: FakeOptions, ctx: RunContext) -> Result:
        Image.fromarray(np.full((900, 1200, 3), 120, np.uint8)).save(ctx.out_dir / "picture.png")
        (ctx.out_dir / "half" / "chunk.bin").unlink()
        (ctx.out_dir / "half").rmdir()
        return Result(
            "plain",
            (Output("picture", "picture.png", "image", "Picture"),),
            {"names": ", ".join(plan), "score": np.float32(0.5), "steps": options.steps},
            ("It is only a fake.",),
        )
