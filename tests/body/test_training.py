"""SMPLer-X learns on a made-up set: two processes, a checkpoint to go on from, and errors in millimetres."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from models.bodies import mannequin
from models.bodies.joints import JOINTS, JOINTS_137, PARENTS
from models.bodies.smplx import Smplx, SmplxData
from models.runtime.errors import InputError
from models.smplerx import checkpoint
from pipelines.body.metrics import error_mm
from pipelines.body.sampling import Concat
from pipelines.body.training.dataset import Augmentation, Bodies, pose_of
from pipelines.body.training.evaluate import evaluate, parts_of
from pipelines.body.training.humandata import HumanData
from pipelines.body.training.options import DataOptions, TestBodyOptions, TrainBodyOptions
from pipelines.body.training.targets import CameraModel
from pipelines.body.training.train import choose, cosine, fresh, latest, train

SIZE, FOCAL, COUNT = (320, 240), 400.0, 4
VERTICES = 10_475


@pytest.fixture(scope="module")
def smplx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cloud of points around the mannequin's joints, in SMPL-X's format and number of vertices."""
    rng = np.random.default_rng(0)
    data = mannequin.load().data
    rest = data.J_regressor @ data.v_template
    owner = np.arange(VERTICES) % JOINTS
    weights = np.eye(JOINTS, dtype=np.float32)[owner]
    path = tmp_path_factory.mktemp("model") / "SMPLX_NEUTRAL.npz"
    np.savez(
        path,
        v_template=rest[owner] + rng.normal(0, 0.02, (VERTICES, 3)),
        f=rng.integers(0, VERTICES, (200, 3)),
        shapedirs=rng.normal(0, 0.003, (VERTICES, 3, 20)).astype(np.float32),
        posedirs=np.zeros((VERTICES, 3, 9 * (JOINTS - 1)), np.float32),
        J_regressor=(weights / weights.sum(axis=0)).T,
        weights=weights,
        kintree_table=np.stack([np.array(PARENTS), np.arange(JOINTS)]),
        lmk_faces_idx=rng.integers(0, 200, 51),
        lmk_bary_coords=np.full((51, 3), 1 / 3),
        dynamic_lmk_faces_idx=rng.integers(0, 200, (79, 17)),
        dynamic_lmk_bary_coords=np.full((79, 17, 3), 1 / 3),
    )
    return path


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory, smplx_file: Path) -> Path:
    """A HumanData file of four people in four pictures, its tables pickled as its authors do."""
    folder = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(1)
    table = {
        "global_orient": np.tile([np.pi, 0, 0], (COUNT, 1)) + rng.normal(0, 0.1, (COUNT, 3)),
        "body_pose": rng.normal(0, 0.1, (COUNT, 21, 3)),
        "left_hand_pose": rng.normal(0, 0.1, (COUNT, 15, 3)),
        "right_hand_pose": rng.normal(0, 0.1, (COUNT, 15, 3)),
        "jaw_pose": np.zeros((COUNT, 3)),
        "betas": rng.normal(0, 0.5, (COUNT, 10)),
        "expression": np.zeros((COUNT, 10)),
        "transl": np.tile([0.0, 0.0, 4.0], (COUNT, 1)),
    }
    short = {"global_orient": "root", "body_pose": "body", "betas": "shape", "jaw_pose": "jaw",
             "left_hand_pose": "left_hand", "right_hand_pose": "right_hand", "expression": "expression"}  # fmt: skip
    truth = {short[n]: torch.tensor(v, dtype=torch.float32).flatten(1) for n, v in table.items() if n in short}
    joints = Smplx(SmplxData.load(smplx_file))(pose_of(truth)).joints.numpy() + np.array([0, 0, 4.0])
    pixels = joints[..., :2] / joints[..., 2:] * FOCAL + np.array(SIZE) / 2
    low, high = pixels.min(axis=1), pixels.max(axis=1)
    names = [f"{i}.jpg" for i in range(COUNT)]
    for name in names:
        cv2.imwrite(str(folder / name), rng.integers(0, 255, (*SIZE[::-1], 3), dtype=np.uint8))
    boxes = np.concatenate([low, high - low, np.ones((COUNT, 1))], axis=1)
    np.savez(
        folder / "made_up.npz",
        image_path=np.array(names),
        bbox_xywh=boxes,
        lhand_bbox_xywh=boxes * [1, 1, 0.2, 0.2, 1],
        face_bbox_xywh=boxes * [1, 1, 0.3, 0.3, 1],
        smplx=np.array(table, dtype=object),
        meta=np.array({"height": [SIZE[1]] * COUNT, "width": [SIZE[0]] * COUNT}, dtype=object),
        keypoints2d_smplx=np.concatenate([pixels, np.ones((COUNT, joints.shape[1], 1))], axis=2),
        keypoints2d_smplx_mask=np.ones(joints.shape[1]),
        keypoints3d_smplx=np.concatenate([joints, np.ones((COUNT, joints.shape[1], 1))], axis=2),
        keypoints3d_smplx_mask=np.ones(joints.shape[1]),
    )
    return folder / "made_up.npz"


def test_targets_agree_with_the_key_points(people: Path, smplx_file: Path) -> None:
    data = SmplxData.load(smplx_file)
    file = HumanData(people, people.parent, data.hand_means)
    file.camera = CameraModel(np.array([FOCAL, FOCAL]), np.array(SIZE) / 2)
    body = Smplx(data)
    for augment in (False, True):
        bodies = Bodies([file], body, Concat([len(file)]), augment)
        for index in range(len(bodies)):
            item = bodies[index]
            target = item["target"]
            ok = item["valid"]["joint_trunc"] * item["valid"]["smplx_joint_trunc"]
            ok[[67, 68]] = 0  # the files name the eyes the other way round
            assert ok.sum() > 50
            gap = ((target["joint_img"] - target["smplx_joint_img"]).abs() * ok)[:, :2].max()
            assert gap < 0.02
            assert item["image"]["crop"].shape == (3, 512, 384)
            assert float(item["image"]["crop"].min()) >= 0 and float(item["image"]["crop"].max()) <= 1


@pytest.mark.slow
def test_two_processes_then_on_from_their_checkpoint(people: Path, smplx_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["train", "body", people, "--images", people.parent, "--out", out, "--smplx", smplx_file, "--device", "cpu",
             "--processes", 2, "--epochs", 1, "--batch", 1, "--log-every", 1]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "studio", *map(str, words)], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "step 2/2" in done.stdout and "smplx_joint_cam" in done.stdout
    first = latest(out)
    assert first is not None and first.name == "snapshot_0.pth.tar"
    checkpoint.validate(first)
    said: list[str] = []
    options = TrainBodyOptions(epochs=2, batch=2, rate=1e-3, log_every=1)
    last = train([people], people.parent, smplx_file, out, options, torch.device("cpu"), say=said.append)
    assert said[0] == "goes on after snapshot_0.pth.tar" and last.name == "snapshot_1.pth.tar"
    before, after = (checkpoint.load(p, torch.device("cpu")).state_dict() for p in (first, last))
    for name in ("encoder.pos_embed", "body_regressor.cam_out.0.bias", "box_net.lhand_size.2.bias"):
        assert not torch.equal(before[name], after[name])
    with pytest.raises(InputError, match="other parts"):
        train([people], people.parent, smplx_file, out, TrainBodyOptions(epochs=3, batch=4, parts="head"),
              torch.device("cpu"), say=said.append)  # fmt: skip
    table = tmp_path / "errors.csv"
    judged = evaluate(
        [people], people.parent, smplx_file, last, TestBodyOptions(batch=4, data=DataOptions(strategy="concat")),
        torch.device("cpu"), table=table, say=said.append,
    )  # fmt: skip
    assert judged.people == COUNT and len(table.read_text().splitlines()) == COUNT + 1
    assert {"mpvpe_all", "pa_mpvpe_all", "mpjpe_body", "pa_mpjpe_body", "mpvpe_hand"} <= set(judged.errors)
    assert judged.errors["pa_mpvpe_all"] <= judged.errors["mpvpe_all"]


def test_parts_without_index_files_come_from_the_skin() -> None:
    data = mannequin.load().data
    parts = parts_of(data, None)
    assert parts.joints14.shape == (14, len(data.v_template))
    middle = data.v_template[parts.left_hand].mean(axis=0)
    assert middle[0] > 0.5 and error_mm(data.v_template, data.v_template) == 0
    with pytest.raises(InputError, match="MANO_SMPLX_vertex_ids"):
        parts_of(data, Path(__file__).parent)


def test_what_is_trained_and_how_fast() -> None:
    with torch.device("meta"):
        network = fresh("s32", None)
    choose(network, "neck_and_head")
    trained = {n.partition(".")[0] for n, p in network.named_parameters() if p.requires_grad}
    assert "encoder" not in trained and {"box_net", "body_regressor"} <= trained
    assert cosine(0, 10, 1.0, 0.1) == 1.0 and cosine(10, 10, 1.0, 0.1) == pytest.approx(0.1)
    drawn = [Augmentation.drawn(np.random.default_rng(i)) for i in range(200)]
    assert all(0.75 <= a.scale <= 1.25 and abs(a.degrees) <= 60 for a in drawn)
    assert 0.3 < np.mean([a.flip for a in drawn]) < 0.7 and len(JOINTS_137) == 137
