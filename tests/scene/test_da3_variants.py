"""Variants other than the multi-view one end to end, as networks small enough to run at once under stand-in weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.depth_anything_3 import config
from models.depth_anything_3.config import NestedConfig
from models.runtime.cache import ModelCache
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from pipelines import registry
from pipelines.base import Inputs, Result, RunContext, run
from pipelines.media.image import write_image
from pipelines.scene.options import Da3Options, FilterOptions, SceneOptions
from pipelines.scene.prediction import Prediction
from tests.depth_anything_3.tiny import MULTI, SKY, stand_in
from tests.scene.da3_folder import write_folder

VARIANTS = {
    "da3metric-large": replace(SKY, name="da3metric-large"),
    "da3mono-large": replace(SKY, name="da3mono-large"),
    "da3-giant": replace(MULTI, name="da3-giant"),
    "da3nested-giant-large": NestedConfig("da3nested-giant-large", MULTI, SKY),
}


def reconstruct(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: int, **da3: object) -> Result:
    """A run of a variant over photos of noise in ``tmp_path/run``."""
    monkeypatch.setitem(config.VARIANTS, name, VARIANTS[name])
    released = write_folder(tmp_path / name, name, stand_in(VARIANTS[name]))
    settings = Settings(
        weights_dir=tmp_path / "weights",
        workspace_dir=tmp_path / "workspace",
        device="cpu",
        extra={"DA3_MODEL_DIR": str(released)},
    )
    random = np.random.default_rng(0)
    files = tuple(
        write_image(tmp_path / f"{i}.png", random.integers(0, 255, (84, 112, 3), np.uint8)) for i in range(photos)
    )
    out = tmp_path / "run"
    out.mkdir()
    ctx = RunContext(out, settings, ModelCache.from_settings(settings), WeightsStore(settings))
    options = SceneOptions(
        engine="da3",
        da3=Da3Options(process_res=112, **da3),
        filter=FilterOptions(voxel=0, confidence_percentile=0),
    )
    steps = run(registry.get("scene"), Inputs({"photos": files}), options, ctx)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize(("name", "photos"), [("da3metric-large", 1), ("da3mono-large", 2)])
def test_single_view_variants_give_a_scene_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, photos: int
) -> None:
    result = reconstruct(name, tmp_path, monkeypatch, photos, fov_degrees=90.0)
    assert result.weights == (name,) and (tmp_path / "run" / "scene.glb").read_bytes()[:4] == b"glTF"
    assert any("field of view of 90" in warning for warning in result.warnings)
    assert any("side by side" in warning for warning in result.warnings) == (photos == 2)
    found = Prediction.load(tmp_path / "run" / "prediction.npz")
    assert found.metric == (name == "da3metric-large")
    np.testing.assert_allclose(found.intrinsics[:, 0, 0], 56, rtol=1e-5)


@pytest.mark.parametrize("name", ["da3-giant", "da3nested-giant-large"])
def test_splats_are_made_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    exports = ("gs_ply", "gs_video")
    result = reconstruct(name, tmp_path, monkeypatch, 2, exports=exports, gs_trajectory="smooth", sky="keep")
    roles = {o.role: o for o in result.outputs}
    assert {"gs_ply", "gs_video", "splats"} <= set(roles) and roles["splats"].kind == "splat"
    for role in ("gs_ply", "gs_video", "splats"):
        assert (tmp_path / "run" / roles[role].path).stat().st_size > 1000
    assert Prediction.load(tmp_path / "run" / "prediction.npz").metric == (name == "da3nested-giant-large")
