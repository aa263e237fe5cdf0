"""Engine ``da3`` end to end on CPU with made-up weights, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.runtime.cache import ModelCache
from models.runtime.errors import InputError, WeightsInvalid, WeightsMissing
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from pipelines import registry
from pipelines.base import Inputs, Result, RunContext, choose_engine, run
from pipelines.export.colmap import Camera, Points, PosedImage, SparseModel, write_model
from pipelines.media.image import write_image
from pipelines.scene.inputs import sort_out
from pipelines.scene.options import Da3Options, FilterOptions, SceneOptions
from pipelines.scene.prediction import VERIFIED, Prediction
from tests.parity.synth import synth_tensor
from tests.scene.da3_folder import write_folder

SMALL = {"process_res": 70}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("released") / "DA3-SMALL")


@pytest.fixture
def ctx(tmp_path: Path) -> RunContext:
    settings = Settings(weights_dir=tmp_path / "weights", workspace_dir=tmp_path / "workspace", device="cpu")
    out = tmp_path / "run"
    out.mkdir()
    return RunContext(out, settings, ModelCache.from_settings(settings), WeightsStore(settings))


@pytest.fixture
def photos(tmp_path: Path) -> tuple[Path, ...]:
    random = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    return tuple(write_image(folder / f"{i}.png", random.integers(0, 255, (90, 120, 3), np.uint8)) for i in range(3))


def job(inputs: dict, ctx: RunContext, **da3: object) -> Result:
    options = SceneOptions(da3=Da3Options(**{**SMALL, **da3}), filter=FilterOptions(voxel=0))
    steps = run(registry.get("scene"), Inputs(inputs), options, ctx)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_auto_takes_the_checkpoint_once_it_is_there(ctx: RunContext, released: Path, photos: tuple) -> None:
    scene = registry.get("scene")
    assert choose_engine(scene, "auto", ctx.weights).name == "sfm"
    with pytest.raises(WeightsMissing):
        choose_engine(scene, "da3", ctx.weights)
    ctx.weights.add("da3-small", released)
    result = job({"photos": photos}, ctx)
    assert (result.engine, result.weights) == ("da3", ("da3-small",))
    for output in result.outputs:
        assert (ctx.out_dir / output.path).stat().st_size > 0
    found = Prediction.load(ctx.out_dir / "prediction.npz")
    assert found.depth.shape == (3, 56, 70)
    assert found.conf.min() >= VERIFIED and found.conf.max() < 1
    np.testing.assert_allclose(found.intrinsics[:, 0, 2], 34.5)


def test_a_single_photo_and_every_extra_file(ctx: RunContext, released: Path, photos: tuple) -> None:
    ctx.weights.add("da3-small", released)
    exports = ("mini_npz", "npz", "depth_vis", "feat_vis", "colmap")
    result = job({"photos": photos[:1]}, ctx, exports=exports, export_feat=(5,))
    roles = {o.role for o in result.outputs}
    assert {"scene", "points", "mini_npz", "npz", "depth_vis", "feat_vis", "colmap_model"} <= roles
    with np.load(ctx.out_dir / "exports/npz/results.npz") as stored:
        assert stored["depth"].shape == (1, 56, 70) and stored["conf"].min() >= 1


def colmap(folder: Path, photos: tuple[Path, ...], names: tuple[str, ...]) -> Path:
    (folder / "images").mkdir(parents=True)
    images = {}
    for i, (photo, name) in enumerate(zip(photos, names, strict=True), start=1):
        (folder / "images" / name).write_bytes(photo.read_bytes())
        E = np.eye(4)[:3]
        E[0, 3] = -0.5 * i
        images[i] = PosedImage.from_extrinsics(i, E, 1, name)
    cameras = {1: Camera(1, "PINHOLE", 120, 90, (110.0, 110.0, 60.0, 45.0))}
    write_model(folder / "sparse" / "0", SparseModel(cameras, images, Points.make(np.zeros((0, 3)), np.zeros((0, 3)))))
    return folder


@pytest.mark.parametrize("count", [1, 2, 3])
def test_known_cameras_are_kept_even_on_a_line(
    ctx: RunContext, released: Path, photos: tuple, tmp_path: Path, count: int
) -> None:
    ctx.weights.add("da3-small", released)
    names = tuple(f"p{i}.png" for i in range(count))
    folder = colmap(tmp_path / "colmap", photos[:count], names)
    job({"archive": (folder,)}, ctx)
    found = Prediction.load(ctx.out_dir / "prediction.npz")
    assert found.names == names
    np.testing.assert_allclose(found.extrinsics[:, 0, 3], [-0.5 * (i + 1) for i in range(count)])
    np.testing.assert_allclose(found.intrinsics[0, 0, 0], 110 * 70 / 120, rtol=1e-5)
    assert np.isfinite(found.depth).all()


def test_a_typed_distance_gives_metres(ctx: RunContext, released: Path, photos: tuple) -> None:
    ctx.weights.add("da3-small", released)
    result = job({"photos": photos}, ctx, first_to_last_m=2.5)
    found = Prediction.load(ctx.out_dir / "prediction.npz")
    centers = -np.einsum("nji,nj->ni", found.extrinsics[:, :, :3], found.extrinsics[:, :, 3])
    assert result.summary["metric"] is True
    np.testing.assert_allclose(np.linalg.norm(centers[-1] - centers[0]), 2.5, rtol=1e-4)


def test_what_a_variant_cannot_do_is_told_before_any_work(ctx: RunContext, released: Path, photos: tuple) -> None:
    ctx.weights.add("da3-small", released)
    with pytest.raises(InputError, match="splats"):
        job({"photos": photos}, ctx, infer_gs=True)
    with pytest.raises(InputError, match="block 40"):
        job({"photos": photos}, ctx, export_feat=(40,))


def test_folder_named_by_the_environment(tmp_path: Path, released: Path) -> None:
    settings = Settings(weights_dir=tmp_path / "weights", extra={"DA3_MODEL_DIR": str(released)})
    store = WeightsStore(settings)
    assert store.path("da3-small") == released and not store.installed("da3-base")
    assert choose_engine(registry.get("scene"), "auto", store).name == "da3"
    with pytest.raises(Exception, match="own copy"):
        store.remove("da3-small")


NAME = "model.backbone.pretrained.cls_token"


@pytest.mark.parametrize("wrong", ["missing", "extra", "misshapen", "truncated"])
def test_wrong_folders_are_refused_by_name(ctx: RunContext, released: Path, tmp_path: Path, wrong: str) -> None:
    state = load_file(released / "model.safetensors")
    named = NAME
    if wrong == "missing":
        del state[NAME]
    elif wrong == "extra":
        named = "model.backbone.pretrained.surplus"
        state[named] = torch.zeros(3)
    elif wrong == "misshapen":
        state[NAME] = synth_tensor(NAME, (1, 2, 384))
    folder = tmp_path / "bad"
    folder.mkdir()
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_name": "da3-small"}))
    if wrong == "truncated":
        path, named = folder / "model.safetensors", "model.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsInvalid, match=named.removeprefix("model.backbone.")):
        ctx.weights.add("da3-small", folder)
    assert not ctx.weights.installed("da3-small")


def test_many_photos_are_computed_in_parts_and_joined(ctx: RunContext, released: Path, tmp_path: Path) -> None:
    ctx.weights.add("da3-small", released)
    wide = np.random.default_rng(1).integers(0, 255, (12, 60, 3), np.uint8).repeat(12, 0).repeat(12, 1)
    folder = tmp_path / "many"
    folder.mkdir()
    many = tuple(write_image(folder / f"{i:02d}.png", wide[:, 20 * i : 20 * i + 190]) for i in range(14))
    result = job({"photos": many}, ctx, chunk=6, overlap=2)
    found = Prediction.load(ctx.out_dir / "prediction.npz")
    assert result.summary["parts"] == 3 and len(found) == 14
    assert np.isfinite(found.depth).all() and np.isfinite(found.extrinsics).all()
    assert (ctx.out_dir / "photos" / "0013.jpg").is_file()


def test_the_model_of_a_colmap_folder_is_chosen_by_name(photos: tuple, tmp_path: Path) -> None:
    folder = colmap(tmp_path / "colmap", photos, ("a.png", "b.png", "c.png"))
    shutil.copytree(folder / "sparse" / "0", folder / "sparse" / "1")
    given, limits = Inputs({"archive": (folder,)}), Settings().limits
    for subdir, found in (("", "0"), ("0", "0"), ("1", "1")):
        assert sort_out(given, False, tmp_path / "unpacked", limits, subdir).model == folder / "sparse" / found
    with pytest.raises(InputError, match="sparse/2"):
        sort_out(given, False, tmp_path / "unpacked", limits, "2")
