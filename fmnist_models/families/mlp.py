"""`mlp`: multilayer perceptrons on the 784 pixels of a 28x28 image.

    (N, 1, 28, 28) -flatten-> 784 -depth x (linear, norm, activation, dropout)-> width -linear->

One hidden layer of 128 and plain gradient descent is the baseline that every other family has to
beat (the first network of TensorFlow's Fashion-MNIST tutorial).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from fmnist_models.config.base import Activation, ModelConfig, Probability
from fmnist_models.config.registry import Family
from fmnist_models.families.layers import Head, activation

PIXELS = 28 * 28


class MlpConfig(ModelConfig):
    """`depth` hidden layers of `width` units each."""

    family: Literal["mlp"] = "mlp"
    depth: Annotated[int, Field(ge=1, le=10)] = 1
    width: Annotated[int, Field(ge=1, le=4096)] = 128
    activation: Activation = "relu"
    batch_norm: bool = False
    bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    dropout: Probability = 0.0
    """Probability of dropping a unit of a hidden layer."""


class Mlp(nn.Module):
    """Images (N, 1, 28, 28) float -> logits (N, classes)."""

    def __init__(self, config: MlpConfig, classes: int) -> None:
        super().__init__()
        inputs = [PIXELS] + [config.width] * (config.depth - 1)
        self.hidden = nn.Sequential(*(m for size in inputs for m in _layer(config, size)))
        self.head = Head(config.width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 1, 28, 28) float -> (N, classes)."""
        logits: Tensor = self.head(self.hidden(x.flatten(1)))
        return logits


def _layer(config: MlpConfig, inputs: int) -> list[nn.Module]:
    linear = nn.Linear(inputs, config.width, bias=not config.batch_norm)
    # He initialisation (arXiv:1502.01852), so that deep networks without a norm start to learn.
    nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
    norm = nn.BatchNorm1d(config.width, momentum=config.bn_momentum)
    return [
        linear,
        *([norm] if config.batch_norm else []),
        activation(config.activation),
        nn.Dropout(config.dropout),
    ]


FAMILY = Family(
    name="mlp", config=MlpConfig, build=Mlp, example=MlpConfig(depth=2, width=32, batch_norm=True)
)
