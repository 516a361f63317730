"""Space `quick`: small convolutional nets, for a CPU and for a first look at any machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fmnist_models.config.base import Activation, Padding
from fmnist_models.config.trial import TrialConfig
from fmnist_models.families.quick import QuickConfig
from spaces.belief import Axis
from spaces.points import Params, make_point
from spaces.space import Space, SpaceContext
from spaces.suggest import largest_affordable, suggest_bn_momentum, suggest_choice
from spaces.training import suggest_training
from spaces.training_belief import IDLE, LIKELY, OPEN, SURE, make_belief

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

WIDTHS = range(8, 33, 8)
DEPTHS = range(1, 4)
ACTIVATIONS: list[Activation] = ["relu", "silu", "gelu"]
PADDINGS: list[Padding] = ["zeros", "reflect", "replicate", "weighted"]


def suggest(trial: BaseTrial, context: SpaceContext) -> TrialConfig:
    """Sample a `quick` net and how to train it."""
    parts = QuickConfig(
        activation=suggest_choice(trial, "quick.activation", ACTIVATIONS),
        padding=suggest_choice(trial, "quick.padding", PADDINGS),
        batch_norm=suggest_choice(trial, "quick.batch_norm", [True, False]),
    )

    def fits(**size: int) -> bool:
        return context.affordable(parts.model_copy(update=size))

    widest = largest_affordable(WIDTHS, lambda w: fits(width=w, depth=1))
    width = trial.suggest_int("quick.width", WIDTHS[0], widest, step=8)
    deepest = largest_affordable(DEPTHS, lambda d: fits(width=width, depth=d))
    sampled = {
        "width": width,
        "depth": trial.suggest_int("quick.depth", DEPTHS[0], deepest),
        "dropout": trial.suggest_float("quick.dropout", 0.0, 0.5),
    }
    if parts.batch_norm:
        sampled["bn_momentum"] = suggest_bn_momentum(trial, "quick")
    model = parts.model_copy(update=sampled)
    return suggest_training(trial, context, "quick", model)


_SGD: Params = {
    "batch_norm": True,
    "width": 16,
    "depth": 2,
    "activation": "relu",
    "dropout": 0.0,
    "padding": "zeros",
    "bn_momentum": 0.1,
    "optimizer": "sgd",
    "sgd.lr": 0.2,
    "sgd.momentum": 0.9,
    "sgd.weight_decay": 5e-4,
    "lr_schedule": "linear",
    "warmup": 0.15,
    "flip": True,
    "shift": 1,
    "blank": "none",
    "label_smoothing": 0.05,
    "ema_decay": 0.99,
    "batch_size": 128,
}

SPACE = Space(
    name="quick",
    version=2,
    suggest=suggest,
    points={
        "quick-2-8": make_point("quick", _SGD, {"width": 8}),
        "quick-2-16": make_point("quick", _SGD),
        "quick-2-32": make_point("quick", _SGD, {"width": 32}),
    },
    belief=make_belief(
        "quick",
        {
            "activation": Axis("relu", OPEN),
            "padding": Axis("zeros", LIKELY),
            "batch_norm": Axis(True, SURE),
            "dropout": Axis(0.0, LIKELY),
            "bn_momentum": Axis(0.1, IDLE),
        },
    ),
    most_points=2,
    trial_seconds_cpu=170.0,
    max_epoch_seconds_cpu=40.0,
)
