"""The figures of the benchmark: pose AUC and cloud distances."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipelines.scene.metrics import cloud_errors, from_first, pose_errors
from tests.parity.runner import Case, Check, absolute, kind


@kind("da3", "bench_metrics*")
def bench_metrics(case: Case) -> Iterator[Check]:
    errors = pose_errors(case["pred"], case["gt"])
    limits = [int(name.removeprefix("auc")) for name in case.meta["auc_order"]]
    yield absolute("auc", [errors.auc(limit) for limit in limits], case["auc"], 1e-4)
    yield absolute("gt_first", from_first(case["gt"]), case["gt_first"], 1e-4)
    for name, got in (("r_err", errors.rotation), ("t_err", errors.translation)):
        # the stored degrees come from arc cosines in single precision, which is off by a few thousandths near 0
        yield absolute(f"{name} (radians)", np.radians(got), np.radians(case[name]), 1e-4)
    found = cloud_errors(case["pcd_pred"], case["pcd_gt"], case.meta["threshold"])
    for name, got in (
        ("acc", found.accuracy),
        ("comp", found.completeness),
        ("precision", found.precision),
        ("recall", found.recall),
    ):
        yield absolute(name, [got], case[name], 1e-4)
