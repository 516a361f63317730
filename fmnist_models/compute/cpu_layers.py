"""Layers that compute what torch's do, faster on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d


class PointwiseConv2d(nn.Conv2d):
    """A 1x1 convolution without bias, for shortcuts: (N, inputs, H, W) -> (N, outputs, H', W').

    On a CPU the pixels that a stride leaves are picked first: forward and backward of the strided
    convolution take twice as long.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """input: (N, inputs, H, W) -> (N, outputs, ceil(H / stride), ceil(W / stride))."""
        down, across = self.stride
        if input.device.type != "cpu" or down == across == 1:
            return super().forward(input)
        picked: Tensor = _StridedPixels.apply(input, down, across)
        return conv2d(picked, self.weight)


class _StridedPixels(torch.autograd.Function):
    """Each so many-th row and column; slicing, but gradients are channels_last as all others are.

    Those of slices are not, and then adding them to the others takes five times as long.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, down: int, across: int) -> Tensor:
        ctx.shape, ctx.steps = x.shape, (down, across)
        return x[:, :, ::down, ::across].contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        down, across = ctx.steps
        whole = torch.empty(ctx.shape, dtype=grad.dtype, memory_format=torch.channels_last)
        whole.zero_()
        whole[:, :, ::down, ::across] = grad
        return whole, None, None
