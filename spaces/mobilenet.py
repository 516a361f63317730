"""Space `mobilenet`: MobileNet V1, V2 and V3 at a quarter of their width to all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fmnist_models.config.trial import TrialConfig
from fmnist_models.families.mobilenet import MobilenetConfig
from spaces.points import Params
from spaces.space import Space, SpaceContext
from spaces.suggest import largest
from spaces.training import EVERY_OPTIMIZER, suggest_training

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
        "mobilenet.width_percent", PERCENTS[0], largest(PERCENTS, fits), step=25
    )
    sampled = {
        "width": percent / 100,
        "dropout": trial.suggest_float("mobilenet.dropout", 0.0, 0.6),
        "bn_momentum": trial.suggest_float("mobilenet.bn_momentum", 0.05, 0.5, log=True),
    }
    return shape.model_copy(update=sampled)


_V1: Params = {
    "mobilenet.version": "v1",
    "mobilenet.resolution": 56,
    "mobilenet.width_percent": 100,
    "mobilenet.dropout": 0.25,
    "mobilenet.bn_momentum": 0.1,
    "mobilenet.optimizer": "adam",
    "mobilenet.adam.lr": 1e-3,
    "mobilenet.adam.amsgrad": False,
    "mobilenet.lr_schedule": "constant",
    "mobilenet.warmup": 0.0,
    "mobilenet.flip": True,
    "mobilenet.shift": 0,
    "mobilenet.blank": "none",
    "mobilenet.label_smoothing": 0.0,
    "mobilenet.ema_decay": 0.0,
    "mobilenet.batch_size": 128,
}
"""The field's MobileNet on Fashion-MNIST: images doubled, dropout, Adam, flips."""

SPACE = Space(
    name="mobilenet",
    version=1,
    suggest=suggest,
    points={"v1-56": _V1},
    epochs_cpu=9,
    epochs_gpu=27,
)
