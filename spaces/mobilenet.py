"""Space `mobilenet`: MobileNet V1, V2 and V3 at a quarter of their width to all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fmnist_models.config.trial import TrialConfig
from fmnist_models.families.mobilenet import MobilenetConfig
from spaces.belief import Axis
from spaces.points import Params, make_point
from spaces.space import Space, SpaceContext
from spaces.suggest import largest_affordable, suggest_bn_momentum
from spaces.training import EVERY_OPTIMIZER, suggest_training
from spaces.training_belief import IDLE, LIKELY, OPEN, make_belief

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

PERCENTS = range(25, 101, 25)
"""Width multipliers: integers, so that what is affordable can bound them."""


def suggest(trial: BaseTrial, context: SpaceContext) -> TrialConfig:
    """Sample a MobileNet and how to train it."""
    return suggest_training(
        trial, context, "mobilenet", _suggest_model(trial, context), optimizers=EVERY_OPTIMIZER
    )


def _suggest_model(trial: BaseTrial, context: SpaceContext) -> MobilenetConfig:
    """The widest network is bounded by what is affordable here."""
    versions = ["v1", "v2", "v3_small", "v3_large"]
    version = trial.suggest_categorical("mobilenet.version", versions)
    resolution = trial.suggest_categorical("mobilenet.resolution", [28, 56])
    shape = MobilenetConfig.model_validate({"version": version, "resolution": resolution})

    def fits(percent: int) -> bool:
        return context.affordable(shape.model_copy(update={"width": percent / 100}))

    percent = trial.suggest_int(
        "mobilenet.width_percent", PERCENTS[0], largest_affordable(PERCENTS, fits), step=25
    )
    sampled = {
        "width": percent / 100,
        "dropout": trial.suggest_float("mobilenet.dropout", 0.0, 0.6),
        "bn_momentum": suggest_bn_momentum(trial, "mobilenet"),
    }
    return shape.model_copy(update=sampled)


_V1: Params = {
    "version": "v1",
    "resolution": 56,
    "width_percent": 100,
    "dropout": 0.25,
    "bn_momentum": 0.1,
    "optimizer": "adam",
    "adam.lr": 1e-3,
    "adam.amsgrad": False,
    "lr_schedule": "constant",
    "warmup": 0.0,
    "flip": True,
    "shift": 0,
    "blank": "none",
    "label_smoothing": 0.0,
    "ema_decay": 0.0,
    "batch_size": 128,
}
"""The field's MobileNet on Fashion-MNIST: images doubled, dropout, Adam, flips."""

SPACE = Space(
    name="mobilenet",
    version=1,
    suggest=suggest,
    points={"v1-56": make_point("mobilenet", _V1)},
    belief=make_belief(
        "mobilenet",
        {
            "bn_momentum": Axis(0.1, IDLE),
            "dropout": Axis(0.0, LIKELY),
            "resolution": Axis(56, OPEN),
        },
    ),
)
