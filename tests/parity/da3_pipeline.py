"""Depth Anything 3's picture processing and whole inference call against stored results."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from models.depth_anything_3.network import Request
from models.runtime.errors import InputError
from models.runtime.settings import Limits
from pipelines.scene import da3_preprocess as preprocess
from pipelines.scene.da3_inference import Da3Settings, run
from tests.parity.da3_networks import network_of
from tests.parity.runner import Case, Check, absolute, exact, kind, relative, share_within

PIXELS = 0.99  # share of picture values within one level: OpenCV builds differ


@kind("da3", "preproc*")
def preproc(case: Case) -> Iterator[Check]:
    resolution, methods = case.meta["process_res"], case.meta["methods"]
    names = [name.removesuffix("_in0") for name in case.arrays if name.endswith("_in0")]
    for name in names:
        count = sum(1 for key in case.named(f"{name}_in"))
        pictures = [case[f"{name}_in{i}"] for i in range(count)]
        for method in methods:
            got = preprocess.process(pictures, case[f"{name}_K"], resolution, method)
            yield absolute(f"{name} {method} K", got.intrinsics, case[f"{name}_{method}_K"], 1e-4)
            want = case[f"{name}_{method}_u8"]
            yield share_within(f"{name} {method} u8", got.truncated(), want, 1, PIXELS)
            if f"{name}_{method}_tensor" in case:
                tensor = case[f"{name}_{method}_tensor"]
                yield share_within(f"{name} {method} tensor", got.tensor()[0], tensor, 0.02, PIXELS)
    yield exact("size_table", np.array([_row(row) for row in case["size_table"]]), case["size_table"])
    limits = Limits()
    picture = Image.open(io.BytesIO(case["exif_png"].tobytes()))
    yield exact("exif_loaded", np.asarray(picture.convert("RGB")), case["exif_loaded"])
    for name in ("rgba", "gray", "gray16"):
        got = preprocess.load(case[f"{name}_in"], limits, upstream_compat=True)
        yield exact(f"{name}_loaded", got, case[f"{name}_loaded"])


def _row(row: np.ndarray) -> list[int]:
    width, height, resolution, index = row[:4].tolist()
    method = preprocess.METHODS[index]
    try:
        size = preprocess.patched_size(*preprocess.bounded_size(width, height, resolution, method), method)
    except InputError:
        size = (-1, -1)
    return [width, height, resolution, index, *size]


@kind("da3", "api_inference*")
def api_inference(case: Case) -> Iterator[Check]:
    network = network_of(case)
    settings = Da3Settings(case.meta["process_res"], request=Request(upstream_compat=True))
    cameras = {"extrinsics": case["ext"], "intrinsics": case["ixt"]}
    device = torch.device("cpu")
    unscaled = replace(settings, method="upper_bound_crop", align_to_given_scale=False)
    jobs = {
        "plain": (run(network, list(case["images"]), settings, device), 1e-3),
        "posed": (run(network, list(case["images"]), settings, device, **cameras), 1e-2),
        "posed_noscale": (run(network, list(case["images"]), unscaled, device, **cameras), 1e-2),
    }
    for name, (got, tolerance) in jobs.items():
        yield relative(f"{name}_depth", got.depth, case[f"{name}_depth"], tolerance)
        yield relative(f"{name}_conf", got.conf, case[f"{name}_conf"], tolerance)
        yield absolute(f"{name}_extrinsics", got.extrinsics, case[f"{name}_extrinsics"], tolerance)
        yield relative(f"{name}_intrinsics", got.intrinsics, case[f"{name}_intrinsics"], tolerance, floor=1.0)
        if f"{name}_processed_images" in case:
            yield share_within(f"{name}_images", got.images, case[f"{name}_processed_images"], 1, PIXELS)
