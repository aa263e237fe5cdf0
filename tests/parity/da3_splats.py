"""Camera paths of splat videos and the splat rasteriser against stored results."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipelines.export.splat import Gaussians
from pipelines.scene.splat_render import render
from pipelines.scene.splat_trajectory import trajectory
from tests.parity.runner import Case, Check, absolute, kind, share_within


@kind("da3", "gs_trajectory*")
def gs_trajectory(case: Case) -> Iterator[Check]:
    ext, ixt = case["ext"][0], case["ixt"][0]
    original = case["original_ixt_norm"]
    size = (ixt[:, :2, 2] / original[:, :2, 2]).mean(0)  # width and height that intrinsics are divided by
    modes = {name.removesuffix("_w2c"): name for name in case.arrays if name.endswith("_w2c")}
    for mode, name in modes.items():
        if mode.startswith("single_"):
            path = trajectory(mode.removeprefix("single_"), ext[:1], ixt[:1])
        elif mode.startswith("parallel_"):
            views = case["parallel_ext"]
            path = trajectory(mode.removeprefix("parallel_"), views, np.repeat(ixt[:1], len(views), axis=0))
        else:
            path = trajectory(mode, ext, ixt)
        yield absolute(name, path.extrinsics(), case[name], 1e-4)
        lenses = name.replace("_w2c", "_ixt_norm")
        if lenses in case:
            yield absolute(lenses, path.intrinsics / np.array([[size[0]], [size[1]], [1.0]]), case[lenses], 1e-4)


@kind("da3", "gs_render*")
def gs_render(case: Case) -> Iterator[Check]:
    names = ("means", "scales", "quats", "opacities", "sh")
    splats = Gaussians(*(case[name] for name in names))
    size = (int(case.meta["width"]), int(case.meta["height"]))
    drawn = [render(splats, E, K, size) for E, K in zip(case["w2c"], case["K"], strict=True)]
    yield share_within("rgb", np.stack([p.color for p in drawn]), case["rgb"], 2e-3, 0.99)
    yield share_within("alpha", np.stack([p.alpha for p in drawn]), case["alpha"], 2e-3, 0.99)
    yield share_within("depth", np.stack([p.depth for p in drawn]), case["depth"], 2e-3, 0.99)
