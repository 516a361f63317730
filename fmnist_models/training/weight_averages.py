"""Averages of the weights, which are what is scored: EMA, SWA, or Schedule-Free's own.

update(step)      after each optimizer step
end_epoch(epoch)  before the validation
average           the network to score and to keep
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fmnist_models.config.optimizers import ScheduleFreeConfig
from fmnist_models.config.trial import TrialConfig

Refresh = Callable[[nn.Module], None]
"""Estimates the statistics of a network's batch norms anew, on training images."""


class Average(Protocol):
    """What a trainer asks of an average; `average` is the network to score and to keep."""

    average: nn.Module

    def update(self, step: int) -> None:
        """Take in the weights after optimizer step number `step`, counted from 0."""

    def end_epoch(self, epoch: int) -> None:
        """Make `average` ready to be scored after epoch number `epoch`, counted from 1."""


def make_average(
    config: TrialConfig,
    model: nn.Module,
    average: nn.Module,
    optimizer: Any,
    refresh: Refresh,
) -> Average:
    """What `config` asks for, kept in `average`; with an EMA decay of 0 the model itself."""
    if isinstance(config.optimizer, ScheduleFreeConfig):
        return ScheduleFreeWeights(model, average, optimizer, refresh)
    if config.regularization.swa_fraction:
        averaged = math.ceil(config.epochs * config.regularization.swa_fraction)
        first = config.epochs - averaged + 1
        return StochasticWeightAverage(model, average, first, refresh)
    return WeightAverage(model, average, config.regularization.ema_decay)


class WeightAverage:
    """Exponential moving average of a model's parameters and buffers (EMA).

    The decay grows with the steps done, min(decay, (1 + t) / (10 + t)), so that the random start is
    soon forgotten and short runs can be ranked by it too. With decay 0 it is the model itself.
    """

    def __init__(self, model: nn.Module, average: nn.Module, decay: float) -> None:
        self.average = average if decay else model
        self.decay = decay
        average.load_state_dict(model.state_dict())
        self._live = _floats(model)
        self._mean = _floats(average)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimizer step number `step`, counted from 0."""
        if self.decay:
            decay = min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(self._mean, self._live, 1 - decay)

    def end_epoch(self, epoch: int) -> None:
        """Nothing is left to be done."""


class StochasticWeightAverage:
    """The plain mean of the weights at the ends of the last epochs (SWA, arXiv:1803.05407).

    Until the averaging begins, after epoch `first` - 1, it is a copy of the model. From then on
    each epoch's end is taken in, and `refresh` estimates the statistics of batch norms at the mean:
    at each epoch and not the last alone, so that a search ranks by what would be kept. That costs
    the forward pass of `evaluator.REFRESH_IMAGES` images an epoch.
    """

    def __init__(self, model: nn.Module, average: nn.Module, first: int, refresh: Refresh) -> None:
        self.model, self.average = model, average
        self.first, self._refresh = first, refresh
        average.load_state_dict(model.state_dict())

    def update(self, step: int) -> None:
        """Weights within an epoch are not averaged."""

    @torch.no_grad()
    def end_epoch(self, epoch: int) -> None:
        """Take in the weights after epoch number `epoch`, counted from 1."""
        if epoch <= self.first:
            self.average.load_state_dict(self.model.state_dict())
        else:
            means: list[Tensor] = list(self.average.parameters())
            live: list[Tensor] = list(self.model.parameters())
            torch._foreach_lerp_(means, live, 1 / (epoch - self.first + 1))
        if epoch >= self.first:
            self._refresh(self.average)


class ScheduleFreeWeights:
    """The weights that Schedule-Free (arXiv:2405.15682) is scored by.

    While training, the model holds the points y where gradients are taken; the optimizer's `eval`
    turns them into the averages x. Batch norms have seen y alone, so `refresh` estimates their
    statistics at x. The model gets its y back bit by bit: turned to x and back, it would be off by
    rounding, and a resumed run would leave the curve.
    """

    def __init__(
        self, model: nn.Module, average: nn.Module, optimizer: Any, refresh: Refresh
    ) -> None:
        self.model, self.average = model, average
        self._optimizer, self._refresh = optimizer, refresh
        average.load_state_dict(model.state_dict())

    def update(self, step: int) -> None:
        """The optimizer itself averages at each step."""

    @torch.no_grad()
    def end_epoch(self, epoch: int) -> None:
        """Copy x into `average`."""
        trained = [p.detach().clone() for p in self.model.parameters()]
        self._optimizer.eval()
        self.average.load_state_dict(self.model.state_dict())
        self._optimizer.train()
        torch._foreach_copy_(list(self.model.parameters()), trained)
        self._refresh(self.average)


@torch.no_grad()
def refresh_norms(model: nn.Module, forward: Callable[[nn.Module], object]) -> None:
    """Set the running statistics of batch norms to the plain means over what `forward` feeds in.

    As torch.optim.swa_utils.update_bn, except that all else stays in evaluation mode: dropout
    would draw, and scale the variance. Without batch norms nothing is computed.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a plain mean over the batches
        norm.train()
    forward(model)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def slow_down_norms(model: nn.Module, parts: int) -> None:
    """Let the running statistics of batch norms move in so many passes as far as in one before."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.momentum is not None:
            module.momentum = 1 - (1 - module.momentum) ** (1 / parts)


def _floats(model: nn.Module) -> list[Tensor]:
    """Parameters and floating-point buffers; a batch norm's counter is not averaged."""
    return [t for t in model.state_dict().values() if t.is_floating_point()]
