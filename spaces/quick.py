"""Space `quick`: small convolutional nets, for a CPU and for a first look at any machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fmnist_models.config.base import Activation, Padding
from fmnist_models.config.trial import TrialConfig
from fmnist_models.families.quick import QuickConfig
from spaces.points import Params
from spaces.space import Space, SpaceContext
from spaces.suggest import choose, largest
from spaces.training import suggest_training

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

WIDTHS = range(8, 33, 8)
DEPTHS = range(1, 4)
ACTIVATIONS: list[Activation] = ["relu", "silu", "gelu"]
PADDINGS: list[Padding] = ["zeros", "reflect", "replicate", "weighted"]


def suggest(trial: BaseTrial, context: SpaceContext) -> TrialConfig:
    """Sample a `quick` net and how to train it."""
    parts = QuickConfig(
        activation=choose(trial, "quick.activation", ACTIVATIONS),
        padding=choose(trial, "quick.padding", PADDINGS),
        batch_norm=choose(trial, "quick.batch_norm", [True, False]),
    )

    def fits(**size: int) -> bool:
        return context.affordable(parts.model_copy(update=size))

    widest = largest(WIDTHS, lambda w: fits(width=w, depth=1))
    width = trial.suggest_int("quick.width", WIDTHS[0], widest, step=8)
    deepest = largest(DEPTHS, lambda d: fits(width=width, depth=d))
    sampled = {
        "width": width,
        "depth": trial.suggest_int("quick.depth", DEPTHS[0], deepest),
        "dropout": trial.suggest_float("quick.dropout", 0.0, 0.5),
    }
    if parts.batch_norm:
        sampled["bn_momentum"] = trial.suggest_float("quick.bn_momentum", 0.05, 0.5, log=True)
    model = parts.model_copy(update=sampled)
    return suggest_training(trial, context, "quick", model)


_SGD: Params = {
    "quick.batch_norm": True,
    "quick.width": 16,
    "quick.depth": 2,
    "quick.activation": "relu",
    "quick.dropout": 0.0,
    "quick.padding": "zeros",
    "quick.bn_momentum": 0.1,
    "quick.optimizer": "sgd",
    "quick.sgd.lr": 0.2,
    "quick.sgd.momentum": 0.9,
    "quick.sgd.weight_decay": 5e-4,
    "quick.lr_schedule": "linear",
    "quick.warmup": 0.15,
    "quick.flip": True,
    "quick.shift": 1,
    "quick.blank": "none",
    "quick.label_smoothing": 0.05,
    "quick.ema_decay": 0.99,
    "quick.batch_size": 128,
}

SPACE = Space(
    name="quick",
    version=2,
    suggest=suggest,
    points={"quick-2-16": _SGD, "quick-2-32": {**_SGD, "quick.width": 32}},
    epochs_cpu=9,
    epochs_gpu=27,
    max_epoch_seconds_cpu=40.0,
)
