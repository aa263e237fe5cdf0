"""Engine ``deca`` on a made-up head and networks that know nothing: files, many faces, clips, transfer, refusals."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pygltflib
import pytest
import torch
import trimesh
from scipy.io import loadmat

from models.deca.network import DecaCode
from models.runtime.cache import ModelCache
from models.runtime.errors import InputError, WeightsInvalid, WeightsMissing
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from pipelines.base import Inputs, Result, RunContext, choose_engine, run
from pipelines.face.deca_detect import read_landmarks
from pipelines.face.deca_motion import Track, steady
from pipelines.face.deca_network import photo_points
from pipelines.face.flame_exports import camera_matrix
from pipelines.face.options import DecaOptions, FaceOptions
from pipelines.face.pipeline import FacePipeline
from pipelines.face.repose import Look, PosableHead
from pipelines.media.image import read_image, write_image
from pipelines.media.video import VideoWriter
from tests.face import made_up

EVERYTHING = DecaOptions(save_kpt=True, save_mat=True, save_images=True)


@pytest.fixture
def ctx(deca_settings: Settings, deca_cache: ModelCache, tmp_path: Path) -> RunContext:
    out = tmp_path / "run"
    out.mkdir()
    return RunContext(out, deca_settings, deca_cache, WeightsStore(deca_settings))


def result_of(ctx: RunContext, deca: DecaOptions | None = None, driver: Path | None = None,
              marks: tuple[Path, ...] = (), source: tuple[Path, ...] = (), **more: object) -> Result:  # fmt: skip
    files = {"source": source, "landmarks": marks, "driver": (driver,) if driver else ()}
    options = FaceOptions(texture_size="512", deca=deca or DecaOptions(), **more)
    steps = run(FacePipeline(), Inputs({k: v for k, v in files.items() if v}), options, ctx)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_auto_takes_it_and_all_files_bear_the_originals_names(ctx: RunContext, astronaut: Path) -> None:
    result = result_of(ctx, EVERYTHING, source=(astronaut,))
    assert result.engine == "deca" and result.weights[:3] == ("deca-model", "flame-2020", "deca-data")
    for output in result.outputs:
        assert (ctx.out_dir / output.path).stat().st_size > 0, output.path
    folder = ctx.out_dir / "deca"
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    inside = ("obj", "mtl", "png", "mat")
    wanted = {f"astronaut/astronaut.{e}" for e in inside} | {"astronaut_vis.jpg", "astronaut_vis_original_size.jpg"}
    wanted |= {f"astronaut/astronaut_{e}" for e in ("normals.png", "detail.obj", "depth.jpg", "kpt2d.txt", "kpt3d.txt",
               "inputs.jpg", "shape_images.jpg", "shape_detail_images.jpg", "landmarks2d.jpg")}  # fmt: skip
    wanted |= {f"astronaut/orig_astronaut_{e}.jpg" for e in ("inputs", "shape_images", "shape_detail_images",
               "landmarks2d")}  # fmt: skip
    assert names == wanted
    count = len(made_up.vertices())
    mesh = trimesh.load(folder / "astronaut" / "astronaut.obj", process=False)
    assert len(mesh.vertices) >= count and mesh.visual.material.image.size == (256, 256)
    matrix = loadmat(folder / "astronaut" / "astronaut.mat")
    assert matrix["verts"].shape == (count, 3) and matrix["displacement_map"].shape == (1, 256, 256)
    assert np.loadtxt(folder / "astronaut" / "astronaut_kpt3d.txt").shape == (68, 4)
    told = json.loads((ctx.out_dir / "parameters.json").read_text())["faces"][0]
    pixels = np.array(told["world_to_photo"]) @ np.append(matrix["landmarks3d_world"], np.ones((68, 1)), axis=1).T
    tform = np.array(told["photo_to_crop"])
    assert np.abs(pixels[:2].T - photo_points(matrix["landmarks3d"], tform)).max() < 1e-2
    head = PosableHead.load(ctx.out_dir / "heads" / "face_01.npz")
    assert head.engine == "deca" and np.isfinite(head.posed(Look(added={"jawOpen": 1.0}))).all()
    drawn = read_image(ctx.out_dir / result.first("render").path, ctx.settings.limits)
    plain = read_image(ctx.out_dir / result.first("photo").path, ctx.settings.limits)
    changed = (np.abs(drawn.astype(int) - plain).max(axis=-1) > 40).mean()
    assert 0.005 < changed < 0.2


def test_two_faces_become_two_numbered_results(ctx: RunContext, astronaut: Path, tmp_path: Path) -> None:
    face = cv2.imread(str(astronaut))[:260, 100:360, ::-1]
    two = write_image(tmp_path / "two of us.png", np.concatenate([face, face[:, ::-1]], axis=1))
    result = result_of(ctx, DecaOptions(render_original=False), source=(two,))
    assert result.summary["heads"] == 2
    for name in ("two_of_us_1", "two_of_us_2"):
        text = (ctx.out_dir / "deca" / name / f"{name}.obj").read_text()
        assert f"mtllib {name}.mtl" in text


def test_landmark_files_lead_the_crop(ctx: RunContext, tmp_path: Path) -> None:
    sky = write_image(tmp_path / "sky.png", np.full((200, 300, 3), (120, 160, 220), np.uint8))
    with pytest.raises(InputError, match="No face"):
        result_of(ctx, source=(sky,))
    points = np.stack([np.linspace(100, 180, 68), 100 + 40 * np.sin(np.arange(68))], axis=1)
    np.savetxt(tmp_path / "sky.txt", points)
    result = result_of(
        ctx, DecaOptions(render_original=False, save_obj=False), source=(sky,), marks=(tmp_path / "sky.txt",)
    )
    assert result.summary["heads"] == 1
    bad = tmp_path / "bad.txt"
    bad.write_text("1 2\n3 four\n")
    with pytest.raises(InputError, match=r"bad\.txt"):
        read_landmarks(bad)
    with pytest.raises(InputError, match="68 rows"):
        np.savetxt(bad, points[:5])
        read_landmarks(bad)


def test_expression_of_another_photo_is_worn(ctx: RunContext, astronaut: Path, tmp_path: Path) -> None:
    face = cv2.imread(str(astronaut))[:260, 100:360, ::-1]
    driver = write_image(tmp_path / "other.png", face[:, ::-1])
    result = result_of(ctx, DecaOptions(render_original=False), driver=driver, source=(astronaut,))
    glb = pygltflib.GLTF2().load(ctx.out_dir / result.first("transfer").path)
    assert len(glb.meshes[0].primitives[0].targets) == 52
    folder = ctx.out_dir / "deca"
    assert cv2.imread(str(folder / "astronaut_animation.jpg")).shape == (224, 672, 3)
    for kind in ("reconstruction", "animation"):
        assert (folder / "astronaut" / kind / "astronaut_detail.obj").is_file()


def test_a_clip_gives_heads_in_it_curves_and_a_head_that_moves(
    ctx: RunContext, astronaut: Path, tmp_path: Path
) -> None:
    face = cv2.imread(str(astronaut))[:260, 90:370, ::-1]
    clip = tmp_path / "clip.mp4"
    with VideoWriter(clip, 25, (280, 260)) as video:
        for i in range(7):
            video.write(np.ascontiguousarray(np.roll(face, i, axis=1)))
    result = result_of(ctx, DecaOptions(render_original=False, save_obj=False), source=(clip,))
    assert {"overlay", "video", "animated", "curves", "motion"} <= {o.role for o in result.outputs}
    glb = pygltflib.GLTF2().load(ctx.out_dir / "animated.glb")
    assert {c.target.path for c in glb.animations[0].channels} == {"weights", "rotation"}
    rows = (ctx.out_dir / "curves.csv").read_text().splitlines()
    assert len(rows) == result.summary["frames"] + 1 == 8
    assert len(rows[0].split(",")) == 55


def test_what_is_missing_is_named(ctx: RunContext, astronaut: Path, tmp_path: Path) -> None:
    for deca in (DecaOptions(albedo="bfm"), DecaOptions(detector="fan")):
        with pytest.raises(WeightsMissing, match="Models tab"):
            result_of(ctx, deca, source=(astronaut,))
    bare = WeightsStore(Settings(weights_dir=tmp_path / "none", workspace_dir=tmp_path))
    with pytest.raises(WeightsMissing, match="deca-model"):
        choose_engine(FacePipeline(), "deca", bare)


class Foreign:
    """Leaves a trace when a loader runs it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.trace,)


def test_foreign_classes_are_refused_without_being_run(deca_settings: Settings, tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    store = WeightsStore(deca_settings)
    evil = {"generic_model.pkl": "flame-2020", "deca_model.tar": "deca-model"}
    (tmp_path / "generic_model.pkl").write_bytes(pickle.dumps({"f": Foreign(trace)}))
    torch.save({"E_flame": Foreign(trace), "E_detail": {}, "D_detail": {}}, tmp_path / "deca_model.tar")
    data = made_up.write_data(tmp_path / "data")
    np.save(data / "landmark_embedding.npy", np.array({"a": Foreign(trace)}, dtype=object), allow_pickle=True)
    for name, weights_id in (*evil.items(), ("data", "deca-data")):
        with pytest.raises(WeightsInvalid):
            store.add(weights_id, tmp_path / name)
    assert not trace.exists()
    assert store.installed("deca-model") and store.installed("flame-2020") and store.installed("deca-data")


def test_jitter_goes_and_the_head_stays_where_it_is() -> None:
    rng = np.random.default_rng(0)
    count, times = 60, np.arange(60) / 25
    sizes = {"shape": 100, "tex": 50, "exp": 50, "pose": 6, "detail": 128}
    parts = {n: torch.from_numpy(rng.normal(0, 0.05, (count, k)).astype(np.float32)) for n, k in sizes.items()}
    crops = np.tile(np.eye(3), (count, 1, 1))
    crops[:, 0, 0] = crops[:, 1, 1] = 1.2 + 0.05 * rng.normal(0, 1, count)
    crops[:, :2, 2] = rng.normal(-30, 4, (count, 2))
    scale, x, y = 900 * crops[:, 0, 0] / 112, 320.0, 200.0  # a head that does not move in the photo
    across = ((x * crops[:, 0, 0] + crops[:, 0, 2]) / 112 - 1) / scale
    down = (1 - (y * crops[:, 1, 1] + crops[:, 1, 2]) / 112) / scale
    cam = torch.from_numpy(np.stack([scale, across, down], axis=1).astype(np.float32))
    track = Track(1, np.arange(count), times, DecaCode(**parts, cam=cam, light=torch.zeros(count, 9, 3)), crops)
    held = steady(track, 0.7, True)
    for i in (0, 31, 59):
        matrix = camera_matrix(held.code.cam[i].numpy(), crops[i])
        assert np.abs(matrix[:2, 3] - (x, y)).max() < 0.05 and abs(matrix[0, 0] / 900 - 1) < 1e-4
    assert held.code.exp.diff(dim=0).std() < 0.35 * track.code.exp.diff(dim=0).std()
    assert held.code.shape.std(dim=0).max() < 1e-6
    free = steady(track, 0.0, False)
    assert torch.allclose(free.code.exp, track.code.exp) and torch.allclose(free.code.cam, cam, atol=1e-4)
