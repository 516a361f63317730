"""The few parts that several families share.

Shapes: x (N, C, H, W) in, same N out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fmnist_models.config import Activation

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "mish": nn.Mish,
}


def activation(name: Activation) -> nn.Module:
    """The activation called `name`; element by element, shape kept."""
    return _ACTIVATIONS[name]()


def norm(channels: int, batch_norm: bool, momentum: float) -> nn.Module:
    """Batch norm over `channels` (arXiv:1502.03167), or nothing at all.

    `momentum` is torch's: the weight of the new batch in the running statistics.
    """
    return nn.BatchNorm2d(channels, momentum=momentum) if batch_norm else nn.Identity()


class Head(nn.Linear):
    """The last layer, in float32 also under autocast: in bf16 the best two logits often tie.

    x: (N, inputs) -> logits (N, outputs) float32.
    """

    def forward(self, input: Tensor) -> Tensor:
        """input: (N, inputs) of any float type -> (N, outputs) float32."""
        if input.is_meta:  # where shapes are counted; autocast does not know that device
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


def conv3x3(inputs: int, outputs: int, *, stride: int = 1, bias: bool) -> nn.Conv2d:
    """A padded 3x3 convolution with He initialisation (arXiv:1502.01852), fan-out, bias zero."""
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=bias)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
