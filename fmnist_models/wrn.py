"""`wrn`: wide residual networks (Zagoruyko & Komodakis, arXiv:1605.07146) on 28x28 images.

    (N, 1, 28, 28) -conv-> 16 x 28 x 28 -n blocks-> 16k x 28 x 28 -n blocks, stride 2->
    32k x 14 x 14 -n blocks, stride 2-> 64k x 7 x 7 -norm, activation, mean over space-> linear

Depth d = 6n + 4 counts the convolutions as the paper does; k is the width.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator
from torch import Tensor, nn

from fmnist_models.config import Activation, ModelConfig, Padding, Probability
from fmnist_models.families import Family
from fmnist_models.layers import Head, activation, conv3x3, norm


class WrnConfig(ModelConfig):
    """WRN-`depth`-`width`, with dropout inside the blocks as in the paper."""

    family: Literal["wrn"] = "wrn"
    depth: Annotated[int, Field(ge=10, le=100)] = 16
    width: Annotated[int, Field(ge=1, le=16)] = 1
    dropout: Probability = 0.0
    """Probability of dropping an activation between the two convolutions of a block."""
    batch_norm: bool = True
    bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    activation: Activation = "relu"
    padding: Padding = "zeros"

    @field_validator("depth")
    @classmethod
    def _six_n_plus_four(cls, depth: int) -> int:
        if (depth - 4) % 6:
            allowed = ", ".join(str(6 * n + 4) for n in range(1, 7))
            raise ValueError(f"depth must be 6n+4 ({allowed}, ...)")
        return depth


class Block(nn.Module):
    """Pre-activation residual block; stride and channels may change in its first convolution."""

    def __init__(self, config: WrnConfig, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        bias = not config.batch_norm
        self.norm1 = norm(inputs, config.batch_norm, config.bn_momentum)
        self.activation = activation(config.activation)
        self.conv1 = conv3x3(inputs, outputs, stride=stride, bias=bias, padding=config.padding)
        self.norm2 = norm(outputs, config.batch_norm, config.bn_momentum)
        self.dropout = nn.Dropout(config.dropout)
        self.conv2 = conv3x3(outputs, outputs, bias=bias, padding=config.padding)
        self.shortcut: nn.Conv2d | None = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            nn.init.kaiming_normal_(self.shortcut.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        activated = self.activation(self.norm1(x))
        # As in the paper's code: a shortcut that changes shape starts from the activated input.
        identity = x if self.shortcut is None else self.shortcut(activated)
        inner = self.activation(self.norm2(self.conv1(activated)))
        out: Tensor = identity + self.conv2(self.dropout(inner))
        return out


class WideResNet(nn.Module):
    """Images (N, 1, 28, 28) float -> logits (N, classes)."""

    def __init__(self, config: WrnConfig, classes: int) -> None:
        super().__init__()
        blocks = (config.depth - 4) // 6
        widths = [16, 16 * config.width, 32 * config.width, 64 * config.width]
        self.stem = conv3x3(1, widths[0], bias=not config.batch_norm, padding=config.padding)
        self.stages = nn.Sequential(
            *(
                Block(config, inputs if i == 0 else outputs, outputs, stride if i == 0 else 1)
                for inputs, outputs, stride in zip(widths, widths[1:], (1, 2, 2), strict=False)
                for i in range(blocks)
            )
        )
        self.norm = norm(widths[3], config.batch_norm, config.bn_momentum)
        self.activation = activation(config.activation)
        self.head = Head(widths[3], classes)
        if not config.batch_norm:
            self._shrink_residuals(3 * blocks)

    def _shrink_residuals(self, blocks: int) -> None:
        """Without a norm the variance would double in each block; keep the sum near one."""
        for block in self.stages:
            if isinstance(block, Block):
                block.conv2.weight.data.mul_(blocks**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 1, 28, 28) float -> (N, classes)."""
        features = self.activation(self.norm(self.stages(self.stem(x))))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


FAMILY = Family(name="wrn", config=WrnConfig, build=WideResNet, example=WrnConfig(depth=10))
