"""The talking-head networks and their speech features against stored results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.runtime.state_dict import load_strict
from models.talking import audio_features
from models.talking.bisenet import BiSeNet, normalise
from models.talking.checkpoint import prepare
from models.talking.dinet import Dinet, mask_box
from models.talking.gfpgan import Gfpgan
from models.talking.pfld import Pfld
from models.talking.wav2lip import FACE_SIZE, SyncNet, Wav2Lip, mask_lower_half
from models.talking.wenet import Conformer, config_of
from tests.parity.plain import in_plain_arithmetic
from tests.parity.runner import Case, Check, absolute, exact, kind, share_within
from tests.parity.synth import synth_state

CLOSE = 1e-5
HALF = 2e-3  # arrays stored in half precision


@lru_cache(maxsize=2)
def _network(root: Path, name: str, keys_name: str, seed: int, prepared: bool) -> nn.Module:
    import json

    keys = json.loads((root / "talking" / "keys" / f"{keys_name}.json").read_text(encoding="utf-8"))
    state = {key.removeprefix("encoder."): value for key, value in synth_state(keys, seed).items()}
    builders: dict[str, Callable[[], nn.Module]] = {
        "wav2lip": Wav2Lip,
        "syncnet": SyncNet,
        "bisenet": BiSeNet,
        "pfld": Pfld,
        "dinet": Dinet,
        "gfpgan": Gfpgan,
        "wenet": lambda: Conformer(config_of(state)),
    }
    if name != "wenet":
        state = synth_state(keys, seed)
    with torch.device("meta"):
        module = builders[name]()
    module = load_strict(module, state, keys_name)
    return prepare(name, module) if prepared else module


def network(case: Case, name: str, keys_name: str = "", prepared: bool = False) -> nn.Module:
    return _network(case.root, name, keys_name or case.meta["variant"], case.seed, prepared)


def pictures(array: np.ndarray) -> Tensor:
    """(B, H, W, C) or (H, W, C) uint8 -> (B, C, H, W) in [0, 1]."""
    array = array if array.ndim == 4 else array[None]
    return torch.from_numpy(array).permute(0, 3, 1, 2).float() / 255


def thinned(value: Tensor, want: np.ndarray, channel_step: int = 0) -> Tensor:
    """Every n-th element of each axis, n from the shape of the stored array or given for the channels."""
    steps = [have // stored for have, stored in zip(value.shape, want.shape, strict=True)]
    steps[1] = channel_step or steps[1]
    return value[tuple(slice(None, None, step) for step in steps)]


def like(case: Case, name: str, value: Tensor, tolerance: float = CLOSE) -> Check:
    return absolute(name, thinned(value, case[name]), case[name], tolerance)


@contextmanager
def watching(modules: dict[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Collects the outputs of modules while inside, by name (the last call counts)."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda _module, _inputs, output: seen.__setitem__(name, output)

    handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@kind("talking", "wav2lip_e2e*")
def wav2lip(case: Case) -> Iterator[Check]:
    mel, faces = torch.from_numpy(case["mel_chunk"]), mask_lower_half(pictures(case["face_u8"]))
    net = network(case, "wav2lip")
    with torch.inference_mode():
        x = faces
        features = []
        for index, block in enumerate(net.face_encoder_blocks):
            x = block(x)
            features.append(x)
            yield like(case, f"enc{index}", x)
        x = net.audio_encoder(mel)
        yield like(case, "audio_embedding", x)
        for index, block in enumerate(net.face_decoder_blocks):
            x = torch.cat([block(x), features[-1 - index]], dim=1)
            yield absolute(f"dec{index}", thinned(x, case[f"dec{index}"], 32), case[f"dec{index}"], CLOSE)
        yield absolute("out", net.output_block(x), case["out"], CLOSE)
        ready = _network(case.root, "wav2lip", case.meta["variant"], case.seed, True)
        yield absolute("out as deployed", ready(mel, faces), case["out"], CLOSE)
    assert faces.shape[-1] == FACE_SIZE


@kind("talking", "wav2lip_syncnet*")
def syncnet(case: Case) -> Iterator[Check]:
    with torch.inference_mode():
        audio, faces = network(case, "syncnet")(torch.from_numpy(case["mel_chunk"]), pictures(case["face_u8"]))
    yield absolute("audio_vec", audio, case["audio_vec"], CLOSE)
    yield absolute("face_vec", faces, case["face_vec"], CLOSE)


@kind("talking", "bisenet*")
def bisenet(case: Case) -> Iterator[Check]:
    images = normalise(pictures(case["image_u8"]))
    for prepared in (False, True):
        net = network(case, "bisenet", prepared=prepared)
        label = " as deployed" if prepared else ""
        with torch.inference_mode():
            feat8, feat16, feat32 = net.cp.backbone(images)
            _, cp8, cp16 = net.cp(images)
            fused = net.ffm(feat8, cp8)
            low = net.conv_out(fused)
            out = net(images)
            if not prepared:
                for name, value in (("feat8_8", feat8), ("feat16_16", feat16), ("feat32_16", feat32)):
                    yield like(case, name, value)
                for name, value in (("cp8_8", cp8), ("cp16_8", cp16), ("ffm_16", fused), ("logits_low", low)):
                    yield like(case, name, value)
                yield like(case, "out16_s", _enlarged(net.conv_out16(cp8), images), HALF)
                yield like(case, "out32_s", _enlarged(net.conv_out32(cp16), images), HALF)
        yield absolute(f"out{label}", out, case["out"], HALF)
        yield share_within(f"label{label}", out.argmax(1), case["label"], 0, 0.999)


def _enlarged(scores: Tensor, images: Tensor) -> Tensor:
    return nn.functional.interpolate(scores, size=images.shape[-2:], mode="bilinear", align_corners=True)


@kind("talking", "pfld*")
def pfld(case: Case) -> Iterator[Check]:
    net = network(case, "pfld")
    images = pictures(case["image_u8"])
    with torch.inference_mode():
        yield like(case, "feat_16", net.features(images))
        yield absolute("landmarks", net(images).flatten(1), case["landmarks"], CLOSE)


@kind("talking", "dinet_e2e*")
def dinet(case: Case) -> Iterator[Check]:
    source, reference = pictures(case["source_u8"]), pictures(case["ref_u8"])
    settings = case.meta["settings"]
    rows, columns = (slice(*settings[name]) for name in ("mask_rows", "mask_cols"))
    assert (rows, columns) == mask_box(settings["mouth_region_size"])
    source[:, :, rows, columns] = 0
    audio = torch.from_numpy(case["audio"])
    for prepared in (False, True):
        net = network(case, "dinet", prepared=prepared)
        label = " as deployed" if prepared else ""
        with torch.inference_mode():
            stages = {
                "source_feature_16": net.source_in_conv,
                "ref_feature_16": net.ref_in_conv,
                "appearance0_16": net.appearance_conv_list[0],
                "appearance1_16": net.appearance_conv_list[1],
                "image": net.trans_conv,
            }
            with watching(stages) as seen:
                out = net(source, reference, audio)
            if not prepared:
                for name in ("source_feature_16", "ref_feature_16", "appearance0_16", "appearance1_16"):
                    yield like(case, name, seen[name])
                image, heard = seen["image"].mean((2, 3)), net.listen(audio)
                yield absolute("img_para", image, case["img_para"], CLOSE)
                yield absolute("audio_para", heard, case["audio_para"], CLOSE)
                deformed = net.adaAT(seen["appearance0_16"], torch.cat([image, heard], dim=1))
                yield like(case, "adaat_16", deformed)
        yield absolute(f"out{label}", out, case["out"], CLOSE)


@kind("talking", "dinet_adaat*")
def dinet_adaat(case: Case) -> Iterator[Check]:
    with torch.inference_mode():
        out = network(case, "dinet").adaAT(torch.from_numpy(case["feature"]), torch.from_numpy(case["para"]))
    # Of the output's largest value: this stage is no picture in 0..1, and the stored one is itself 1.1e-5 from what the
    # same formula gives with its coordinates in double precision.
    largest = float(np.abs(case["out"]).max())
    yield absolute("out", out / largest, case["out"] / largest, CLOSE, "of the largest value")


@kind("talking", "dinet_audio*")
def dinet_audio(case: Case) -> Iterator[Check]:
    net, audio = network(case, "dinet"), torch.from_numpy(case["audio"])
    with torch.inference_mode():
        yield absolute("enc", net.audio_encoder(audio), case["enc"], CLOSE)
        yield absolute("para", net.listen(audio), case["para"], CLOSE)


@kind("talking", "gfpgan*")
def gfpgan(case: Case) -> Iterator[Check]:
    images = pictures(case["image_u8"]) * 2 - 1
    net = network(case, "gfpgan")
    decoder = net.stylegan_decoder
    stages = {
        "down0_s": net.conv_body_down[0],
        "final_conv": net.final_conv,
        "style": net.final_linear,
        "scale2_s": net.condition_scale[2],
        "up3_s": net.conv_body_up[3],
        "style_conv1": decoder.style_conv1,
        "to_rgb1": decoder.to_rgb1,
        "to_rgbs0_s": decoder.to_rgbs[0],
        "to_rgbs3_s": decoder.to_rgbs[3],
        "to_rgbs6_s": decoder.to_rgbs[6],
    }
    with torch.inference_mode(), watching(stages) as seen:
        out = net(images)
    for name in stages:
        if name in case:
            yield like(case, name, seen[name], 1e-4)
    yield like(case, "out_s", out, 1e-4)
    yield absolute("out_win", out[:, :, 192:320, 192:320], case["out_win"], 1e-4)


@kind("talking", "wenet_conformer*")
def wenet(case: Case) -> Iterator[Check]:
    net = network(case, "wenet")
    with torch.inference_mode():
        x, positions = net.start(torch.from_numpy(case["feats"]))
        yield absolute("embed_out", x, case["embed_out"], 5e-5)
        if "pos_emb" in case:
            yield absolute("pos_emb", positions, case["pos_emb"], 5e-5)
        first = net.encoders[0]
        parts = {"ffm0_out": first.feed_forward_macaron, "mha0_out": first.self_attn, "conv0_out": first.conv_module}
        layers = {f"layer{index}": block for index, block in enumerate(net.encoders)}
        with watching(parts | layers) as seen:
            out = net(torch.from_numpy(case["feats"]))
    for name, value in seen.items():
        if name in case:
            yield absolute(name, value, case[name], 5e-5)
    yield absolute("out", out, case["out"], 5e-5)


@kind("talking", "wenet_cmvn*")
def wenet_cmvn(case: Case) -> Iterator[Check]:
    frames = case.meta["settings"]["frame_num"]
    mean, istd = audio_features.cmvn_from_statistics(case["mean_stat"], case["var_stat"], frames)
    yield absolute("mean", mean, case["mean"], CLOSE)
    yield absolute("istd", istd, case["istd"], CLOSE)


def _wave(case: Case) -> np.ndarray:
    return case["wav"].astype(np.float32) / 32768


@kind("talking", "wenet_fbank*")
def wenet_fbank(case: Case) -> Iterator[Check]:
    fbank = in_plain_arithmetic(audio_features.__name__, "kaldi_fbank", _wave(case))
    yield absolute("fbank", fbank, case["fbank"], CLOSE)


@kind("talking", "heygem_logmel*")
def heygem_logmel(case: Case) -> Iterator[Check]:
    yield absolute("logmel", audio_features.heygem_log_mel(_wave(case)), case["logmel"], CLOSE)


@kind("talking", "wav2lip_mel*")
def wav2lip_mel(case: Case) -> Iterator[Check]:
    mel = audio_features.wav2lip_mel(_wave(case))
    yield absolute("mel", mel, case["mel"], CLOSE)
    starts = audio_features.wav2lip_chunk_starts(mel.shape[1], case.meta["settings"]["fps"])
    yield exact("chunk_start", starts, case["chunk_start"])
