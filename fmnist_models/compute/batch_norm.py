"""Batch norm with the ReLU behind it, on a CPU in two passes over memory forward and two back.

Both are bound by memory there. By themselves they take three passes forward and four back, and
torch's batch norm fills vectors only where there are many channels. Same results, up to rounding.
On one thread, as trials train: on several it was no faster than torch's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import relu

from fmnist_models.compute.optional_kernels import kernels
from fmnist_models.compute.precision import Precision

Floats = NDArray[np.float64]
TILE = 1024
"""Values of a tile, about: it stays in the first-level cache with what belongs to it."""
QUIETLY = np.errstate(all="ignore")
"""A network that diverges says so by its loss, not by numpy's warnings."""


class BatchNorm2d(nn.BatchNorm2d):
    """torch's batch norm (arXiv:1502.03167), with a ReLU behind it where `relu` is set.

    x: (N, C, H, W), same out.
    """

    def __init__(
        self, channels: int, eps: float = 1e-5, momentum: float = 0.1, relu: bool = False
    ) -> None:
        super().__init__(channels, eps=eps, momentum=momentum)
        self.relu = relu

    def forward(self, input: Tensor) -> Tensor:
        """input: (N, C, H, W) -> (N, C, H, W)."""
        if self.training and _is_suited(input):
            running = self.running_mean, self.running_var, self._step()
            floor = np.float32(0 if self.relu else -np.inf)
            out: Tensor = _Normalized.apply(input, self.weight, self.bias, running, self.eps, floor)
            return out
        plain = super().forward(input)
        return relu(plain) if self.relu else plain

    def _step(self) -> float:
        """How far the running statistics move towards this batch's; counts it."""
        if not self.track_running_stats:
            return 0.0
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        return 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum


def _is_suited(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.bfloat16, torch.float32)
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.numel() > x.shape[1]
        and torch.get_num_threads() == 1
        and kernels() is not None
    )


def prepare_norms(model: nn.Module, device: str, precision: Precision) -> None:
    """Compile what training `model` will call; seconds, the first time on a machine."""
    has_norms = any(isinstance(module, BatchNorm2d) for module in model.modules())
    if device == "cpu" and has_norms and torch.get_num_threads() == 1:
        _compile(torch.bfloat16 if precision == "bf16" else torch.float32)


@cache
def _compile(dtype: torch.dtype) -> None:
    norm = BatchNorm2d(1, relu=True)
    x = torch.zeros(2, 1, 1, 1, dtype=dtype, requires_grad=True)
    norm(x).sum().backward()


class _Normalized(torch.autograd.Function):
    """Batch norm of a map and what it is at least, `floor`: 0, or minus infinity."""

    @staticmethod
    @QUIETLY
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running: tuple[Tensor, Tensor, float],
        eps: float,
        floor: np.float32,
    ) -> Tensor:
        loops, channels, values = kernels(), x.shape[1], _flat(x)
        assert loops is not None
        count = len(values) // channels
        # From any value of the channel, as the square of a large mean would swallow the variance.
        shift = x.detach()[0, :, 0, 0].double().numpy()
        means, squares = _by_channel(_run(loops.sums, [values], [shift]), channels) / count
        mean, variance = shift + means, np.maximum(squares - means**2, 0.0)
        inverse = (variance + eps) ** -0.5
        scale = weight.detach().numpy() * inverse
        offset = bias.detach().numpy() - mean * scale
        y = torch.empty_like(x)
        _run(loops.scaled, [values, _flat(y)], [scale, offset], floor)
        if running[2]:
            running[0].lerp_(_tensor(mean), running[2])
            running[1].lerp_(_tensor(variance * count / (count - 1)), running[2])
        ctx.save_for_backward(x)
        ctx.known = mean, inverse, scale, offset, floor
        return y

    @staticmethod
    @once_differentiable
    @QUIETLY
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        loops, (x,) = kernels(), ctx.saved_tensors
        assert loops is not None
        mean, inverse, scale, offset, floor = ctx.known
        channels = len(mean)
        count = x.numel() // channels
        maps = [_flat(grad.contiguous(memory_format=torch.channels_last)), _flat(x)]
        found = _run(loops.gradient_sums, maps, [mean, scale, offset], floor)
        total, products = _by_channel(found, channels)
        # With z = (x - mean) * inverse: scale * (grad - its mean - z * the mean of grad * z)
        of_x = -scale * inverse**2 * products / count
        rest = -scale * total / count - of_x * mean
        below = torch.empty_like(x)
        _run(loops.gradients, [*maps, _flat(below)], [of_x, rest, scale, offset], floor)
        return below, _tensor(products * inverse), _tensor(total), None, None, None


def _flat(x: Tensor) -> Any:
    """The values in the order of memory, (n,): float32, or the bits of bfloat16."""
    values = x.detach().permute(0, 2, 3, 1).view(-1)
    is_half = values.dtype == torch.bfloat16
    return values.view(torch.int16).numpy().view(np.uint16) if is_half else values.numpy()


def _tensor(values: Floats) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _by_channel(of_tiles: NDArray[np.float32], channels: int) -> Floats:
    """Sums over tiles (2, t) as sums by channel: (2, C)."""
    sums: Floats = of_tiles.reshape(2, -1, channels).sum(1, dtype=np.float64)
    return sums


def _run(
    loop: Callable[..., Any],
    maps: Sequence[Any],
    of_channels: Sequence[Floats],
    *others: np.float32,
) -> Any:
    """Run a loop of `kernels` over maps (n,), with what belongs to a channel in tiles."""
    repeats = max(TILE // len(of_channels[0]), 1)
    tiles = [np.tile(values.astype(np.float32), repeats) for values in of_channels]
    return loop(*maps, *tiles, *others)
