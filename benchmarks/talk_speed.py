"""Speed of the talking-head networks on this machine, beside the originals where checkouts of them are at hand.

    python -m benchmarks.talk_speed --originals FOLDER [--case dinet ...] [--rounds 5]

``FOLDER`` holds checkouts named ``DINet``, ``Wav2Lip``, ``face-parsing.PyTorch``, ``GFPGAN`` and ``wenet`` (1.0), or
``owner+name``. Every round runs both sides once, in turn, on the same stand-in weights and inputs, and a large matrix
product whose rate is the yardstick. Printed are best times by the clock and of the processor, their ratios to the
original, the largest difference of the outputs relative to their largest value, and the rate of the matrix product.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn

from models.runtime.warm_memory import warm_memory
from models.talking.bisenet import BiSeNet
from models.talking.checkpoint import prepare
from models.talking.dinet import Dinet, crop_size, mask_box
from models.talking.gfpgan import Gfpgan
from models.talking.wav2lip import Wav2Lip, mask_lower_half
from models.talking.wenet import Conformer, ConformerConfig
from tests.parity.synth import synth_state

MATRIX = 2048
TARGETS = {"dinet": 1.6, "bisenet": 1.2, "gfpgan": 1.3, "wav2lip": 1.0, "wenet": 1.0}
FOLDERS = {
    "dinet": "DINet",
    "bisenet": "face-parsing.PyTorch",
    "gfpgan": "GFPGAN",
    "wav2lip": "Wav2Lip",
    "wenet": "wenet",
}
Side = Callable[[], Tensor]


@contextmanager
def importing(folder: Path) -> Iterator[None]:
    """Modules are looked for in a checkout; those it brings are forgotten afterwards."""
    before = set(sys.modules)
    hidden = {n: sys.modules.pop(n) for n in list(sys.modules) if n == "models" or n.startswith("models.")}
    sys.path.insert(0, str(folder))
    # A folder without __init__.py would lose against this project's package of the same name.
    package = types.ModuleType("models")
    package.__path__ = [str(folder / "models")]
    sys.modules["models"] = package
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if getattr(sys.modules[name], "__file__", None) and str(folder) in str(sys.modules[name].__file__):
                del sys.modules[name]
        for name in [n for n in sys.modules if n == "models" or n.startswith("models.")]:
            del sys.modules[name]
        sys.modules.update(hidden)


def stand_in(module: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """Repeatable weights for a network, by the names and shapes it has."""
    keys = {name: [list(t.shape), str(t.dtype).removeprefix("torch.")] for name, t in module.state_dict().items()}
    return synth_state(keys, seed)


def pictures(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def dinet(folder: Path | None) -> tuple[Side, Side | None]:
    height, width = crop_size(256)
    source, reference = pictures(1, 3, height, width), pictures(1, 15, height, width)
    rows, columns = mask_box(256)
    source[:, :, rows, columns] = 0
    audio = torch.randn(1, 29, 5, generator=torch.Generator().manual_seed(1))
    ours = Dinet().eval()
    state = stand_in(ours)
    ours.load_state_dict(state)
    ours = prepare("dinet", ours)
    with torch.inference_mode():
        prepared = ours.prepare(reference)
    theirs = None
    if folder is not None:
        with importing(folder):
            other = importlib.import_module("models.DINet").DINet(3, 15, 29).eval()
        other.load_state_dict(state)
        theirs = lambda: other(source, reference, audio)  # noqa: E731 - two one-line sides
    return lambda: ours.draw(source, prepared, audio), theirs


def wav2lip(folder: Path | None) -> tuple[Side, Side | None]:
    mel, faces = pictures(8, 1, 80, 16) * 8 - 4, mask_lower_half(pictures(8, 3, 96, 96))
    ours = Wav2Lip().eval()
    state = stand_in(ours)
    ours.load_state_dict(state)
    ours = prepare("wav2lip", ours)
    theirs = None
    if folder is not None:
        with importing(folder):
            other = importlib.import_module("models.wav2lip").Wav2Lip().eval()
        other.load_state_dict(state)
        theirs = lambda: other(mel, faces)  # noqa: E731
    return lambda: ours(mel, faces), theirs


def bisenet(folder: Path | None) -> tuple[Side, Side | None]:
    images = pictures(1, 3, 512, 512) * 4 - 2
    ours = BiSeNet().eval()
    state = stand_in(ours)
    ours.load_state_dict(state)
    ours = prepare("bisenet", ours)
    theirs = None
    if folder is not None:
        # The original downloads ImageNet weights while it is built; its own state dict replaces them.
        with importing(folder), mock.patch("torch.utils.model_zoo.load_url", lambda *_, **__: {}):
            other = importlib.import_module("model").BiSeNet(19).eval()
        other.load_state_dict(state)
        theirs = lambda: other(images)[0]  # noqa: E731
    return lambda: ours(images), theirs


def gfpgan(folder: Path | None) -> tuple[Side, Side | None]:
    image = pictures(1, 3, 512, 512) * 2 - 1
    ours = Gfpgan().eval()
    state = stand_in(ours)
    ours.load_state_dict(state)
    ours = prepare("gfpgan", ours)
    theirs = None
    if folder is not None:
        other = _gfpgan_original(folder)
        other.load_state_dict(state)
        theirs = lambda: other(image, return_rgb=False, randomize_noise=False)[0]  # noqa: E731
    return lambda: ours(image), theirs


def _gfpgan_original(folder: Path) -> nn.Module:
    """The original's network file alone; the training framework it registers itself with is stood in for."""

    class Registry:
        def register(self, *_: object) -> Callable[[type], type]:
            return lambda kind: kind

    names = ("basicsr", "basicsr.utils", "basicsr.utils.registry", "basicsr.archs", "basicsr.archs.arch_util")
    stubs = {name: types.ModuleType(name) for name in names}
    stubs["basicsr.utils.registry"].ARCH_REGISTRY = Registry()
    stubs["basicsr.archs.arch_util"].default_init_weights = lambda *_, **__: None
    package = types.ModuleType("original_archs")
    package.__path__ = [str(folder / "gfpgan" / "archs")]
    with mock.patch.dict(sys.modules, {**stubs, "original_archs": package}):
        module = importlib.import_module("original_archs.gfpganv1_clean_arch")
    return module.GFPGANv1Clean(
        out_size=512, num_style_feat=512, channel_multiplier=2, decoder_load_path=None, fix_decoder=False, num_mlp=8,
        input_is_latent=True, different_w=True, narrow=1, sft_half=True,
    ).eval()  # fmt: skip


def wenet(folder: Path | None) -> tuple[Side, Side | None]:
    features = pictures(1, 1001, 80) * 20 - 60  # ten seconds of log-mel
    ours = Conformer(ConformerConfig()).eval()
    state = stand_in(ours)
    ours.load_state_dict(state)
    ours = prepare("wenet", ours)
    theirs = None
    if folder is not None:
        # Only the encoder's modules are opened: the package itself asks for libraries of sound and of type checks.
        checks = types.ModuleType("typeguard")
        checks.check_argument_types = lambda: True
        with (
            mock.patch.dict(sys.modules, {"typeguard": checks}),
            _package("wenet", folder / "wenet"),
            _package("wenet.transformer", folder / "wenet" / "transformer"),
            _package("wenet.utils", folder / "wenet" / "utils"),
        ):
            other = (
                importlib.import_module("wenet.transformer.encoder")
                .ConformerEncoder(
                    80, output_size=256, attention_heads=4, linear_units=2048, num_blocks=12, input_layer="conv2d",
                    normalize_before=True, cnn_module_kernel=15, pos_enc_layer_type="rel_pos",
                    selfattention_layer_type="rel_selfattn",
                )
                .eval()
            )  # fmt: skip
        other.load_state_dict(state)
        length = torch.tensor([features.shape[1]])
        theirs = lambda: other(features, length)[0]  # noqa: E731
    return lambda: ours(features), theirs


@contextmanager
def _package(name: str, folder: Path) -> Iterator[None]:
    """A folder stands as a package, whose own first file is not run."""
    module = types.ModuleType(name)
    module.__path__ = [str(folder)]
    with mock.patch.dict(sys.modules, {name: module}):
        yield


WARM = ("dinet", "gfpgan")  # run as the pipeline runs them: with memory kept between calls
CASES = {"dinet": dinet, "wav2lip": wav2lip, "bisenet": bisenet, "gfpgan": gfpgan, "wenet": wenet}


def checkout(root: Path | None, name: str) -> Path | None:
    if root is None:
        return None
    return next((f for f in sorted(root.iterdir()) if f.name == name or f.name.endswith(f"+{name}")), None)


def timed(call: Side) -> tuple[float, float, Tensor]:
    """Wall-clock seconds, processor seconds (which a busy machine hardly changes), and what came out."""
    start, busy = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        out = call()
    return time.perf_counter() - start, time.process_time() - busy, out


def compare(name: str, folder: Path | None, rounds: int) -> dict[str, float | str]:
    """Both sides of one case, in turn."""
    ours, theirs = CASES[name](folder)
    a, b = torch.randn(MATRIX, MATRIX), torch.randn(MATRIX, MATRIX)
    mine, other, rate, difference = [], [], 0.0, float("nan")
    for index in range(rounds + 1):
        with warm_memory(name in WARM):
            if name in WARM:
                timed(ours)  # pages are fetched once per job, not per picture
            *spent, out = timed(ours)
        taken, _, product = timed(lambda: a @ b)
        del product
        if theirs is not None:
            *theirs_spent, want = timed(theirs)
            difference = float((out - want).abs().max() / want.abs().max())
        if index:  # the first round warms up
            mine.append(spent)
            rate = max(rate, 2 * MATRIX**3 / taken / 1e9)
            if theirs is not None:
                other.append(theirs_spent)
    wall, busy = (min(column) for column in zip(*mine, strict=True))
    result: dict[str, float | str] = {
        "case": name,
        "seconds": round(wall, 4),
        "processor_seconds": round(busy, 4),
        "matrix_gflops": round(rate, 1),
    }
    if other:
        their_wall, their_busy = (min(column) for column in zip(*other, strict=True))
        result |= {
            "original_seconds": round(their_wall, 4),
            "original_processor_seconds": round(their_busy, 4),
            "ratio": round(their_wall / wall, 2),
            "processor_ratio": round(their_busy / busy, 2),
            "target": TARGETS[name],
            "difference": difference,
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--originals", type=Path)
    parser.add_argument("--case", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--rounds", type=int, default=4)
    given = parser.parse_args()
    for name in given.case:
        print(json.dumps(compare(name, checkout(given.originals, FOLDERS[name]), given.rounds)), flush=True)


if __name__ == "__main__":
    main()
