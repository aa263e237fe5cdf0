"""What must hold of the networks whatever their weights."""

from __future__ import annotations

import pytest
import torch

from models.depth_anything_3.config import LARGE, VARIANTS, NestedConfig, variant
from models.depth_anything_3.network import Request
from models.runtime.errors import InputError
from tests.depth_anything_3.tiny import GATED, MULTI, NESTED, SKY, images, network


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-4) -> bool:
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance)


def test_released_names_lead_to_variants() -> None:
    assert variant("depth-anything/DA3-LARGE-1.1") is LARGE
    assert variant("da3nested-giant-large") is VARIANTS["da3nested-giant-large"]
    with pytest.raises(InputError, match="da3-small"):
        variant("da3-huge")


@pytest.mark.parametrize("config", [MULTI, GATED], ids=lambda c: c.name)
def test_shapes_and_ranges(config) -> None:
    out = network(config)(images(3), request=Request(rays=True, feature_layers=(1, 5)))
    assert out.depth.shape == out.confidence.shape == (1, 3, 42, 56)
    assert out.depth.min() > 0 and out.confidence.min() >= 1
    assert out.extrinsics.shape == (1, 3, 3, 4) and out.intrinsics.shape == (1, 3, 3, 3)
    R = out.extrinsics[..., :3]
    assert close(R @ R.mT, torch.eye(3).expand_as(R))
    assert out.rays.shape == (1, 3, 24, 32, 6) and out.ray_confidence.shape == (1, 3, 24, 32)
    assert out.features[5].shape == (1, 3, 3, 4, 128)
    assert not out.depth.requires_grad


def test_chunks_of_views_and_batches_change_nothing() -> None:
    net = network(MULTI)
    two = images(5, batch=2)
    whole = net(two, request=Request(rays=True, gaussians=True))
    parts = [net(two[i : i + 1], request=Request(rays=True, gaussians=True, head_views=2)) for i in range(2)]
    for i, part in enumerate(parts):
        assert close(part.depth[0], whole.depth[i])
        assert close(part.rays[0], whole.rays[i])
        assert close(part.extrinsics[0], whole.extrinsics[i])
        assert close(part.gaussians.means[0], whole.gaussians.means[i])


def test_rays_are_computed_only_when_asked_and_change_nothing_else() -> None:
    net = network(MULTI)
    plain, with_rays = net(images(2)), net(images(2), request=Request(rays=True))
    assert plain.rays is None and with_rays.rays is not None
    assert torch.equal(plain.depth, with_rays.depth)


def test_ray_poses_follow_their_generator() -> None:
    net = network(MULTI)
    a, b, c = (
        net(images(2), request=Request(ray_poses=True), generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)
    )
    assert torch.equal(a.extrinsics, b.extrinsics)
    assert not torch.equal(a.extrinsics, c.extrinsics)


def test_outputs_come_in_the_order_of_the_views() -> None:
    """With the reference fixed to one picture, permuting the others permutes the results."""
    net, x = network(MULTI), images(4)
    order = [2, 0, 3, 1]
    a = net(x, request=Request(strategy=2, feature_layers=(1, 4)))
    b = net(x[:, order], request=Request(strategy=0, feature_layers=(1, 4)))
    assert close(a.depth[:, order], b.depth)
    assert close(a.extrinsics[:, order], b.extrinsics)
    for layer in (1, 4):
        assert close(a.features[layer][:, order], b.features[layer])
    compat = net(x, request=Request(strategy=2, feature_layers=(1, 4), upstream_compat=True))
    assert close(compat.features[4][:, 0], a.features[4][:, 2])


def test_known_cameras_condition_the_result() -> None:
    net, x = network(MULTI), images(3)
    E = torch.eye(4).repeat(1, 3, 1, 1)
    E[0, :, 0, 3] = torch.tensor([0.0, 1.0, 2.0])
    K = torch.tensor([[50.0, 0, 28], [0, 50, 21], [0, 0, 1]]).expand(1, 3, 3, 3)
    free, given = net(x), net(x, E, K, Request(gaussians=True))
    assert given.reference is None and free.reference is not None
    assert not close(free.depth, given.depth)
    assert given.gaussians.means.shape == (1, 3 * 42 * 56, 3)


def test_single_view_network_fills_the_sky() -> None:
    out = network(SKY)(images(2))
    assert out.depth.shape == out.sky.shape == (1, 2, 42, 56)
    assert out.extrinsics is None and out.confidence is None
    sky = out.sky >= 0.3
    assert sky.sum() > 10 and (~sky).sum() > 10
    assert len(out.depth[sky].unique()) == 1


def test_nested_network_is_metric_and_leaves_splats_alone() -> None:
    net, x = network(NESTED), images(3)
    inner = net.da3(x, request=Request(gaussians=True))
    out = net(x, request=Request(gaussians=True))
    ground = out.sky < 0.3
    assert out.metric and close(out.depth[ground], (inner.depth * out.scale_factor)[ground])
    assert close(out.extrinsics[..., 3], inner.extrinsics[..., 3] * out.scale_factor)
    assert torch.equal(out.gaussians.means, inner.gaussians.means)
    assert (out.confidence[~ground] == 1).all()


def test_half_precision_backbone_stays_near() -> None:
    x = images(3)
    full, half = network(MULTI)(x), network(MULTI, dtype=torch.bfloat16)(x)
    error = (half.depth - full.depth).abs() / full.depth
    assert half.depth.dtype == torch.float32
    assert 0 < error.max() < 0.05


@pytest.mark.parametrize(
    ("config", "shape", "request_", "reason"),
    [
        (MULTI, (1, 2, 3, 40, 56), Request(), "sides of 14n"),
        (MULTI, (2, 3, 42, 56), Request(), "sides of 14n"),
        (GATED, (1, 2, 3, 42, 56), Request(gaussians=True), "no Gaussian head"),
        (SKY, (1, 2, 3, 42, 56), Request(ray_poses=True), "knows no cameras"),
        (MULTI, (1, 2, 3, 42, 56), Request(feature_layers=(6,)), "no block 6"),
        (MULTI, (1, 3, 3, 42, 56), Request(strategy="best"), "saddle_balanced"),
        (MULTI, (1, 3, 3, 42, 56), Request(strategy=3), "no view 3"),
    ],
)
def test_requests_that_do_not_fit_are_refused(config, shape, request_, reason) -> None:
    with pytest.raises(InputError, match=reason):
        network(config)(torch.zeros(shape), request=request_)


def test_half_given_cameras_are_refused() -> None:
    with pytest.raises(InputError, match="both"):
        network(MULTI)(images(2), extrinsics=torch.eye(4).repeat(1, 2, 1, 1))


def test_released_sizes() -> None:
    """Parameters in millions, as the releases state them."""
    from models.depth_anything_3.network import build

    millions = {"da3-small": 34.30, "da3-base": 135.37, "da3-large": 410.94, "da3-giant": 1355.67}
    millions |= {"da3metric-large": 334.17, "da3mono-large": 334.17, "da3nested-giant-large": 1689.85}
    for name, config in VARIANTS.items():
        with torch.device("meta"):
            net = build(config)
        assert isinstance(config, NestedConfig) == (name == "da3nested-giant-large")
        assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions[name], abs=0.006)
