"""`preact`: pre-activation residual networks (He et al., arXiv:1603.05027) on 28x28 images.

    layout "cifar":     depth 6n + 2, three stages of n basic blocks (3x3, 3x3)
    layout "imagenet":  depth 18, 34 or 50, four stages; those of 50 of bottlenecks (1x1, 3x3, and
                        1x1 to four times the channels)

    (N, 1, 28, 28) -conv 3x3-> c x 28 x 28 -stage-> c x 28 x 28 -stage-> 2c x 14 x 14
    -stage-> 4c x 7 x 7 (-stage-> 8c x 4 x 4) -norm, activation, mean over space-> linear

c is 16 * width: as published, depth 20 has width 1, and 18 and 50 have width 4. The first layout is
that of github.com/hysts/pytorch_image_classification, the second, with a 3x3 stem and no pooling
after it, that of github.com/kuangliu/pytorch-cifar (but with the norm that it left out at the end).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from fmnist_models.compute.cpu_layers import PointwiseConv2d
from fmnist_models.config.base import Activation, ModelConfig, Probability
from fmnist_models.config.registry import Family
from fmnist_models.families.layers import (
    Head,
    conv3x3,
    he_initialized,
    norm_and_activation,
    stochastic_depth,
)

FOUR_STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
"""Number of blocks in each stage, for each depth of the layout "imagenet"."""


class PreactConfig(ModelConfig):
    """PreAct-ResNet-`depth` with 16 * `width` channels in the first stage."""

    family: Literal["preact"] = "preact"
    layout: Literal["cifar", "imagenet"] = "cifar"
    depth: Annotated[int, Field(ge=8, le=110)] = 20
    width: Annotated[int, Field(ge=1, le=16)] = 1
    activation: Activation = "relu"
    bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    dropout: Probability = 0.0
    """Probability of dropping a feature in front of the linear head."""
    stochastic_depth: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability of dropping the last block's residual; for others in proportion to depth."""

    @model_validator(mode="after")
    def _depth_fits_layout(self) -> Self:
        if self.layout == "imagenet" and self.depth not in FOUR_STAGES:
            raise ValueError(f"depth must be 18, 34 or 50 in layout 'imagenet', not {self.depth}")
        if self.layout == "cifar" and (self.depth - 2) % 6:
            raise ValueError(
                f"depth must be 6n+2 (8, 14, 20, ...) in layout 'cifar', not {self.depth}"
            )
        return self

    @property
    def blocks(self) -> tuple[int, ...]:
        """Number of blocks in each stage."""
        each = (self.depth - 2) // 6
        return FOUR_STAGES[self.depth] if self.layout == "imagenet" else (each, each, each)

    @property
    def expansion(self) -> int:
        """Channels that a block gives, as a multiple of those of its 3x3 convolution."""
        return 4 if self.layout == "imagenet" and self.depth == 50 else 1


class Block(nn.Module):
    """Norm, activation and convolution, twice; or, as a bottleneck, three times."""

    def __init__(
        self, config: PreactConfig, inputs: int, channels: int, *, stride: int, drop: float
    ) -> None:
        super().__init__()
        outputs = config.expansion * channels
        if config.expansion > 1:
            convs = [
                _conv1x1(inputs, channels),
                conv3x3(channels, channels, stride=stride, bias=False),
                _conv1x1(channels, outputs),
            ]
        else:
            convs = [
                conv3x3(inputs, channels, stride=stride, bias=False),
                conv3x3(channels, outputs, bias=False),
            ]
        self.convs = nn.ModuleList(convs)
        pairs = [_norm_and_activation(config, conv.in_channels) for conv in convs]
        self.norms, self.activation = nn.ModuleList(norm for norm, _ in pairs), pairs[0][1]
        self.stochastic_depth = stochastic_depth(drop)
        self.shortcut: nn.Conv2d | None = None
        if stride != 1 or inputs != outputs:
            self.shortcut = _conv1x1(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, inputs, H, W) -> (N, outputs, H / stride, W / stride), halves rounded up."""
        activated = self.activation(self.norms[0](x))
        # As published: a shortcut that changes shape starts from the activated input.
        identity = x if self.shortcut is None else self.shortcut(activated)
        residual = self.convs[0](activated)
        for before, conv in zip(self.norms[1:], self.convs[1:], strict=True):
            residual = conv(self.activation(before(residual)))
        out: Tensor = identity + self.stochastic_depth(residual)
        return out


def _norm_and_activation(config: PreactConfig, channels: int) -> tuple[nn.Module, nn.Module]:
    return norm_and_activation(channels, True, config.bn_momentum, config.activation)


def _conv1x1(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return he_initialized(PointwiseConv2d(inputs, outputs, stride))


def _blocks(config: PreactConfig) -> Iterator[Block]:
    """All blocks; the first of each stage but the first halves the map."""
    inputs = 16 * config.width
    number = 0
    for stage, count in enumerate(config.blocks):
        for place in range(count):
            number += 1
            channels, stride = 16 * config.width * 2**stage, 2 if stage and not place else 1
            drop = config.stochastic_depth * number / sum(config.blocks)
            yield Block(config, inputs, channels, stride=stride, drop=drop)
            inputs = config.expansion * channels


class PreactResNet(nn.Module):
    """Images (N, 1, 28, 28) float -> logits (N, classes)."""

    def __init__(self, config: PreactConfig, classes: int) -> None:
        super().__init__()
        self.stem = conv3x3(1, 16 * config.width, bias=False)
        self.stages = nn.Sequential(*_blocks(config))
        last = config.expansion * 16 * config.width * 2 ** (len(config.blocks) - 1)
        self.norm, self.activation = _norm_and_activation(config, last)
        self.dropout = nn.Dropout(config.dropout)
        self.head = Head(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 1, 28, 28) float -> (N, classes)."""
        features = self.activation(self.norm(self.stages(self.stem(x)))).mean(dim=(2, 3))
        logits: Tensor = self.head(self.dropout(features))
        return logits


FAMILY = Family(
    name="preact", config=PreactConfig, build=PreactResNet, example=PreactConfig(depth=8)
)
