"""`vgg`: VGG-11, 13, 16 and 19 (arXiv:1409.1556) on 28x28 images.

    (N, 1, 28, 28) -convolutions, pool-> w x 14 x 14 -> 2w x 7 x 7 -> 4w x 4 x 4 -> 8w x 2 x 2
                   -> 8w x 1 x 1 -linear, linear, linear-> classes        (w = 64 as published)

The lists of layers and their modules are torchvision's. Two things are fitted: the pools round up,
as rounding down would leave 0 pixels after the fifth, and the head's two hidden layers have 512
units where 4096 were made for 1000 classes and 7x7 pixels.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn
from torchvision.models import vgg as published  # type: ignore[import-untyped]

from fmnist_models.config.base import ModelConfig, Probability
from fmnist_models.config.registry import Family
from fmnist_models.families.layers import Head, he_initialized

PUBLISHED_WIDTH = 64
_LISTS = {11: "A", 13: "B", 16: "D", 19: "E"}
"""By its number of weight layers, the paper's name of a configuration."""


class VggConfig(ModelConfig):
    """VGG-`depth` with `width` channels in the first stage, 8 times as many in the last."""

    family: Literal["vgg"] = "vgg"
    depth: Literal[11, 13, 16, 19] = 11
    width: Annotated[int, Field(ge=1, le=128)] = PUBLISHED_WIDTH
    dense: Annotated[int, Field(ge=1, le=4096)] = 512
    """Units of each of the head's two hidden layers."""
    batch_norm: bool = False
    bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    dropout: Probability = 0.0
    """Probability behind each hidden layer of the head; 0.5 as published."""


class Vgg(nn.Module):
    """Images (N, 1, 28, 28) float -> logits (N, classes)."""

    def __init__(self, config: VggConfig, classes: int) -> None:
        super().__init__()
        self.features = _features(config)
        sizes = (8 * config.width, config.dense, config.dense)
        self.dense = nn.Sequential(
            *(m for i, o in pairwise(sizes) for m in _dense(i, o, config.dropout))
        )
        self.head = Head(config.dense, classes)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 1, 28, 28) float -> (N, classes)."""
        logits: Tensor = self.head(self.dense(self.features(x).flatten(1)))
        return logits


def _features(config: VggConfig) -> nn.Sequential:
    """torchvision's layers, scaled, with one channel in and pools that round up."""
    layers = published.cfgs[_LISTS[config.depth]]
    scaled = [n if n == "M" else n * config.width // PUBLISHED_WIDTH for n in layers]
    features: nn.Sequential = published.make_layers(scaled, batch_norm=config.batch_norm)
    features[0] = nn.Conv2d(1, config.width, 3, padding=1)
    for module in features:
        if isinstance(module, nn.MaxPool2d):
            module.ceil_mode = True
        elif isinstance(module, nn.BatchNorm2d):
            module.momentum = config.bn_momentum
        elif isinstance(module, nn.Conv2d):
            he_initialized(module)
    return features


def _dense(inputs: int, outputs: int, dropout: float) -> list[nn.Module]:
    # Not the published deviation of 0.01: it suits 25,088 inputs, with few the signal would fade.
    linear = he_initialized(nn.Linear(inputs, outputs))
    return [linear, nn.ReLU(), nn.Dropout(dropout)]


FAMILY = Family(
    name="vgg", config=VggConfig, build=Vgg, example=VggConfig(width=4, dense=16, batch_norm=True)
)
