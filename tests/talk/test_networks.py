"""The engines with a lip network, on stand-in weights in the released layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.runtime.errors import InputError, WeightsInvalid, WeightsMissing
from models.runtime.onnx_session import OnnxNetwork
from models.runtime.weights import WeightsStore
from models.talking.checkpoint import prepare
from models.talking.deepspeech import from_constants
from models.talking.dinet import Dinet
from models.talking.gfpgan import Gfpgan
from models.talking.graph_constants import float_constants
from models.talking.onnx_session import head_angles
from models.talking.wav2lip import Wav2Lip
from pipelines.base import Inputs, RunContext, run
from pipelines.media.image import read_image
from pipelines.media.video import VideoReader, probe
from pipelines.talk.blend import LOWER_FACE, Blender
from pipelines.talk.face_networks import to_68
from pipelines.talk.options import BlendOptions, TalkOptions
from pipelines.talk.pipeline import TalkPipeline
from tests.talk.onnx_standin import field, scrfd_heads, varint, write_onnx


class WithFiles(WeightsStore):
    """A store that also has some stand-in files."""

    extra: Mapping[str, Path] = {}

    def installed(self, weight: str) -> bool:
        return weight in self.extra or super().installed(weight)

    def path(self, weight: str) -> Path:
        return self.extra[weight] if weight in self.extra else super().path(weight)


def with_files(ctx: RunContext, **files: Path) -> RunContext:
    store = WithFiles(ctx.settings)
    store.extra = {name.replace("_", "-"): path for name, path in files.items()}
    return replace(ctx, weights=store)


@pytest.fixture
def wav2lip(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "wav2lip.pth"
    state = {f"module.{name}": tensor for name, tensor in Wav2Lip().state_dict().items()}
    torch.save({"state_dict": state, "global_step": 1}, path)
    return path


def finished(ctx: RunContext, source: Path, voice: Path, **options: object):
    steps = run(
        TalkPipeline(), Inputs({"source": (source,), "voice": (voice,)}), TalkOptions.model_validate(options), ctx
    )
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_wav2lip_changes_the_lower_face_only(ctx: RunContext, portrait: Path, voice: Path, wav2lip: Path) -> None:
    own = with_files(ctx, wav2lip=wav2lip)
    result = finished(own, portrait, voice, engine="wav2lip", mark=False, preview_seconds=0.5)
    assert result.engine == "wav2lip" and "wav2lip" in result.weights
    video = ctx.out_dir / "talk.mp4"
    assert probe(video, ctx.settings.limits).frames == 12  # of half a second: the last, shorter batch is there
    frame = next(iter(VideoReader(video, ctx.settings.limits))).rgb.astype(float)
    change = np.abs(frame - read_image(portrait, ctx.settings.limits)).mean(axis=-1)
    assert change[150:220, 100:200].max() > 30
    assert change[:60].mean() < 4 and change[250:].mean() < 4


def test_an_engine_without_its_file_says_so(ctx: RunContext, portrait: Path, voice: Path) -> None:
    with pytest.raises(WeightsMissing, match="wav2lip"):
        finished(ctx, portrait, voice, engine="wav2lip")


def test_a_mask_without_its_file_says_so(ctx: RunContext, portrait: Path, voice: Path, wav2lip: Path) -> None:
    own = with_files(ctx, wav2lip=wav2lip)
    with pytest.raises(WeightsMissing, match="bisenet-79999"):
        finished(own, portrait, voice, engine="wav2lip", preview_seconds=0.2, blend={"mask": "parsing"})


def test_a_checkpoint_of_another_layout_is_refused(
    ctx: RunContext, portrait: Path, voice: Path, tmp_path: Path
) -> None:
    path = tmp_path / "other.pth"
    torch.save({"state_dict": {"module.layer.weight": torch.zeros(3)}}, path)
    with pytest.raises(WeightsInvalid):
        finished(with_files(ctx, wav2lip=path), portrait, voice, engine="wav2lip", preview_seconds=0.2)


def test_auto_takes_the_network_once_it_is_there(ctx: RunContext, talk: Callable, wav2lip: Path) -> None:
    from pipelines.base import choose_engine

    assert choose_engine(TalkPipeline(), "auto", ctx.weights).name == "viseme"
    assert choose_engine(TalkPipeline(), "auto", with_files(ctx, wav2lip=wav2lip).weights).name == "wav2lip"


def frozen_graph(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A TensorFlow GraphDef of constants, as its schema says."""
    graph = b""
    for name, array in arrays.items():
        shape = b"".join(field(2, b"\x08" + varint(n)) for n in array.shape)
        tensor = b"\x08\x01" + field(2, shape) + field(4, array.astype("<f4").tobytes())
        attribute = field(1, b"value") + field(2, field(8, tensor))
        graph += field(1, field(1, name.encode()) + field(2, b"Const") + field(5, attribute))
    return graph


def speech_constants(width: int = 8) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"h1": (494, width), "h2": (width, width), "h3": (width, 2 * width), "h5": (2 * width, width)}
    shapes |= {"h6": (width, 29), "b1": (width,), "b2": (width,), "b3": (2 * width,), "b5": (width,), "b6": (29,)}
    for side in ("fw", "bw"):
        cell = f"bidirectional_rnn/{side}/basic_lstm_cell"
        shapes |= {f"{cell}/kernel": (3 * width, 4 * width), f"{cell}/bias": (4 * width,)}
    return {name: rng.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}


def test_deepspeech_follows_its_formulas(tmp_path: Path) -> None:
    """The graph's own arithmetic (BasicLSTMCell with a forget bias of one), written out step by step."""
    constants = speech_constants()
    path = tmp_path / "output_graph.pb"
    path.write_bytes(frozen_graph(constants))
    read = float_constants(path)
    assert all(np.array_equal(read[name], array) for name, array in constants.items())
    rows = np.random.default_rng(1).normal(size=(7, 494)).astype(np.float32)

    def dense(x: np.ndarray, n: int) -> np.ndarray:
        return np.clip(x @ constants[f"h{n}"] + constants[f"b{n}"], 0, 20)

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    def cell(x: np.ndarray, side: str) -> np.ndarray:
        kernel = constants[f"bidirectional_rnn/{side}/basic_lstm_cell/kernel"]
        bias = constants[f"bidirectional_rnn/{side}/basic_lstm_cell/bias"]
        h, c, out = np.zeros(8), np.zeros(8), []
        for row in x:
            i, j, f, o = np.split(np.concatenate([row, h]) @ kernel + bias, 4)
            c = c * sigmoid(f + 1.0) + sigmoid(i) * np.tanh(j)
            h = np.tanh(c) * sigmoid(o)
            out.append(h)
        return np.stack(out)

    x = dense(dense(dense(rows, 1), 2), 3)
    both = np.concatenate([cell(x, "fw"), cell(x[::-1], "bw")[::-1]], axis=1)
    want = dense(both, 5) @ constants["h6"] + constants["b6"]
    with torch.inference_mode():
        got = from_constants(read, path.name)(torch.from_numpy(rows)).numpy()
    assert np.abs(got - want).max() < 1e-5


def test_a_broken_graph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "output_graph.pb"
    whole = frozen_graph(speech_constants())
    for content in (b"", b"hello there, no graph", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(WeightsInvalid):
            from_constants(float_constants(path), path.name)


def test_dinet_end_to_end(ctx: RunContext, portrait: Path, voice: Path, tmp_path: Path) -> None:
    graph, checkpoint = tmp_path / "output_graph.pb", tmp_path / "dinet.pth"
    graph.write_bytes(frozen_graph(speech_constants()))
    torch.manual_seed(0)
    state = {f"module.{name}": tensor for name, tensor in Dinet().state_dict().items()}
    torch.save({"epoch": 1, "state_dict": {"net_g": state}}, checkpoint)
    own = with_files(ctx, dinet_256mouth=checkpoint, dinet_deepspeech=graph)
    result = finished(own, portrait, voice, engine="dinet", mark=False, preview_seconds=0.12, blend={"batch": 2})
    assert result.engine == "dinet"
    assert probe(ctx.out_dir / "talk.mp4", ctx.settings.limits).frames == 3


def heygem_files(folder: Path, portrait_side: int, yaw_bin: int = 60) -> dict[str, Path]:
    """Stand-ins that see one face in the middle of a square picture, turned aside as told (60 is straight ahead)."""
    size = 128
    box = np.array([70.0, 30.0, 230.0, 250.0]) * size / portrait_side
    yaw, pitch, roll = np.full((1, 120), -50.0), np.full((1, 66), -50.0), np.full((1, 66), -50.0)
    yaw[0, yaw_bin], pitch[0, 33], roll[0, 33] = 50, 50, 50
    points = np.random.default_rng(0).uniform(0.4, 0.6, (98, 2))
    points[76:96, 1], points[51:60, 1], points[:33, 1] = 0.7, 0.5, 0.85
    points[76, 0], points[82, 0] = 0.35, 0.65
    return {
        "heygem_scrfd": write_onnx(folder / "scrfd.onnx", (1, 3, size, size), scrfd_heads(size, box)),
        "heygem_pfpld": write_onnx(folder / "pfpld.onnx", (1, 3, 112, 112), [points.reshape(1, 196)]),
        "heygem_whenet": write_onnx(folder / "whenet.onnx", (1, 3, 224, 224), [yaw, pitch, roll]),
    }


def test_heygems_networks_place_the_mouth(
    ctx: RunContext, portrait: Path, voice: Path, wav2lip: Path, tmp_path: Path
) -> None:
    chosen = {"engine": "wav2lip", "mark": False, "preview_seconds": 0.3, "blend": {"follow": "heygem"}}
    own = with_files(ctx, wav2lip=wav2lip, **heygem_files(tmp_path, 300))
    result = finished(own, portrait, voice, **chosen)
    assert result.summary["untouched_frames"] == 0
    # A face that WHENet sees from the side is left alone and counted; here that is every frame.
    (tmp_path / "aside").mkdir()
    aside = with_files(ctx, wav2lip=wav2lip, **heygem_files(tmp_path / "aside", 300, yaw_bin=88))
    with pytest.raises(InputError, match="too far aside"):
        finished(aside, portrait, voice, **chosen)
    with pytest.raises(WeightsMissing, match="heygem-scrfd"):
        finished(with_files(ctx, wav2lip=wav2lip), portrait, voice, **chosen)


def test_ninety_eight_points_become_sixty_eight() -> None:
    points = np.stack([np.arange(98.0), np.zeros(98)], axis=1)
    found = to_68(points)[:, 0]
    assert found.shape == (68,)
    assert list(found[:17]) == list(range(0, 33, 2)) and list(found[48:]) == list(range(76, 96))
    assert list(found[36:42]) == [60, 61.5, 62.5, 64, 65.5, 66.5]


@pytest.mark.parametrize(("blur", "sharpened"), [(0.9, True), (0.1, False)])
def test_the_attribute_network_decides_what_is_sharpened(
    ctx: RunContext, tmp_path: Path, blur: float, sharpened: bool
) -> None:
    attributes = np.zeros((1, 10))
    attributes[0, -2] = blur
    face = np.zeros((1, 3, 512, 512))
    own = with_files(
        ctx,
        heygem_face_attr=write_onnx(tmp_path / "attr.onnx", (1, 3, 512, 512), [attributes]),
        heygem_gfpgan=write_onnx(tmp_path / "gfpgan.onnx", (1, 3, 512, 512), [face]),
    )
    blender = Blender(BlendOptions(restore="auto"), own)
    mesh = np.random.default_rng(0).uniform(60, 240, (468, 3))
    for name, at in ((33, (110, 120)), (133, (130, 120)), (362, (170, 120)), (263, (190, 120)), (1, (150, 150)),
                     (61, (125, 180)), (291, (175, 180))):  # fmt: skip
        mesh[name, :2] = at
    frame = np.full((300, 300, 3), 90, np.uint8)
    assert blender.restore(frame, [mesh]) == int(sharpened)


def test_masks_by_xseg(ctx: RunContext, tmp_path: Path) -> None:
    mask = np.zeros((1, 256, 256, 1))
    mask[:, 128:] = 1
    own = with_files(ctx, heygem_xseg=write_onnx(tmp_path / "xseg.onnx", (1, 256, 256, 3), [mask]))
    blender = Blender(BlendOptions(mask="xseg", feather=0), own)
    frame, made = np.zeros((200, 200, 3), np.uint8), np.full((200, 200, 3), 255, np.uint8)
    mesh = np.random.default_rng(0).uniform(90, 110, (468, 3))
    for place, name in enumerate(LOWER_FACE):
        angle = 2 * np.pi * place / len(LOWER_FACE)
        mesh[name, :2] = 100 + 90 * np.array([np.cos(angle), np.sin(angle)])
    blender.paste(frame, made, (0, 200, 0, 200), mesh)
    assert frame[150, 100, 0] == 255 and frame[50, 100, 0] == 0


def test_onnx_files_tell_their_shapes(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no network")
    with pytest.raises(WeightsInvalid, match=r"broken\.onnx"):
        OnnxNetwork(path, torch.device("cpu"))


def test_head_angles() -> None:
    yaw, pitch, roll = np.full((1, 120), -50.0), np.full((1, 66), -50.0), np.full((1, 66), -50.0)
    yaw[0, 70], pitch[0, 33], roll[0, 30] = 50, 50, 50
    assert np.allclose(head_angles(yaw, pitch, roll), [[30, 0, -9]])


def test_gfpgan_is_made_ready() -> None:
    """Its modulated weights have five axes, which no picture layout fits."""
    with torch.device("meta"):
        network = prepare("gfpgan", Gfpgan())
    assert network.conv_body_first.weight.shape[1] == 3
