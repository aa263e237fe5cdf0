"""Engine ``smplerx`` on a made-up checkpoint: crops, batches, cameras and files go the whole way."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from models.bodies import mannequin
from models.bodies.joints import JOINTS
from models.geometry.rotations import axis_angle_to_matrix
from models.runtime.cache import ModelCache
from models.runtime.errors import WeightsMissing
from models.runtime.safe_load import load_torch
from models.runtime.settings import Settings
from models.runtime.state_dict import load_strict
from models.runtime.weights import WeightsStore
from models.smplerx.checkpoint import load, network_state
from models.smplerx.config import VARIANTS
from models.smplerx.network import Smplerx
from pipelines.base import RunContext
from pipelines.body import engine_smplerx
from pipelines.body.figures import BodyModel
from pipelines.body.options import BodyOptions, PeopleOptions, SmplerxOptions
from pipelines.body.source import Source
from pipelines.media.image import write_image
from pipelines.media.video import VideoReader

CLIP = Path(__file__).resolve().parents[2] / "examples" / "body" / "crossing.mp4"


class StandIn(WeightsStore):
    """The installed weights, and one made-up checkpoint."""

    made: Path

    def installed(self, weights_id: str) -> bool:
        return weights_id == "smplerx-s32" or (weights_id[:7] != "smplerx" and super().installed(weights_id))

    def path(self, weights_id: str) -> Path:
        return self.made if weights_id == "smplerx-s32" else super().path(weights_id)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = Smplerx(VARIANTS["s32"])
    for name, value in network.named_parameters():
        if value.dim() > 1:
            torch.nn.init.normal_(value, 0, 0.02)
        elif name.endswith("pose_out.0.bias"):
            value.data = torch.tensor([1.0, 0, 0, 1, 0, 0]).repeat(len(value) // 6)
    path = tmp_path_factory.mktemp("weights") / "smpler_x_s32.pth.tar"
    torch.save({"network": {f"module.{k}": v for k, v in network.state_dict().items()}}, path)
    return path


def test_a_photo_of_two(tmp_path: Path, checkpoint: Path) -> None:
    settings = Settings.from_env(os.environ, device="cpu")
    store = StandIn(settings)
    store.made = checkpoint
    if not store.installed("mediapipe-pose-landmark-full"):
        pytest.skip("needs the embedded models: python -m studio weights get embedded")
    frame = next(iter(VideoReader(CLIP, settings.limits))).rgb
    write_image(tmp_path / "photo.png", frame)
    ctx = RunContext(tmp_path, settings, ModelCache.from_settings(settings), store)
    model = BodyModel.mannequin(mannequin.load())
    options = BodyOptions(people=PeopleOptions(multi_person=True), smplerx=SmplerxOptions(variant="s32", batch=4))
    steps = engine_smplerx.infer(Source(tmp_path / "photo.png", None, (640, 480)), model, options, ctx, [])
    try:
        while True:
            next(steps)
    except StopIteration as end:
        people, frames = end.value
    assert frames == 1 and len(people) == 2
    for person in people:
        assert person.motion.rotations.shape == (1, JOINTS, 3)
        turned = axis_angle_to_matrix(torch.from_numpy(person.motion.rotations))
        torch.testing.assert_close(torch.linalg.det(turned), torch.ones(1, JOINTS, dtype=turned.dtype))
        at = (person.motion.rest_joints[0] + person.motion.transl)[0]
        focal, middle = person.camera[0, 0], person.camera[0, 2:]
        pixel = at[:2] / -at[2] * focal * (1, -1) + middle
        box = person.boxes[0]
        assert (pixel > box[:2] - 200).all() and (pixel < box[2:] + 200).all()


def test_sizes_that_are_missing_are_named() -> None:
    store = WeightsStore(Settings.from_env(os.environ, device="cpu"))
    if store.installed("smplerx-h32"):
        pytest.skip("the checkpoint is installed here")
    with pytest.raises(WeightsMissing, match="smplerx-h32"):
        engine_smplerx.chosen_weights(SmplerxOptions(variant="h32"), store)


def test_gates_follow_the_original() -> None:
    people = [
        (1, np.array([0.0, 0, 100, 300]), 0.9),
        (2, np.array([5.0, 0, 105, 300]), 0.8),
        (3, np.array([300.0, 0, 330, 80]), 0.7),
    ]
    options = BodyOptions(people=PeopleOptions(iou_thr=0.5, bbox_thr=30))
    assert [n for n, _ in engine_smplerx.gated(people, (640, 480), options)] == [1]
    alone = BodyOptions(people=PeopleOptions(multi_person=False))
    assert [n for n, _ in engine_smplerx.gated(people, (640, 480), alone)] == [1]


def test_made_ready_it_says_the_same(checkpoint: Path) -> None:
    ready = load(checkpoint, torch.device("cpu"))
    plain = load_strict(Smplerx(VARIANTS["s32"]), network_state(load_torch(checkpoint)), "s32")
    crops = torch.rand(2, 3, 512, 384, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found, want = ready(crops), plain(crops)
    torch.testing.assert_close(found.joint_img, want.joint_img, atol=2e-4, rtol=0)
    torch.testing.assert_close(found.lhand_bbox, want.lhand_bbox, atol=1e-3, rtol=0)
    torch.testing.assert_close(found.pose.betas, want.pose.betas, atol=1e-5, rtol=0)
