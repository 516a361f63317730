"""`shake`: Shake-Shake networks (Gastaldi, arXiv:1705.07485) on 28x28 images.

    (N, 1, 28, 28) -conv, norm-> 16 x 28 x 28 -n blocks-> w x 28 x 28 -n blocks, stride 2->
    2w x 14 x 14 -n blocks, stride 2-> 4w x 7 x 7 -ReLU, mean over space-> linear

A block adds a random mixture of two residual branches to its input. Depth 6n + 2 and width w:
Shake-Shake-26 2x96d has depth 26 and width 96.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from fmnist_models.config.base import ModelConfig, Probability, six_n_plus
from fmnist_models.config.registry import Family
from fmnist_models.families.layers import Head, conv3x3, he_initialized, norm, norm_and_activation

Mode = Literal["shake-shake", "shake-keep", "shake-even", "even-shake", "even-even"]


class ShakeConfig(ModelConfig):
    """Shake-Shake-`depth` 2x`width`d."""

    family: Literal["shake"] = "shake"
    depth: Annotated[int, Field(ge=8, le=110), six_n_plus(2, shown=5)] = 26
    width: Annotated[int, Field(ge=4, le=128)] = 32
    mode: Mode = "shake-shake"
    """How branches are mixed, forward-backward, by the paper's names: with random shares (shake),
    halves (even), or backward with the shares of the forward pass (keep)."""
    per_image: bool = True
    """Draw shares for each image, or once for the batch."""
    bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    dropout: Probability = 0.0
    """Probability of dropping a feature in front of the linear head."""


class _MixedBranches(torch.autograd.Function):
    """Mixes two branches by one set of shares, and their gradients by another."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
        """The share `alpha` of `first` and the rest of `second`: (N, C, H, W)."""
        ctx.save_for_backward(beta)
        return torch.lerp(second, first, alpha)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """The share `beta` of the gradient for the first, the rest for the second."""
        (gradient,) = gradients
        (beta,) = ctx.saved_tensors
        first = gradient * beta
        return first, gradient - first, None, None


def mix_branches(first: Tensor, second: Tensor, mode: Mode, per_image: bool) -> Tensor:
    """A random mixture of two branches (N, C, H, W), as in training; draws from torch's generator.

    Shares are uniform in [0, 1], those of the gradients apart from those of the values by `mode`.
    """
    shape = (len(first) if per_image else 1, 1, 1, 1)
    half = first.new_full(shape, 0.5)
    forward, backward = mode.split("-")
    alpha = torch.rand_like(half) if forward == "shake" else half
    beta = {"even": half, "keep": alpha}.get(backward)
    beta = torch.rand_like(half) if beta is None else beta
    mixed: Tensor = _MixedBranches.apply(first, second, alpha, beta)
    return mixed


class Skip(nn.Module):
    """A shortcut that changes shape: two 1x1 convolutions, one of them on the map moved by a pixel.

    Each gives half the outputs, and each sees other pixels where the stride leaves some out.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, momentum: float) -> None:
        super().__init__()
        self.stride = stride
        # Both are made before either is drawn anew: the order of draws is part of a seed's result.
        self.conv1 = nn.Conv2d(inputs, outputs // 2, 1, bias=False)
        self.conv2 = nn.Conv2d(inputs, outputs - outputs // 2, 1, bias=False)
        for conv in (self.conv1, self.conv2):
            he_initialized(conv)
        self.norm = norm(outputs, True, momentum)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        moved = pad(x[:, :, 1:, 1:], (0, 1, 0, 1))
        step = self.stride
        halves = [
            conv(side[:, :, ::step, ::step])
            for conv, side in ((self.conv1, x), (self.conv2, moved))
        ]
        out: Tensor = self.norm(torch.cat(halves, dim=1))
        return out


class Block(nn.Module):
    """Two residual branches, mixed; stride and channels may change."""

    def __init__(self, config: ShakeConfig, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.mode, self.per_image = config.mode, config.per_image
        self.branch1 = _branch(inputs, outputs, stride, config.bn_momentum)
        self.branch2 = _branch(inputs, outputs, stride, config.bn_momentum)
        self.skip: Skip | None = None
        if inputs != outputs:
            self.skip = Skip(inputs, outputs, stride, config.bn_momentum)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        activated = relu(x)
        first, second = self.branch1(activated), self.branch2(activated)
        if self.training:
            residual = mix_branches(first, second, self.mode, self.per_image)
        else:
            residual = (first + second) / 2
        return residual + (x if self.skip is None else self.skip(activated))


def _branch(inputs: int, outputs: int, stride: int, momentum: float) -> nn.Sequential:
    """What follows the ReLU that both branches start with."""
    return nn.Sequential(
        conv3x3(inputs, outputs, stride=stride, bias=False),
        *norm_and_activation(outputs, True, momentum, "relu"),
        conv3x3(outputs, outputs, bias=False),
        norm(outputs, True, momentum),
    )


def _blocks(config: ShakeConfig) -> Iterator[Block]:
    """The blocks of the three stages; the first of the later two halves the map."""
    inputs = 16
    for stage in range(3):
        outputs = config.width * 2**stage
        for place in range((config.depth - 2) // 6):
            yield Block(config, inputs, outputs, stride=2 if stage and not place else 1)
            inputs = outputs


class ShakeShake(nn.Module):
    """Images (N, 1, 28, 28) float -> logits (N, classes)."""

    def __init__(self, config: ShakeConfig, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv3x3(1, 16, bias=False), norm(16, True, config.bn_momentum))
        self.stages = nn.Sequential(*_blocks(config))
        self.dropout = nn.Dropout(config.dropout)
        self.head = Head(4 * config.width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 1, 28, 28) float -> (N, classes)."""
        features = relu(self.stages(self.stem(x))).mean(dim=(2, 3))
        logits: Tensor = self.head(self.dropout(features))
        return logits


FAMILY = Family(
    name="shake", config=ShakeConfig, build=ShakeShake, example=ShakeConfig(depth=8, width=8)
)
