"""A family for one question: does a convolution in front of a batch norm need its bias?

`quick` without them, as every family here has it, beside `quick` with them.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from fmnist_models.families import FAMILIES, Family
from fmnist_models.quick import QuickConfig, QuickNet


class QuickBiasConfig(QuickConfig):
    """A `quick` net whose convolutions all have a bias, batch norm or not."""

    family: Literal["quick_bias"] = "quick_bias"  # type: ignore[assignment]


def build(config: QuickBiasConfig, classes: int) -> nn.Module:
    net = QuickNet(config, classes)
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module.bias is None:
            module.bias = nn.Parameter(torch.zeros(module.out_channels))
    return net


FAMILY = Family("quick_bias", QuickBiasConfig, build, QuickBiasConfig(width=8, depth=1))
FAMILIES.setdefault(FAMILY.name, __name__)
