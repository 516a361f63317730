"""`wrn`: wide residual networks (Zagoruyko & Komodakis, arXiv:1605.07146) on 28x28 images.

    (N, 1, 28, 28) -conv-> 16 x 28 x 28 -n blocks-> 16k x 28 x 28 -n blocks, stride 2->
    32k x 14 x 14 -n blocks, stride 2-> 64k x 7 x 7 -norm, activation, mean over space-> linear

Depth d = 6n + 4 counts the convolutions as the paper does; k is the width. The defaults are the
paper's network; stem, pooling and what is dropped can be changed one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from fmnist_models.compute.cpu_layers import PointwiseConv2d
from fmnist_models.config.base import Activation, ModelConfig, Padding, Probability, six_n_plus
from fmnist_models.config.registry import Family
from fmnist_models.families.layers import (
    GeMPool,
    Head,
    MeanPool,
    conv3x3,
    drop_block,
    he_initialized,
    norm_and_activation,
    stochastic_depth,
)


class WrnConfig(ModelConfig):
    """WRN-`depth`-`width`, with dropout inside the blocks as in the paper."""

    family: Literal["wrn"] = "wrn"
    depth: Annotated[int, Field(ge=10, le=100), six_n_plus(4, shown=6)] = 16
    width: Annotated[int, Field(ge=1, le=16)] = 1
    dropout: Probability = 0.0
    """Probability of dropping an activation between the two convolutions of a block."""
    batch_norm: bool = True
    bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    bn_eps: Annotated[float, Field(gt=0, le=1)] = 1e-5
    activation: Activation = "relu"
    stem: Annotated[int, Field(ge=8, le=256)] = 16
    """Channels of the first convolution."""
    pool: Literal["mean", "gem"] = "mean"
    """The mean over space at the end, or the generalised one of arXiv:1711.02512."""
    drop_block: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """DropBlock's rate between the convolutions of the last two stages' blocks."""
    drop_block_size: Literal[3, 5, 7] = 3
    """Side of its squares."""
    stochastic_depth: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability of dropping the last block's residual; for others in proportion to depth."""
    zero_init: bool = False
    """Start each block as the identity: its second convolution is zero (arXiv:1706.02677, 5.1)."""
    padding: Padding = "zeros"


class Block(nn.Module):
    """Pre-activation residual block; stride and channels may change in its first convolution."""

    def __init__(
        self, config: WrnConfig, inputs: int, outputs: int, *, stride: int, stage: int, drop: float
    ) -> None:
        super().__init__()
        bias = not config.batch_norm
        self.norm1, self.activation = _norm_and_activation(config, inputs)
        self.conv1 = conv3x3(inputs, outputs, stride=stride, bias=bias, padding=config.padding)
        self.norm2, _ = _norm_and_activation(config, outputs)
        self.dropout = nn.Dropout(config.dropout)
        self.drop_block = drop_block(config.drop_block if stage else 0.0, config.drop_block_size)
        self.conv2 = conv3x3(outputs, outputs, bias=bias, padding=config.padding)
        self.stochastic_depth = stochastic_depth(drop)
        self.shortcut: nn.Conv2d | None = None
        if stride != 1 or inputs != outputs:
            self.shortcut = he_initialized(PointwiseConv2d(inputs, outputs, stride))

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        activated = self.activation(self.norm1(x))
        # As in the paper's code: a shortcut that changes shape starts from the activated input.
        identity = x if self.shortcut is None else self.shortcut(activated)
        inner = self.activation(self.norm2(self.conv1(activated)))
        residual = self.conv2(self.drop_block(self.dropout(inner)))
        out: Tensor = identity + self.stochastic_depth(residual)
        return out


def _norm_and_activation(config: WrnConfig, channels: int) -> tuple[nn.Module, nn.Module]:
    return norm_and_activation(
        channels, config.batch_norm, config.bn_momentum, config.activation, config.bn_eps
    )


def _blocks(config: WrnConfig) -> Iterator[Block]:
    """The blocks of the three stages; the first of the later two halves the map."""
    each = (config.depth - 4) // 6
    inputs = config.stem
    for number in range(3 * each):
        stage, place = divmod(number, each)
        outputs = 16 * config.width * 2**stage
        stride = 2 if stage and not place else 1
        drop = config.stochastic_depth * (number + 1) / (3 * each)
        yield Block(config, inputs, outputs, stride=stride, stage=stage, drop=drop)
        inputs = outputs


class WideResNet(nn.Module):
    """Images (N, 1, 28, 28) float -> logits (N, classes)."""

    def __init__(self, config: WrnConfig, classes: int) -> None:
        super().__init__()
        last = 64 * config.width
        self.stem = conv3x3(1, config.stem, bias=not config.batch_norm, padding=config.padding)
        self.stages = nn.Sequential(*_blocks(config))
        self.norm, self.activation = _norm_and_activation(config, last)
        self.pool = GeMPool() if config.pool == "gem" else MeanPool()
        self.head = Head(last, classes)
        if config.zero_init:
            self._scale_residuals(0.0)
        elif not config.batch_norm:
            # Without a norm the variance would double in each block; keep the sum near one.
            self._scale_residuals(len(self.stages) ** -0.5)

    def _scale_residuals(self, factor: float) -> None:
        for block in self.stages:
            if isinstance(block, Block):
                block.conv2.weight.data.mul_(factor)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 1, 28, 28) float -> (N, classes)."""
        features = self.activation(self.norm(self.stages(self.stem(x))))
        logits: Tensor = self.head(self.pool(features))
        return logits


FAMILY = Family(name="wrn", config=WrnConfig, build=WideResNet, example=WrnConfig(depth=10))
