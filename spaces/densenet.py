"""Space `densenet`: DenseNet-BC from depth 10, growth 4 to depth 100, growth 40."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fmnist_models.config.trial import TrialConfig
from fmnist_models.families.densenet import DensenetConfig
from spaces.belief import Axis
from spaces.points import SGD, Params, make_point
from spaces.space import Space, SpaceContext
from spaces.suggest import largest_affordable, suggest_bn_momentum
from spaces.training import suggest_training
from spaces.training_belief import IDLE, LIKELY, make_belief

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

DEPTHS = range(10, 101, 18)
GROWTHS = range(4, 41, 4)


def suggest(trial: BaseTrial, context: SpaceContext) -> TrialConfig:
    """Sample a DenseNet-BC and how to train it."""
    return suggest_training(trial, context, "densenet", _suggest_model(trial, context))


def _suggest_model(trial: BaseTrial, context: SpaceContext) -> DensenetConfig:
    """The deepest network and then its growth are bounded by what is affordable here."""
    deepest = largest_affordable(
        DEPTHS, lambda d: context.affordable(DensenetConfig(depth=d, growth=GROWTHS[0]))
    )
    depth = trial.suggest_int("densenet.depth", DEPTHS[0], deepest, step=DEPTHS.step)
    most = largest_affordable(
        GROWTHS, lambda g: context.affordable(DensenetConfig(depth=depth, growth=g))
    )
    return DensenetConfig(
        depth=depth,
        growth=trial.suggest_int("densenet.growth", GROWTHS[0], most, step=GROWTHS.step),
        dropout=trial.suggest_float("densenet.dropout", 0.0, 0.3),
        bn_momentum=suggest_bn_momentum(trial, "densenet"),
    )


_PAPER: Params = {
    **SGD,
    "growth": 12,
    "dropout": 0.0,
    "bn_momentum": 0.1,
    "sgd.weight_decay": 1e-4,
    "shift": 4,
    "ema_decay": 0.998,
    "batch_size": 64,
}

SPACE = Space(
    name="densenet",
    version=1,
    suggest=suggest,
    points={
        "bc-28-12": make_point("densenet", _PAPER, {"depth": 28}),
        "bc-100-12": make_point("densenet", _PAPER, {"depth": 100}),
    },
    belief=make_belief(
        "densenet",
        {
            "bn_momentum": Axis(0.1, IDLE),
            "dropout": Axis(0.0, LIKELY),
        },
    ),
)
