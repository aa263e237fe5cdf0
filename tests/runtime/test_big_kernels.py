"""Convolutions with big kernels give the plain layer's numbers at every size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.runtime.big_kernels import FewOutputsConv2d, TiledConv2d, quicken_big_kernels, quicker
from models.talking.dinet import SettledUp, Up


@pytest.mark.parametrize("size", [(1, 1), (22, 22), (23, 45), (30, 7)])
@pytest.mark.parametrize(("side", "out"), [(7, 64), (9, 64), (11, 72), (7, 3), (11, 1)])
def test_same_numbers(side: int, out: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(64, out, side, padding=side // 2, bias=out % 2 == 0)
    x = torch.randn(2, 64, *size)
    quick = quicker(conv)
    with torch.inference_mode():
        want, got = conv(x), quick(x)
    assert isinstance(quick, TiledConv2d if out >= 64 else FewOutputsConv2d)
    assert got.shape == want.shape
    assert float((got - want).abs().max()) < 1e-5 * float(want.abs().max())


def test_other_layers_stay_as_they_are() -> None:
    layers = [
        nn.Conv2d(64, 64, 3, padding=1),
        nn.Conv2d(64, 64, 7, 2, 3),
        nn.Conv2d(64, 64, 7, padding=3, groups=2),
        nn.Conv2d(64, 64, (7, 1), padding=(3, 0)),
        nn.Conv2d(3, 64, 7, padding=3),
        nn.Conv2d(64, 64, 7, padding=6, dilation=2),
        nn.Conv2d(64, 64, 7),
        nn.Conv2d(64, 32, 7, padding=3),
    ]
    module = quicken_big_kernels(nn.Sequential(*layers))
    assert [type(part) for part in module] == [nn.Conv2d] * len(layers)


@pytest.mark.parametrize("size", [(1, 1), (5, 8)])
def test_enlarging_before_the_convolution_or_after_it_is_the_same(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    up = Up(6, 4).eval()
    up.norm = nn.Identity()
    x = torch.randn(2, 6, *size)
    with torch.inference_mode():
        torch.testing.assert_close(SettledUp(up)(x), up(x), atol=1e-6, rtol=1e-5)
