"""A finished scene filtered again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.runtime.errors import InputError
from models.runtime.settings import Settings
from pipelines.base import Inputs
from pipelines.scene.fusion import Cloud
from pipelines.scene.options import FilterOptions, SceneOptions
from pipelines.scene.prediction import Prediction
from studio.refilter import refilter_run
from studio.runs import OutputRecord, RunRecord, RunStore


@pytest.fixture
def runs(settings: Settings) -> RunStore:
    return RunStore(settings)


def scene_run(runs: RunStore, inputs: Inputs) -> RunRecord:
    """Two cameras a step apart before a textured wall."""
    n, h, w = 2, 48, 64
    rng = np.random.default_rng(0)
    extrinsics = np.tile(np.eye(3, 4), (n, 1, 1))
    extrinsics[1, 0, 3] = -0.2
    prediction = Prediction(
        depth=np.full((n, h, w), 2.0, np.float32) + rng.random((n, h, w)).astype(np.float32) * 0.1,
        conf=(0.6 + 0.4 * rng.random((n, h, w))).astype(np.float32),
        filled=np.zeros((n, h, w), bool),
        extrinsics=extrinsics,
        intrinsics=np.tile(np.array([[60.0, 0, 31.5], [0, 60, 23.5], [0, 0, 1]]), (n, 1, 1)),
        images=rng.integers(0, 255, (n, h, w, 3), dtype=np.uint8),
        names=("a.png", "b.png"),
        sizes=np.full((n, 2), (h, w)),
    )
    record = runs.create("scene", SceneOptions(), inputs)
    folder = runs.folder(record.id)
    prediction.save(folder / "prediction.npz")
    (folder / "scene.glb").write_bytes(b"old")
    outputs = (
        OutputRecord(role="scene", path="scene.glb", kind="model3d", title="Scene"),
        OutputRecord(role="prediction", path="prediction.npz", kind="data", title="Prediction"),
    )
    record = record.model_copy(update={"state": "done", "outputs": outputs, "summary": {"points": 7, "photos": 2}})
    runs.save(record)
    return record


def test_the_cloud_is_made_again(runs: RunStore, inputs: Inputs) -> None:
    run_id = scene_run(runs, inputs).id
    old_zip = runs.zip(run_id)
    options = FilterOptions(point_budget=1000, voxel=0.0, show_cameras=False)
    record = refilter_run(runs, run_id, options)
    folder = runs.folder(run_id)
    assert (folder / "scene.glb").read_bytes()[:4] == b"glTF" and (folder / "points.ply").read_bytes()[:3] == b"ply"
    assert 0 < record.summary["points"] <= 1000 and record.summary["photos"] == 2
    assert record.options["filter"]["point_budget"] == 1000 and record.options["engine"] == "auto"
    assert {o.path for o in record.outputs} == {"scene.glb", "points.ply", "prediction.npz"}
    assert runs.get(run_id) == record and record.bytes > 10_000
    assert not old_zip.exists() and not list(folder.glob("refilter-*"))


def test_only_a_finished_scene(runs: RunStore, inputs: Inputs) -> None:
    record = scene_run(runs, inputs)
    runs.save(record.model_copy(update={"outputs": record.outputs[:1]}))
    with pytest.raises(InputError, match="finished scene"):
        refilter_run(runs, record.id, FilterOptions())


def test_a_failure_keeps_the_old_cloud(runs: RunStore, inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    record = scene_run(runs, inputs)

    def broken(prediction: Prediction, cloud: Cloud, out_dir: Path, options: FilterOptions) -> None:
        (out_dir / "scene.glb").write_bytes(b"half")
        raise InputError("The filter leaves no point")

    monkeypatch.setattr("pipelines.scene.refilter.write_cloud", broken)
    with pytest.raises(InputError):
        refilter_run(runs, record.id, FilterOptions())
    assert (runs.folder(record.id) / "scene.glb").read_bytes() == b"old"
    assert runs.get(record.id) == record
