"""The parts that drop and the pools, on tensors made for it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fmnist_models.compute.cpu_layers import PointwiseConv2d
from fmnist_models.families.layers import DropBlock, GeMPool, MeanPool, drop_block, stochastic_depth


@pytest.mark.parametrize("size", [3, 5, 7])
@pytest.mark.parametrize("side", [14, 7])
def test_drop_block_blanks_squares_and_keeps_the_mean(size: int, side: int) -> None:
    torch.manual_seed(0)
    layer = DropBlock(0.1, size)
    x = torch.ones(2000, 3, side, side)
    out = layer(x)
    lost = out == 0
    assert torch.equal(lost[:, 0], lost[:, 1])  # one mask for all channels of an image
    assert lost.float().mean().item() == pytest.approx(0.1, abs=0.03)
    assert out.mean().item() == pytest.approx(1, abs=1e-3)
    # Every lost position lies in a lost square: opening the mask by the square changes nothing.
    mask = lost[:, :1].float()
    eroded = 1 - nn.functional.max_pool2d(1 - mask, size, 1)
    opened = nn.functional.max_pool2d(nn.functional.pad(eroded, [size - 1] * 4), size, 1)
    assert torch.equal(opened, mask)


def test_drop_block_rests_in_evaluation_and_keeps_format_and_type() -> None:
    x = torch.ones(4, 8, 7, 7, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    layer = DropBlock(0.3, 3)
    out = layer(x)
    assert out.dtype == torch.bfloat16
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert layer.eval()(x) is x
    assert DropBlock(0.3, 3)(torch.empty(2, 4, 7, 7, device="meta")).shape == (2, 4, 7, 7)


def test_a_rate_of_zero_is_no_layer_at_all() -> None:
    assert isinstance(drop_block(0.0, 3), nn.Identity)
    assert isinstance(stochastic_depth(0.0), nn.Identity)


def test_stochastic_depth_drops_whole_images_in_training() -> None:
    torch.manual_seed(0)
    layer = stochastic_depth(0.25)
    x = torch.ones(400, 2, 3, 3)
    out = layer(x)
    assert out.flatten(1).unique(dim=1).shape == (400, 1)
    kept = (out[:, 0, 0, 0] > 0).float().mean().item()
    assert kept == pytest.approx(0.75, abs=0.08)
    assert out.max().item() == pytest.approx(4 / 3)
    assert torch.equal(layer.eval()(x), x)


def test_gem_lies_between_mean_and_maximum() -> None:
    torch.manual_seed(0)
    x = torch.rand(5, 4, 7, 7) + 0.01
    mean, most = MeanPool()(x), x.amax(dim=(2, 3))
    pooled = GeMPool()(x)
    assert (mean < pooled).all() and (pooled < most).all()
    torch.testing.assert_close(pooled, x.pow(3).mean(dim=(2, 3)).pow(1 / 3))
    torch.testing.assert_close(GeMPool(1 + 1e-6)(x), mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(GeMPool(500.0)(x), most, rtol=0.02, atol=0)


def test_gem_is_learned_in_float32_and_takes_any_feature() -> None:
    layer = GeMPool()
    assert layer.power.item() == pytest.approx(3)
    x = torch.zeros(3, 2, 7, 7)
    x[1], x[2] = -5.0, 1e4
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x.bfloat16().requires_grad_())
    assert out.dtype == torch.float32
    torch.testing.assert_close(out[:, 0], torch.tensor([1e-6, 1e-6, 1e4]), rtol=0.01, atol=0)
    out.sum().backward()
    assert layer.raw.grad is not None and layer.raw.grad.isfinite().all()
    with torch.device("meta"):
        assert GeMPool()(torch.empty(2, 4, 7, 7)).shape == (2, 4)


@pytest.mark.parametrize(("side", "stride"), [(28, 2), (7, 2), (9, 3), (5, 1)])
def test_pointwise_convolution_is_the_strided_one(side: int, stride: int) -> None:
    layer = PointwiseConv2d(3, 5, stride)
    images = torch.randn(2, 3, side, side).requires_grad_()
    plain = torch.nn.functional.conv2d(images, layer.weight, stride=stride)
    found = layer(images)
    torch.testing.assert_close(found, plain)
    weights = torch.randn_like(plain)
    ours = torch.autograd.grad((found * weights).sum(), [images, layer.weight])
    theirs = torch.autograd.grad((plain * weights).sum(), [images, layer.weight])
    torch.testing.assert_close(ours, theirs)
