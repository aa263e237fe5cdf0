"""Released folders load strictly; everything else is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.depth_anything_3.checkpoint import bare_names, from_state, load, validate
from models.depth_anything_3.config import VARIANTS, variant
from models.depth_anything_3.network import build
from models.runtime.errors import WeightsInvalid
from tests.depth_anything_3.tiny import CPU, MULTI, images, stand_in
from tests.parity.runner import SMALL_SET

NORM = "model.head.scratch.output_conv2_aux.{}.2.weight"


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the released layout, da3-small under stand-in weights."""
    folder = tmp_path_factory.mktemp("weights") / "DA3-SMALL"
    folder.mkdir()
    save_file(stand_in(variant("da3-small")), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_name": "da3-small", "config": {"more": 1}}))
    return folder


@pytest.fixture
def damaged(released: Path, tmp_path: Path):
    """A copy of the folder whose state dict went through a change."""

    def make(change) -> Path:
        folder = tmp_path / "DA3-SMALL"
        folder.mkdir()
        state = dict(load_file(released / "model.safetensors"))
        change(state)
        save_file(state, folder / "model.safetensors")
        (folder / "config.json").write_text((released / "config.json").read_text())
        return folder

    return make


def test_a_released_folder_loads(released: Path) -> None:
    validate(released)
    validate(released / "model.safetensors")
    net = load(released, CPU)
    assert not net.training and net.config.name == "da3-small"
    assert net(images(2)).depth.shape == (1, 2, 42, 56)


@pytest.mark.parametrize("name", sorted(p.stem for p in (SMALL_SET / "da3" / "keys").glob("*.json")))
def test_names_and_shapes_are_the_released_ones(name: str) -> None:
    _compare(SMALL_SET / "da3" / "keys", name)


@pytest.mark.parity_full
@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_names_and_shapes_of_every_variant(name: str, parity_dir: Path) -> None:
    _compare(parity_dir / "da3" / "keys", name)


def _compare(folder: Path, name: str) -> None:
    keys = json.loads((folder / f"{name}.json").read_text())
    with torch.device("meta"):
        own = build(variant(name)).state_dict()
    assert {k: v[0] for k, v in keys.items()} == {f"model.{k}": list(t.shape) for k, t in own.items()}


def _drop(state: dict) -> None:
    del state["model.cam_dec.fc_t.bias"]


def _add(state: dict) -> None:
    state["model.surplus"] = torch.zeros(1)


def _reshape(state: dict) -> None:
    state["model.backbone.pretrained.norm.bias"] = torch.zeros(7)


def _false_copy(state: dict) -> None:
    state[NORM.format(3)] = state[NORM.format(0)] + 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_drop, "missing cam_dec.fc_t.bias"),
        (_add, "unexpected surplus"),
        (_reshape, "backbone.pretrained.norm.bias is"),
        (_false_copy, "output_conv2_aux.3.2.weight differs"),
    ],
)
def test_wrong_keys_are_named(damaged, change, named: str) -> None:
    folder = damaged(change)
    for read in (validate, lambda path: load(path, CPU)):
        with pytest.raises(WeightsInvalid, match=named):
            read(folder)


def test_a_truncated_file_is_refused(released: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((released / "config.json").read_text())
    content = (released / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsInvalid, match="not a readable safetensors"):
        validate(tmp_path)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (None, "config.json is missing"),
        ("{", "which model"),
        ("{}", "which model"),
        ('{"model_name": "x"}', "no Depth"),
    ],
)
def test_a_folder_must_say_what_it_is(tmp_path: Path, config: str | None, reason: str) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(WeightsInvalid, match=reason):
        validate(tmp_path)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_name": "da3-small"}')
    with pytest.raises(WeightsInvalid, match=r"model.safetensors is missing"):
        validate(tmp_path)


def test_repeated_shared_norms_and_bare_names_are_accepted() -> None:
    state = stand_in(MULTI)
    repeated = state | {NORM.format(i): state[NORM.format(0)].clone() for i in (1, 2, 3)}
    bare = bare_names(state, "bare")
    x = images(2)
    first, *others = (from_state(MULTI, s, CPU)(x).depth for s in (state, repeated, bare))
    assert all(torch.equal(first, other) for other in others)
