"""Optimizers, learning-rate schedules and the moving average of weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fmnist_models.config import LrScheduleConfig, OptimizerConfig, SgdConfig


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer of `config`, fused; biases and norm parameters get no weight decay."""
    groups = _decay_groups(model, config.weight_decay)
    if isinstance(config, SgdConfig):
        nesterov = config.nesterov and config.momentum > 0
        return torch.optim.SGD(
            groups, lr=config.lr, momentum=config.momentum, nesterov=nesterov, fused=True
        )
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(groups, lr=config.lr, betas=betas, fused=True)


def _decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Vectors (biases, norm scales) are left undecayed, as in arXiv:1812.01187, section 3.1."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def lr_factor(config: LrScheduleConfig, progress: float) -> float:
    """The factor on the learning rate at `progress`, the fraction of all steps done, in [0, 1)."""
    if progress < config.warmup:
        return progress / config.warmup
    rest = (progress - config.warmup) / (1 - config.warmup)
    match config.kind:
        case "constant":
            return 1.0
        case "linear":
            return 1.0 - rest
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * rest))


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


def _floats(model: nn.Module) -> list[Tensor]:
    """Parameters and floating-point buffers; a batch norm's counter is not averaged."""
    return [t for t in model.state_dict().values() if t.is_floating_point()]
