"""Winograd's filtering against torch's convolutions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.runtime.winograd import (
    GemmUp4x4,
    Winograd3x3,
    WinogradUp4x4,
    filter_matrix,
    input_matrix,
    output_matrix,
)

SIZES = [(16, 16), (17, 30), (64, 23), (5, 7), (1, 40)]


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("taps", [2, 3])
def test_matrices_filter_exactly(taps: int) -> None:
    rng = np.random.default_rng(taps)
    row, taken = rng.normal(size=6), rng.normal(size=taps)
    made = output_matrix(taps) @ ((filter_matrix(taps) @ taken) * (input_matrix() @ row))
    np.testing.assert_allclose(made, np.correlate(row, taken, "valid"), atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("biased", [False, True])
@torch.inference_mode()
def test_3x3(size: tuple[int, int], images: int, biased: bool) -> None:
    conv = nn.Conv2d(24, 40, 3, padding=1, bias=biased)
    x = noise(images, 24, *size)
    want = nn.functional.conv2d(x.double(), conv.weight.double(), conv.bias.double() if biased else None, padding=1)
    made = Winograd3x3(conv)(x)
    assert made.shape == want.shape and (made - want).abs().max() < 1e-5


@pytest.mark.parametrize("kind", [WinogradUp4x4, GemmUp4x4])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("images", [1, 3])
@torch.inference_mode()
def test_transposed(kind: type[nn.Module], size: tuple[int, int], images: int) -> None:
    conv = nn.ConvTranspose2d(24, 40, 4, stride=2, padding=1)
    x = noise(images, 24, *size).contiguous(memory_format=torch.channels_last)
    want = nn.functional.conv_transpose2d(x.double(), conv.weight.double(), conv.bias.double(), stride=2, padding=1)
    made = kind(conv)(x)
    assert made.shape == want.shape and (made - want).abs().max() < 1e-5


@torch.inference_mode()
def test_many_channels_and_pieces() -> None:
    """As wide as the networks, and more tiles than are worked on at once."""
    conv = nn.Conv2d(224, 224, 3, padding=1)
    nn.init.normal_(conv.weight, std=(224 * 9) ** -0.5)
    x = noise(1, 224, 70, 90)
    want = nn.functional.conv2d(x.double(), conv.weight.double(), conv.bias.double(), padding=1)
    assert (Winograd3x3(conv)(x) - want).abs().max() < 3e-5


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 3, stride=2, padding=1),
        nn.Conv2d(4, 4, 3, padding=1, groups=2),
        nn.Conv2d(4, 4, 5, padding=1),
    ],
)
def test_other_convolutions_are_refused(conv: nn.Module) -> None:
    with pytest.raises(ValueError, match="not a plain"):
        Winograd3x3(conv)
    with pytest.raises(ValueError, match="not a doubling"):
        WinogradUp4x4(nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1))
