"""The pipeline from files to frames: CoNR's engine round its networks, UDP frames written and read, video to dance."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from models.conr.network import Sheet
from models.runtime.cache import ModelCache
from models.runtime.errors import InputError, WeightsMissing
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from pipelines import registry
from pipelines.base import Inputs, Result, RunContext, run
from pipelines.character import engine_conr
from pipelines.character.bodies import PIP
from pipelines.character.inputs import CharacterSheet
from pipelines.character.moving import MOVES
from pipelines.character.options import CharacterOptions
from pipelines.character.udp_files import read_udp
from pipelines.character.work import CharacterWork
from pipelines.export.motion import read_motion
from pipelines.media.image import read_image_rgba
from pipelines.media.video import VideoReader, probe
from studio import forms
from studio.cli.character import asked_formats, inputs_of

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FRONT = EXAMPLES / "character" / "pip" / "front.png"
SHORT = {"range_end": 0.15, "size": 256, "move": "wave"}


class Installed:
    """A weights store that has everything but SMPL-X."""

    def installed(self, weight_id: str) -> bool:
        return weight_id != "smplx-neutral"

    def path(self, weight_id: str) -> Path:
        return Path(weight_id)


def finished(inputs: Inputs, ctx: RunContext, **flat: object) -> Result:
    steps = run(registry.get("character"), inputs, forms.build(CharacterOptions, flat), ctx)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


@pytest.fixture
def ctx(tmp_path: Path) -> RunContext:
    settings = Settings.from_env({}, workspace_dir=tmp_path / "workspace", device="cpu", offline=True)
    out = tmp_path / "run"
    out.mkdir()
    return RunContext(out, settings, ModelCache.from_settings(settings), WeightsStore(settings))


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """CoNR's networks replaced by something that paints the pose's mask red; what they were given is kept."""
    calls: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def paint(files, settings, sheet, poses, detect, batch, previous, before):
        calls.append((sheet, poses, before))
        alpha = poses[..., 3:].astype(np.float32) / (255 if poses.dtype == np.uint8 else 1)
        return np.concatenate([alpha, 0 * alpha, 0 * alpha, alpha], axis=3)

    monkeypatch.setattr(engine_conr, "paint", paint)
    return calls


def conr(work: CharacterWork, tmp_path: Path, **flat: object) -> engine_conr.ConrEngine:
    ctx = RunContext(tmp_path, Settings(), None, Installed())
    return engine_conr.ConrEngine(work, forms.build(CharacterOptions, flat), ctx)


def test_conr_puts_frames_back_where_the_pose_was(tmp_path: Path, painted: list) -> None:
    frame = np.zeros((90, 120, 4), np.float32)
    frame[20:80, 30:60] = (0.2, 0.4, 0.6, 1)
    paths = []
    for index, udp in enumerate((frame, np.zeros_like(frame), frame)):
        paths.append(tmp_path / f"{index}.npz")
        np.savez(paths[-1], i=udp.astype(np.float16))
    engine = conr(CharacterWork(CharacterSheet((FRONT,)), None, tuple(paths), (), 30.0, (512, 512)), tmp_path)
    frames = np.concatenate(list(engine.frames()))
    assert frames.shape == (3, 90, 120, 4) and engine.size == (120, 90)
    assert (frames[0][25:75, 35:55] == (255, 0, 0, 255)).all() and not frames[0][:18].any()
    assert not frames[1].any() and "show nobody" in engine.notes[0]
    sheet, poses, _ = painted[0]
    assert sheet.shape == (1, 256, 256, 4) and poses.shape == (2, 256, 256, 4)
    np.testing.assert_allclose(poses[0, 128, 128, :3], (0.2, 0.4, 0.6), atol=1e-3)


def test_conr_moves_drawings_by_the_mannequin_and_hands_on_what_it_painted(tmp_path: Path, painted: list) -> None:
    motion = read_motion(MOVES / "wave.npz")
    short = CharacterWork(CharacterSheet((FRONT,)), motion, (), (), motion.fps, (256, 256))
    engine = conr(short, tmp_path, conr_batch=1, conr_previous=2, size=256)
    chunks = engine.frames()
    first, second = next(chunks), next(chunks)
    assert len(first) == len(second) == 4 and (first[..., 3] > 0).any(axis=(1, 2)).all()
    assert [len(before) for *_, before in painted] == [0, 2]


def test_joined_sheets_hold_the_references_of_both() -> None:
    parts = [
        Sheet((torch.full((m, 3, 2, 2), float(m)),), torch.zeros(m, 4, 8, 8), torch.zeros(m, 4, 8, 8)) for m in (1, 2)
    ]
    both = parts[0].joined(parts[1])
    assert both.features[0].shape[0] == both.colours.shape[0] == both.udp.shape[0] == 3


def test_poses_for_drawings_without_weights_say_what_is_missing(ctx: RunContext, tmp_path: Path) -> None:
    path = tmp_path / "pose.npz"
    np.savez(path, i=np.ones((8, 8, 4), np.float32))
    settings = ctx.settings.with_(weights_dir=tmp_path / "none")
    bare = RunContext(ctx.out_dir, settings, ctx.cache, WeightsStore(settings))
    with pytest.raises(WeightsMissing, match="conr-udpparser"):
        finished(Inputs({"sheet": (FRONT,), "motion": (path,)}), bare)


def test_pip_dances_and_the_motion_written_as_udps_drives_it_again(ctx: RunContext, tmp_path: Path) -> None:
    result = finished(Inputs({"model": (PIP,)}), ctx, **SHORT, output_udp=True)
    assert result.engine == "udp" and result.summary["frames"] >= 4
    assert probe(ctx.out_dir / "character.mp4", ctx.settings.limits).frames == result.summary["frames"]
    with zipfile.ZipFile(ctx.out_dir / result.first("udp").path) as pack:
        names = pack.namelist()
        pack.extract(names[0], ctx.out_dir)
    assert len(names) == result.summary["frames"]
    assert read_udp(ctx.out_dir / names[0]).shape == (256, 256, 4)
    again = RunContext(tmp_path / "again", ctx.settings, ctx.cache, ctx.weights)
    again.out_dir.mkdir()
    second = finished(Inputs({"model": (PIP,), "motion": (ctx.out_dir / "udp.zip",)}), again, size=256)
    assert second.summary["frames"] == result.summary["frames"]
    one, two = (
        next(iter(VideoReader(c.out_dir / "character.mp4", c.settings.limits))).rgb.astype(int) for c in (ctx, again)
    )
    assert np.abs(one - two).mean() < 2


def test_flags_name_roles_and_the_originals_spellings_hold(tmp_path: Path) -> None:
    pipeline = registry.get("character")
    none = dict.fromkeys(("model", "music", "rig", "mask", "backdrop", "sheet_udp"))
    given = {"inputs": None, "sheet": [FRONT.parent], "motion": [EXAMPLES / "body" / "walking.mp4"], **none}
    inputs = inputs_of(pipeline, given)
    assert len(inputs.get("sheet")) == 8  # drawings and their UDPs: sorted out by the pipeline
    assert inputs.one("motion").name == "walking.mp4"
    with pytest.raises(InputError, match="no file or folder"):
        inputs_of(pipeline, {**given, "rig": tmp_path / "absent.yaml"})
    assert asked_formats(Path("out.webm")) == "webm" and asked_formats(Path("folder")) is None


@pytest.mark.media
@pytest.mark.slow
@pytest.mark.parametrize("clip", ["street", "mannequin"])
def test_a_video_becomes_a_dance_in_one_go(clip: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    settings = Settings.from_env({}, workspace_dir=tmp_path / "workspace", device="cpu", offline=True)
    weights = WeightsStore(settings)
    if not weights.installed("mediapipe-pose-landmark-full"):
        pytest.skip("the embedded models are not installed")
    if clip == "street":
        video = request.getfixturevalue("testdata") / "body" / "street_5frames.mp4"
    else:
        video = EXAMPLES / "body" / "walking.mp4"
    ctx = RunContext(tmp_path, settings, ModelCache.from_settings(settings), weights)
    end = {} if clip == "street" else {"range_end": 0.3}
    result = finished(Inputs({"motion": (video,)}), ctx, size=256, **end)
    assert result.engine == "udp" and result.summary["frames"] >= 5
    assert {"video", "tracking", "bvh"} <= {o.role for o in result.outputs}
    frames = list(VideoReader(tmp_path / result.first("video").path, settings.limits))
    paper = frames[0].rgb[0, 0].astype(int)
    for frame in frames:
        assert (np.abs(frame.rgb.astype(int) - paper).max(axis=2) > 40).mean() > 0.04  # somebody is there


def test_pictures_of_the_example_sheet_are_cut_out(ctx: RunContext) -> None:
    for path in sorted(FRONT.parent.glob("*.png")):
        rgba = read_image_rgba(path, ctx.settings.limits)
        assert rgba.shape == (512, 512, 4) and 0.03 < (rgba[..., 3] > 0).mean() < 0.6
