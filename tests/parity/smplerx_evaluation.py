"""SMPLer-X: metrics, data set walks, losses."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.bodies.joints import JOINTS_137
from models.bodies.smplx import BodyPose
from models.smplerx.losses import losses, training_outputs
from pipelines.body.metrics import Parts, aligned, humandata_errors, procrustes
from pipelines.body.sampling import Balanced, Concat, decompress
from tests.parity.runner import Case, Check, absolute, exact, kind, relative
from tests.parity.smplerx import body_of, images, network_of

EYEBALLS = {67: 56, 68: 57}


@lru_cache(maxsize=1)
def _aux(root: Path) -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location("synth_smplx_aux", root / "smplerx" / "synth_smplx.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.aux_arrays(0)


@kind("smplerx", "metrics*")
def metrics(case: Case) -> Iterator[Check]:
    body, aux = body_of(case), _aux(case.root)
    parts = Parts(*(np.asarray(aux[n]) for n in ("left_hand", "right_hand", "face", "j14")))

    def mesh(prefix: str) -> np.ndarray:
        values = {
            n: torch.from_numpy(case[f"{prefix}_{n}"])
            for n in ("root", "body", "lhand", "rhand", "jaw", "shape", "expr")
        }
        pose = BodyPose(
            values["root"],
            values["body"],
            values["shape"],
            values["expr"],
            values["lhand"],
            values["rhand"],
            values["jaw"],
        )
        return body(pose).vertices.numpy().astype(np.float64)

    found, true = mesh("pred"), mesh("gt")
    regressor = body.J_regressor.numpy().astype(np.float64)
    errors = [humandata_errors(a, b, regressor, parts) for a, b in zip(found, true, strict=True)]
    for name, want in case.named("out_").items():
        yield absolute(name, np.array([e[name] for e in errors]), want, 1e-3)
    a, b = case["procrustes_A"], case["procrustes_B"]
    for prefix, target in (("procrustes", b), ("mirrored", case["mirrored_B"])):
        for part, value in zip(("scale", "R", "t"), procrustes(a, target), strict=True):
            yield absolute(f"{prefix}_{part}", value, case[f"{prefix}_{part}"], 1e-6)
    yield absolute("procrustes_aligned", aligned(a, b), case["procrustes_aligned"], 1e-6)


@kind("smplerx", "datasets*")
def datasets(case: Case) -> Iterator[Check]:
    lengths = case["lengths"].tolist()
    for name in [n.removesuffix("_len") for n in case.arrays if n.endswith("_len")]:
        way, _, total = name.partition("_")
        walk = (
            Concat(lengths)
            if way == "concat"
            else Balanced(lengths, None if way == "longest" else sum(lengths) if total == "auto" else int(total))
        )
        draw = random.Random(case.seed)
        yield exact(name + "_len", np.array(len(walk)), case[name + "_len"])
        pairs = [walk.pair(i, draw) for i in range(len(walk))]
        yield exact(name + "_pairs", np.array(pairs), case[name + "_pairs"])
    full = decompress(case["compressed"], case["mask"])
    yield exact("decompressed", full, case["decompressed"])
    yield exact("mapping_137", np.array([EYEBALLS.get(i, j) for i, j in enumerate(JOINTS_137)]), case["mapping_137"])
    yield exact("decompressed_137", full[:, case["mapping_137"], :3], case["decompressed_137"])


@kind("smplerx", "losses_*")
def training_losses(case: Case) -> Iterator[Check]:
    with torch.inference_mode():
        out = training_outputs(network_of(case), images(case))
        targets = {name: torch.from_numpy(a) for name, a in case.named("target_").items()}
        masks = {name: torch.from_numpy(a) for name, a in case.named("meta_").items()}
        found = losses(out, body_of(case), targets, masks)
    want = case.named("loss_")
    for name, value in found.items():
        yield relative(name, value, want[name], 1e-4)
    yield relative("total", torch.stack(list(found.values())).sum(), want["total"], 1e-4)
