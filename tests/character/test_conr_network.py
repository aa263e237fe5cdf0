"""The CoNR networks suited to processors beside the plain ones, with made-up weights."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor

from models.conr.shader import Shader
from models.conr.warp import warp


def filled(module: torch.nn.Module) -> torch.nn.Module:
    """Weights that keep values of moderate size and let flows reach over several pixels."""
    generator = torch.Generator().manual_seed(0)
    made = module.to_empty(device="cpu")
    for name, tensor in made.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim > 1:
            tensor.copy_(1.5 * noise / tensor[0].numel() ** 0.5)
        else:
            tensor.copy_(0.25 * (1 + 0.1 * noise) if name.endswith("weight") else 0.02 * noise)
    return made.eval()


def features(views: int, height: int, width: int, channels: tuple[int, ...], frames: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(views)
    shape = (frames, views) if views else (frames,)
    return [
        0.5 * torch.randn(*shape, c, height >> s, width >> s, generator=generator)
        for c, s in zip(channels, (5, 4, 3, 2, 1), strict=True)
    ]


@pytest.fixture(scope="module")
def shaders() -> tuple[Shader, Shader]:
    with torch.device("meta"):
        plain = Shader()
    plain = filled(plain)
    fast = deepcopy(plain)
    fast.prepare()
    return plain, fast


@pytest.mark.parametrize(("views", "frames", "size"), [(1, 1, (128, 256)), (3, 2, (128, 128)), (9, 1, (128, 128))])
@torch.inference_mode()
def test_the_prepared_shader_says_the_same(shaders, views: int, frames: int, size: tuple[int, int]) -> None:
    target = features(0, *size, (512, 256, 128, 64, 64), frames)
    references = features(views, *size, (2048, 1024, 512, 256, 64), frames)
    colours = torch.rand(frames, views, 4, *size, generator=torch.Generator().manual_seed(7))
    plain, fast = (shader(target, references, colours) for shader in shaders)
    assert plain.shape == fast.shape == (frames, 64, *size)
    assert plain.std() > 0.01 and (plain - fast).abs().max() < 2e-4 * plain.abs().max().clamp(min=1)


@pytest.mark.parametrize("groups", [1, 4])
def test_sampling_is_grid_sample(groups: int) -> None:
    generator = torch.Generator().manual_seed(groups)
    x = torch.randn(2, 8, 7, 9, generator=generator)
    flow = 6 * torch.randn(2, 2 * groups, 7, 9, generator=generator)
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 7), torch.linspace(-1, 1, 9), indexing="ij")
    each = flow.unflatten(1, (groups, 2))
    grid = torch.stack([columns + each[:, :, 0] / 4, rows + each[:, :, 1] / 3], -1).flatten(0, 1)
    parts = x.unflatten(1, (groups, -1)).flatten(0, 1)
    want = torch.nn.functional.grid_sample(parts, grid, padding_mode="border", align_corners=True)
    torch.testing.assert_close(warp(x, flow), want.view_as(x), atol=1e-6, rtol=1e-5)


def test_flows_that_are_no_numbers_end_at_the_border() -> None:
    flow = torch.full((1, 2, 3, 3), float("nan"))
    flow[0, :, 1] = float("inf")
    made = warp(torch.arange(9.0).view(1, 1, 3, 3), flow)
    assert torch.isfinite(made).all()
