"""Optimizers by configuration: torch's own, Schedule-Free's package, Lion and a mixed Muon here.

All take their learning rate from `param_groups`, where the trainer sets it before each step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fmnist_models.config.optimizers import (
    MuonConfig,
    OptimizerConfig,
    ScheduleFreeConfig,
    SgdConfig,
)
from fmnist_models.errors import ConfigError
from fmnist_models.training.without_dynamo import without_dynamo

Group = dict[str, Any]


class Optimizer(Protocol):
    """What a trainer asks of an optimizer; each of torch's has it."""

    @property
    def param_groups(self) -> list[Group]:
        """Parameters with their settings, of which the trainer sets `lr`."""

    def step(self) -> object:
        """Update the parameters by their gradients."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""

    def state_dict(self) -> dict[str, Any]:
        """All that changes while training, as tensors and plain values."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""


def build_optimizer(
    model: nn.Module, config: OptimizerConfig, *, decay_vectors: bool = False
) -> Optimizer:
    """The optimizer of `config`, fused where torch can.

    Vectors (biases, norm scales) get no weight decay, as in arXiv:1812.01187, section 3.1, unless
    `decay_vectors`.

    Raises ConfigError when a package that it needs is missing.
    """
    if isinstance(config, MuonConfig):
        return Muon(model, config, decay_vectors)
    groups = _decay_groups(model.parameters(), config.weight_decay, decay_vectors)
    # A configuration calls its settings as torch does, but for the pair of betas.
    settings = config.model_dump(exclude={"kind", "weight_decay"})
    if "beta1" in settings:
        settings["betas"] = settings.pop("beta1"), settings.pop("beta2")
    if isinstance(config, ScheduleFreeConfig):
        return _schedule_free(groups, settings)
    if isinstance(config, SgdConfig):
        settings["nesterov"] = config.nesterov and config.momentum > 0  # torch refuses it without
    return without_dynamo(lambda: _OPTIMIZERS[config.kind](groups, **settings))


def _decay_groups(
    parameters: Iterable[nn.Parameter], weight_decay: float, decay_vectors: bool
) -> list[Group]:
    """Matrices and convolutions first, then vectors."""
    every = list(parameters)
    decayed = [p for p in every if p.ndim > 1]
    others = [p for p in every if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": weight_decay if decay_vectors else 0.0},
    ]


def _schedule_free(groups: list[Group], settings: dict[str, Any]) -> Optimizer:
    """Its parameters are left in training mode; see `weight_averages.ScheduleFreeWeights`."""
    try:
        from schedulefree import AdamWScheduleFree
    except ImportError:
        raise ConfigError(
            "optimizer schedulefree needs the package schedulefree, which is missing; "
            "run: pip install schedulefree"
        ) from None
    optimizer: Any = without_dynamo(lambda: AdamWScheduleFree(groups, **settings))
    optimizer.train()
    made: Optimizer = optimizer
    return made


class Lion(torch.optim.Optimizer):
    """Lion (arXiv:2302.06675, algorithm 2): lr times the sign of an interpolated momentum."""

    def __init__(self, groups: list[Group], lr: float, betas: tuple[float, float]) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._update(group, parameters)

    def _update(self, group: Group, parameters: list[Tensor]) -> None:
        beta1, beta2 = group["betas"]
        gradients = [p.grad for p in parameters if p.grad is not None]
        for p in parameters:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        momenta = [self.state[p]["momentum"] for p in parameters]
        signs = torch._foreach_lerp(momenta, gradients, 1 - beta1)
        torch._foreach_sign_(signs)
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, signs, alpha=-group["lr"])
        torch._foreach_lerp_(momenta, gradients, 1 - beta2)


_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": partial(torch.optim.SGD, fused=True),
    "adam": partial(torch.optim.Adam, fused=True),
    "adamw": partial(torch.optim.AdamW, fused=True),
    "nadam": partial(torch.optim.NAdam, decoupled_weight_decay=True, foreach=True),
    "adamax": partial(torch.optim.Adamax, foreach=True),
    "rmsprop": partial(torch.optim.RMSprop, foreach=True),
    "adagrad": partial(torch.optim.Adagrad, foreach=True),
    "adadelta": partial(torch.optim.Adadelta, foreach=True),
    "lion": Lion,
}
"""By kind, in the fastest form that torch has of each: fused, else one call for all parameters."""


class Muon:
    """torch's Muon for hidden weights and AdamW for the stem, the head and all vectors.

    torch.optim.Muon takes matrices alone: a convolution's weight (outputs, inputs, height, width)
    is given to it as a view (outputs, height * width * inputs), the order in which channels_last
    keeps it. The order of the columns is of no matter, as orthogonalising commutes with it. Depth-
    wise and other grouped convolutions are no such matrix and go to AdamW. Stem and head are the
    first weight and the last matrix, as in Keller Jordan's practice.
    """

    def __init__(self, model: nn.Module, config: MuonConfig, decay_vectors: bool = False) -> None:
        if not hasattr(torch.optim, "Muon"):
            raise ConfigError(
                f"optimizer muon needs torch 2.9 or newer, this is {torch.__version__}; "
                "run: pip install --upgrade torch"
            )
        self.hidden = _hidden_weights(model)
        self._views = [nn.Parameter(_as_matrix(p.data, p)) for p in self.hidden]
        chosen = {id(p) for p in self.hidden}
        rest = [p for p in model.parameters() if id(p) not in chosen]
        groups = _decay_groups(rest, config.weight_decay, decay_vectors)
        # A model may have no hidden weight at all, and torch refuses an empty list.
        self._muon = (
            without_dynamo(
                lambda: torch.optim.Muon(
                    self._views,
                    lr=config.lr,
                    weight_decay=config.weight_decay,
                    momentum=config.momentum,
                    adjust_lr_fn="match_rms_adamw",
                )
            )
            if self._views
            else None
        )
        self._adamw = without_dynamo(lambda: torch.optim.AdamW(groups, lr=config.lr, fused=True))

    @property
    def param_groups(self) -> list[Group]:
        """The groups of both, Muon's first."""
        groups = [optimizer.param_groups for optimizer in self._both().values()]
        return list(chain.from_iterable(groups))

    def _both(self) -> dict[str, torch.optim.Optimizer]:
        both: dict[str, torch.optim.Optimizer | None] = {"muon": self._muon, "adamw": self._adamw}
        return {name: optimizer for name, optimizer in both.items() if optimizer}

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for view, parameter in zip(self._views, self.hidden, strict=True):
            view.grad = None if parameter.grad is None else _as_matrix(parameter.grad, parameter)
        for optimizer in self._both().values():
            optimizer.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for parameter in self.hidden:
            parameter.grad = None
        self._adamw.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """The states of both."""
        return {name: optimizer.state_dict() for name, optimizer in self._both().items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        for name, optimizer in self._both().items():
            optimizer.load_state_dict(state_dict[name])


def _hidden_weights(model: nn.Module) -> list[nn.Parameter]:
    """Weights of ungrouped convolutions and of linear layers, but for the first and the last."""
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    dense = [m for m in layers[1:-1] if isinstance(m, nn.Linear) or m.groups == 1]
    return [p for m in dense for p in m.parameters(recurse=False) if p.ndim > 1]


def _as_matrix(values: Tensor, weight: Tensor) -> Tensor:
    """(outputs, inputs) as it is; (outputs, inputs, height, width) -> (outputs, the rest).

    The columns stand in the order of the memory of `weight`, so that of the weight itself, in
    channels_last or contiguous, a view is given, through which updates reach it.
    """
    if values.ndim == 2:
        return values
    if weight.permute(0, 2, 3, 1).is_contiguous():
        return values.permute(0, 2, 3, 1).flatten(1)
    return values.flatten(1)
