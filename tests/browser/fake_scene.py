"""A stand-in for the Scene pipeline with the same id: quick, steady, stoppable, and with every kind of output."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
import trimesh
from PIL import Image, UnidentifiedImageError
from pydantic import Field

from models.runtime.errors import InputError
from pipelines.base import Engine, Event, InputRole, Inputs, Options, Output, Progress, Result, RunContext


class FakeOptions(Options):
    """How long the stand-in takes."""

    engine: Literal["auto", "sfm"] = Field("auto", description="How it is computed")
    chunks: int = Field(4, ge=1, le=400, description="Number of chunks of work")
    chunk_seconds: float = Field(0.05, ge=0.0, le=5.0, description="Seconds each chunk takes")
    seed: int = Field(0, ge=0, le=100, description="Repeats random choices", json_schema_extra={"advanced": True})


@dataclass(frozen=True)
class FakePlan:
    photos: tuple[Path, ...]


class FakeScene:
    """Photos in; a coloured ball as point cloud, depth pictures and a plot out."""

    id = "scene"
    title = "Scene"
    tagline = "Turns photos of a place into cameras, depth and a point cloud you can look around in."
    options = FakeOptions
    roles = (
        InputRole("photos", "Photos", ("image",), 0, 200),
        InputRole("video", "Video", ("video",), 0, 1),
        InputRole("archive", "ZIP or COLMAP folder", ("archive", "folder"), 0, 1),
    )
    engines = (Engine("sfm", "Structure from motion", embedded=True, licence="Apache-2.0"),)

    def prepare(self, inputs: Inputs, options: Any, ctx: RunContext) -> FakePlan:
        photos = inputs.get("photos")
        if len(photos) < 2:
            raise InputError("This engine needs at least two photos of the same place, taken from different spots.")
        for photo in photos:
            try:
                with Image.open(photo) as image:
                    image.load()
            except (UnidentifiedImageError, OSError) as error:
                raise InputError(f"{photo.name} is damaged and cannot be read.") from error
        return FakePlan(photos)

    def infer(self, plan: FakePlan, options: Any, ctx: RunContext) -> Iterator[Event]:
        for chunk in range(options.chunks):
            yield Progress("depth", chunk, options.chunks, f"view {chunk + 1}")
            time.sleep(options.chunk_seconds)

    def finish(self, plan: FakePlan, options: Any, ctx: RunContext) -> Result:
        rng = np.random.default_rng(options.seed)
        points = rng.normal(size=(60_000, 3))
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        colours = np.clip((points + 1) * 127, 0, 255).astype(np.uint8)
        cloud = trimesh.PointCloud(points, np.c_[colours, np.full(len(points), 255, np.uint8)])
        (ctx.out_dir / "scene.glb").write_bytes(trimesh.Scene([cloud]).export(file_type="glb"))
        outputs = [Output("scene", "scene.glb", "model3d", "Scene")]
        for i, photo in enumerate(plan.photos):
            with Image.open(photo) as image:
                small = image.convert("RGB").resize((320, 240))
            ramp = np.linspace(0, 255, 320, dtype=np.uint8)[None].repeat(240, 0)
            for role, picture, ending in (
                ("photo", small, "jpg"),
                ("depth", Image.fromarray(np.stack([ramp, 255 - ramp, ramp // 2], -1)), "png"),
                ("confidence", Image.fromarray(ramp).convert("RGB"), "png"),
            ):
                folder = ctx.out_dir / f"{role}s"
                folder.mkdir(exist_ok=True)
                picture.save(folder / f"{i:04d}.{ending}")
                outputs.append(Output(role, f"{role}s/{i:04d}.{ending}", "image", photo.name))
        plot = go.Figure(go.Scatter3d(x=[0, 1, 2], y=[0, 1, 0], z=[0, 0, 1], mode="lines+markers"))
        (ctx.out_dir / "cameras.json").write_text(plot.to_json(), encoding="utf-8")
        outputs.append(Output("camera_plot", "cameras.json", "plot", "Camera path"))
        summary = {"views": len(plan.photos), "points": len(points), "reprojection_error_px": 0.41}
        return Result("sfm", tuple(outputs), summary, ("The scale of this scene is arbitrary.",))
