"""SALAD's assignment, descriptions and files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.depth_anything_3.config import BackboneConfig
from models.runtime.errors import WeightsInvalid
from models.salad.network import UNUSED, Config, Salad, assignment, load

SMALL = Config(BackboneConfig(64, 2, 1, ()), hidden=16, clusters=5, cluster_width=6, token_width=7)


def small_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    state = Salad(SMALL).state_dict()
    return {name: torch.randn_like(tensor) * 0.3 for name, tensor in state.items()}


def test_clusters_share_out_the_patches() -> None:
    scores = torch.randn(2, 5, 40)
    shares = assignment(scores, torch.tensor(0.5), rounds=200)
    torch.testing.assert_close(shares.sum(2), torch.ones(2, 5))  # one patch's mass each
    assert bool((shares.sum(1) <= 1 + 1e-5).all())  # the rest of a patch lies in the bin
    early = assignment(scores, torch.tensor(0.5), rounds=3)
    assert bool((early.sum(1) <= 1 + 1e-5).all())


def test_a_worthless_bin_still_takes_what_is_over() -> None:
    shares = assignment(torch.randn(1, 3, 30), torch.tensor(-9.0), rounds=400)
    assert float(shares.sum()) == pytest.approx(3.0, rel=1e-3)


def test_descriptions_are_unit_vectors_whatever_the_batch(tmp_path: Path) -> None:
    path = tmp_path / "salad.ckpt"
    torch.save(small_state() | {UNUSED: torch.zeros(1, 64)}, path)
    network = load(path, torch.device("cpu"), SMALL)
    images = torch.randn(3, 3, 56, 42)
    found = network(images)
    assert found.shape == (3, SMALL.length)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(network(images[1:2])[0], found[1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("spoil", ["missing", "unexpected", "misshapen"])
def test_another_file_is_refused_by_name(tmp_path: Path, spoil: str) -> None:
    state = small_state()
    name = "aggregator.score.3.weight"
    if spoil == "missing":
        del state[name]
    elif spoil == "unexpected":
        state[f"{name}.more"] = torch.zeros(1)
    else:
        state[name] = torch.zeros(2, 2)
    path = tmp_path / "salad.ckpt"
    torch.save(state, path)
    with pytest.raises(WeightsInvalid, match=rf"{spoil} aggregator\.score\.3\.weight"):
        load(path, torch.device("cpu"), SMALL)
