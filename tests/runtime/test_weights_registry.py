"""What ``weights.toml`` says about every file, and what is checked before a file is accepted."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from models.runtime.errors import WeightsInvalid
from models.runtime.settings import PIPELINE_IDS
from models.runtime.weights_check import (
    check_arrays,
    check_bytes,
    check_entry,
    check_format,
    check_layout,
    digest,
    npz_shapes,
    safetensors_shapes,
    sha256,
    tensor_shapes,
)
from models.runtime.weights_entry import HubSource, PageSource, TensorLayout, UrlSource, WheelSource, read_registry

ENTRIES = read_registry()
ENGINES = {"facemesh", "blazepose", "viseme", "puppet", "udp", "deca", "smplerx", "dinet", "wav2lip", "conr", "da3"}
MINIMAL = """
[[weights]]
id = "net"
title = "Net"
file = "net.bin"
pipelines = ["face"]
engines = ["deca"]
licence = "MIT"
commercial = "yes"
attribution = "A"
unlocks = "B"
sources = [{ kind = "page", url = "https://example.org" }]
"""


def by_id(id: str):
    return next(entry for entry in ENTRIES if entry.id == id)


def test_the_eleven_embedded_files_are_pinned_twice_and_exactly() -> None:
    embedded = [entry for entry in ENTRIES if entry.group == "embedded"]
    assert len(embedded) == 11
    for entry in embedded:
        assert len(entry.sha256) == 64 and entry.size and entry.commercial == "yes" and entry.automatic
        wheel, url = entry.sources
        assert isinstance(wheel, WheelSource) and wheel.requirement == "mediapipe==0.10.21"
        assert isinstance(url, UrlSource) and url.url.startswith("https://storage.googleapis.com/mediapipe-assets/")
        assert wheel.member.rsplit("/", 1)[-1] == url.url.rsplit("/", 1)[-1] == Path(entry.file).name


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.id)
def test_every_entry_tells_the_whole_truth(entry) -> None:
    assert set(entry.pipelines) <= set(PIPELINE_IDS) and set(entry.engines) <= ENGINES
    assert entry.licence and entry.attribution and entry.unlocks.endswith(".")
    assert entry.licence_url.startswith("https://") and entry.page.startswith("https://")
    assert all(source.page.startswith("https://") for source in entry.sources)
    if any(word in entry.licence.lower() for word in ("non-commercial", "nc 4.0", "nc-sa", "research only")):
        assert entry.commercial in {"no", "conditions"}
    if entry.commercial == "yes":
        assert re.match(r"Apache-2\.0|MPL-2\.0|MIT|BSD", entry.licence)


def test_every_system_can_be_completed() -> None:
    needed = {
        "deca": {"deca-model", "flame-2020", "deca-data"},
        "smplerx": {"smplerx-s32", "smplerx-b32", "smplerx-l32", "smplerx-h32", "smplx-neutral"},
        "dinet": {"heygem-dinet", "heygem-wenet", "heygem-pfpld", "heygem-scrfd", "dinet-256mouth", "gfpgan-1.4"},
        "wav2lip": {"wav2lip", "wav2lip-gan", "s3fd"},
        "conr": {"conr-udpparser", "conr-pose-encoder", "conr-shader", "conr-decoder"},
        "da3": {"da3-small", "da3-base", "da3-large", "da3-giant", "da3metric-large", "da3mono-large", "salad"},
    }
    for engine, ids in needed.items():
        assert ids <= {entry.id for entry in ENTRIES if engine in entry.engines}, engine


def test_what_needs_an_account_is_never_fetched_automatically() -> None:
    for entry in ENTRIES:
        asks = any(isinstance(s, PageSource) and s.registration for s in entry.sources)
        assert not (asks and entry.automatic), entry.id
    assert by_id("flame-2020").registration and by_id("smplx-neutral").registration


def test_depth_anything_is_taken_from_its_current_repositories() -> None:
    for entry in ENTRIES:
        for source in entry.sources:
            if isinstance(source, HubSource) and source.repo.startswith("depth-anything/"):
                assert source.repo.endswith("-1.1") == any("1.1" in alias for alias in entry.aliases)


@pytest.mark.parametrize("name", sorted({entry.validator for entry in ENTRIES if entry.validator}))
def test_validators_exist(name: str) -> None:
    module, _, function = name.partition(":")
    assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('file = "net.bin"', 'file = "../net.bin"', "leaves the weights folder"),
        ('file = "net.bin"', 'file = "/etc/passwd"', "leaves the weights folder"),
        ('file = "net.bin"', 'file = "net.bin"\nkind = "folder"', "lists its members"),
        ('licence = "MIT"', 'licence = "MIT"\nlicense = "MIT"', "Extra inputs"),
        ('commercial = "yes"', 'commercial = "maybe"', "commercial"),
        ('id = "net"', 'id = "Net Work"', "pattern"),
        ('kind = "page"', 'kind = "ftp"', "kind"),
    ],
)
def test_mistakes_in_the_registry_are_found(tmp_path: Path, before: str, after: str, message: str) -> None:
    path = tmp_path / "weights.toml"
    path.write_text(MINIMAL)
    assert read_registry(path)[0].id == "net"
    path = tmp_path / "wrong.toml"
    path.write_text(MINIMAL.replace(before, after))
    with pytest.raises(ValidationError, match=message):
        read_registry(path)


def test_nothing_is_listed_twice(tmp_path: Path) -> None:
    path = tmp_path / "weights.toml"
    path.write_text(MINIMAL + MINIMAL)
    with pytest.raises(ValidationError, match="listed twice"):
        read_registry(path)


STATE = {"a.weight": torch.zeros(2, 3), "a.bias": torch.zeros(2)}
SHAPES = {"a.weight": (2, 3), "a.bias": (2,)}
LAYOUT = TensorLayout(tensors=2, parameters=8, digest=digest(SHAPES))


def test_layouts_tell_other_checkpoints_apart() -> None:
    check_layout(LAYOUT, SHAPES, "net")
    for wrong, message in (
        ({"a.weight": (2, 3)}, "1 tensors instead of 2"),
        ({"a.weight": (2, 4), "a.bias": (2,)}, "10 parameters instead of 8"),
        ({"a.weight": (3, 2), "a.bias": (2,)}, "other names or shapes"),
        ({"b.weight": (2, 3), "a.bias": (2,)}, "other names or shapes"),
    ):
        with pytest.raises(WeightsInvalid, match=message):
            check_layout(LAYOUT, wrong, "net")


def test_layouts_look_only_where_they_should(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    body = {"module." + name: tensor for name, tensor in STATE.items()}
    body["module.smplx_layer.v"] = torch.zeros(5)
    torch.save({"network": body, "optimizer": {"state": {0: {"exp_avg": torch.zeros(9)}}}, "epoch": 3}, path)
    layout = TensorLayout(tensors=2, parameters=8, only=("network.",), ignore=("network.module.smplx_layer.",))
    check_layout(layout, tensor_shapes(path), "net")
    with pytest.raises(WeightsInvalid, match="no tensors named state_dict"):
        check_layout(layout.model_copy(update={"only": ("state_dict.",)}), tensor_shapes(path), "net")


@pytest.mark.parametrize("system", ["conr", "da3", "talking", "smplerx"])
def test_layouts_are_those_of_the_released_files(parity_dir: Path, system: str) -> None:
    import json
    import math

    places = {
        "conr-udpparser": ("conr/keys/udpparsernet.json", ""),
        "conr-pose-encoder": ("conr/keys/target_pose_encoder.json", ""),
        "conr-shader": ("conr/keys/shader.json", ""),
        "conr-decoder": ("conr/keys/rgbadecodernet.json", ""),
        "smplerx-s32": ("smplerx/keys/smpler_x_s32.json", "network."),
        "smplerx-h32": ("smplerx/keys/smpler_x_h32.json", "network."),
        "dinet-256mouth": ("talking/keys/dinet-256mouth.json", "state_dict.net_g.module."),
        "wav2lip-gan": ("talking/keys/wav2lip.json", "state_dict.module."),
        "gfpgan-1.4": ("talking/keys/gfpgan-v1.4.json", "params_ema."),
        "bisenet-79999": ("talking/keys/face-parsing-79999.json", ""),
    }
    for id, (file, prefix) in places.items():
        if file.startswith(system):
            keys = json.loads((parity_dir / file).read_text())
            shapes = {prefix + name: tuple(shape) for name, (shape, _) in keys.items()}
            assert sum(math.prod(shape) for shape in shapes.values()) == by_id(id).layout.parameters
            check_layout(by_id(id).layout, shapes, id)


def test_safetensors_headers(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(STATE, path)
    assert safetensors_shapes(path) == SHAPES == tensor_shapes(path)
    whole = path.read_bytes()
    for damaged in (
        whole[:-1],
        whole + b"x",
        whole[:40],
        b"",
        b"\xff" * 20,
        whole[:8] + b"{" + whole[9:20] + whole[21:],
    ):
        path.write_bytes(damaged)
        with pytest.raises(WeightsInvalid):
            safetensors_shapes(path)


def test_arrays_of_an_npz(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, v_template=np.zeros((4, 3)), shapedirs=np.zeros((4, 3, 20)), extra=np.zeros(2))
    found = npz_shapes(path)
    check_arrays({"v_template": (4, 3), "shapedirs": (4, 3, -1)}, found, "body")
    for wanted, message in (
        ({"v_template": (5, 3)}, "v_template is"),
        ({"v_template": (4, 3, -1)}, "v_template is"),
        ({"weights": (4,)}, "no weights"),
    ):
        with pytest.raises(WeightsInvalid, match=message):
            check_arrays(wanted, found, "body")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(WeightsInvalid):
        npz_shapes(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("net.onnx", b"<!DOCTYPE html><html>"),
        ("net.onnx", b"\x00\x01\x02"),
        ("net.tflite", b"abcdefgh"),
        ("net.npz", b"abcdefgh"),
        ("net.pth", b"abcdefgh"),
        ("net.safetensors", b"abcdefgh"),
        ("net.pb", b"  <html>"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsInvalid):
        check_format(tmp_path / name, name)


def test_sizes_and_hashes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    whole = sha256(path)
    check_bytes(path, 3, whole, "x")
    check_bytes(path, 0, whole[:10], "x")
    with pytest.raises(WeightsInvalid, match="3 bytes instead of 4"):
        check_bytes(path, 4, "", "x")
    with pytest.raises(WeightsInvalid, match="SHA-256"):
        check_bytes(path, 3, "0" * 10, "x")
    path.write_bytes(b"")
    with pytest.raises(WeightsInvalid, match="empty"):
        check_bytes(path, 0, "", "x")


def test_another_checkpoint_of_the_same_structure_is_told_from_the_published_one(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save(STATE, path)
    entry = by_id("conr-decoder").model_copy(update={"layout": LAYOUT, "sha256": "0" * 64})
    with pytest.raises(WeightsInvalid, match="SHA-256"):
        check_entry(entry, path)
    check_entry(entry, path, published=False)
