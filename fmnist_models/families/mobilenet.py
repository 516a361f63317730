"""`mobilenet`: MobileNet V1 (arXiv:1704.04861), V2 (1801.04381) and V3 (1905.02244).

    (N, 1, 28, 28) -(twice the size)-> stem -> 28 x 28 or 14 x 14 -> ... -> c x 2 x 2 -mean-> head

V2 and V3 are torchvision's, V1 (which it lacks) is made of its parts. Fitted to these images: one
channel in, and the stem's stride is 2 as published when images are doubled to 56x56, else 1, so
that the blocks always see the same sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.models import (  # type: ignore[import-untyped]
    MobileNetV2,
    mobilenet_v3_large,
    mobilenet_v3_small,
)
from torchvision.ops import Conv2dNormActivation  # type: ignore[import-untyped]

from fmnist_models.config.base import ModelConfig, Probability
from fmnist_models.config.registry import Family
from fmnist_models.families.layers import Head

PIXELS = 28
EPSILON = 1e-3
"""Of the batch norms, as in the authors' code."""
V1_BLOCKS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5]
V1_BLOCKS += [(1024, 2), (1024, 1)]
"""Channels out and stride of each depthwise separable convolution: table 1 of the paper."""


class MobilenetConfig(ModelConfig):
    """One of the MobileNets; `width` multiplies all channels."""

    family: Literal["mobilenet"] = "mobilenet"
    version: Literal["v1", "v2", "v3_small", "v3_large"] = "v1"
    width: Annotated[float, Field(ge=0.1, le=2)] = 1.0
    resolution: Literal[28, 56] = 28
    """Side, in pixels, of what the network sees; 56 are interpolated bilinearly."""
    bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    dropout: Probability = 0.0
    """Probability in front of the last layer."""


class MobileNet(nn.Module):
    """Images (N, 1, 28, 28) float -> logits (N, classes)."""

    def __init__(self, config: MobilenetConfig, classes: int) -> None:
        super().__init__()
        self.upscale = config.resolution // PIXELS
        norm = partial(nn.BatchNorm2d, eps=EPSILON, momentum=config.bn_momentum)
        self.features, self.classifier = _PARTS[config.version](config, norm)
        stem, last = self.features[0], self.classifier[-1]
        assert isinstance(stem, nn.Sequential) and isinstance(stem[0], nn.Conv2d)
        assert isinstance(last, nn.Linear)
        stem[0] = _stem(stem[0].out_channels, stride=self.upscale)
        self.classifier[-1] = Head(last.in_features, classes)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 1, 28, 28) float -> (N, classes)."""
        if self.upscale != 1:
            x = interpolate(x, scale_factor=self.upscale, mode="bilinear")
        logits: Tensor = self.classifier(self.features(x).mean(dim=(2, 3)))
        return logits


NormLayer = Callable[..., nn.Module]
Parts = tuple[nn.Sequential, nn.Sequential]
"""The convolutions, and what follows the mean over space."""


def _stem(channels: int, stride: int) -> nn.Conv2d:
    conv = nn.Conv2d(1, channels, 3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out")
    return conv


def _v1(config: MobilenetConfig, norm: NormLayer) -> Parts:
    layer = partial(Conv2dNormActivation, norm_layer=norm, activation_layer=nn.ReLU6)
    channels = _scaled(32, config.width)
    features = [layer(1, channels, 3)]
    for published, stride in V1_BLOCKS:
        outputs = _scaled(published, config.width)
        features.append(layer(channels, channels, 3, stride=stride, groups=channels))
        features.append(layer(channels, outputs, 1))
        channels = outputs
    for module in (m for part in features for m in part if isinstance(m, nn.Conv2d)):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    classifier = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(channels, 1))
    return nn.Sequential(*features), classifier


def _scaled(channels: int, width: float) -> int:
    return max(8, int(channels * width))


def _v2(config: MobilenetConfig, norm: NormLayer) -> Parts:
    net = MobileNetV2(width_mult=config.width, dropout=config.dropout, norm_layer=norm)
    return net.features, net.classifier


def _v3(build: Callable[..., nn.Module], config: MobilenetConfig, norm: NormLayer) -> Parts:
    net = build(width_mult=config.width, dropout=config.dropout, norm_layer=norm)
    assert isinstance(net.features, nn.Sequential)
    assert isinstance(net.classifier, nn.Sequential)
    return net.features, net.classifier


_PARTS: dict[str, Callable[[MobilenetConfig, NormLayer], Parts]] = {
    "v1": _v1,
    "v2": _v2,
    "v3_small": partial(_v3, mobilenet_v3_small),
    "v3_large": partial(_v3, mobilenet_v3_large),
}

FAMILY = Family(
    name="mobilenet",
    config=MobilenetConfig,
    build=MobileNet,
    example=MobilenetConfig(width=0.25),
)
