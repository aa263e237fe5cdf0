"""How the parts of long videos are joined, against stored results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from models.geometry.similarity import Similarity
from pipelines.scene import streaming
from tests.parity.runner import Case, Check, absolute, exact, kind


@kind("da3", "streaming*")
def stream(case: Case) -> Iterator[Check]:
    points = (case["pm1"], case["conf1"], case["pm2"], case["conf2"])
    yield absolute("conf_thr", [streaming.confidence_threshold(case["conf1"], case["conf2"])], case["conf_thr"], 1e-4)
    for method in ("sim3", "se3"):
        yield from _same(method, [streaming.align_parts(*points, method)], case)
    depths = (case["d1"], case["d2"], case["conf1"], case["conf2"])
    for name, found in (
        ("scale_ransac", streaming.scale_by_consensus(*depths)),
        ("scale_weighted", streaming.scale_by_weight(*depths)),
    ):
        yield absolute(name, [found.value], case[name], 1e-4)
        yield absolute(f"{name}_q", [found.quality], case[f"{name}_q"], 1e-4)
    steps = _read("seq", case)
    yield from _same("acc", streaming.accumulate(steps), case)
    yield from _same("ab", [streaming.between(steps[0], steps[1])], case)
    parts = case["chunks"]
    size, overlap = int(parts[0, 1] - parts[0, 0]), int(parts[0, 1] - parts[1, 0])
    yield exact("chunks", streaming.split(int(parts[-1, 1]), size, overlap), parts)
    windows = streaming.loop_windows(parts.tolist(), case["loops"].tolist(), case.meta["half_window"])
    yield exact("loop_windows", windows, case["loop_windows"])
    yield absolute("loop_pairs", streaming.find_loops(case["desc"]), case["loop_pairs"], 1e-4)
    later, earlier = case["ring_loop"].tolist()
    ring = _read("ring", case)
    closed = streaming.close_loops(
        ring, [(later, earlier, Similarity(1.0, np.eye(3), case["ring_loop_t"].astype(float)))]
    )
    yield from _same("opt", closed, case, 1e-2)
    for name, path in (("abs_before", ring), ("abs_after", closed)):
        places = np.stack([np.zeros(3), *(s.translation for s in streaming.accumulate(path))])
        yield absolute(f"{name} places", places, case[name][:, :3], 1e-2 if name == "abs_after" else 1e-4)


def _read(name: str, case: Case) -> list[Similarity]:
    rows = zip(case[f"{name}_s"], case[f"{name}_R"], case[f"{name}_t"], strict=True)
    return [Similarity(float(s), R.astype(np.float64), t.astype(np.float64)) for s, R, t in rows]


def _same(name: str, found: Sequence[Similarity], case: Case, tolerance: float = 1e-4) -> Iterator[Check]:
    many = len(case[f"{name}_R"].shape) == 3
    for letter, values in (
        ("s", [f.scale for f in found]),
        ("R", [f.rotation for f in found]),
        ("t", [f.translation for f in found]),
    ):
        got = np.stack(values) if many or letter == "s" else values[0]
        yield absolute(f"{name}_{letter}", got, case[f"{name}_{letter}"], tolerance)
