"""Sample calls for every ``@gpu`` function of the product, by its registered name.

A function without a case fails ``test_gpu.test_every_gpu_function_survives_a_worker``. A case returns the arguments
for a small, quick call; it may use the weights and media that tests make up.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.runtime.settings import Settings
from models.salad.network import SIDE, Salad
from models.smplerx.config import VARIANTS
from models.smplerx.network import Smplerx
from models.talking.bisenet import BiSeNet
from models.talking.dinet import Dinet
from models.talking.gfpgan import Gfpgan
from models.talking.wav2lip import Wav2Lip
from pipelines.talk.lips import NetworkFile
from tests.scene.da3_folder import write_folder
from tests.talk.onnx_standin import scrfd_heads, write_onnx

Case = Callable[[Path], tuple[tuple[Any, ...], dict[str, Any]]]


def da3_views(folder: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Two small noise pictures through a made-up small network."""
    from pipelines.scene.da3_inference import Da3Settings
    from pipelines.scene.da3_network import Checkpoint
    from pipelines.scene.da3_preprocess import process

    noise = np.random.default_rng(0).integers(0, 255, (2, 42, 56, 3), np.uint8)
    checkpoint = Checkpoint("da3-small", write_folder(folder / "DA3-SMALL"))
    return (process(list(noise), resolution=56), checkpoint, Da3Settings(56), Settings(device="cpu")), {}


def salad(folder: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """One noise photo through a made-up network."""
    return (_pictures(1, SIDE, SIDE), _released(folder, Salad(), dict), Settings(device="cpu")), {}


def smplerx_crops(folder: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """One noise crop through a made-up small network."""
    path = _released(folder, Smplerx(VARIANTS["s32"]), lambda state: {"network": _wrapped(state)})
    crops = np.random.default_rng(0).uniform(0, 255, (1, 512, 384, 3)).astype(np.float32)
    return (path, "smplerx-s32", Settings(device="cpu"), crops), {}


def _released(folder: Path, network: torch.nn.Module, layout: Callable[[dict], Any]) -> Path:
    """A network with random weights, saved in its released layout."""
    path = folder / f"{type(network).__name__}.pth"
    torch.save(layout(network.state_dict()), path)
    return path


def _wrapped(state: dict) -> dict:
    return {f"module.{name}": value for name, value in state.items()}


def _pictures(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (count, height, width, 3), np.uint8)


def wav2lip(folder: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
    path = _released(folder, Wav2Lip(), lambda state: {"state_dict": _wrapped(state)})
    mel = np.zeros((2, 80, 16), np.float32)
    return (NetworkFile("wav2lip", path), Settings(device="cpu"), mel, _pictures(2, 96, 96), 2), {}


def dinet(folder: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
    path = _released(folder, Dinet(), lambda state: {"state_dict": {"net_g": _wrapped(state)}})
    audio = np.zeros((1, 29, 5), np.float32)
    sizes = (_pictures(1, 416, 320), _pictures(5, 416, 320))
    return (NetworkFile("dinet", path), Settings(device="cpu"), *sizes, audio, 1), {}


def parsing(folder: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
    path = _released(folder, BiSeNet(), dict)
    return (NetworkFile("bisenet", path), Settings(device="cpu"), _pictures(1, 512, 512)), {}


def restoring(folder: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
    path = _released(folder, Gfpgan(), lambda state: {"params_ema": dict(state)})
    return (NetworkFile("gfpgan", path), Settings(device="cpu"), _pictures(1, 512, 512)), {}


def _deca(folder: Path) -> tuple[Any, Settings, Any, Any]:
    """Installed made-up files, settings, one code and its crop."""
    from models.deca.config import DecaConfig
    from models.deca.data import DecaFiles
    from models.deca.network import DecaCode
    from tests.face import made_up

    files = DecaFiles(folder / "deca_model.tar", folder / "generic_model.pkl", folder / "data")
    if not files.networks.exists():
        made_up.write_networks(files.networks)
        made_up.write_flame(files.flame)
        made_up.write_data(files.data)
    sizes = DecaConfig().code_sizes
    parts = {name: torch.zeros(1, size) for name, size in sizes.items()} | {"light": torch.zeros(1, 9, 3)}
    parts["cam"] = torch.tensor([[8.0, 0.0, 0.0]])
    code = DecaCode(**parts, detail=torch.zeros(1, DecaConfig().n_detail))
    return files, Settings(device="cpu"), code, np.zeros((1, 3, 224, 224), np.float32)


def deca_encode(folder: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
    files, settings, _, crops = _deca(folder)
    return (files, settings, crops, 1), {}


def deca_decode(folder: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
    files, settings, code, crops = _deca(folder)
    return (files, settings, code, crops), {}


def deca_posed(folder: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return _deca(folder)[:3], {}


def deca_in_photo(folder: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
    files, settings, code, _ = _deca(folder)
    return (files, settings, _pictures(1, 60, 80)[0], code, np.eye(3)[None]), {}


def conr_paint(folder: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """One frame from one drawing, through four networks of random weights."""
    from models.conr.checkpoint import PARTS
    from models.conr.network import Conr

    network, files = Conr(), {}
    for part in PARTS:
        files[part] = folder / f"{part}.pth"
        torch.save(getattr(network, part).state_dict(), files[part])
    poses = np.zeros((1, 128, 128, 4), np.float32)
    nothing_before = np.zeros((0, 128, 128, 4), np.float32)
    sheet = np.random.default_rng(0).integers(0, 255, (1, 128, 128, 4), np.uint8)
    return (files, Settings(device="cpu"), sheet, poses, False, 1, 0, nothing_before), {}


def _onnx(shape: tuple[int, ...], outputs: list[np.ndarray], side: int) -> Case:
    """A call of a function that reads an ONNX file, on one square picture."""

    def call(folder: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
        path = write_onnx(folder / "network.onnx", shape, outputs)
        return (NetworkFile("onnx", path), Settings(device="cpu"), _pictures(1, side, side)), {}

    return call


CASES: dict[str, Case] = {
    "pipelines.face.deca_network.encode": deca_encode,
    "pipelines.face.deca_network.decode": deca_decode,
    "pipelines.face.deca_network.posed": deca_posed,
    "pipelines.face.deca_network.draw_in_photo": deca_in_photo,
    "pipelines.character.engine_conr.paint": conr_paint,
    "pipelines.scene.da3_network.compute_views": da3_views,
    "pipelines.scene.place_network.describe_photos": salad,
    "pipelines.body.engine_smplerx.regress": smplerx_crops,
    "pipelines.talk.lips.wav2lip_faces": wav2lip,
    "pipelines.talk.lips.dinet_faces": dinet,
    "pipelines.talk.lips.parsing_masks": parsing,
    "pipelines.talk.lips.restored_faces": restoring,
    "pipelines.talk.lips.xseg_masks": _onnx((1, 256, 256, 3), [np.zeros((1, 256, 256, 1))], 256),
    "pipelines.talk.face_networks.detected": _onnx((1, 3, 64, 64), scrfd_heads(64, (10, 10, 50, 50)), 80),
    "pipelines.talk.face_networks.landmarks_98": _onnx((1, 3, 112, 112), [np.zeros((1, 196))], 90),
    "pipelines.talk.face_networks.head_poses": _onnx((1, 3, 224, 224), [np.zeros((1, n)) for n in (120, 66, 66)], 90),
    "pipelines.talk.face_networks.blur_confidence": _onnx((1, 3, 512, 512), [np.zeros((1, 10))], 512),
}
# Functions whose files tests cannot make; their arguments are of the same kinds as those of their neighbours.
WITHOUT_SAMPLE = {
    "pipelines.face.deca_detect.fan_landmarks": "needs face-alignment's two published files",
    "pipelines.talk.lips.letter_scores": "reads a frozen TensorFlow graph",
}
