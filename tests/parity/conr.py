"""CoNR's four networks and their warping against stored results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.conr.checkpoint import PARTS
from models.conr.config import PARSER, POSE_ENCODER
from models.conr.network import Conr
from models.conr.shader import LevelTrace
from models.conr.warp import rescale_flow, warp
from models.runtime.state_dict import load_strict
from tests.parity.runner import Case, Check, absolute, kind
from tests.parity.synth import synth_state

FEATURE_SHARE = 5e-4  # of the largest feature: goldens keep them in half precision


@lru_cache(maxsize=1)
def _network(root: Path, seed: int) -> Conr:
    with torch.device("meta"):
        network = Conr()
    for part in PARTS:
        keys = json.loads((root / "conr" / "keys" / f"{part}.json").read_text(encoding="utf-8"))
        state = {name: _gain(part, name, value) for name, value in synth_state(keys, seed).items()}
        load_strict(getattr(network, part), state, part)
    return network.eval().prepared()


def _gain(part: str, name: str, value: Tensor) -> Tensor:
    """The documented gains that spread the outputs of two of the networks over their range."""
    if part == "shader":
        return value * 1.5 if value.ndim >= 2 else value * 0.25 if name.endswith(".weight") else value
    if part == "rgbadecodernet":
        return value * 1.6 if value.ndim >= 2 else value
    return value


def network_of(case: Case) -> Conr:
    return _network(case.root, case.seed)


def drawn(case: Case, index: int, shape: tuple[int, ...], scale: float = 1.0) -> Tensor:
    """Input number ``index`` of a case whose inputs are made by rule."""
    noise = np.random.default_rng([case.seed, index]).standard_normal(shape, dtype=np.float32)
    return torch.from_numpy(noise) * scale


def thinned(case: Case, name: str, value: Tensor) -> Tensor:
    """``value`` with the strides the stored array was thinned by."""
    steps = case.meta.get("stride", {}).get(name)
    return value[tuple(slice(None, None, step) for step in steps)] if steps else value


def compare(case: Case, name: str, value: Tensor, tolerance: float) -> Check:
    return absolute(name, thinned(case, name, value), case[name], tolerance)


def compare_features(case: Case, features: list[Tensor], prefix: str = "features") -> Iterator[Check]:
    for index, feature in enumerate(features):
        name = f"{prefix}.{index}"
        if name in case:
            largest = float(np.abs(case[name].astype(np.float32)).max())
            yield compare(case, name, feature, FEATURE_SHARE * largest)


@kind("conr", "warp*")
def warping(case: Case) -> Iterator[Check]:
    count = sum(1 for name in case.arrays if name.endswith(".x"))
    for index in range(count):
        x, flow = (torch.from_numpy(case[f"{index}.{name}"]) for name in ("x", "flow"))
        yield absolute(f"{index}.out", warp(x, flow), case[f"{index}.out"], 1e-5)
        if f"{index}.out_warp" in case:
            yield absolute(f"{index}.out_warp", warp(x, flow), case[f"{index}.out_warp"], 1e-5)
    flow = torch.from_numpy(case["rescale.in"])
    for name, want in case.named("rescale.x").items():
        size = (want.shape[-2], want.shape[-1])
        yield absolute(f"rescale.x{name}", rescale_flow(flow, size), want, 1e-5)


@kind("conr", "parser*")
def parser(case: Case) -> Iterator[Check]:
    with torch.inference_mode():
        raw, features = network_of(case).udpparsernet(torch.from_numpy(case["image"]).float() / 255)
    yield absolute("raw", raw, case["raw"], 2e-4)
    yield compare(case, "pred", raw.clamp(0, 1), 2e-4)
    assert len(features) == len(PARSER.feature_channels)
    yield from compare_features(case, features)


@kind("conr", "pose_encoder*")
def pose_encoder(case: Case) -> Iterator[Check]:
    with torch.inference_mode():
        out, features = network_of(case).target_pose_encoder(torch.from_numpy(case["udp_a"]).float())
    yield absolute("full_out", out, case["full_out"], 1e-4)
    assert len(features) == len(POSE_ENCODER.feature_channels)
    yield from compare_features(case, features)


@kind("conr", "decoder_blocks*")
def decoder_blocks(case: Case) -> Iterator[Check]:
    shader = network_of(case).shader
    for level, block in enumerate(shader.decoder_blocks):
        head = case[f"{level}.in_head"]
        height, width = case[f"{level}.flow"].shape[-2:]
        channels = sum(block.config.inputs)
        x = drawn(case, level, (len(head), channels, height, width))
        parts: list[Tensor | None] = [part if part.shape[1] else None for part in x.split(block.config.inputs, dim=1)]
        with torch.inference_mode():
            out = block(parts, frames=len(head))
        for name, value in (
            ("flow", out.flow),
            ("mask", out.mask),
            ("message", out.message),
            ("message_flow", out.message_flow),
            ("local_message", out.local),
            ("local_message_flow", out.local_flow),
        ):
            if f"{level}.{name}" in case:
                yield compare(case, f"{level}.{name}", value, 1e-5)


@kind("conr", "rgbadecoder*")
def rgba_decoder(case: Case) -> Iterator[Check]:
    with torch.inference_mode():
        out = network_of(case).rgbadecodernet(drawn(case, 100, tuple(case.meta["shape"])))
    yield absolute("out", out, case["out"], 1e-5)


@kind("conr", "cinn*")
def cinn(case: Case) -> Iterator[Check]:
    network = network_of(case)
    views, (height, width) = case.meta["refs"], case.meta["hw"]
    sizes = [(height >> shift, width >> shift) for shift in (5, 4, 3, 2, 1)]
    target = [
        drawn(case, i, (1, channels, *size), 0.5)
        for i, (channels, size) in enumerate(zip(POSE_ENCODER.feature_channels, sizes, strict=True))
    ]
    references = [
        drawn(case, 10 + i, (1, views, channels, *size), 0.5)
        for i, (channels, size) in enumerate(zip(PARSER.feature_channels, sizes, strict=True))
    ]
    colours = drawn(case, 20, (1, views, 4, height, width)).sigmoid()
    trace: list[LevelTrace] = []
    with torch.inference_mode():
        message = network.shader(target, references, colours, trace)
        plain = network.shader(target, references, colours)
        decoded = network.rgbadecodernet(message)
    yield absolute("message without trace", plain, message, 1e-6)
    yield from compare_trace(case, trace, "cinn", 1e-4)
    yield compare(case, "last_message", message, 1e-4)
    yield compare(case, "rgba_decoded", decoded, 1e-4)


def compare_trace(case: Case, trace: list[LevelTrace], prefix: str, tolerance: float) -> Iterator[Check]:
    """Every stored intermediate value of the shader."""
    for level, found in enumerate(trace):
        for name, value in (
            ("flow", found.flow),
            ("mask", found.mask),
            ("weighted_flow", found.fused_flow),
            ("weighted_mask", found.fused_mask),
            ("weighted_reference", found.fused_colours),
            ("warp_reference", found.warped_colours),
            ("warp_features", found.warped_features),
            ("local_message", found.local),
            ("weighted_message", found.message),
        ):
            if f"{prefix}.{level}.{name}" in case and value is not None:
                yield compare(case, f"{prefix}.{level}.{name}", value, tolerance)
