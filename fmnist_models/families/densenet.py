"""`densenet`: DenseNet-BC (Huang et al., arXiv:1608.06993) on 28x28 images, from torchvision's.

    (N, 1, 28, 28) -conv 3x3-> 2k x 28 x 28 -n layers, transition-> 14 x 14
    -n layers, transition-> 7 x 7 -n layers, norm, ReLU, mean over space-> linear

A layer (1x1 to 4k channels, 3x3 to k) adds its k channels, the growth, to all before; transitions
halve both channels and map. Depth 6n + 4 counts the convolutions. Three blocks and a plain stem, as
in the paper's CIFAR networks: DenseNet-BC-100 with growth 12 is the one of 0.8 M parameters.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import nn
from torchvision.models.densenet import DenseNet  # type: ignore[import-untyped]

from fmnist_models.config.base import ModelConfig, Probability, six_n_plus
from fmnist_models.config.registry import Family
from fmnist_models.families.layers import Head, conv3x3


class DensenetConfig(ModelConfig):
    """DenseNet-BC-`depth` with `growth` channels a layer."""

    family: Literal["densenet"] = "densenet"
    depth: Annotated[int, Field(ge=10, le=250), six_n_plus(4, shown=6)] = 100
    growth: Annotated[int, Field(ge=4, le=48)] = 12
    dropout: Annotated[Probability, Field(lt=1)] = 0.0
    """Probability of dropping a value that a layer adds."""
    bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1


def build(config: DensenetConfig, classes: int) -> nn.Module:
    """Images (N, 1, 28, 28) float -> logits (N, classes)."""
    layers = (config.depth - 4) // 6
    model: nn.Module = DenseNet(
        growth_rate=config.growth,
        block_config=(layers, layers, layers),
        num_init_features=2 * config.growth,
        drop_rate=config.dropout,
        num_classes=classes,
    )
    model.features = _small_stem(model.get_submodule("features"), 2 * config.growth)
    model.classifier = Head(model.get_parameter("classifier.weight").shape[1], classes)
    nn.init.zeros_(model.classifier.bias)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = config.bn_momentum
    return model


def _small_stem(features: nn.Module, channels: int) -> nn.Sequential:
    """A 3x3 convolution in place of the 7x7 one with norm, ReLU and pooling, made for 224x224."""
    parts = nn.Sequential()
    parts.add_module("conv0", conv3x3(1, channels, bias=False))
    for name, part in features.named_children():
        if not name.endswith("0"):
            parts.add_module(name, part)
    return parts


FAMILY = Family(
    name="densenet",
    config=DensenetConfig,
    build=build,
    example=DensenetConfig(depth=10, growth=8),
)
