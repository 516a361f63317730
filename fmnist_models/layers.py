"""The few parts that several families share.

Shapes: x (N, C, H, W) in, same N out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fmnist_models.config import Activation, Padding

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


class PartialConv2d(nn.Conv2d):
    """Zero padding whose outputs are scaled up by how little of the kernel saw the image.

    Partial-convolution padding (Liu et al. 2018, arXiv:1811.11718, equation 3): before the bias is
    added, an output is multiplied by the kernel's size over the number of its places inside.
    x: (N, inputs, H, W) -> as nn.Conv2d.
    """

    def forward(self, input: Tensor) -> Tensor:
        """input: (N, inputs, H, W) -> (N, outputs, H', W')."""
        plain = nn.functional.conv2d(
            input, self.weight, None, self.stride, self.padding, self.dilation, self.groups
        )
        down, right = (self._share(input, side) for side in (0, 1))
        scaled = plain * (1 / (down[:, None] * right)).to(plain.dtype)
        return scaled if self.bias is None else scaled + self.bias.to(plain.dtype)[:, None, None]

    def _share(self, input: Tensor, side: int) -> Tensor:
        """For each place along one side, the share of the kernel that lies inside: (H',) or (W',).

        The places inside are a rectangle, so that the share of the whole is a product of two.
        """
        size, kernel = input.shape[2 + side], self.kernel_size[side]
        stride, dilation = self.stride[side], self.dilation[side]
        padding = self.padding[side]
        assert isinstance(padding, int)
        outputs = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        first = torch.arange(outputs, device=input.device) * stride - padding
        seen = first[:, None] + torch.arange(kernel, device=input.device) * dilation
        return ((seen >= 0) & (seen < size)).float().mean(1)


def conv3x3(
    inputs: int, outputs: int, *, stride: int = 1, bias: bool, padding: Padding = "zeros"
) -> nn.Conv2d:
    """A padded 3x3 convolution with He initialisation (arXiv:1502.01852), fan-out, bias zero.

    `padding` says what lies beyond the border, one pixel wide.
    """
    if padding == "weighted":
        conv: nn.Conv2d = PartialConv2d(inputs, outputs, 3, stride=stride, padding=1, bias=bias)
    else:
        conv = nn.Conv2d(
            inputs, outputs, 3, stride=stride, padding=1, bias=bias, padding_mode=padding
        )
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
