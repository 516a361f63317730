"""`convnext`: small ConvNeXts (Liu et al., arXiv:2201.03545) on 28x28 images, from torchvision's.

    (N, 1, 28, 28) -2x2 patches-> w x 14 x 14 -d blocks-> -2x2-> 2w x 7 x 7 -3d blocks->
    -2x2-> 4w x 4 x 4 -d blocks-> mean over space -norm-> linear

A block: depthwise k x k, layer norm, 1x1 to four times the channels, GELU, 1x1 back, a learned
scale a channel. The three stages are in the paper's proportion, 1 : 3 : 1.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision.models.convnext import (  # type: ignore[import-untyped]
    CNBlock,
    CNBlockConfig,
    ConvNeXt,
)

from fmnist_models.config.base import ModelConfig
from fmnist_models.config.registry import Family
from fmnist_models.families.layers import Head


class ConvnextConfig(ModelConfig):
    """`width`: channels of the first stage; `depth`: its number of blocks."""

    family: Literal["convnext"] = "convnext"
    width: Annotated[int, Field(ge=8, le=256)] = 64
    depth: Annotated[int, Field(ge=1, le=9)] = 2
    kernel: Literal[3, 5, 7] = 7
    """Side of the depthwise convolutions; 7 spans all of the last stage's 4 x 4 map."""
    layer_scale: Annotated[float, Field(gt=0, le=1)] = 1e-6
    """Where the learned scale of each residual starts (arXiv:2103.17239)."""
    stochastic_depth: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability of dropping the last block's residual; for others in proportion to depth."""


class Block(CNBlock):  # type: ignore[misc]
    """torchvision's block with kernels of any size.

    The scale is a vector, not (C, 1, 1): optimizers take what has more than one dimension for a
    weight to be decayed.
    """

    def __init__(self, channels: int, layer_scale: float, drop: float, *, kernel: int) -> None:
        super().__init__(channels, layer_scale, drop)
        padding = kernel // 2
        self.block[0] = nn.Conv2d(channels, channels, kernel, padding=padding, groups=channels)
        self.layer_scale = nn.Parameter(torch.full((channels,), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) -> (N, C, H, W)."""
        residual = self.layer_scale[:, None, None] * self.block(x)
        out: Tensor = x + self.stochastic_depth(residual)
        return out


def build(config: ConvnextConfig, classes: int) -> nn.Module:
    """Images (N, 1, 28, 28) float -> logits (N, classes)."""
    width, depth = config.width, config.depth
    model: nn.Module = ConvNeXt(
        [
            CNBlockConfig(width, 2 * width, depth),
            CNBlockConfig(2 * width, 4 * width, 3 * depth),
            CNBlockConfig(4 * width, None, depth),
        ],
        stochastic_depth_prob=config.stochastic_depth,
        layer_scale=config.layer_scale,
        num_classes=classes,
        block=partial(Block, kernel=config.kernel),
    )
    _replace(model, "features.0.0", nn.Conv2d(1, width, 2, stride=2))
    # Padded, as 7 is odd: the last row and column would be left out.
    _replace(model, "features.4.1", nn.Conv2d(2 * width, 4 * width, 2, stride=2, padding=1))
    _replace(model, "classifier.2", Head(4 * width, classes))
    return model


def _replace(model: nn.Module, name: str, layer: nn.Conv2d | nn.Linear) -> None:
    """Put `layer` in the place called `name`, initialised as the paper does."""
    nn.init.trunc_normal_(layer.weight, std=0.02)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    model.set_submodule(name, layer)


FAMILY = Family(
    name="convnext",
    config=ConvnextConfig,
    build=build,
    example=ConvnextConfig(width=8, depth=1, kernel=3, layer_scale=0.1),
)
