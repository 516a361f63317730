"""Space `vgg`: VGG-11 to VGG-19, with and without batch norm, from an eighth of their width."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fmnist_models.config.trial import TrialConfig
from fmnist_models.families.vgg import VggConfig
from spaces.points import Params
from spaces.space import Space, SpaceContext
from spaces.suggest import largest
from spaces.training import suggest_training

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

WIDTHS = range(8, 65, 8)


def suggest(trial: BaseTrial, context: SpaceContext) -> TrialConfig:
    """Sample a VGG and how to train it."""
    return suggest_training(trial, context, "vgg", _suggest_model(trial, context))


def _suggest_model(trial: BaseTrial, context: SpaceContext) -> VggConfig:
    """The widest network is bounded by what is affordable here, with the largest head."""
    batch_norm = trial.suggest_categorical("vgg.batch_norm", [True, False])
    depth = trial.suggest_categorical("vgg.depth", [11, 13, 16, 19])
    shape = VggConfig.model_validate({"depth": depth, "batch_norm": batch_norm, "dense": 1024})
    widest = largest(WIDTHS, lambda w: context.affordable(shape.model_copy(update={"width": w})))
    sampled = {
        "width": trial.suggest_int("vgg.width", WIDTHS[0], widest, step=8),
        "dense": trial.suggest_int("vgg.dense", 128, 1024, step=128),
        "dropout": trial.suggest_float("vgg.dropout", 0.0, 0.6),
    }
    if batch_norm:
        sampled["bn_momentum"] = trial.suggest_float("vgg.bn_momentum", 0.05, 0.5, log=True)
    return shape.model_copy(update=sampled)


_VGG_11: Params = {
    "vgg.batch_norm": False,
    "vgg.depth": 11,
    "vgg.width": 64,
    "vgg.dense": 512,
    "vgg.dropout": 0.5,
    "vgg.optimizer": "sgd",
    "vgg.sgd.lr": 0.01,
    "vgg.sgd.momentum": 0.9,
    "vgg.sgd.weight_decay": 5e-4,
    "vgg.lr_schedule": "cosine",
    "vgg.warmup": 0.1,
    "vgg.flip": True,
    "vgg.shift": 0,
    "vgg.blank": "none",
    "vgg.label_smoothing": 0.0,
    "vgg.ema_decay": 0.99,
    "vgg.batch_size": 256,
}
"""As in the paper but for the schedule, and the head scaled."""

SPACE = Space(
    name="vgg",
    version=1,
    suggest=suggest,
    points={
        "vgg-11-bn-w16": {
            **_VGG_11,
            "vgg.batch_norm": True,
            "vgg.bn_momentum": 0.1,
            "vgg.width": 16,
        },
        "vgg-11": _VGG_11,
    },
    epochs_cpu=9,
    epochs_gpu=27,
)
