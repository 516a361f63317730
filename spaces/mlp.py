"""Space `mlp`: multilayer perceptrons, from the plain baseline to deep and wide ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fmnist_models.config.base import Activation
from fmnist_models.config.trial import TrialConfig
from fmnist_models.families.mlp import MlpConfig
from spaces.belief import Axis
from spaces.points import Params, make_point
from spaces.space import Space, SpaceContext
from spaces.suggest import largest_affordable, suggest_bn_momentum, suggest_choice
from spaces.training import EVERY_OPTIMIZER, suggest_training
from spaces.training_belief import IDLE, LIKELY, OPEN, make_belief

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

ACTIVATIONS: list[Activation] = ["relu", "silu", "gelu"]
DEPTHS = range(1, 6)
WIDTHS = range(64, 1025, 64)


def suggest(trial: BaseTrial, context: SpaceContext) -> TrialConfig:
    """Sample a multilayer perceptron and how to train it."""
    return suggest_training(
        trial, context, "mlp", _suggest_model(trial, context), optimizers=EVERY_OPTIMIZER
    )


def _suggest_model(trial: BaseTrial, context: SpaceContext) -> MlpConfig:
    """The deepest and then the widest network are bounded by what is affordable here."""

    def fits(depth: int, width: int) -> bool:
        return context.affordable(MlpConfig(depth=depth, width=width))

    batch_norm = trial.suggest_categorical("mlp.batch_norm", [True, False])
    deepest = largest_affordable(DEPTHS, lambda d: fits(d, WIDTHS[0]))
    depth = trial.suggest_int("mlp.depth", DEPTHS[0], deepest)
    widest = largest_affordable(WIDTHS, lambda w: fits(depth, w))
    return MlpConfig(
        depth=depth,
        width=trial.suggest_int("mlp.width", WIDTHS[0], widest, step=64),
        activation=suggest_choice(trial, "mlp.activation", ACTIVATIONS),
        dropout=trial.suggest_float("mlp.dropout", 0.0, 0.6),
        batch_norm=batch_norm,
        bn_momentum=suggest_bn_momentum(trial, "mlp") if batch_norm else 0.1,
    )


_BASELINE: Params = {
    "batch_norm": False,
    "depth": 1,
    "width": 128,
    "activation": "relu",
    "dropout": 0.0,
    "optimizer": "sgd",
    "sgd.lr": 0.1,
    "sgd.momentum": 0.0,
    "sgd.nesterov": False,
    "sgd.weight_decay": 1e-5,
    "lr_schedule": "constant",
    "warmup": 0.0,
    "flip": False,
    "shift": 0,
    "blank": "none",
    "label_smoothing": 0.0,
    "ema_decay": 0.0,
    "batch_size": 128,
}
"""One hidden layer, cross-entropy and gradient descent, nothing else."""

SPACE = Space(
    name="mlp",
    version=1,
    suggest=suggest,
    points={"gradient-descent": make_point("mlp", _BASELINE)},
    belief=make_belief(
        "mlp",
        {
            "activation": Axis("relu", OPEN),
            "batch_norm": Axis(True, LIKELY),
            "depth": Axis(2, OPEN),
            "dropout": Axis(0.1, LIKELY),
            "bn_momentum": Axis(0.1, IDLE),
            "flip": Axis(False, LIKELY),
            "shift": Axis(0, LIKELY),
        },
    ),
)
