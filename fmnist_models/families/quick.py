"""`quick`: small convolutional nets that one CPU core trains in well under a minute an epoch.

    (N, 1, 28, 28) -conv, pool-> w x 14 x 14 -depth convs, pool-> 2w x 7 x 7
                   -depth convs-> 4w x 7 x 7 -max over space-> 4w -linear-> classes

Pooling comes between a convolution and its norm, so that norm and activation touch a quarter of the
values: on a CPU, where they are bound by memory, that is worth more than any change of width.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from fmnist_models.config.base import Activation, ModelConfig, Padding, Probability
from fmnist_models.config.registry import Family
from fmnist_models.families.layers import Head, conv3x3, norm_and_activation


class QuickConfig(ModelConfig):
    """`width`: channels of the first convolution; `depth`: convolutions in each later stage."""

    family: Literal["quick"] = "quick"
    width: Annotated[int, Field(ge=4, le=128)] = 24
    depth: Annotated[int, Field(ge=1, le=4)] = 2
    activation: Activation = "relu"
    batch_norm: bool = True
    bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    dropout: Probability = 0.0
    """Probability of dropping a feature in front of the linear head."""
    padding: Padding = "zeros"


class QuickNet(nn.Module):
    """Images (N, 1, 28, 28) float -> logits (N, classes)."""

    def __init__(self, config: QuickConfig, classes: int) -> None:
        super().__init__()
        w = config.width
        self.features = nn.Sequential(
            *_unit(config, 1, w, pool=True),
            *_stage(config, w, 2 * w, pool=True),
            *_stage(config, 2 * w, 4 * w, pool=False),
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = Head(4 * w, classes)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 1, 28, 28) float -> (N, classes)."""
        features: Tensor = self.features(x).amax(dim=(2, 3))
        logits: Tensor = self.head(self.dropout(features))
        return logits


def _unit(config: QuickConfig, inputs: int, outputs: int, *, pool: bool) -> list[nn.Module]:
    return [
        conv3x3(inputs, outputs, bias=not config.batch_norm, padding=config.padding),
        *([nn.MaxPool2d(2)] if pool else []),
        *norm_and_activation(outputs, config.batch_norm, config.bn_momentum, config.activation),
    ]


def _stage(config: QuickConfig, inputs: int, outputs: int, *, pool: bool) -> list[nn.Module]:
    units: list[nn.Module] = []
    for i in range(config.depth):
        last = i == config.depth - 1
        units += _unit(config, outputs if i else inputs, outputs, pool=pool and last)
    return units


FAMILY = Family(
    name="quick", config=QuickConfig, build=QuickNet, example=QuickConfig(width=8, depth=1)
)
