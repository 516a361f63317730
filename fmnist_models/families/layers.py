"""The few parts that several families share.

Shapes: x (N, C, H, W) in, same N out. Parts of torchvision are imported late, where they are used,
as its import takes a second.
"""

from __future__ import annotations

from math import expm1, log
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from fmnist_models.compute.batch_norm import BatchNorm2d
from fmnist_models.config.base import Activation, Padding

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)
_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "mish": nn.Mish,
}


def activation(name: Activation) -> nn.Module:
    """The activation called `name`; element by element, shape kept."""
    return _ACTIVATIONS[name]()


def norm(channels: int, batch_norm: bool, momentum: float, eps: float = 1e-5) -> nn.Module:
    """Batch norm over `channels` (arXiv:1502.03167), or nothing at all.

    `momentum` is torch's: the weight of the new batch in the running statistics; `eps` is added to
    the variance.
    """
    return BatchNorm2d(channels, eps, momentum) if batch_norm else nn.Identity()


class AppliedReLU(nn.ReLU):
    """A ReLU that the batch norm in front of it has applied; it only keeps its place."""

    def forward(self, input: Tensor) -> Tensor:
        """What it is given."""
        return input


def norm_and_activation(
    channels: int, batch_norm: bool, momentum: float, name: Activation, eps: float = 1e-5
) -> tuple[nn.Module, nn.Module]:
    """`norm` and the activation behind it, of which a ReLU is applied by the batch norm."""
    if batch_norm and name == "relu":
        return BatchNorm2d(channels, eps, momentum, relu=True), AppliedReLU()
    return norm(channels, batch_norm, momentum, eps), activation(name)


class Head(nn.Linear):
    """The last layer, in float32 also under autocast: in bf16 the best two logits often tie.

    x: (N, inputs) -> logits (N, outputs) float32.
    """

    def forward(self, input: Tensor) -> Tensor:
        """input: (N, inputs) of any float type -> (N, outputs) float32."""
        if input.is_meta:  # where shapes are counted; autocast does not know that device
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


class PartialConv2d(nn.Conv2d):
    """Zero padding whose outputs are scaled up by how little of the kernel saw the image.

    Partial-convolution padding (Liu et al. 2018, arXiv:1811.11718, equation 3): before the bias is
    added, an output is multiplied by the kernel's size over the number of its places inside.
    x: (N, inputs, H, W) -> as nn.Conv2d.
    """

    def forward(self, input: Tensor) -> Tensor:
        """input: (N, inputs, H, W) -> (N, outputs, H', W')."""
        if input.is_meta:  # where shapes are counted
            return super().forward(input)
        plain = nn.functional.conv2d(
            input, self.weight, None, self.stride, self.padding, self.dilation, self.groups
        )
        down, right = (self._share(input, side) for side in (0, 1))
        scaled = plain * (1 / (down[:, None] * right)).to(plain.dtype)
        return scaled if self.bias is None else scaled + self.bias.to(plain.dtype)[:, None, None]

    def _share(self, input: Tensor, side: int) -> Tensor:
        """For each place along one side, the share of the kernel that lies inside: (H',) or (W',).

        The places inside are a rectangle, so that the share of the whole is a product of two.
        """
        size, kernel = input.shape[2 + side], self.kernel_size[side]
        stride, dilation = self.stride[side], self.dilation[side]
        padding = self.padding[side]
        assert isinstance(padding, int)
        outputs = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        first = torch.arange(outputs, device=input.device) * stride - padding
        seen = first[:, None] + torch.arange(kernel, device=input.device) * dilation
        return ((seen >= 0) & (seen < size)).float().mean(1)


def conv3x3(
    inputs: int, outputs: int, *, stride: int = 1, bias: bool, padding: Padding = "zeros"
) -> nn.Conv2d:
    """A padded 3x3 convolution with He initialisation (arXiv:1502.01852), fan-out, bias zero.

    `padding` says what lies beyond the border, one pixel wide.
    """
    if padding == "weighted":
        conv: nn.Conv2d = PartialConv2d(inputs, outputs, 3, stride=stride, padding=1, bias=bias)
    else:
        conv = nn.Conv2d(
            inputs, outputs, 3, stride=stride, padding=1, bias=bias, padding_mode=padding
        )
    return he_initialized(conv)


def he_initialized(layer: Layer) -> Layer:
    """`layer` with weights drawn anew (arXiv:1502.01852), bias zero.

    By the fan out for convolutions, as in the papers on residual networks, else by the fan in.
    """
    mode: Literal["fan_in", "fan_out"] = "fan_out" if isinstance(layer, nn.Conv2d) else "fan_in"
    nn.init.kaiming_normal_(layer.weight, mode=mode, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class DropBlock(nn.Module):
    """Blank squares of a feature map while training (arXiv:1810.12890): x (N, C, H, W), same out.

    `rate` is about the share of positions that is lost, `size` the side of the squares: odd, and
    cut to the map's. What remains is scaled up. All channels of an image share one mask, unlike in
    algorithm 1 of the paper: it costs next to nothing, and is what the best Fashion-MNIST recipe
    (fn_playground) does.
    """

    def __init__(self, rate: float, size: int) -> None:
        super().__init__()
        self.rate, self.size = rate, size

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) -> (N, C, H, W)."""
        if not self.training:
            return x
        from torchvision.ops import drop_block2d  # type: ignore[import-untyped]

        # In float32: the mean of a mask, by which it is scaled, would be coarse in bf16.
        ones = torch.ones(len(x), 1, *x.shape[2:], device=x.device)
        mask: Tensor = drop_block2d(ones, self.rate, self.size)
        return x * mask.to(x.dtype)


def drop_block(rate: float, size: int) -> nn.Module:
    """`DropBlock`, or nothing at all where `rate` is zero."""
    return DropBlock(rate, size) if rate else nn.Identity()


def stochastic_depth(rate: float) -> nn.Module:
    """Drops a residual branch for single images with probability `rate` (arXiv:1603.09382)."""
    if not rate:
        return nn.Identity()
    from torchvision.ops import StochasticDepth

    layer: nn.Module = StochasticDepth(rate, "row")
    return layer


class MeanPool(nn.Module):
    """The mean over space: x (N, C, H, W) -> (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) -> (N, C)."""
        return x.mean(dim=(2, 3))


class GeMPool(nn.Module):
    """Generalised mean over space (arXiv:1711.02512), with a power p that is learned: starts at 3.

    (mean of x^p)^(1/p) is the mean for p = 1 and goes to the maximum as p grows. p is
    1 + softplus(`raw`), and so never below 1. Computed by logarithms in float32, as powers of small
    or large features leave the range; features below `FLOOR` count as that.
    """

    FLOOR = 1e-6

    def __init__(self, power: float = 3.0) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.full((1,), log(expm1(power - 1))))

    @property
    def power(self) -> Tensor:
        """The power p: (1,)."""
        return 1 + nn.functional.softplus(self.raw)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) of any float type -> (N, C) float32."""
        if x.is_meta:  # where shapes are counted; autocast does not know that device
            return self._pool(x)
        with torch.autocast(x.device.type, enabled=False):
            return self._pool(x.float())

    def _pool(self, x: Tensor) -> Tensor:
        logs = x.clamp(min=self.FLOOR).log() * self.power
        mean = logs.logsumexp(dim=(2, 3)) - log(x.shape[2] * x.shape[3])
        return (mean / self.power).exp()
