"""Padding modes: weighted padding against a slow reference, the others by their border."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fmnist_models.config.base import Padding
from fmnist_models.config.registry import build_model
from fmnist_models.families.layers import PartialConv2d, conv3x3
from fmnist_models.families.quick import QuickConfig
from fmnist_models.families.wrn import WrnConfig
from fmnist_models.training.cost import model_cost

MODES: list[Padding] = ["zeros", "reflect", "replicate", "weighted"]


def slow(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Equation 3 of arXiv:1811.11718, one output at a time, the mask counted place by place."""
    (kernel, _), (stride, _) = conv.kernel_size, conv.stride
    (dilation, _), padding = conv.dilation, conv.padding[0]
    assert isinstance(padding, int)
    size = x.shape[-1]
    outputs = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    out = torch.zeros(len(x), conv.out_channels, outputs, outputs)
    for row in range(outputs):
        for column in range(outputs):
            total, inside = torch.zeros(len(x), conv.out_channels), 0
            for i in range(kernel):
                for j in range(kernel):
                    y = row * stride - padding + i * dilation
                    z = column * stride - padding + j * dilation
                    if 0 <= y < size and 0 <= z < size:
                        total += x[:, :, y, z] @ conv.weight[:, :, i, j].T
                        inside += 1
            out[:, :, row, column] = total * kernel**2 / inside
    return out if conv.bias is None else out + conv.bias[:, None, None]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [(3, 1, 1, 1), (3, 2, 1, 1), (5, 1, 2, 1), (3, 1, 2, 2), (3, 1, 0, 1)],
)
def test_weighted_padding_is_that_of_the_paper(
    kernel: int, stride: int, padding: int, dilation: int, bias: bool
) -> None:
    torch.manual_seed(0)
    conv = PartialConv2d(2, 3, kernel, stride=stride, padding=padding, dilation=dilation, bias=bias)
    x = torch.randn(2, 2, 7, 7)
    torch.testing.assert_close(conv(x), slow(x, conv))


def test_an_even_image_gives_an_even_answer() -> None:
    """What weighted padding is for: the border is no darker than the middle."""
    conv = conv3x3(1, 1, bias=False, padding="weighted")
    nn.init.ones_(conv.weight)
    torch.testing.assert_close(conv(torch.ones(1, 1, 6, 6)), torch.full((1, 1, 6, 6), 9.0))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stride", [1, 2])
def test_modes_agree_inside_and_differ_at_the_border(mode: Padding, stride: int) -> None:
    torch.manual_seed(0)
    plain = conv3x3(2, 3, stride=stride, bias=True)
    conv = conv3x3(2, 3, stride=stride, bias=True, padding=mode)
    conv.load_state_dict(plain.state_dict())
    x = torch.randn(2, 2, 8, 8)
    ours, zeros = conv(x), plain(x)
    assert ours.shape == zeros.shape
    torch.testing.assert_close(ours[..., 1:-1, 1:-1], zeros[..., 1:-1, 1:-1])
    assert torch.allclose(ours, zeros) == (mode == "zeros")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", [QuickConfig, WrnConfig])
def test_families_pad_so_everywhere_at_no_parameter(
    family: type[QuickConfig] | type[WrnConfig], mode: Padding
) -> None:
    config = family(padding=mode)
    convs = [m for m in build_model(config, 10).modules() if isinstance(m, nn.Conv2d)]
    threes = [conv for conv in convs if conv.kernel_size == (3, 3)]
    assert all(isinstance(conv, PartialConv2d) == (mode == "weighted") for conv in threes)
    wanted = "zeros" if mode == "weighted" else mode
    assert {conv.padding_mode for conv in threes} == {wanted}
    cost, plain = model_cost(config), model_cost(family())
    assert (cost.macs, cost.parameters) == (plain.macs, plain.parameters)
    # Elsewhere the map is copied into a larger one, or scaled.
    assert (cost.passes > plain.passes) == (mode != "zeros")
