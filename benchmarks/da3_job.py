"""Whole jobs beside the original: photos on disk -> depth and cameras -> scene.glb with its pictures.

``python -m benchmarks.da3_job --original CHECKOUT [--photos 4] [--rounds 5] [--ray-poses] [--jobs ours ...]``

Both load the same stand-in weights of da3-small beforehand and then do, in turn: decode the photos, bring them to size,
run the network, filter the points and write scene.glb with cameras beside a picture of photo and depth for every view.
Ours is float32 throughout; the original is timed as it is, with half precision in its backbone, and in float32.
``studio`` is the same job through the Scene pipeline, which also writes what its tab shows: PLY, plots, the prediction
and a COLMAP archive. With ``--ray-poses`` all take the cameras from the ray branch instead of the decoder. Counted are
wall and processor seconds of this process and its children.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import ClassVar
from unittest import mock

import numpy as np
import torch

from benchmarks.da3_speed import stand_in
from benchmarks.scene_long import write_checkpoint
from models.depth_anything_3.checkpoint import from_state
from models.depth_anything_3.config import variant
from models.depth_anything_3.network import Request
from models.runtime.cache import ModelCache
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from pipelines import registry
from pipelines.base import Inputs, RunContext, run
from pipelines.media.image import read_image, write_image
from pipelines.scene.da3_exports import CloudRules, cloud, depth_picture, write_glb
from pipelines.scene.da3_inference import Da3Settings
from pipelines.scene.da3_inference import run as run_network
from pipelines.scene.options import Da3Options, SceneOptions

Job = Callable[[list[Path], Path], object]
ROOM = Path(__file__).resolve().parent.parent / "examples" / "scene" / "room" / "photos"


class Absent(ModuleType):
    """Stands for a package that the measured job never calls."""

    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return object


def original(checkout: Path, ray_poses: bool) -> dict[str, Job]:
    """The original's own ``inference``, as it is and in float32; packages this job never touches are stood in for."""
    for name in ("evo", "evo.core", "evo.core.trajectory", "moviepy", "moviepy.editor", "gsplat", "e3nn", "e3nn.o3"):
        sys.modules.setdefault(name, Absent(name))
    sys.path.insert(0, str(checkout / "src"))
    from depth_anything_3 import api

    model = api.DepthAnything3("da3-small").eval()
    state = stand_in("da3-small")
    aliases = [name for name in model.state_dict() if name not in state]  # of the norm that four output stacks share
    state |= {name: state[re.sub(r"_aux\.\d", "_aux.0", name)] for name in aliases}
    model.load_state_dict(state)

    def as_it_is(photos: list[Path], out: Path) -> object:
        paths = [str(p) for p in photos]
        return model.inference(paths, export_dir=str(out), export_format="glb", use_ray_pose=ray_poses)

    def in_float32(photos: list[Path], out: Path) -> object:
        with mock.patch("torch.autocast", lambda *_, **__: nullcontext()):
            return as_it_is(photos, out)

    return {"original": as_it_is, "original_float32": in_float32}


def ours(ray_poses: bool) -> Job:
    """The same steps out of our parts."""
    network = from_state(variant("da3-small"), stand_in("da3-small"), torch.device("cpu"))
    limits = Settings().limits
    wanted = Da3Settings(request=Request(ray_poses=ray_poses))

    def job(photos: list[Path], out: Path) -> object:
        pictures = [read_image(p, limits) for p in photos]
        views = run_network(network, pictures, wanted, torch.device("cpu"))
        write_glb(out / "scene.glb", views, cloud(views, CloudRules(), np.random.RandomState(0)))
        (out / "depth_vis").mkdir()
        for i, (image, depth) in enumerate(zip(views.images, views.depth, strict=True)):
            write_image(out / "depth_vis" / f"{i:04d}.jpg", np.concatenate([image, depth_picture(depth)], axis=1))
        write_image(out / "scene.jpg", views.images[0])
        return views

    return job


def studio(folder: Path, ray_poses: bool) -> Job:
    """The whole Scene pipeline."""
    extra = {"DA3_MODEL_DIR": str(write_checkpoint(folder / "da3"))}
    settings = Settings(weights_dir=folder / "weights", workspace_dir=folder, device="cpu", extra=extra)
    cache, weights = ModelCache.shared(settings), WeightsStore(settings)
    options = SceneOptions(
        engine="da3", da3=Da3Options(precision="float32", exports=("depth_vis",), use_ray_pose=ray_poses)
    )

    def job(photos: list[Path], out: Path) -> object:
        context = RunContext(out, settings, cache, weights)
        for _ in run(registry.get("scene"), Inputs({"photos": tuple(photos)}), options, context):
            pass
        return None

    return job


def seconds(job: Job, photos: list[Path]) -> tuple[float, float]:
    """Wall and processor seconds of one job into a fresh folder."""
    with tempfile.TemporaryDirectory() as out:
        wall, before = time.perf_counter(), os.times()
        job(photos, Path(out))
        after = os.times()
        return time.perf_counter() - wall, sum(after[:4]) - sum(before[:4])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.da3_job")
    parser.add_argument("--original", type=Path, help="checkout of the original, its requirements installed")
    parser.add_argument("--photos", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ray-poses", action="store_true", help="cameras from the ray branch")
    parser.add_argument("--jobs", nargs="*", default=["ours", "studio", "original", "original_float32"])
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    photos = sorted(ROOM.glob("*.jpg"))[: given.photos]
    with tempfile.TemporaryDirectory() as folder:
        jobs = {"ours": ours(given.ray_poses), "studio": studio(Path(folder), given.ray_poses)}
        if given.original:
            jobs |= original(given.original, given.ray_poses)
        jobs = {name: job for name, job in jobs.items() if name in given.jobs}
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
        for number in range(given.rounds + 1):
            for name, job in jobs.items():
                found = seconds(job, photos)
                if number:  # the first round warms up
                    times[name].append(found)
    best = {name: [round(min(column), 3) for column in zip(*rows, strict=True)] for name, rows in times.items()}
    print(json.dumps({"photos": len(photos), "best_wall_and_cpu_s": best}))
    originals = [name for name in jobs if name.startswith("original")]
    for theirs, mine in product(originals, [name for name in jobs if name not in originals]):
        pairs = [[t / m for t, m in zip(*rows, strict=True)] for rows in zip(times[theirs], times[mine], strict=True)]
        ratio = [round(statistics.median(column), 2) for column in zip(*pairs, strict=True)]
        print(json.dumps({f"{theirs} over {mine}": ratio}))


if __name__ == "__main__":
    main()
